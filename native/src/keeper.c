/* akios-keeper: holds copies of descriptors under names while akiosd is away, and knows nothing of
 * what they are.  When akiosd does not come back it kills every control group among them and ends.
 *
 * Start: fd 3 is a listening SOCK_SEQPACKET socket, fd 4 a file to which it appends what it ended;
 * the argument is for how many seconds akiosd may be away.  Time away adds up until akiosd says
 * that it serves again, so that one that only starts and dies does not stop the clock. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "confine_keeper.h"
#include "keeper.h"
#include "keeper_table.h"
#include "uapi.h"

#define LISTEN_FD 3
#define ENDED_FD 4
#define FIRST_FREE_FD 5
#define MS_PER_S 1000
#define MOST_SECONDS 86400u
#define LEAF "leaf" /* what the names of control groups end with */

struct received {
    struct akios_keep_request request;
    size_t size;
    int fds[AKIOS_KEEP_FDS];
    uint32_t nfds;
    bool truncated; /* descriptors came that this process had no room for */
};

static int client = -1;
static int64_t patience_ms, left_ms, deadline_ms;
static struct akios_kept gone; /* its name: since when nobody serves, see keeper.h */

static int64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * MS_PER_S + now.tv_nsec / 1000000;
}

static void answer(int fd, int32_t result, uint32_t number, const struct akios_kept *entry)
{
    struct akios_keep_answer message = {.result = result, .number = number};
    struct iovec iov = {.iov_base = &message, .iov_len = sizeof message};
    union {
        char bytes[CMSG_SPACE(sizeof(int) * AKIOS_KEEP_FDS)];
        struct cmsghdr align;
    } control;
    struct msghdr header = {.msg_iov = &iov, .msg_iovlen = 1};
    if (entry != NULL) {
        memcpy(message.name, entry->name, sizeof message.name);
        header.msg_control = entry->nfds == 0 ? NULL : control.bytes;
        header.msg_controllen = entry->nfds == 0 ? 0 : CMSG_SPACE(sizeof(int) * entry->nfds);
    }
    if (header.msg_control != NULL) {
        memset(&control, 0, sizeof control);
        struct cmsghdr *cmsg = CMSG_FIRSTHDR(&header);
        cmsg->cmsg_level = SOL_SOCKET;
        cmsg->cmsg_type = SCM_RIGHTS;
        cmsg->cmsg_len = CMSG_LEN(sizeof(int) * entry->nfds);
        memcpy(CMSG_DATA(cmsg), entry->fds, sizeof(int) * entry->nfds);
    }
    /* Nobody is waited for: who does not read one answer before the next question is dead. */
    if (sendmsg(fd, &header, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 && entry != NULL)
        answer(fd, -errno, 0, NULL); /* ETOOMANYREFS, unix(7) */
}

static void take_fds(struct msghdr *header, struct received *in)
{
    for (struct cmsghdr *cmsg = CMSG_FIRSTHDR(header); cmsg; cmsg = CMSG_NXTHDR(header, cmsg)) {
        if (cmsg->cmsg_level != SOL_SOCKET || cmsg->cmsg_type != SCM_RIGHTS)
            continue;
        in->nfds = (uint32_t)((cmsg->cmsg_len - CMSG_LEN(0)) / sizeof(int));
        memcpy(in->fds, CMSG_DATA(cmsg), in->nfds * sizeof(int));
    }
}

/* 1, 0 at the end of the connection, -EAGAIN when there is nothing. */
static int receive(struct received *in)
{
    memset(in, 0, sizeof *in);
    struct iovec iov = {.iov_base = &in->request, .iov_len = sizeof in->request};
    union {
        char bytes[CMSG_LEN(sizeof(int) * AKIOS_KEEP_FDS)];
        struct cmsghdr align;
    } control;
    struct msghdr header = {.msg_iov = &iov,
                            .msg_iovlen = 1,
                            .msg_control = control.bytes,
                            .msg_controllen = sizeof control.bytes};
    ssize_t got;
    do /* ECONNRESET is told once, and what was sent before is still there */
        got = recvmsg(client, &header, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
    while (got < 0 && (errno == EINTR || errno == ECONNRESET));
    if (got < 0)
        return errno == EAGAIN ? -EAGAIN : 0;
    take_fds(&header, in);
    in->size = (size_t)got;
    in->truncated = (header.msg_flags & MSG_CTRUNC) != 0;
    return got > 0;
}

static bool is_name(const char *name)
{
    return name[0] != 0 && memchr(name, 0, AKIOS_KEEP_NAME) != NULL;
}

static int32_t keep(struct received *in)
{
    const struct akios_keep_request *request = &in->request;
    uint64_t total = 0;
    if (in->truncated)
        return -EMFILE;
    if (request->number == 0 || request->number > AKIOS_KEEP_SLOTS ||
        in->size != offsetof(struct akios_keep_request, slots) +
                        request->number * sizeof(struct akios_keep_slot))
        return -EPROTO;
    for (uint32_t n = 0; n < request->number; n++) {
        total += request->slots[n].nfds;
        if (!is_name(request->slots[n].name))
            return -EPROTO;
    }
    if (total != in->nfds)
        return -EPROTO;
    int err = akios_kept_keep(request->slots, request->number, in->fds, in->nfds);
    if (err == 0)
        in->nfds = 0; /* the table's now */
    return err == 0 ? (int32_t)request->number : err;
}

static int32_t drop(const struct received *in)
{
    const struct akios_keep_slot *slot = &in->request.slots[0];
    if (in->size != offsetof(struct akios_keep_request, slots) + sizeof *slot ||
        !is_name(slot->name))
        return -EPROTO;
    return (int32_t)(in->request.kind == AKIOS_KEEP_DROP ? akios_kept_drop(slot->name)
                                                         : akios_kept_drop_prefix(slot->name));
}

static int32_t be_patient(uint32_t seconds)
{
    if (seconds > MOST_SECONDS)
        return -EPROTO;
    left_ms += (int64_t)seconds * MS_PER_S - patience_ms;
    patience_ms = (int64_t)seconds * MS_PER_S;
    return AKIOS_KEEPER_VERSION;
}

static bool ends_with(const char *name, const char *end)
{
    size_t length = strlen(name);
    return length >= strlen(end) && strcmp(name + length - strlen(end), end) == 0;
}

static bool kill_group(int directory)
{
    int fd = openat(directory, "cgroup.kill", O_WRONLY | O_CLOEXEC);
    bool done = fd >= 0 && write(fd, "1", 1) == 1;
    if (fd >= 0)
        close(fd);
    return done;
}

/* How many there were.  A frozen one does not see that its status socket ends. */
static unsigned kill_groups(void)
{
    const struct akios_kept *entry;
    unsigned killed = 0;
    for (size_t at = 0; (entry = akios_kept_at(at)) != NULL; at++)
        for (uint32_t n = 0; ends_with(entry->name, LEAF) && n < entry->nfds; n++)
            killed += kill_group(entry->fds[n]);
    return killed;
}

static void serve(struct received *in)
{
    const struct akios_kept *entry = NULL;
    int32_t result = -EPROTO;
    uint32_t number = 0;
    switch (in->size < offsetof(struct akios_keep_request, slots) ? 0 : in->request.kind) {
    case AKIOS_KEEP_HELLO:
        result = be_patient(in->request.number);
        number = (uint32_t)getpid();
        entry = &gone;
        break;
    case AKIOS_KEEP_HERE:
        left_ms = patience_ms;
        gone.name[0] = 0;
        result = 0;
        break;
    case AKIOS_KEEP_KEEP: result = keep(in); break;
    case AKIOS_KEEP_DROP:
    case AKIOS_KEEP_DROP_PREFIX: result = drop(in); break;
    case AKIOS_KEEP_TAKE:
        entry = akios_kept_at(in->request.number);
        result = entry == NULL ? -ENOENT : (int32_t)entry->nfds;
        break;
    case AKIOS_KEEP_LEAVE:
        kill_groups(); /* nobody goes on with what is left */
        answer(client, 0, 0, NULL);
        exit(0);
    default: break;
    }
    answer(client, result, number, entry);
    while (in->nfds > 0)
        close(in->fds[--in->nfds]);
}

/* The first end of a connection since akiosd served. */
static void note_gone(void)
{
    struct timespec now;
    if (gone.name[0] != 0)
        return;
    clock_gettime(CLOCK_REALTIME, &now);
    snprintf(gone.name, sizeof gone.name, "%lld%09ld", (long long)now.tv_sec, now.tv_nsec);
}

/* Everything that lies in the socket; the clock starts at its end. */
static void serve_client(void)
{
    static struct received in;
    int got;
    while ((got = receive(&in)) > 0)
        serve(&in);
    if (got == 0) {
        close(client);
        client = -1;
        deadline_ms = now_ms() + left_ms;
        note_gone();
    }
}

static void accept_client(void)
{
    int fd = accept4(LISTEN_FD, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0)
        return;
    struct ucred peer = {.uid = (uid_t)-1};
    socklen_t size = sizeof peer;
    if (client >= 0)
        serve_client(); /* it may have ended since we looked */
    int err = 0;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0 || peer.uid != 0)
        err = -EPERM;
    else if (client >= 0)
        err = -EBUSY;
    if (err < 0) {
        answer(fd, err, 0, NULL);
        close(fd);
        return;
    }
    client = fd;
    left_ms = deadline_ms - now_ms();
}

static void note(int fd, const char *line, int length)
{
    ssize_t written = length > 0 ? write(fd, line, (size_t)length) : 0;
    (void)written; /* they are ended either way */
}

static _Noreturn void end_everything(void)
{
    char line[AKIOS_KEEP_NAME + 128];
    const struct akios_kept *entry;
    unsigned killed = kill_groups();
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    for (size_t at = 0; (entry = akios_kept_at(at)) != NULL; at++)
        if (ends_with(entry->name, LEAF))
            note(ENDED_FD, line,
                 snprintf(line, sizeof line, "%lld %s\n", (long long)now.tv_sec, entry->name));
    fdatasync(ENDED_FD);
    if (killed > 0)
        note(STDERR_FILENO, line,
             snprintf(line, sizeof line,
                      "akios-keeper: akiosd did not come back within %lld s; %u control groups of "
                      "cages were killed\n",
                      (long long)(patience_ms / MS_PER_S), killed));
    exit(0); /* closes what it held: every init sees the end of its status socket */
}

static _Noreturn void run(void)
{
    for (;;) {
        struct pollfd fds[2] = {{.fd = LISTEN_FD, .events = POLLIN},
                                {.fd = client, .events = POLLIN}};
        int64_t wait_ms = deadline_ms - now_ms();
        if (client < 0 && wait_ms <= 0)
            end_everything();
        struct timespec wait = {.tv_sec = wait_ms / MS_PER_S,
                                .tv_nsec = wait_ms % MS_PER_S * 1000000};
        if (ppoll(fds, 2, client < 0 ? &wait : NULL, NULL) < 0)
            continue;
        if (client >= 0 && fds[1].revents != 0)
            serve_client();
        if (fds[0].revents != 0)
            accept_client();
    }
}

static void take_many_descriptors(void)
{
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur < files.rlim_max) {
        files.rlim_cur = files.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &files);
    }
}

int main(int argc, char **argv)
{
    if (argc != 2 || be_patient((uint32_t)strtoul(argv[1], NULL, 10)) < 0)
        return 125;
    prctl(PR_SET_NAME, "akios-keeper");
    (void)
        setsid(); /* a terminal's signals are akiosd's; systemd may have made us a leader before */
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    for (int signo = 1; signo < 32; signo++)
        signal(signo, SIG_DFL);
    static const int ignored[] = {SIGHUP, SIGINT, SIGQUIT, SIGPIPE, SIGUSR1, SIGUSR2};
    for (size_t n = 0; n < sizeof ignored / sizeof ignored[0]; n++)
        signal(ignored[n], SIG_IGN);
    syscall(__NR_close_range, FIRST_FREE_FD, ~0U, 0);
    fcntl(LISTEN_FD, F_SETFD, FD_CLOEXEC);
    fcntl(ENDED_FD, F_SETFD, FD_CLOEXEC);
    take_many_descriptors();
    deadline_ms = now_ms() + left_ms;
    int err = akios_confine_keeper();
    if (err < 0) {
        dprintf(STDERR_FILENO, "akios-keeper: %s\n", strerror(-err));
        return 125;
    }
    run();
}
