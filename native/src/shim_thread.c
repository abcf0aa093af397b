/* Starting a thread: see thread.h. */
#include <pthread.h>
#include <signal.h>

#include "thread.h"

/* The deepest frame of any, the pump's, holds the argv pointers (520 bytes); the rest is the C
 * library's. */
#define STACK_BYTES (64 * 1024)

int akios_thread_start(void *(*run)(void *), void *argument, pthread_t *out)
{
    pthread_attr_t attributes;
    pthread_t thread;
    sigset_t all, before;
    int err = pthread_attr_init(&attributes);
    if (err != 0)
        return -err;
    pthread_attr_setstacksize(&attributes, STACK_BYTES);
    if (out == NULL)
        pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    /* The thread inherits the mask. */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    err = pthread_create(&thread, &attributes, run, argument);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
    if (err == 0 && out != NULL)
        *out = thread;
    return -err;
}
