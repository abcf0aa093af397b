/* Small hostile actions.  Each returns 0 when it got what it wanted, or the errno that stopped it.
 *
 * Usage: PROGRAM NAME…   prints one line "NAME RESULT" for each, where RESULT is 0, an errno's name, or the
 * name of the signal that killed the attempt.  Every action runs in a child of its own. */
#ifndef AKIOS_ATTACK_H
#define AKIOS_ATTACK_H

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

struct attack {
    const char *name;
    int (*run)(void);
};

/* 0 or errno of one call */
static inline int outcome(long value) { return value < 0 ? errno : 0; }

static inline int run_attack(const struct attack *attack) {
    fflush(stdout);
    int answer[2];
    if (pipe2(answer, O_CLOEXEC) < 0)
        return 125;
    pid_t pid = fork();
    if (pid == 0) {
        int result = attack->run();
        _exit(write(answer[1], &result, sizeof result) == sizeof result ? 0 : 125);
    }
    close(answer[1]);
    int status = 0, result = 0;
    if (pid < 0 || waitpid(pid, &status, 0) != pid)
        return 125;
    if (WIFSIGNALED(status))
        printf("%s SIG%s\n", attack->name, sigabbrev_np(WTERMSIG(status)));
    else if (read(answer[0], &result, sizeof result) != sizeof result)
        printf("%s exit=%d\n", attack->name, WEXITSTATUS(status));
    else
        printf("%s %s\n", attack->name, result == 0 ? "0" : strerrorname_np(result));
    close(answer[0]);
    return 0;
}

static inline int run_attacks(const struct attack *attacks, size_t count, int argc, char **argv) {
    for (int arg = 1; arg < argc; arg++) {
        size_t n = 0;
        while (n < count && strcmp(attacks[n].name, argv[arg]) != 0)
            n++;
        if (n == count || run_attack(&attacks[n]) != 0) {
            printf("%s missing\n", argv[arg]);
            return 125;
        }
    }
    return 0;
}

#define MAIN(table)                                                                                                     \
    int main(int argc, char **argv) { return run_attacks(table, sizeof table / sizeof table[0], argc, argv); }

#endif
