/* Makes a file whose name stands in memory that the kernel reads and process_vm_readv(2) does not. */
#include "attack.h"

#include <stddef.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>

static char *place(const void *text, size_t size, int protection) {
    char *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    memcpy(page, text, size);
    mprotect(page, 4096, protection);
    return page;
}

static int make_from(int protection) {
    char path[] = "/tmp/akios-unseen-XXXXXX";
    close(mkstemp(path));
    unlink(path);
    int result = outcome(open(place(path, sizeof path, protection), O_CREAT | O_WRONLY, 0600));
    unlink(path);
    return result;
}
static int write_only(void) { return make_from(PROT_WRITE); }
static int execute_only(void) { return make_from(PROT_EXEC); }
static int run_unseen(void) {
    pid_t pid = fork();
    if (pid == 0) {
        char *argv[] = {"true", place("unseen", 7, PROT_WRITE), NULL};
        execv("/bin/true", argv);
        _exit(errno);
    }
    int status = 0;
    waitpid(pid, &status, 0);
    return WEXITSTATUS(status);
}
static int connect_unseen(void) {
    struct sockaddr_un where = {.sun_family = AF_UNIX, .sun_path = "\0akios-unseen"};
    int server = socket(AF_UNIX, SOCK_STREAM, 0), client = socket(AF_UNIX, SOCK_STREAM, 0);
    bind(server, (struct sockaddr *)&where, sizeof where);
    listen(server, 1);
    return outcome(connect(client, (struct sockaddr *)place(&where, sizeof where, PROT_WRITE), sizeof where));
}

#define A(name) {#name, name}
static const struct attack attacks[] = {A(write_only), A(execute_only), A(run_unseen), A(connect_unseen)};

MAIN(attacks)
