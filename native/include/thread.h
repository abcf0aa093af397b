/* Threads of our own inside the daemon's process. */
#ifndef AKIOS_THREAD_H
#define AKIOS_THREAD_H

#include <pthread.h>

/* Starts a thread with a small stack, in which no signal ever runs a handler, least of all
 * Python's. `out` gets it to be joined; NULL: it is detached.  0, or -errno and nothing runs. */
int akios_thread_start(void *(*run)(void *), void *argument, pthread_t *out);

#endif
