/* Pid 1 of a cage: how it starts a program, and the programs of a standing cage. */
#ifndef AKIOS_INIT_H
#define AKIOS_INIT_H

#include <stdint.h>
#include <sys/resource.h>
#include <sys/types.h>

#include "launcher.h"

enum akios_start_step { START_CHDIR, START_EXEC, START_SESSION, START_LANDLOCK };

/* A program to be started.  The child shares init's memory until it executes, and tells in err and
 * step why it could not. */
struct akios_start {
    const char *command, *cwd;
    char **argv, **env;
    int tty, scope_fd, domain;
    int stdio[3]; /* -1: what init itself has */
    volatile int err;
    volatile enum akios_start_step step;
};

/* Fills in what the plan says about the program; -EPROTO when it says nothing usable. */
int akios_read_start(struct akios_child *child, struct akios_start *start);

/* Starts it; its pid, or -errno with the step that failed in start->step. */
pid_t akios_start(struct akios_start *start);

/* Tells akiosd how a process ended; number is that of its program, 0 of the agent. */
void akios_tell_exit(uint32_t kind, uint32_t number, int status, const struct rusage *usage);

/* Serves a standing cage until its status socket ends: starts programs, reaps, forwards signals. */
_Noreturn void akios_stand(int signals, int scope_fd);

#endif
