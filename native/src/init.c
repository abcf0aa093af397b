/* Pid 1 of a cage: starts the agent when akiosd says go, reaps, forwards signals, and is the only
 * source of the exit status.  It is out of the agent's reach: non-dumpable, and the agent adds a
 * Landlock signal scope before it executes. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "domain.h"
#include "init.h"
#include "uapi.h"

static char **resolve_vector(struct akios_child *child, uint32_t at)
{
    /* Turns offsets into pointers in place: the mapping is private and the arrays are ended by 0.
     */
    if (at % _Alignof(uint64_t) != 0)
        return NULL;
    for (uint32_t i = 0;; i++) {
        uint64_t *slot = akios_at(child, at + 8 * i, sizeof *slot);
        if (slot == NULL)
            return NULL;
        if (*slot == 0)
            return akios_at(child, at, 8);
        char *text = *slot > UINT32_MAX ? NULL : akios_at(child, (uint32_t)*slot, 1);
        if (text == NULL)
            return NULL;
        *slot = (uint64_t)(uintptr_t)text;
    }
}

static _Noreturn void start_failed(struct akios_start *start, enum akios_start_step step, int err)
{
    start->step = step;
    start->err = err;
    _exit(127);
}

static _Noreturn void run_agent(struct akios_start *start)
{
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    for (int fd = 0; fd < 3; fd++)
        if (start->stdio[fd] >= 0 && dup2(start->stdio[fd], fd) < 0)
            start_failed(start, START_SESSION, errno);
    if (setsid() < 0 || (start->tty && ioctl(0, TIOCSCTTY, 0) < 0))
        start_failed(start, START_SESSION, errno);
    if (start->scope_fd >= 0 && akios_landlock_restrict(start->scope_fd) < 0)
        start_failed(start, START_LANDLOCK, EPERM);
    if (chdir(start->cwd) < 0)
        start_failed(start, START_CHDIR, errno);
    /* Whoever holds the status socket can tell akiosd any exit status. */
    if (syscall(__NR_close_range, 3, ~0U, 0) < 0)
        start_failed(start, START_SESSION, errno);
    execve(start->command, start->argv, start->env);
    start_failed(start, START_EXEC, errno);
}

pid_t akios_start(struct akios_start *start)
{
    pid_t pid = start->domain ? akios_domain_fork() : vfork();
    if (pid == 0)
        run_agent(start);
    if (pid < 0 && start->err == 0)
        start->err = errno;
    return pid;
}

int akios_read_start(struct akios_child *child, struct akios_start *start)
{
    const struct akios_plan *head = (const struct akios_plan *)(const void *)child->plan;
    start->command = akios_at(child, head->command_at, 1);
    start->cwd = akios_at(child, head->cwd_at, 1);
    start->argv = resolve_vector(child, head->argv_at);
    start->env = resolve_vector(child, head->env_at);
    start->tty = (int)head->tty;
    int whole = start->command != NULL && start->cwd != NULL && start->argv != NULL;
    return whole && start->env != NULL ? 0 : -EPROTO;
}

void akios_tell_exit(uint32_t kind, uint32_t number, int status, const struct rusage *usage)
{
    struct akios_exit message = {
        .head = {.kind = kind, .step = number, .value = (uint32_t)status},
        .user_ns = (uint64_t)usage->ru_utime.tv_sec * 1000000000u +
                   (uint64_t)usage->ru_utime.tv_usec * 1000u,
        .system_ns = (uint64_t)usage->ru_stime.tv_sec * 1000000000u +
                     (uint64_t)usage->ru_stime.tv_usec * 1000u,
        .max_rss = (uint64_t)usage->ru_maxrss * 1024u,
    };
    ssize_t sent = write(AKIOS_FD_STATUS, &message, sizeof message);
    (void)sent; /* nobody left to tell: the end of the socket ends the cage */
}

static _Noreturn void report_exit(int status, int domain)
{
    if (domain)
        akios_domain_end();
    struct rusage usage;
    memset(&usage, 0, sizeof usage);
    getrusage(RUSAGE_CHILDREN, &usage);
    akios_tell_exit(AKIOS_STATUS_EXITED, 0, status, &usage);
    _exit(0);
}

static void reap(pid_t agent, int domain)
{
    for (;;) {
        int status = 0;
        pid_t pid = waitpid(-1, &status, WNOHANG | __WALL);
        if (pid == agent)
            report_exit(status, domain);
        if (pid <= 0)
            return;
    }
}

/* Without a pid namespace nothing else ends the rest. */
static _Noreturn void leave(int domain)
{
    if (domain)
        akios_domain_end();
    _exit(0);
}

static void take_command(pid_t agent, int domain)
{
    struct akios_status message;
    ssize_t got = read(AKIOS_FD_STATUS, &message, sizeof message);
    if (got == 0 || (got < 0 && errno != EINTR && errno != EAGAIN))
        leave(domain); /* akiosd is gone: the cage ends with it */
    if (got == (ssize_t)sizeof message && message.kind == AKIOS_STATUS_KILL)
        leave(domain);
    if (got == (ssize_t)sizeof message && message.kind == AKIOS_STATUS_SIGNAL &&
        message.value < 65) {
        /* the whole group, as a terminal would; the agent alone where it left its group */
        if (kill(-agent, (int)message.value) < 0)
            kill(agent, (int)message.value);
    }
}

static _Noreturn void watch(pid_t agent, int signals, int domain)
{
    struct pollfd fds[2] = {{.fd = signals, .events = POLLIN},
                            {.fd = AKIOS_FD_STATUS, .events = POLLIN}};
    for (;;) {
        reap(agent, domain);
        if (poll(fds, 2, -1) < 0 && errno != EINTR)
            leave(domain);
        if (fds[0].revents & POLLIN) {
            struct signalfd_siginfo info;
            ssize_t got = read(signals, &info, sizeof info);
            (void)got; /* only a wake-up: which child it was, waitpid says */
        }
        if (fds[1].revents)
            take_command(agent, domain);
    }
}

/* Returns what "go" says, AKIOS_GO_…. */
static uint32_t wait_go(void)
{
    struct akios_status message;
    ssize_t got;
    do
        got = read(AKIOS_FD_STATUS, &message, sizeof message);
    while (got < 0 && errno == EINTR);
    if (got != (ssize_t)sizeof message || message.kind != AKIOS_STATUS_GO)
        _exit(0);
    /* Another holds the status socket, too, and closes it when akiosd does not come back. */
    if ((message.value & AKIOS_GO_KEPT) && prctl(PR_SET_PDEATHSIG, 0) < 0)
        _exit(0);
    return message.value;
}

_Noreturn void akios_init(struct akios_child *child)
{
    const struct akios_plan *head = (const struct akios_plan *)(const void *)child->plan;
    struct akios_start local, *start = child->domain ? akios_domain_share(sizeof *start) : &local;
    if (start == NULL)
        _exit(125);
    *start = (struct akios_start){
        .scope_fd = child->scope_fd, .domain = child->domain, .stdio = {-1, -1, -1}};
    if (akios_read_start(child, start) < 0) {
        akios_send_status(AKIOS_STATUS_FAILED, EPROTO, head->op_count, 0);
        _exit(125);
    }
    sigset_t chld;
    sigemptyset(&chld);
    sigaddset(&chld, SIGCHLD);
    sigprocmask(SIG_BLOCK, &chld, NULL);
    int signals = signalfd(-1, &chld, SFD_CLOEXEC | SFD_NONBLOCK);
    if (signals < 0 || (head->nested_scope && start->scope_fd < 0)) {
        akios_send_status(AKIOS_STATUS_FAILED, errno, head->op_count, 0);
        _exit(125);
    }
    /* Up to here and until the listener is served: no call that any policy has notified. */
    akios_send_status(AKIOS_STATUS_READY, child->landlock_proof ? 0 : EPERM, head->op_count,
                      (uint32_t)child->listener_fd);
    uint32_t said = wait_go();
    /* akiosd holds the listener now; a copy left here would keep calls waiting after its death. */
    if (child->listener_fd >= 0)
        close(child->listener_fd);
    close(AKIOS_FD_CANARY);
    if ((said & AKIOS_GO_STANDING) && !child->domain) {
        akios_send_status(AKIOS_STATUS_EXECED, 0, 0, 0);
        akios_stand(signals, start->scope_fd);
    }
    pid_t agent = akios_start(start);
    if (agent < 0 || start->err != 0) {
        akios_send_status(AKIOS_STATUS_EXEC_FAILED, start->err, (uint32_t)start->step, 0);
        _exit(127);
    }
    if (start->scope_fd >= 0)
        close(start->scope_fd);
    akios_send_status(AKIOS_STATUS_EXECED, 0, 0, (uint32_t)agent);
    watch(agent, signals, child->domain);
}
