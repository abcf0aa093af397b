/* Makes things by which two processes could meet, says "held", and waits for the end of its input; or, with
 * the argument "find", says which of those things it finds. */
#include "attack.h"

#include <mqueue.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#define KEY 0x616b696f

static socklen_t address(struct sockaddr_un *where, const char *path) {
    memset(where, 0, sizeof *where);
    where->sun_family = AF_UNIX;
    if (path != NULL)
        strcpy(where->sun_path, path);
    else
        memcpy(where->sun_path, "\0akios-meet", 11);
    return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + (path != NULL ? strlen(path) + 1 : 11));
}

static int at_socket(const char *path, int find) {
    struct sockaddr_un where;
    socklen_t length = address(&where, path);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    if (find)
        return connect(fd, (struct sockaddr *)&where, length);
    if (path != NULL)
        unlink(path);
    int made = bind(fd, (struct sockaddr *)&where, length) < 0 ? -1 : listen(fd, 4);
    if (path != NULL)
        chmod(path, 0666);
    return made;
}

int main(int argc, char **argv) {
    int find = argc > 1 && strcmp(argv[1], "find") == 0, make = find ? 0 : IPC_CREAT | 0666;
    int open_make = find ? 0 : O_CREAT;
    umask(0);
    const struct {
        const char *name;
        int fd;
    } things[] = {
        {"shm", shmget(KEY, 4096, make)},
        {"sem", semget(KEY, 1, make)},
        {"msg", msgget(KEY, make)},
        {"mqueue", mq_open("/akios-meet", O_RDWR | open_make, 0666, NULL)},
        {"dev-shm", shm_open("akios-meet", O_RDWR | open_make, 0666)},
        {"tmp", open("/tmp/akios-meet", O_RDWR | open_make, 0666)},
        {"abstract", at_socket(NULL, find)},
        {"path", at_socket("/tmp/akios-meet.sock", find)},
        {"process", find ? (system("grep -aqs ^akios-meet-holder /proc/[0-9]*/cmdline") == 0 ? 0 : -1) : 0},
    };
    for (size_t n = 0; n < sizeof things / sizeof things[0]; n++)
        if (things[n].fd >= 0)
            printf("%s\n", things[n].name);
    printf("held\n");
    fflush(stdout);
    if (find)
        return 0;
    while (getchar() != EOF)
        ;
    shmctl(shmget(KEY, 0, 0), IPC_RMID, NULL);
    semctl(semget(KEY, 0, 0), 0, IPC_RMID);
    msgctl(msgget(KEY, 0), IPC_RMID, NULL);
    mq_unlink("/akios-meet");
    shm_unlink("akios-meet");
    unlink("/tmp/akios-meet");
    unlink("/tmp/akios-meet.sock");
    return 0;
}
