/* Reaching for other processes: a child of one's own (which ordinary kernels allow) and pid 1. */
#include "attack.h"

#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/uio.h>

static pid_t sleeper(void) {
    pid_t pid = fork();
    if (pid == 0)
        for (;;)
            pause();
    return pid;
}

static int with_sleeper(int (*act)(pid_t)) {
    pid_t pid = sleeper();
    int result = act(pid);
    kill(pid, SIGKILL);
    return result;
}

static char secret[16] = "nothing";

static int attach(pid_t pid) { return outcome(ptrace(PTRACE_ATTACH, pid, 0, 0)); }
static int seize(pid_t pid) { return outcome(ptrace(PTRACE_SEIZE, pid, 0, 0)); }
static int move_memory(long call, pid_t pid) {
    char own[16] = "overwritten";
    struct iovec local = {own, sizeof own}, remote = {secret, sizeof secret};
    return outcome(syscall(call, pid, &local, 1, &remote, 1, 0));
}
static int write_memory(pid_t pid) { return move_memory(SYS_process_vm_writev, pid); }
static int read_memory(pid_t pid) { return move_memory(SYS_process_vm_readv, pid); }
static int take_fd(pid_t pid) {
    int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
    return pidfd < 0 ? errno : outcome(syscall(SYS_pidfd_getfd, pidfd, 0, 0));
}
static int compare(pid_t pid) { return outcome(syscall(SYS_kcmp, getpid(), pid, 0, 0, 0)); }
static int migrate(pid_t pid) { return outcome(syscall(SYS_migrate_pages, pid, 8, "\1\0\0\0\0\0\0", "\1\0\0\0\0\0\0")); }

static int ptrace_attach(void) { return with_sleeper(attach); }
static int ptrace_seize(void) { return with_sleeper(seize); }
static int ptrace_traceme(void) { return outcome(ptrace(PTRACE_TRACEME, 0, 0, 0)); }
static int vm_write(void) { return with_sleeper(write_memory); }
static int vm_read(void) { return with_sleeper(read_memory); }
static int pidfd_getfd(void) { return with_sleeper(take_fd); }
static int kcmp(void) { return with_sleeper(compare); }
static int migrate_pages(void) { return with_sleeper(migrate); }

static int ptrace_init(void) { return seize(1); }
static int vm_read_init(void) { return read_memory(1); }
static int vm_write_init(void) { return write_memory(1); }
static int getfd_init(void) { return take_fd(1); }

static int open_of_init(const char *name, int flags) {
    char path[64];
    snprintf(path, sizeof path, "/proc/1/%s", name);
    return outcome(open(path, flags));
}
static int init_root(void) { return open_of_init("root/etc/passwd", O_RDONLY); }
static int init_cwd(void) { return open_of_init("cwd/", O_RDONLY); }
static int init_mem(void) { return open_of_init("mem", O_RDWR); }
static int init_maps(void) { return open_of_init("maps", O_RDONLY); }
static int init_environ(void) { return open_of_init("environ", O_RDONLY); }
static int init_fd(void) { return open_of_init("fd/0", O_RDONLY); }
static int init_fds(void) { return open_of_init("fd", O_RDONLY | O_DIRECTORY); }
static int init_exe(void) { return open_of_init("exe", O_RDONLY); }
static int init_ns(void) { return open_of_init("ns/user", O_RDONLY); }
static int init_status(void) { return open_of_init("status", O_RDONLY); }
static int init_task_mem(void) { return open_of_init("task/1/mem", O_RDONLY); }
static int init_oom(void) { return open_of_init("oom_score_adj", O_WRONLY); }

static int signal_init(int (*send)(int)) {
    static const int numbers[] = {SIGKILL, SIGTERM, SIGSTOP, SIGTSTP, SIGCHLD, SIGSEGV, SIGIO, 0};
    for (unsigned n = 0; n < sizeof numbers / sizeof numbers[0]; n++)
        if (send(numbers[n]) == 0)
            return 0;
    return errno;
}
static int by_kill(int signo) { return kill(1, signo); }
static int by_tgkill(int signo) { return (int)syscall(SYS_tgkill, 1, 1, signo); }
static int by_queue(int signo) { return sigqueue(1, signo, (union sigval){0}); }
static int by_pidfd(int signo) {
    int pidfd = (int)syscall(SYS_pidfd_open, 1, 0);
    return pidfd < 0 ? -1 : (int)syscall(SYS_pidfd_send_signal, pidfd, signo, NULL, 0);
}
static int kill_init(void) { return signal_init(by_kill); }
static int tgkill_init(void) { return signal_init(by_tgkill); }
static int queue_init(void) { return signal_init(by_queue); }
static int pidfd_signal_init(void) { return signal_init(by_pidfd); }

static int limit_init(void) {
    struct rlimit limit = {1, 1};
    return outcome(syscall(SYS_prlimit64, 1, RLIMIT_NOFILE, &limit, NULL));
}
static int read_limit_init(void) {
    struct rlimit limit;
    return outcome(syscall(SYS_prlimit64, 0xdead00000001ul, RLIMIT_NOFILE, NULL, &limit));
}

/* SCHED_IDLE, the lowest priorities: done to init, the end of the agent is heard of last. */
static int idle_init(void) {
    int priority = 0;
    return outcome(syscall(SYS_sched_setscheduler, 1, 5, &priority));
}
static int idle_init_by_attr(void) {
    uint32_t attr[14] = {56, 5};
    return outcome(syscall(SYS_sched_setattr, 1, attr, 0));
}
static int pin_init(void) {
    unsigned long first = 1;
    return outcome(syscall(SYS_sched_setaffinity, 0xdead00000001ul, sizeof first, &first));
}
static int nice_init(void) { return outcome(syscall(SYS_setpriority, 0 /* process */, 1, 19)); }
static int nice_all(void) { return outcome(syscall(SYS_setpriority, 2 /* user */, 0, 19)); }
static int slow_disk_init(void) { return outcome(syscall(SYS_ioprio_set, 1 /* process */, 1, 3 << 13)); }
static int slow_disk_all(void) { return outcome(syscall(SYS_ioprio_set, 3 /* user */, getuid(), 2 << 13 | 7)); }

static const struct attack attacks[] = {
    {"ptrace_attach", ptrace_attach},
    {"ptrace_seize", ptrace_seize},
    {"ptrace_traceme", ptrace_traceme},
    {"vm_write", vm_write},
    {"vm_read", vm_read},
    {"pidfd_getfd", pidfd_getfd},
    {"kcmp", kcmp},
    {"migrate_pages", migrate_pages},
    {"ptrace_init", ptrace_init},
    {"vm_read_init", vm_read_init},
    {"vm_write_init", vm_write_init},
    {"getfd_init", getfd_init},
    {"init_root", init_root},
    {"init_cwd", init_cwd},
    {"init_mem", init_mem},
    {"init_maps", init_maps},
    {"init_environ", init_environ},
    {"init_fd", init_fd},
    {"init_fds", init_fds},
    {"init_exe", init_exe},
    {"init_ns", init_ns},
    {"init_status", init_status},
    {"init_task_mem", init_task_mem},
    {"init_oom", init_oom},
    {"kill_init", kill_init},
    {"tgkill_init", tgkill_init},
    {"queue_init", queue_init},
    {"pidfd_signal_init", pidfd_signal_init},
    {"limit_init", limit_init},
    {"read_limit_init", read_limit_init},
    {"idle_init", idle_init},
    {"idle_init_by_attr", idle_init_by_attr},
    {"pin_init", pin_init},
    {"nice_init", nice_init},
    {"nice_all", nice_all},
    {"slow_disk_init", slow_disk_init},
    {"slow_disk_all", slow_disk_all},
};

MAIN(attacks)
