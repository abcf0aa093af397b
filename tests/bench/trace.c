/* The C halves of tests/bench/trace.py.
 *
 *   trace target FD N [FILTER]   hands a listener over FD, waits, then times N calls
 *   trace loop N SYNC            the bare notify loop: RECV, read the path, SEND; and its own target
 *   trace plain N                times N calls, no filter (alone, or under strace)
 *   trace allowed N [FILTER]     times N calls of getppid, which the filter lets through;
 *                                FILTER "-" is the smallest there is
 *
 * Each prints nanoseconds per call: the best of five rounds, since other work on the machine only adds.
 * The call is fchmodat on one absent file: it costs little itself, so what is seen is the tracing. */
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#ifndef SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
#define SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV (1UL << 5)
#endif
#ifndef SECCOMP_IOCTL_NOTIF_SET_FLAGS
#define SECCOMP_IOCTL_NOTIF_SET_FLAGS SECCOMP_IOW(4, __u64)
#endif

#define ROUNDS 5

static const char path[] = "/usr/lib/akios/absent/of/an/ordinary/length";

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static double now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

static void time_calls(long number, long n)
{
    char digits[32];
    double best = 1e18;
    for (int round = 0; round < ROUNDS; round++) {
        double start = now_ns();
        for (long i = 0; i < n; i++)
            syscall(number, AT_FDCWD, path, 0700);
        double spent = (now_ns() - start) / (double)n;
        best = spent < best ? spent : best;
    }
    int len = snprintf(digits, sizeof digits, "%.1f\n", best);
    if (write(1, digits, (size_t)len) != len)
        die("write");
}

/* Notifies fchmodat and allows the rest, or the filter in the file. */
static int install(const char *file, unsigned long flags)
{
    static struct sock_filter code[4096] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_fchmodat, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {.len = 4, .filter = code};
    if (file != NULL && strcmp(file, "-") == 0) {
        code[0] = code[3];
        program.len = 1;
    } else if (file != NULL) {
        int fd = open(file, O_RDONLY);
        ssize_t got = read(fd, code, sizeof code);
        if (got <= 0)
            die(file);
        close(fd);
        program.len = (unsigned short)((size_t)got / sizeof code[0]);
    }
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        die("no_new_privs");
    int listener = (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &program);
    if (listener < 0)
        die("seccomp");
    return listener;
}

/* The other side takes the listener by pidfd_getfd: sendmsg might be notified itself. */
static void run_target(int connection, long n, const char *file)
{
    int listener = install(file, SECCOMP_FILTER_FLAG_NEW_LISTENER | SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV);
    uint32_t number = (uint32_t)listener;
    char go;
    if (write(connection, &number, sizeof number) != sizeof number || read(connection, &go, 1) != 1)
        die("connection");
    close(listener);
    time_calls(SYS_fchmodat, n);
}

static void serve_bare(int listener)
{
    struct seccomp_notif notif;
    struct seccomp_notif_resp resp;
    char seen[256];
    for (;;) {
        memset(&notif, 0, sizeof notif);
        if (ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &notif) < 0)
            return;
        struct iovec local = {seen, sizeof seen};
        struct iovec remote = {(void *)(uintptr_t)notif.data.args[1], sizeof seen};
        if (process_vm_readv((pid_t)notif.pid, &local, 1, &remote, 1, 0) < 0)
            seen[0] = 0;
        memset(&resp, 0, sizeof resp);
        resp.id = notif.id;
        resp.flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE;
        if (ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &resp) < 0)
            return;
    }
}

static void run_loop(long n, int sync)
{
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) < 0)
        die("socketpair");
    pid_t target = fork();
    if (target == 0) {
        run_target(pair[1], n, NULL);
        _exit(0);
    }
    uint32_t number;
    if (read(pair[0], &number, sizeof number) != sizeof number)
        die("read");
    int pidfd = (int)syscall(SYS_pidfd_open, target, 0);
    int listener = (int)syscall(SYS_pidfd_getfd, pidfd, number, 0);
    if (listener < 0)
        die("pidfd_getfd");
    if (sync)
        ioctl(listener, SECCOMP_IOCTL_NOTIF_SET_FLAGS, 1ul);
    pid_t server = fork();
    if (server == 0) {
        serve_bare(listener);
        _exit(0);
    }
    close(listener);
    if (write(pair[0], "G", 1) != 1)
        die("write");
    /* RECV does not end with the target on every kernel. */
    waitpid(target, NULL, 0);
    kill(server, 9);
    waitpid(server, NULL, 0);
}

int main(int argc, char **argv)
{
    const char *mode = argc > 2 ? argv[1] : "";
    if (strcmp(mode, "target") == 0 && argc > 3)
        run_target(atoi(argv[2]), atol(argv[3]), argc > 4 ? argv[4] : NULL);
    else if (strcmp(mode, "loop") == 0 && argc > 3)
        run_loop(atol(argv[2]), atoi(argv[3]));
    else if (strcmp(mode, "plain") == 0)
        time_calls(SYS_fchmodat, atol(argv[2]));
    else if (strcmp(mode, "allowed") == 0) {
        if (argc > 3)
            install(argv[3], 0);
        time_calls(SYS_getppid, atol(argv[2]));
    } else {
        fprintf(stderr, "see the head of trace.c\n");
        return 2;
    }
    return 0;
}
