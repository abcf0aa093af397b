/* Changes a path after whoever looks at the call has read it, and says what the kernel really took.
 *
 *     race DIRECTORY OPENS EXECS
 *
 * In DIRECTORY/a stand x<n> that are false, in DIRECTORY/b such that are true.  Prints "w<n> <a|b>" for each file it
 * opened for writing, and "x<n> <a|b>" for each program that ran. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static char path[4096];
static volatile char *letter; /* always at the same place: the other thread never stops */
static volatile int stop;

static void *flip(void *unused)
{
    while (!stop) {
        *letter = 'a';
        *letter = 'b';
    }
    return unused;
}

int main(int argc, char **argv)
{
    pthread_t thread;
    if (argc != 4)
        return 2;
    size_t start = (size_t)snprintf(path, sizeof path, "%s/a/", argv[1]);
    letter = path + start - 2;
    if (pthread_create(&thread, NULL, flip, NULL) != 0)
        return 2;
    for (int n = 0; n < atoi(argv[2]); n++) {
        char link[64], found[4096];
        snprintf(path + start, sizeof path - start, "w%d", n);
        int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
        snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
        ssize_t size = readlink(link, found, sizeof found);
        close(fd);
        printf("w%d %c\n", n, size > 0 ? found[start - 2] : '?');
    }
    for (int n = 0; n < atoi(argv[3]); n++) {
        char *const arguments[] = {(char *)"x", NULL}, *const environment[] = {NULL};
        int status = 0;
        snprintf(path + start, sizeof path - start, "x%d", n);
        pid_t child = vfork();
        if (child == 0) {
            execve(path, arguments, environment);
            _exit(9);
        }
        waitpid(child, &status, 0);
        printf("x%d %c\n", n, WEXITSTATUS(status) == 0 ? 'b' : WEXITSTATUS(status) == 1 ? 'a' : '?');
    }
    stop = 1;
    pthread_join(thread, NULL);
    return 0;
}
