/* The init of a standing cage: akiosd tells it which programs to start, as often as it likes and at
 * the same time; each has a number of akiosd's, its own descriptors and its own end. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "init.h"

struct program {
    uint32_t number;
    pid_t pid; /* 0: the place is free */
};

static struct program programs[AKIOS_MAX_PROGRAMS];

static struct program *find(pid_t pid, uint32_t number)
{
    for (unsigned i = 0; i < AKIOS_MAX_PROGRAMS; i++)
        if (pid ? programs[i].pid == pid : programs[i].pid != 0 && programs[i].number == number)
            return &programs[i];
    return NULL;
}

static struct program *find_free(void)
{
    for (unsigned i = 0; i < AKIOS_MAX_PROGRAMS; i++)
        if (programs[i].pid == 0)
            return &programs[i];
    return NULL;
}

static void reap(void)
{
    for (;;) {
        int status = 0;
        struct rusage usage;
        pid_t pid = wait4(-1, &status, WNOHANG | __WALL, &usage);
        if (pid <= 0)
            return;
        struct program *ended = find(pid, 0);
        if (ended == NULL)
            continue; /* an orphan of a program's */
        akios_tell_exit(AKIOS_STATUS_PROGRAM_ENDED, ended->number, status, &usage);
        ended->pid = 0;
    }
}

static int start(const struct akios_received *in, int scope_fd)
{
    /* fds: the plan, stdin, stdout, stderr */
    struct akios_child child = {0};
    struct akios_start start = {.scope_fd = scope_fd, .step = START_SESSION};
    struct program *place = find_free();
    if (in->nfds != 4 || in->request.kind != AKIOS_REQUEST_PROGRAM)
        start.err = EPROTO;
    else if (place == NULL || find(0, (uint32_t)in->request.argument) != NULL)
        start.err = EAGAIN;
    else
        start.err = -akios_map_plan(&child, in->fds[0], in->request.plan_size);
    pid_t pid = -1;
    if (start.err == 0) {
        memcpy(start.stdio, &in->fds[1], sizeof start.stdio);
        start.err = -akios_read_start(&child, &start);
        if (start.err == 0)
            pid = akios_start(&start);
        /* It has executed, or has failed: nobody looks at the plan any more. */
        munmap(child.plan, child.plan_size);
    }
    if (start.err != 0 || pid < 0)
        return akios_send_status(AKIOS_STATUS_PROGRAM_FAILED, start.err,
                                 (uint32_t)in->request.argument, (uint32_t)start.step);
    *place = (struct program){.number = (uint32_t)in->request.argument, .pid = pid};
    return akios_send_status(AKIOS_STATUS_PROGRAM_STARTED, 0, place->number, (uint32_t)pid);
}

static void send_signal(uint32_t number, uint32_t signo)
{
    const struct program *program = signo < 65 ? find(0, number) : NULL;
    if (program == NULL)
        return; /* it has ended meanwhile */
    /* the whole group, as a terminal would; the program alone where it left its group */
    if (kill(-program->pid, (int)signo) < 0)
        kill(program->pid, (int)signo);
}

/* Takes one message; 0 at end of file. */
static int take(int scope_fd)
{
    static struct akios_received in;
    struct akios_status message;
    /* A request is longer than a command, and may bring descriptors. */
    char first[sizeof(struct akios_request)];
    ssize_t got = recv(AKIOS_FD_STATUS, first, sizeof first, MSG_PEEK);
    if (got <= 0)
        return got < 0 && (errno == EINTR || errno == EAGAIN);
    if (got != (ssize_t)sizeof message) {
        if (akios_receive(AKIOS_FD_STATUS, &in) <= 0)
            return 0;
        int told = start(&in, scope_fd);
        for (unsigned i = 0; i < in.nfds; i++)
            close(in.fds[i]);
        return told >= 0;
    }
    if (read(AKIOS_FD_STATUS, &message, sizeof message) != (ssize_t)sizeof message ||
        message.kind == AKIOS_STATUS_KILL)
        return 0;
    if (message.kind == AKIOS_STATUS_PROGRAM_SIGNAL)
        send_signal(message.step, message.value);
    return 1;
}

_Noreturn void akios_stand(int signals, int scope_fd)
{
    struct pollfd fds[2] = {{.fd = signals, .events = POLLIN},
                            {.fd = AKIOS_FD_STATUS, .events = POLLIN}};
    for (;;) {
        reap();
        if (poll(fds, 2, -1) < 0) {
            if (errno != EINTR)
                _exit(0);
            continue;
        }
        if (fds[0].revents & POLLIN) {
            struct signalfd_siginfo info;
            ssize_t got = read(signals, &info, sizeof info);
            (void)got; /* only a wake-up: which child it was, wait4 says */
        }
        if (fds[1].revents && !take(scope_fd))
            _exit(0); /* akiosd is gone, or wants it: the cage ends with its init */
    }
}
