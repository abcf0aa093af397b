/* Cages without namespaces: the parts of launcher and init that differ (domain.h). */
#include <errno.h>
#include <linux/filter.h>
#include <linux/futex.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "domain.h"

#define PATIENCE_S 10

struct handover {
    _Atomic int listener; /* -1: not yet; below: -errno - 1 */
    _Atomic int taken;    /* 0: not yet, 1: sent, below: -errno */
};

long akios_domain_clone(int *pidfd)
{
    /* exit_signal is that of the parent's own with CLONE_PARENT (clone(2)). */
    long pid = syscall(SYS_clone, CLONE_PARENT | CLONE_PIDFD | SIGCHLD, NULL, pidfd, NULL, 0);
    return pid < 0 ? -errno : pid;
}

int akios_domain_begin(struct akios_child *child)
{
    if (prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) < 0)
        return -errno;
    child->domain = 1;
    return 0;
}

int akios_domain_can_signal(void)
{
    return kill(getppid(), 0) == 0;
}

int akios_domain_prove(int before)
{
    return before && kill(getppid(), 0) < 0 && errno == EPERM ? 0 : -EXDEV;
}

static int wait_change(_Atomic int *word, int old)
{
    struct timespec timeout = {.tv_sec = PATIENCE_S};
    while (atomic_load(word) == old)
        if (syscall(SYS_futex, word, FUTEX_WAIT, old, &timeout, NULL, 0) < 0 && errno == ETIMEDOUT)
            return -ETIMEDOUT;
    return atomic_load(word);
}

static void tell(_Atomic int *word, int value)
{
    atomic_store(word, value);
    syscall(SYS_futex, word, FUTEX_WAKE, 1, NULL, NULL, 0);
}

static _Noreturn void send_listener(struct handover *page)
{
    int listener = wait_change(&page->listener, -1);
    int sent = listener < 0 ? -EPROTO : akios_send_fd(listener, AKIOS_STATUS_LISTENER);
    if (listener >= 0)
        close(listener); /* in the table of both: akiosd's copy is the only one then */
    tell(&page->taken, sent < 0 ? sent : 1);
    _exit(0);
}

int akios_domain_handover(const void *program, uint64_t flags)
{
    struct handover *page = akios_domain_share(sizeof *page);
    if (page == NULL)
        return -ENOMEM;
    atomic_init(&page->listener, -1);
    long helper = syscall(SYS_clone, CLONE_FILES | SIGCHLD, NULL, NULL, NULL, 0);
    if (helper < 0)
        return -errno;
    if (helper == 0)
        send_listener(page);
    long fd = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, (unsigned)flags, program);
    int err = fd < 0 ? -errno : 0;
    tell(&page->listener, fd < 0 ? err - 1 : (int)fd);
    int taken = wait_change(&page->taken, 0);
    /* It has ended or is about to; init reaps it with whatever else comes to it. */
    if (err == 0 && taken < 0)
        err = taken;
    munmap(page, sizeof *page);
    return err;
}

void *akios_domain_share(size_t size)
{
    void *page = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    return page == MAP_FAILED ? NULL : page;
}

pid_t akios_domain_fork(void)
{
    long pid = syscall(SYS_clone, CLONE_VFORK | SIGCHLD, NULL, NULL, NULL, 0);
    if (pid == 0) {
        /* Its memory is a copy: init itself stays closed.  Executing a program opens it anyway. */
        if (prctl(PR_SET_DUMPABLE, 1, 0, 0, 0) < 0 || prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)
            _exit(127);
    }
    return (pid_t)pid;
}

void akios_domain_end(void)
{
    for (;;) {
        /* Whom this process may signal are the processes of its own domain (landlock(7)), so these
         * are all it reaches, under one lock that no fork gets past (kill(2)). */
        kill(-1, SIGKILL);
        pid_t pid = waitpid(-1, NULL, __WALL);
        if (pid < 0 && errno != EINTR)
            return;
    }
}
