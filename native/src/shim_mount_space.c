/* What another mount namespace holds.  open_tree(2) clones only mounts of the caller's namespace,
 * and setns(2) changes the calling thread for good, so both happen in a thread that ends with the
 * call.  It shares akiosd's descriptors, nothing else: no name is looked up there but those of the
 * proc file system that akiosd itself opened before. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <unistd.h>

#include "akios.h"
#include "mount.h"
#include "thread.h"
#include "uapi.h"

struct job {
    int mntns_fd;
    int proc_fd, tree_fd; /* which of the two is asked for; the other is -1 */
    int result;
};

static void *run_job(void *argument)
{
    struct job *job = argument;
    /* The kernel moves only a thread that shares its root and working directory with no other. */
    if (unshare(CLONE_FS) < 0 || setns(job->mntns_fd, CLONE_NEWNS) < 0)
        job->result = -errno;
    else if (job->tree_fd >= 0)
        job->result = akios_open_tree(job->tree_fd, "", OPEN_TREE_CLONE | AT_EMPTY_PATH);
    else {
        job->result = openat(job->proc_fd, "thread-self/mountinfo", O_RDONLY | O_CLOEXEC);
        if (job->result < 0)
            job->result = -errno;
    }
    return NULL;
}

static int run_there(struct job *job)
{
    pthread_t thread;
    int err = akios_thread_start(run_job, job, &thread);
    if (err < 0)
        return err;
    pthread_join(thread, NULL);
    return job->result;
}

int akios_mount_space_info(int mntns_fd, int proc_fd)
{
    struct job job = {.mntns_fd = mntns_fd, .proc_fd = proc_fd, .tree_fd = -1};
    return run_there(&job);
}

int akios_mount_space_clone(int mntns_fd, int tree_fd)
{
    struct job job = {.mntns_fd = mntns_fd, .proc_fd = -1, .tree_fd = tree_fd};
    return run_there(&job);
}
