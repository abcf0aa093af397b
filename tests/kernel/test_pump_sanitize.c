/* Drives the native parts from C, to be built with the address and undefined-behaviour sanitizers.
 * Exits 0 when everything held; every failed check names its line.  See test_pump_sanitize.py. */
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "akios.h"
#include "ring.h"

#define CHECK(condition)                                                                                \
    do {                                                                                                \
        if (!(condition)) {                                                                             \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);                             \
            exit(1);                                                                                    \
        }                                                                                               \
    } while (0)

enum { CALLS = 3000, CAPACITY = 1 << 16, PUMPS = 50 };

static struct {
    struct akios_pump_entry entries[AKIOS_PUMP_NRS];
    struct akios_pump_rule rules[1];
} table;

static void make_table(void)
{
    const struct akios_pump_entry none = {
        .path_arg = 255, .path2_arg = 255, .dirfd_arg = 255, .dirfd2_arg = 255,
        .sockaddr_arg = 255, .sockaddr_len_arg = 255, .argv_arg = 255,
    };
    for (int nr = 0; nr < AKIOS_PUMP_NRS; nr++)
        table.entries[nr] = none;
    struct akios_pump_entry *chmod = &table.entries[SYS_fchmodat];
    chmod->known = chmod->kind = chmod->path_arg = chmod->rule_count = 1;
    table.rules[0] = (struct akios_pump_rule){SYS_fchmodat, 2, 0777, 0777, EACCES, 0};
    struct akios_pump_entry *exec = &table.entries[SYS_execve];
    exec->known = exec->kind = exec->argv_arg = 1;
    exec->path_arg = 0;
    struct akios_pump_entry *connection = &table.entries[SYS_connect];
    connection->known = connection->kind = connection->sockaddr_arg = 1;
    connection->sockaddr_len_arg = 2;
}

/* Lengths that fill the ring unevenly, so that records cross its end at every offset. */
static size_t path_length(int call)
{
    return call % 100 == 99 ? 5000 : (size_t)(call * 7 % 600);
}

static void fill_path(int call, char *path)
{
    size_t len = path_length(call);
    for (size_t i = 0; i < len; i++)
        path[i] = (char)('a' + (call + (int)i) % 26);
    path[len] = 0;
}

static void act(void)
{
    static char path[8192];
    for (int call = 0; call < CALLS; call++) {
        fill_path(call, path);
        int mode = call % 10 == 0 ? 0777 : 0600;
        long result = syscall(SYS_fchmodat, AT_FDCWD, path, mode);
        if (result != -1 || (mode == 0777) != (errno == EACCES))
            _exit(1);
    }
    char *edge = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    memset(edge, 'e', 4096);
    for (uint64_t address = 0; address < 3; address++) {
        uint64_t odd[] = {8, (uint64_t)-1 - address * 100, (uint64_t)(uintptr_t)(edge + 4096 - address)};
        for (size_t i = 0; i < 3; i++) {
            syscall(SYS_execve, odd[i], odd[(i + 1) % 3], 0);
            syscall(SYS_connect, 99, odd[i], odd[(i + 1) % 3]);
        }
    }
    syscall(SYS_getcpu, 0, 0, 0);
    _exit(0);
}

static int install(void)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_fchmodat, 4, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_execve, 3, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_connect, 2, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getcpu, 1, 0),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF),
    };
    struct sock_fprog program = {.len = sizeof code / sizeof code[0], .filter = code};
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    return (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER, &program);
}

static pid_t start_target(int *listener)
{
    int pair[2], number;
    char go;
    CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
    pid_t pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, 9, 0, 0, 0);
        number = install();
        if (write(pair[1], &number, sizeof number) != sizeof number || read(pair[1], &go, 1) != 1)
            _exit(2);
        close(number);
        act();
    }
    CHECK(read(pair[0], &number, sizeof number) == sizeof number && number >= 0);
    int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
    *listener = (int)syscall(SYS_pidfd_getfd, pidfd, number, 0);
    CHECK(*listener >= 0);
    CHECK(write(pair[0], "G", 1) == 1);
    close(pidfd);
    close(pair[0]);
    close(pair[1]);
    return pid;
}

static void check_record(const struct akios_record *record, int *call, int *others, uint64_t *denied)
{
    char path[8192];
    *denied += record->err != 0 ? record->count : 0;
    if (record->nr != SYS_fchmodat) {
        *others += (int)record->count;
        CHECK(record->nr != SYS_getcpu || (record->err == ENOSYS && record->flags == AKIOS_UNKNOWN));
        return;
    }
    fill_path(*call, path);
    size_t len = path_length(*call) > AKIOS_PATH_MAX ? AKIOS_PATH_MAX : path_length(*call);
    CHECK(record->path_len == len && memcmp(record + 1, path, len) == 0);
    CHECK((record->flags & AKIOS_CUT_PATH) == (len == AKIOS_PATH_MAX ? AKIOS_CUT_PATH : 0));
    CHECK(record->err == (*call % 10 == 0 ? EACCES : 0) && record->count == 1);
    (*call)++;
}

static void drain_all(struct akios_ring *ring)
{
    uint8_t *buffer = aligned_alloc(8, CAPACITY);
    struct akios_pump_counters counters;
    int call = 0, others = 0;
    uint64_t denied = 0;
    for (;;) {
        akios_ring_counters(ring, &counters);
        akios_ring_free(ring);
        int64_t got = akios_ring_drain(ring, buffer, CAPACITY, 64);
        CHECK(got >= 0);
        for (int64_t at = 0; at < got; at += ((struct akios_record *)(void *)(buffer + at))->size)
            check_record((struct akios_record *)(void *)(buffer + at), &call, &others, &denied);
        if (got == 0 && counters.ended)
            break;
        if (got == 0 && akios_ring_sleep(ring, call % 2 ? AKIOS_LINGERING : AKIOS_ASLEEP)) {
            struct pollfd bell = {.fd = akios_ring_wake_fd(ring), .events = POLLIN};
            poll(&bell, 1, call % 2 ? 1 : -1);
            akios_ring_wake(ring);
        }
    }
    CHECK(counters.error == 0 && call == CALLS && others == 19);
    /* Of the others one is unknown, and those whose name could not be read were not let through. */
    CHECK(counters.records == CALLS + 19 && counters.denials == denied && denied > CALLS / 10 + 1);
    free(buffer);
}

/* Before Linux 6.11 a filter lives until its last task is reaped, and the pump with it. */
static void *reap(void *pid)
{
    int status;
    CHECK(waitpid(*(pid_t *)pid, &status, 0) > 0);
    return (void *)(intptr_t)status;
}

static void check_pump(void)
{
    struct akios_pump_config config = {.events_per_second = 1000000, .sync_wake_up = 1, .group = -1};
    struct akios_ring *ring;
    struct akios_pump *pump;
    int listener;
    void *status;
    pthread_t reaper;
    pid_t pid = start_target(&listener);
    CHECK(pthread_create(&reaper, NULL, reap, &pid) == 0);
    CHECK(akios_ring_open(AKIOS_RING_MIN, &ring) == 0);
    CHECK(akios_pump_start(listener, ring, (uint8_t *)&table, sizeof table, &config, &pump) == 0);
    drain_all(ring);
    CHECK(pthread_join(reaper, &status) == 0 && status == NULL);
    akios_pump_close(pump);
    akios_ring_close(ring);
}

static void check_many_starts(void)
{
    struct akios_pump_config config = {.group = -1};
    for (int n = 0; n < PUMPS; n++) {
        struct akios_ring *ring;
        struct akios_pump *pump;
        int idle = eventfd(0, 0);
        CHECK(akios_ring_open(AKIOS_RING_MIN << (n % 3), &ring) == 0);
        CHECK(akios_pump_start(idle, ring, (uint8_t *)&table, sizeof table - 1, &config, &pump) == -EINVAL);
        CHECK(akios_pump_start(idle, ring, (uint8_t *)&table, sizeof table, &config, &pump) == 0);
        akios_pump_close(pump);
        akios_ring_close(ring);
    }
}

static void check_hash(void)
{
    const uint8_t first[] = {0x6e, 0x34, 0x0b, 0x9c}, other[] = {0x96, 0xa2, 0x96, 0xd2};
    const uint8_t bundle[] = {0, 0, 0, 1, 0};
    uint8_t leaves[64], again[64], node[32];
    CHECK(akios_sha256_bundle(bundle, sizeof bundle, 2, leaves) == 0);
    CHECK(memcmp(leaves, first, 4) == 0 && memcmp(leaves + 32, other, 4) == 0);
    CHECK(akios_sha256_nodes(leaves, 1, node) == 0 && node[0] == 0xfa && node[31] == 0x25);
    CHECK(akios_sha256_nodes(leaves, 0, node) == 0);
    CHECK(akios_sha256_bundle(bundle, 0, 0, again) == 0);
    for (size_t len = 0; len < sizeof bundle; len++)
        CHECK(akios_sha256_bundle(bundle, len, 2, again) == -EBADMSG);
    CHECK(akios_sha256_bundle(bundle, sizeof bundle, 1, again) == -EBADMSG);
    CHECK(akios_sha256_bundle(bundle, sizeof bundle, 3, again) == -EBADMSG);
}

static void check_sockets(void)
{
    struct akios_socket_spec specs[2] = {{.domain = AF_INET, .type = SOCK_STREAM, .backlog = 1}};
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    size_t failed;
    int fds[2], here = open("/proc/self/ns/net", O_RDONLY);
    memcpy(specs[0].address, &address, sizeof address);
    specs[0].address_len = sizeof address;
    specs[1] = specs[0];
    CHECK(akios_netns_sockets(here, specs, 2, fds, &failed) == 0);
    close(fds[0]);
    close(fds[1]);
    specs[1].address_len = 129;
    CHECK(akios_netns_sockets(here, specs, 2, fds, &failed) == -EINVAL && failed == 1 && fds[0] == -1);
    CHECK(akios_netns_sockets(-1, specs, 2, fds, &failed) == -EBADF && failed == 2);
    close(here);
}

int main(void)
{
    make_table();
    check_hash();
    check_sockets();
    check_many_starts();
    check_pump();
    puts("held");
    return 0;
}
