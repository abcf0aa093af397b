/* zeros FIRST LAST [MS]: every system call number from FIRST up to LAST with zeros for arguments, each in a child of its own,
 * for at most MS milliseconds (30). Prints "NUMBER RESULT" lines: the value, -errno, SIGNAL, or "blocks" when it was still waiting. */
#include "attack.h"

#include <sys/time.h>

static void be_harmless(long limit_ms) {
    /* Descriptor 0 is what most calls with zeros act on. */
    int ends[2];
    if (pipe(ends) == 0)
        dup2(ends[0], 0);
    struct itimerval soon = {.it_value = {limit_ms / 1000, limit_ms % 1000 * 1000}};
    signal(SIGALRM, SIG_DFL);
    setitimer(ITIMER_REAL, &soon, NULL);
}

static void try_number(long number, long limit_ms) {
    int answer[2];
    if (pipe2(answer, O_CLOEXEC) < 0)
        exit(125);
    pid_t pid = fork();
    if (pid == 0) {
        be_harmless(limit_ms);
        long result = syscall(number, 0, 0, 0, 0, 0, 0);
        if (result < 0)
            result = -errno;
        _exit(write(answer[1], &result, sizeof result) == sizeof result ? 0 : 125);
    }
    close(answer[1]);
    int status = 0;
    long result = 0;
    waitpid(pid, &status, 0);
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM)
        printf("%ld blocks\n", number);
    else if (WIFSIGNALED(status))
        printf("%ld SIG%s\n", number, sigabbrev_np(WTERMSIG(status)));
    else if (read(answer[0], &result, sizeof result) != sizeof result)
        printf("%ld left\n", number);
    else
        printf("%ld %ld\n", number, result);
    close(answer[0]);
    fflush(stdout);
}

int main(int argc, char **argv) {
    if (argc < 3)
        return 125;
    for (long number = atol(argv[1]); number < atol(argv[2]); number++)
        try_number(number, argc > 3 ? atol(argv[3]) : 30);
    return 0;
}
