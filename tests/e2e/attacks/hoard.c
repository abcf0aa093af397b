/* Takes as much of one thing as it gets, keeps it, says how much that is, and waits for the end of its input.
 *
 * Usage: PROGRAM NAME MOST   prints "COUNT KIB ERRNO": how many it holds, what lies in them outside any memory
 * limit, and what stopped it; "0" when it stopped by itself, at MOST of them or at 300 MiB. */
#include "attack.h"

#include <arpa/inet.h>
#include <linux/errqueue.h>
#include <linux/filter.h>
#include <linux/net_tstamp.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/seccomp.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>

#ifndef SO_MEMINFO
#define SO_MEMINFO 55
#endif
#define BOUND_KIB (300l << 10)
#define PER_PROCESS 16

static long most, count, kib;
static int stopped;

static int full(long value) {
    stopped = value < 0 ? errno : 0;
    return value < 0 || count >= most || kib >= BOUND_KIB;
}

/* What a socket says that lies in it to be read, errors with it. */
static long read_unread(int fd) {
    uint32_t numbers[9] = {0};
    socklen_t size = sizeof numbers;
    getsockopt(fd, SOL_SOCKET, SO_MEMINFO, numbers, &size);
    return numbers[0] >> 10;
}

static struct sockaddr_in loopback(uint16_t port) {
    return (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(port), .sin_addr = {htonl(INADDR_LOOPBACK)}};
}

/* Requests of no sense, each of which is sent back with what is wrong with it. */
static void fill_netlink(void) {
    static char request[65536];
    *(struct nlmsghdr *)request = (struct nlmsghdr){sizeof request, 9999, NLM_F_REQUEST | NLM_F_ACK, 1, 0};
    int fd, big = 16 << 20;
    while (!full(fd = socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE))) {
        count++;
        setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &big, sizeof big);
        long before = -1, now = 0;
        while (now > before && send(fd, request, sizeof request, MSG_DONTWAIT) >= 0) {
            before = now;
            now = read_unread(fd);
        }
        kib += read_unread(fd);
    }
}

/* Packets with a wish for a time stamp: with it a copy comes back, and lies in the queue of errors. */
static void fill_errors(void) {
    char buffer[CMSG_SPACE(sizeof(uint32_t))] = {0};
    static char data[32768];
    struct sockaddr_in sink = loopback(9);
    struct iovec vector = {data, sizeof data};
    struct msghdr message = {&sink, sizeof sink, &vector, 1, buffer, sizeof buffer, 0};
    struct cmsghdr *head = CMSG_FIRSTHDR(&message);
    head->cmsg_level = SOL_SOCKET;
    head->cmsg_type = SO_TIMESTAMPING;
    head->cmsg_len = CMSG_LEN(sizeof(uint32_t));
    *(uint32_t *)CMSG_DATA(head) = SOF_TIMESTAMPING_TX_SCHED | SOF_TIMESTAMPING_TX_SOFTWARE;
    int fd;
    while (!full(fd = socket(AF_INET, SOCK_DGRAM, 0))) {
        count++;
        for (int n = 0; n < 16; n++)
            sendmsg(fd, &message, MSG_DONTWAIT);
        kib += read_unread(fd);
    }
}

/* Connections that nobody accepts: what came over them is nobody's yet. */
static void fill_backlog(void) {
    static char data[65536];
    struct sockaddr_in where = loopback(0);
    socklen_t size = sizeof where;
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    bind(listener, (struct sockaddr *)&where, sizeof where);
    listen(listener, 4096);
    getsockname(listener, (struct sockaddr *)&where, &size);
    for (;;) {
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
        if (full(fd))
            return;
        int made = connect(fd, (struct sockaddr *)&where, sizeof where);
        if (made < 0 && errno != EINPROGRESS) {
            full(made);
            return;
        }
        poll(&(struct pollfd){.fd = fd, .events = POLLOUT}, 1, 1000);
        for (int n = 0; n < 4; n++)
            send(fd, data, sizeof data, MSG_DONTWAIT | MSG_NOSIGNAL);
        close(fd);
        count++;
    }
}

/* One socket that is connected again and again: what is accepted stays. */
static void fill_accepted(void) {
    struct sockaddr_in where = loopback(0);
    struct sockaddr nowhere = {.sa_family = AF_UNSPEC};
    socklen_t size = sizeof where;
    int listener = socket(AF_INET, SOCK_STREAM, 0), client = socket(AF_INET, SOCK_STREAM, 0);
    bind(listener, (struct sockaddr *)&where, sizeof where);
    listen(listener, 16);
    getsockname(listener, (struct sockaddr *)&where, &size);
    while (!full(connect(client, (struct sockaddr *)&where, sizeof where)) && !full(accept(listener, NULL, NULL)) &&
           !full(connect(client, &nowhere, sizeof nowhere)))
        count++;
}

static void fill_option(int family, int type, int level, int name, const void *value, socklen_t size, int times) {
    int fd;
    while (!full(fd = socket(family, type, 0)))
        for (int n = 0; n < times; n++) {
            if (full(setsockopt(fd, level, name, value, size)))
                return;
            count++;
        }
}

static void fill_keys(void) {
    struct tcp_md5sig key = {.tcpm_keylen = 80};
    struct sockaddr_in peer = loopback(1);
    memcpy(&key.tcpm_addr, &peer, sizeof peer);
    fill_option(AF_INET, SOCK_STREAM, IPPROTO_TCP, TCP_MD5SIG, &key, sizeof key, 1);
}

static void fill_groups(void) {
    struct ip_mreq group = {{htonl(0xe0000101)}, {htonl(INADDR_LOOPBACK)}};
    fill_option(AF_INET, SOCK_DGRAM, IPPROTO_IP, IP_ADD_MEMBERSHIP, &group, sizeof group, 1);
}

static struct sock_filter allow[] = {BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)};

static void fill_socket_filters(void) {
    struct sock_fprog program = {1, allow};
    fill_option(AF_INET, SOCK_DGRAM, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program, 1);
}

static void fill_stamps(void) {
    int flags = SOF_TIMESTAMPING_TX_SOFTWARE | SOF_TIMESTAMPING_OPT_TSONLY;
    fill_option(AF_INET, SOCK_DGRAM, SOL_SOCKET, SO_TIMESTAMPING, &flags, sizeof flags, 1);
}

/* Every second byte of a file of its own, so that no two of them join. */
static void fill_locks_by(int command) {
    char name[] = "/tmp/hoard-XXXXXX";
    int fd = -1;
    for (long n = 0;; n++) {
        if (n % 500 == 0) {
            strcpy(name, "/tmp/hoard-XXXXXX");
            if (full(fd = mkstemp(name)))
                return;
            unlink(name);
        }
        struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 2 * n, .l_len = 1};
        if (full(fcntl(fd, command, &lock)))
            return;
        count++;
        kib = count * 192 >> 10;
    }
}
static void fill_locks(void) { fill_locks_by(F_SETLK); }
static void fill_file_locks(void) { fill_locks_by(F_OFD_SETLK); }

/* One that shares its descriptors ends: its locks stay, and are no living process's. */
static void fill_orphan_locks(void) {
    do {
        long pid = syscall(SYS_clone, 0x400 /* CLONE_FILES */ | SIGCHLD, 0, 0, 0, 0);
        if (pid == 0) {
            char name[] = "/tmp/hoard-XXXXXX";
            struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_len = 1};
            fcntl(mkstemp(name), F_SETLK, &lock);
            _exit(0);
        }
        if (full(pid))
            return;
        waitpid((pid_t)pid, NULL, 0);
        count++;
    } while (count < most);
}

/* Through a pipe its children say how many each has. */
static void fill_seccomp_filters(void) {
    int said[2], ignored = pipe(said);
    (void)ignored;
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    struct sock_fprog program = {1, allow};
    struct {
        int made, error;
    } one;
    while (count < most && stopped == 0) {
        pid_t pid = fork();
        if (pid == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            one.made = one.error = 0;
            while (one.made < PER_PROCESS && one.error == 0) {
                int by_prctl = one.made % 2;
                long done = by_prctl ? prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program)
                                     : syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program);
                one.error = done < 0 ? errno : 0;
                one.made += one.error == 0;
            }
            ignored = (int)write(said[1], &one, sizeof one);
            for (;;)
                pause();
        }
        if (full(pid) || read(said[0], &one, sizeof one) != sizeof one)
            return;
        count += one.made;
        stopped = one.error;
    }
}

static void fill_timers(void) {
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1};
    timer_t timer;
    while (!full(timer_create(CLOCK_MONOTONIC, &event, &timer)))
        count++;
}

static void fill_terminals(void) {
    while (!full(open("/dev/ptmx", O_RDWR | O_NOCTTY)))
        count++;
}

/* Readings of a directory of as many names, which stay open; each after a change, so that an overlay has to keep the
 * names once more.  Nothing tells a program how much that is: it is for who watches the host. */
static void fill_readings_of(const char *directory, int names) {
    static char entries[1024];
    char name[32];
    int ignored = chdir(directory);
    (void)ignored;
    close(open("name", O_CREAT | O_WRONLY, 0644));
    for (int n = 0; n < names; n++) {
        snprintf(name, sizeof name, "another-name-%d", n);
        ignored = link("name", name);
    }
    int fd;
    while (!full(fd = open(".", O_RDONLY | O_DIRECTORY))) {
        if (full(syscall(SYS_getdents64, fd, entries, sizeof entries)))
            return;
        count++;
        close(open("change", O_CREAT | O_WRONLY, 0644));
        unlink("change");
    }
}
static char own_directory[] = "/tmp/hoard-XXXXXX";
static void leave_directory(void) {
    unlink("name");
    rmdir(own_directory);
}
static void fill_directories(void) {
    if (full(mkdtemp(own_directory) != NULL ? 0 : -1))
        return;
    atexit(leave_directory);
    fill_readings_of(own_directory, 0);
}
static void fill_readings(void) { fill_readings_of(".", 8000); }

/* By a process whose first thread has ended: its list of descriptors is empty. */
static int readings_said[2];
static void *read_and_say(void *nothing) {
    fill_readings();
    long said[2] = {count, stopped};
    int ignored = (int)write(readings_said[1], said, sizeof said);
    (void)ignored;
    pause();
    return nothing;
}
static void fill_readings_without_first_thread(void) {
    long said[2] = {0, 0};
    if (full(pipe(readings_said)))
        return;
    pid_t pid = fork();
    if (pid == 0) {
        pthread_t thread;
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        pthread_create(&thread, NULL, read_and_say, NULL);
        syscall(SYS_exit, 0);
    }
    if (full(pid) || read(readings_said[0], said, sizeof said) != sizeof said)
        return;
    count = said[0];
    stopped = (int)said[1];
}

/* What a thread has open for itself alone, nobody would see. */
static void fill_own_descriptors(void) {
    while (!full(syscall(SYS_close_range, ~0u, ~0u, CLOSE_RANGE_UNSHARE)))
        count++;
}

static const struct {
    const char *name;
    void (*fill)(void);
} things[] = {
    {"netlink", fill_netlink},
    {"errors", fill_errors},
    {"backlog", fill_backlog},
    {"accepted", fill_accepted},
    {"keys", fill_keys},
    {"groups", fill_groups},
    {"socket_filters", fill_socket_filters},
    {"stamps", fill_stamps},
    {"locks", fill_locks},
    {"file_locks", fill_file_locks},
    {"orphan_locks", fill_orphan_locks},
    {"seccomp_filters", fill_seccomp_filters},
    {"timers", fill_timers},
    {"terminals", fill_terminals},
    {"directories", fill_directories},
    {"readings", fill_readings},
    {"readings_without_first_thread", fill_readings_without_first_thread},
    {"own_descriptors", fill_own_descriptors},
};

int main(int argc, char **argv) {
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    most = argc > 2 ? atol(argv[2]) : 1;
    for (size_t n = 0; n < sizeof things / sizeof things[0]; n++)
        if (argc > 1 && strcmp(things[n].name, argv[1]) == 0)
            things[n].fill();
    printf("%ld %ld %s\n", count, kib, stopped == 0 ? "0" : strerrorname_np(stopped));
    fflush(stdout);
    while (getchar() != EOF)
        ;
    return 0;
}
