/* akios-launcher: takes plans and descriptors on one socket, clones a child for each, answers with
 * its pidfd.  Small on purpose: a clone costs what the parent's memory costs.
 *
 * Start: fd 3 is a SOCK_SEQPACKET socket.  It leaves at end of file. */
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "credentials.h"
#include "domain.h"
#include "launcher.h"
#include "uapi.h"

#define CONTROL_FD 3

/* Whether cages get no namespaces: akiosd has no privilege (policy mode). */
static int without_namespaces;

static int drop_sys_resource(void)
{
    /* An overlay writes with its mounter's credentials, and this capability ignores disk quota. */
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2];
    if (syscall(SYS_capget, &header, data) < 0)
        return -errno;
    const uint32_t bit = 1u << CAP_SYS_RESOURCE;
    data[0].effective &= ~bit;
    data[0].permitted &= ~bit;
    data[0].inheritable &= ~bit;
    if (syscall(SYS_capset, &header, data) < 0)
        return -errno;
    return 0;
}

/* What an agent could read of this process it could read of akiosd: both have its uid. */
static int check_unprivileged(void)
{
    return prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0 ? -errno : 0;
}

static int make_staging_root(void)
{
    /* The launcher lives in an empty root of its own: a cage's mount namespace is a copy of this
     * one, so no mount of the host is ever in it, and the copy is cheap. */
    if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
        return -errno;
    if (mount("akios", "/tmp", "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=0755,size=64k") < 0)
        return -errno;
    if (chdir("/tmp") < 0 || syscall(SYS_pivot_root, ".", ".") < 0 ||
        umount2(".", MNT_DETACH) < 0 || chdir("/") < 0)
        return -errno;
    umask(0);
    static const char *const directories[] = {"/root", "/slot",  "/lower", "/l0",  "/l1",
                                              "/l2",   "/l3",    "/l4",    "/l5",  "/l6",
                                              "/l7",   "/layer", "/proof", "/seal"};
    for (unsigned i = 0; i < sizeof directories / sizeof directories[0]; i++)
        if (mkdir(directories[i], 0755) < 0)
            return -errno;
    int fd = open("/proof/canary", O_CREAT | O_WRONLY | O_CLOEXEC, 0444);
    if (fd < 0)
        return -errno;
    close(fd);
    return 0;
}

static long clone_child(uint64_t flags, int *pidfd, int cgroup_fd)
{
    struct akios_clone_args args = {.flags = flags | CLONE_PIDFD | CLONE_PARENT,
                                    .pidfd = (uintptr_t)pidfd};
    if (flags & CLONE_INTO_CGROUP)
        args.cgroup = (uint64_t)cgroup_fd;
    /* exit_signal stays 0: CLONE_PARENT makes akiosd the parent, which waits on the pidfd. */
    long pid = syscall(__NR_clone3, &args, sizeof args);
    return pid < 0 ? -errno : pid;
}

static _Noreturn void become_cage(struct akios_child *child, int status_fd)
{
    uint32_t step = 0;
    if (dup2(status_fd, AKIOS_FD_STATUS) < 0)
        _exit(125);
    prctl(PR_SET_NAME, "akios-init"); /* here, since behind the filter it may be notified */
    int err = akios_run_steps(child, &step);
    if (err < 0) {
        akios_send_status(AKIOS_STATUS_FAILED, -err, step, 0);
        _exit(125);
    }
    const char *command =
        akios_at(child, ((const struct akios_plan *)(const void *)child->plan)->command_at, 1);
    if (command != NULL && *command == '\0')
        _exit(0); /* a plan without a command only makes and sends a mount */
    akios_init(child);
}

static int become_owner(uid_t uid)
{
    int err = akios_take_effective_uid(uid);
    if (err < 0)
        return err;
    return prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 ? -errno : 0;
}

static long clone_namespace(uid_t owner, int *pidfd)
{
    /* What is counted in a user namespace (inotify instances, queued signals, message queues) is
     * counted for its owner in the parent, too: owned by root, one cage could use up what root
     * itself may have. */
    int err = owner ? become_owner(owner) : 0;
    long pid = err < 0 ? err : clone_child(CLONE_NEWUSER, pidfd, -1);
    if (pid == 0 || owner == 0)
        return pid;
    err = become_owner(0);
    if (err < 0)
        _exit(125); /* whatever it would clone now would be another's */
    return pid;
}

static _Noreturn void become_holder(void)
{
    /* Holds a user namespace until akiosd has written its maps and opened it. */
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    syscall(__NR_close_range, 0, ~0U, 0);
    for (;;)
        pause();
}

static long run_request(const struct akios_received *in, int *pidfd)
{
    /* fds: plan, status, v2 cgroup (looked at with CLONE_INTO_CGROUP only), then those of the plan
     */
    if (in->nfds < 3)
        return -EPROTO;
    struct akios_child child = {.fds = in->fds + 3,
                                .nfds = in->nfds - 3,
                                .root_fd = -1,
                                .ruleset_fd = -1,
                                .scope_fd = -1,
                                .listener_fd = -1};
    int err = akios_map_plan(&child, in->fds[0], in->request.plan_size);
    if (err < 0)
        return err;
    long pid = without_namespaces ? akios_domain_clone(pidfd)
                                  : clone_child(in->request.argument, pidfd, in->fds[2]);
    if (pid == 0)
        become_cage(&child, in->fds[1]);
    munmap(child.plan, child.plan_size);
    return pid;
}

static int answer(long pid, int pidfd)
{
    struct akios_reply reply = {.pid = pid < 0 ? -1 : (int32_t)pid,
                                .err = pid < 0 ? (int32_t)-pid : 0};
    int sent = akios_send_with_fd(CONTROL_FD, &reply, sizeof reply, pid > 0 ? pidfd : -1);
    if (pid > 0)
        close(pidfd);
    return sent < 0 ? sent : 0;
}

static int serve_one(void)
{
    static struct akios_received in;
    int got = akios_receive(CONTROL_FD, &in);
    if (got <= 0)
        return got;
    int pidfd = -1;
    long pid = -EPROTO;
    if (in.request.kind == AKIOS_REQUEST_RUN) {
        pid = run_request(&in, &pidfd);
    } else if (in.request.kind == AKIOS_REQUEST_USERNS && !without_namespaces) {
        pid = in.request.argument < UINT32_MAX ? clone_namespace((uid_t)in.request.argument, &pidfd)
                                               : -EINVAL;
        if (pid == 0)
            become_holder();
    }
    for (unsigned i = 0; i < in.nfds; i++)
        close(in.fds[i]);
    int sent = answer(pid, pidfd);
    return sent < 0 ? sent : 1;
}

int main(int argc, char **argv)
{
    without_namespaces = argc > 1 && strcmp(argv[1], "--no-namespaces") == 0;
    prctl(PR_SET_NAME, "akios-launcher");
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    for (int signo = 1; signo < 32; signo++)
        signal(signo, SIG_DFL);
    fcntl(CONTROL_FD, F_SETFD, FD_CLOEXEC);
    /* Keeps AKIOS_FD_CANARY from being given to a received descriptor. */
    if (dup2(0, AKIOS_FD_CANARY) < 0)
        return 125;
    /* Whatever akiosd inherited from who started it. */
    syscall(__NR_close_range, AKIOS_FD_FIRST_FREE, ~0U, 0);
    int err = without_namespaces ? check_unprivileged() : make_staging_root();
    if (err == 0 && !without_namespaces)
        err = drop_sys_resource();
    if (answer(err, -1) < 0 || err < 0)
        return 125;
    while ((err = serve_one()) > 0)
        ;
    return err == 0 ? 0 : 125;
}
