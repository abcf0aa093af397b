/* Makes system calls with given registers, each in a child of the same state, and prints what came
 * back.
 *
 * Usage: ask DIRECTORY MS   makes DIRECTORY, with one below it for each call; reads lines
 * "NUMBER A B C D E F" (decimal, "pid" for the child's own number) and prints a line for each: a
 * number (the call's own value), "blocks" where it waited until the alarm after MS milliseconds, "dies N" by signal N, or
 * "exits N".  The addresses and descriptors that calls can name are those of shapes.py. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

enum { ZEROS = 0x20000000, FIXED = 0x20020000, EDGE = 0x20030000, PAGE = 4096 };

struct answer {
    volatile long value;
    volatile int done;
};

static struct answer *answer;
static char place[256];
static long alarm_ms;

static void fail(const char *what) {
    fprintf(stderr, "ask: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void must(int good, const char *what) {
    if (!good)
        fail(what);
}

/* Nothing of the C library between the call and the end of the child: the call may have taken its
 * memory, its stack or its thread pointer. */
static inline __attribute__((always_inline)) long raw(long number, const long *args) {
#if defined(__x86_64__)
    long value;
    register long a4 __asm__("r10") = args[3];
    register long a5 __asm__("r8") = args[4];
    register long a6 __asm__("r9") = args[5];
    __asm__ volatile("syscall"
                     : "=a"(value)
                     : "a"(number), "D"(args[0]), "S"(args[1]), "d"(args[2]), "r"(a4), "r"(a5),
                       "r"(a6)
                     : "rcx", "r11", "memory");
    return value;
#elif defined(__aarch64__)
    register long x8 __asm__("x8") = number;
    register long x0 __asm__("x0") = args[0];
    register long x1 __asm__("x1") = args[1];
    register long x2 __asm__("x2") = args[2];
    register long x3 __asm__("x3") = args[3];
    register long x4 __asm__("x4") = args[4];
    register long x5 __asm__("x5") = args[5];
    __asm__ volatile("svc 0"
                     : "+r"(x0)
                     : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5)
                     : "memory");
    return x0;
#endif
}

static void on_alarm(int signo) { (void)signo; }

static int at(int wanted, int fd) {
    must(fd >= 0 && dup2(fd, wanted) == wanted, "descriptor");
    if (fd != wanted)
        close(fd);
    return wanted;
}

/* The descriptors that shapes.py names. */
static void open_descriptors(void) {
    int pair[2];
    at(10, open("file", O_RDWR));
    at(11, open("file", O_RDONLY));
    at(12, open("dir", O_RDONLY | O_DIRECTORY));
    must(pipe2(pair, O_NONBLOCK) == 0, "pipe");
    at(13, pair[0]);
    at(14, pair[1]);
    must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair) == 0, "socketpair");
    at(15, pair[0]);
    at(26, pair[1]);
    at(16, socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0));
    at(17, epoll_create1(0));
    at(18, eventfd(0, EFD_NONBLOCK));
    at(19, timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK));
    at(20, memfd_create("memory", MFD_ALLOW_SEALING));
    at(21, open("/dev/null", O_RDWR));
    at(22, open("file", O_PATH));
    at(23, inotify_init1(IN_NONBLOCK));
    at(24, socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0));
    at(25, (int)syscall(SYS_pidfd_open, getpid(), 0));
    at(27, socket(AF_INET6, SOCK_STREAM | SOCK_NONBLOCK, 0));
}

static void text(size_t offset, const char *value) {
    strcpy((char *)(uintptr_t)FIXED + offset, value);
}

static void put(size_t offset, const void *value, size_t size) {
    memcpy((char *)(uintptr_t)FIXED + offset, value, size);
}

static void fill_texts(void) {
    text(0x00, "file");
    text(0x10, "dir");
    text(0x20, "absent");
    text(0x30, "link");
    text(0x40, "");
    text(0x50, "file/below");
    text(0x60, "user.akios");
    text(0x70, "absent/below");
    text(0x80, "user.absent");
    text(0x90, "dir/inner");
    text(0xa0, "/bin/true");
    text(0xb0, "trusted.akios");
    text(0xc0, "/queue");
    text(0xd0, "script");
    memset((char *)(uintptr_t)FIXED + 0x800, 'n', 300);
    memset((char *)(uintptr_t)FIXED + 0x1000, 'p', 5000);
}

static void fill_structures(void) {
    struct sockaddr_in inet = {AF_INET, htons(9), {htonl(INADDR_LOOPBACK)}, {0}};
    struct sockaddr_in6 inet6 = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    struct sockaddr_un local = {AF_UNIX, "socket"};
    uint64_t argv[] = {FIXED + 0xa0, 0}, bad_argv[] = {FIXED + 0xa0, 0x20040000};
    uint64_t limit[] = {200, 400}, crossed[] = {400, 200};
    uint64_t vector[] = {ZEROS, 16}, bad_vector[] = {0x20040000, 16};
    struct sock_filter allow[] = {BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)};
    struct sock_fprog program = {1, (void *)(uintptr_t)(FIXED + 0x390)};
    uint64_t soon[] = {0, 1000}, bad_time[] = {0, 2000000000};
    uint64_t how[] = {O_RDONLY, 0, 0}, create[] = {O_WRONLY | O_CREAT, 0644, 0};
    uint64_t unknown[] = {1ull << 40, 0, 0}, landlock[] = {4, 0};
    struct {
        int fd;
        short events, revents;
    } wait = {10, 1, 0};
    struct msghdr message = {.msg_iov = (void *)(uintptr_t)(FIXED + 0x580), .msg_iovlen = 1};
    struct flock lock = {F_WRLCK, SEEK_SET, 0, 1, 0};
    int one = 1, many = 1 << 20;
    put(0x200, &inet, sizeof inet);
    put(0x220, &local, sizeof local);
    put(0x2c0, &inet6, sizeof inet6);
    put(0x300, argv, sizeof argv);
    put(0x320, bad_argv, sizeof bad_argv);
    put(0x340, limit, sizeof limit);
    put(0x350, crossed, sizeof crossed);
    put(0x360, &one, sizeof one);
    put(0x368, &many, sizeof many);
    put(0x380, &program, sizeof program);
    put(0x390, allow, sizeof allow);
    put(0x3a0, landlock, sizeof landlock);
    put(0x3c0, soon, sizeof soon);
    put(0x3d0, bad_time, sizeof bad_time);
    put(0x500, how, sizeof how);
    put(0x520, create, sizeof create);
    put(0x540, unknown, sizeof unknown);
    put(0x560, &wait, sizeof wait);
    put(0x580, vector, sizeof vector);
    put(0x5a0, bad_vector, sizeof bad_vector);
    put(0x5c0, &message, sizeof message);
    put(0x6a0, &lock, sizeof lock);
}

static void map_memory(void) {
    int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE;
    must(mmap((void *)ZEROS, 16 * PAGE, PROT_READ | PROT_WRITE, flags, -1, 0) != MAP_FAILED,
         "zeros");
    must(mmap((void *)FIXED, 4 * PAGE, PROT_READ | PROT_WRITE, flags, -1, 0) != MAP_FAILED,
         "structures");
    must(mmap((void *)EDGE, PAGE, PROT_READ | PROT_WRITE, flags, -1, 0) != MAP_FAILED, "edge");
    memset((void *)EDGE, 'e', PAGE);
    fill_texts();
    fill_structures();
    must(mprotect((void *)FIXED, 4 * PAGE, PROT_READ) == 0, "structures");
}

static void make_files(void) {
    int fd = open("file", O_RDWR | O_CREAT | O_TRUNC, 0644);
    must(fd >= 0 && write(fd, "0123456789abcdef", 16) == 16, "file");
    must(close(fd) == 0 && mkdir("dir", 0755) == 0 && symlink("file", "link") == 0, "files");
    fd = open("script", O_WRONLY | O_CREAT | O_TRUNC, 0755);
    must(fd >= 0 && write(fd, "#!/no/such/interpreter\n", 23) == 23 && close(fd) == 0, "script");
}

/* The same limits, filters and privileges everywhere, as far as a process may give them up. */
static void settle(void) {
    struct rlimit files = {1024, 1024}, some = {512, 512}, one = {1, 1}, none = {0, 0};
    struct sock_filter allow[] = {BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)};
    struct sock_fprog program = {1, allow};
    must(setrlimit(RLIMIT_NOFILE, &files) == 0 && setrlimit(RLIMIT_MEMLOCK, &none) == 0 &&
             setrlimit(RLIMIT_NICE, &none) == 0 && setrlimit(RLIMIT_RTPRIO, &none) == 0 &&
             setrlimit(RLIMIT_RTTIME, &none) == 0 && setrlimit(RLIMIT_NPROC, &some) == 0 &&
             setrlimit(RLIMIT_SIGPENDING, &some) == 0 && setrlimit(RLIMIT_CORE, &one) == 0,
         "limits");
    must(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
             prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0,
         "filter");
    must(setpriority(PRIO_PROCESS, 0, 19) == 0, "niceness");
    /* A program inherits whether there ever was one. */
    stack_t no_stack = {.ss_flags = SS_DISABLE};
    must(sigaltstack(&no_stack, NULL) == 0, "signal stack");
    umask(022);
    (void)setsid();
}

static _Noreturn void ask(long number, long *args, unsigned pids) {
    struct sigaction action = {.sa_handler = on_alarm};
    struct itimerval timer = {{0, 0}, {alarm_ms / 1000, alarm_ms % 1000 * 1000}};
    sigset_t none;
    must(mkdir(place, 0755) == 0 && chdir(place) == 0, "directory");
    make_files();
    open_descriptors();
    sigemptyset(&none);
    must(sigaction(SIGALRM, &action, NULL) == 0 && sigprocmask(SIG_SETMASK, &none, NULL) == 0 &&
             setitimer(ITIMER_REAL, &timer, NULL) == 0,
         "alarm");
    for (unsigned n = 0; n < 6; n++)
        if ((pids >> n & 1) != 0)
            args[n] = getpid();
    long leave[6] = {0};
    long value = raw(number, args);
    int child = value == 0 && (number == SYS_clone || number == SYS_clone3
#ifdef SYS_fork
                               || number == SYS_fork || number == SYS_vfork
#endif
                              );
    if (!child) {
        answer->value = value;
        answer->done = 1;
    }
    for (;;)
        raw(child ? SYS_exit : SYS_exit_group, leave);
}

static int remove_one(const char *path, const struct stat *found, int type, struct FTW *where) {
    (void)found, (void)type, (void)where;
    return remove(path);
}

/* Of what a call made unreadable, some may stay: the next child has a directory of its own. */
static void remove_files(void) {
    char below[300];
    snprintf(below, sizeof below, "%s/dir", place);
    (void)chmod(place, 0700);
    (void)chmod(below, 0700);
    (void)nftw(place, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

static void report(int status) {
    if (answer->done && answer->value == -EINTR)
        puts("blocks");
    else if (answer->done)
        printf("%ld\n", answer->value);
    else if (WIFSIGNALED(status))
        printf("dies %d\n", WTERMSIG(status));
    else
        printf("exits %d\n", WEXITSTATUS(status));
    fflush(stdout);
}

static pid_t waited;

static void on_hang(int signo) {
    (void)signo;
    kill(waited, SIGKILL);
}

static int wait_for(pid_t pid) {
    struct sigaction action = {.sa_handler = on_hang, .sa_flags = SA_RESTART};
    struct itimerval timer = {{0, 0}, {20, 0}}, off = {0};
    int status = 0;
    waited = pid;
    must(sigaction(SIGALRM, &action, NULL) == 0 && setitimer(ITIMER_REAL, &timer, NULL) == 0,
         "alarm");
    must(waitpid(pid, &status, __WALL) == pid, "child");
    must(setitimer(ITIMER_REAL, &off, NULL) == 0, "alarm");
    while (waitpid(-1, NULL, WNOHANG | __WALL) > 0)
        ;
    return status;
}

int main(int argc, char **argv) {
    must(argc == 3, "arguments");
    alarm_ms = atol(argv[2]);
    settle();
    map_memory();
    int flags = MAP_SHARED | MAP_ANONYMOUS;
    answer = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, flags, -1, 0);
    must(answer != MAP_FAILED, "answer");
    char line[512];
    unsigned count = 0;
    must(mkdir(argv[1], 0755) == 0, "directory");
    while (fgets(line, sizeof line, stdin) != NULL) {
        long number = 0, args[6] = {0};
        unsigned pids = 0;
        char *next = strtok(line, " \n");
        number = strtol(next, NULL, 10);
        for (unsigned n = 0; n < 6 && (next = strtok(NULL, " \n")) != NULL; n++) {
            pids |= (unsigned)(strcmp(next, "pid") == 0) << n;
            args[n] = (long)strtoull(next, NULL, 10);
        }
        answer->done = 0;
        snprintf(place, sizeof place, "%s/%u", argv[1], ++count);
        pid_t pid = fork();
        if (pid == 0) {
            (void)setpgid(0, 0);
            close(0);
            ask(number, args, pids);
        }
        must(pid > 0, "fork");
        report(wait_for(pid));
        remove_files();
    }
    return rmdir(argv[1]) == 0 || errno == ENOTEMPTY ? 0 : 1;
}
