/* Files executed and written, as the kernel tells them (fanotify(7)): notification only, nothing
 * waits for us.
 *
 * An event brings a descriptor of the file, opened by the kernel for this process: it is asked for
 * its name and closed, and nothing is read through it.  The kernel makes no such events of pipes,
 * sockets and devices. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/fanotify.h>
#include <unistd.h>

#include "akios.h"
#include "credentials.h"
#include "thread.h"

_Static_assert((int)AKIOS_FILE_EXECUTED == FAN_OPEN_EXEC &&
                   (int)AKIOS_FILE_WRITTEN == FAN_CLOSE_WRITE,
               "uapi");

struct job {
    uint32_t owner;
    int result;
};

static void *open_group(void *argument)
{
    struct job *job = argument;
    job->result = akios_take_effective_uid(job->owner);
    if (job->result < 0)
        return NULL;
    /* O_NONBLOCK, or a lease that the agent holds on its file would keep the reader for 45 seconds
     * (fcntl(2)). */
    int fd = fanotify_init(FAN_CLASS_NOTIF | FAN_CLOEXEC | FAN_NONBLOCK,
                           O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_LARGEFILE);
    job->result = fd < 0 ? -errno : fd;
    return NULL;
}

int akios_file_use_open(uint32_t owner)
{
    struct job job = {.owner = owner};
    pthread_t thread;
    int err = akios_thread_start(open_group, &job, &thread);
    if (err != 0)
        return err;
    pthread_join(thread, NULL);
    return job.result;
}

/* The name of the event's file; 0 where the kernel could give no descriptor, or no name for it. */
static uint16_t read_name(const struct fanotify_event_metadata *event, uint8_t *out)
{
    char link[32];
    if (event->fd < 0)
        return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", event->fd);
    ssize_t got = readlink(link, (char *)out, AKIOS_PATH_MAX);
    close(event->fd);
    return got < 0 ? 0 : (uint16_t)got;
}

static bool is_same(const struct akios_file_use *a, const struct akios_file_use *b)
{
    return a->size == b->size && a->use == b->use && a->pid == b->pid &&
           a->path_len == b->path_len && memcmp(a + 1, b + 1, a->path_len) == 0;
}

static int64_t take_events(int fd, uint8_t *buffer, size_t capacity, uint32_t max_events,
                           uint32_t *lost)
{
    struct akios_file_use *last = NULL;
    size_t filled = 0;
    for (uint32_t n = 0; n < max_events && capacity - filled >= AKIOS_FILE_USE_MAX; n++) {
        struct fanotify_event_metadata event;
        /* One at a time: of several, the kernel would not tell which one it could not open. */
        ssize_t got = read(fd, &event, sizeof event);
        if (got < 0 && (errno == EAGAIN || errno == EINTR)) {
            /* EAGAIN is also what a file under a lease gives (fcntl(2)); then more may stand behind
             * it. */
            struct pollfd more = {.fd = fd, .events = POLLIN};
            if (poll(&more, 1, 0) <= 0)
                break;
            *lost += errno == EAGAIN;
            continue;
        }
        if (got < 0 && (errno == EBADF || errno == EINVAL || errno == EFAULT))
            return -errno;
        if (got < (ssize_t)sizeof event || event.vers != FANOTIFY_METADATA_VERSION ||
            (event.mask & FAN_Q_OVERFLOW)) {
            *lost += 1;
            continue;
        }
        struct akios_file_use *use = (struct akios_file_use *)(void *)(buffer + filled);
        memset(use, 0, sizeof *use);
        use->use = (uint32_t)event.mask;
        use->pid = (uint32_t)event.pid;
        use->count = 1;
        use->path_len = read_name(&event, (uint8_t *)(use + 1));
        if (use->path_len == 0) {
            *lost += 1;
            continue;
        }
        use->size = (uint32_t)((sizeof *use + use->path_len + 7) & ~7ul);
        if (last != NULL && is_same(last, use)) {
            last->count++;
        } else {
            last = use;
            filled += use->size;
        }
    }
    return (int64_t)filled;
}

int64_t akios_file_use_read(int fd, uint8_t *buffer, size_t capacity, uint32_t max_events,
                            uint32_t *lost)
{
    *lost = 0;
    if (((uintptr_t)buffer & 7) != 0)
        return -EINVAL;
    /* Who gave the number may close it while a file system keeps this thread, and then it is
     * another's. */
    int own = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    if (own < 0)
        return -errno;
    int64_t filled = take_events(own, buffer, capacity, max_events, lost);
    close(own);
    return filled;
}
