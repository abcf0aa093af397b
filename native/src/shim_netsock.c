/* Sockets in another network namespace.  setns(2) changes the calling thread for good, so it is
 * done in a thread that ends with the call: a pooled thread would carry the namespace into its next
 * job. */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "akios.h"
#include "thread.h"

struct job {
    int netns_fd;
    const struct akios_socket_spec *specs;
    size_t n;
    int *fds;
    size_t failed;
    int err;
};

static int open_one(const struct akios_socket_spec *spec)
{
    if (spec->address_len > sizeof spec->address)
        return -EINVAL;
    int fd = socket(spec->domain, spec->type | SOCK_CLOEXEC | SOCK_NONBLOCK, spec->protocol);
    if (fd < 0)
        return -errno;
    int one = 1;
    struct sockaddr_storage address;
    memset(&address, 0, sizeof address);
    memcpy(&address, spec->address, spec->address_len);
    if ((spec->reuse_address != 0 &&
         setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) < 0) ||
        (spec->address_len > 0 &&
         bind(fd, (struct sockaddr *)&address, (socklen_t)spec->address_len) < 0) ||
        (spec->backlog >= 0 && listen(fd, spec->backlog) < 0)) {
        int err = -errno;
        close(fd);
        return err;
    }
    return fd;
}

static void *run_job(void *argument)
{
    struct job *job = argument;
    job->failed = job->n;
    if (setns(job->netns_fd, CLONE_NEWNET) < 0) {
        job->err = -errno;
        return NULL;
    }
    for (size_t i = 0; i < job->n; i++) {
        job->fds[i] = open_one(&job->specs[i]);
        if (job->fds[i] >= 0)
            continue;
        job->failed = i;
        job->err = job->fds[i];
        while (i-- > 0)
            close(job->fds[i]);
        return NULL;
    }
    return NULL;
}

int akios_netns_sockets(int netns_fd, const struct akios_socket_spec *specs, size_t n, int *fds,
                        size_t *failed)
{
    struct job job = {.netns_fd = netns_fd, .specs = specs, .n = n, .fds = fds, .failed = n};
    pthread_t thread;
    int err = akios_thread_start(run_job, &job, &thread);
    if (err == 0)
        pthread_join(thread, NULL);
    else
        job.err = err;
    *failed = job.failed;
    for (size_t i = 0; i < n && job.err != 0; i++)
        fds[i] = -1;
    return job.err;
}
