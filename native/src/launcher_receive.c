/* Plans and descriptors as they come in: by the launcher's socket, and by that of a child that
 * waits for the rest of its plan.  System calls only. */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "launcher.h"

int akios_receive(int socket_fd, struct akios_received *in)
{
    struct iovec iov = {.iov_base = &in->request, .iov_len = sizeof in->request};
    union {
        char bytes[CMSG_SPACE(sizeof in->fds)];
        struct cmsghdr align;
    } control;
    struct msghdr header = {.msg_iov = &iov,
                            .msg_iovlen = 1,
                            .msg_control = control.bytes,
                            .msg_controllen = sizeof control.bytes};
    ssize_t got;
    do
        got = recvmsg(socket_fd, &header, MSG_CMSG_CLOEXEC);
    while (got < 0 && errno == EINTR);
    if (got <= 0)
        return got < 0 ? -errno : 0;
    in->nfds = 0;
    for (struct cmsghdr *cmsg = CMSG_FIRSTHDR(&header); cmsg != NULL;
         cmsg = CMSG_NXTHDR(&header, cmsg)) {
        if (cmsg->cmsg_level != SOL_SOCKET || cmsg->cmsg_type != SCM_RIGHTS)
            continue;
        unsigned count = (unsigned)((cmsg->cmsg_len - CMSG_LEN(0)) / sizeof(int));
        if (count > sizeof in->fds / sizeof in->fds[0])
            return -EPROTO;
        memcpy(in->fds, CMSG_DATA(cmsg), count * sizeof(int));
        in->nfds = count;
    }
    if ((header.msg_flags & (MSG_CTRUNC | MSG_TRUNC)) || got != (ssize_t)sizeof in->request ||
        in->request.magic != AKIOS_PLAN_MAGIC || in->request.nfds != in->nfds)
        return -EPROTO;
    return 1;
}

int akios_map_plan(struct akios_child *child, int fd, uint32_t size)
{
    if (size < sizeof(struct akios_plan))
        return -EPROTO;
    /* A mapping longer than its file is a SIGBUS. */
    struct stat file;
    if (fstat(fd, &file) < 0 || file.st_size < (off_t)size)
        return -EPROTO;
    char *plan = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_POPULATE, fd, 0);
    if (plan == MAP_FAILED)
        return -errno;
    const struct akios_plan *head = (const struct akios_plan *)(void *)plan;
    if (head->magic != AKIOS_PLAN_MAGIC || head->size != size || plan[size - 1] != '\0') {
        munmap(plan, size);
        return -EPROTO;
    }
    child->plan = plan;
    child->plan_size = size;
    return 0;
}

int akios_park(struct akios_child *child)
{
    static struct akios_received in;
    prctl(PR_SET_NAME, "akios-parked");
    int got = akios_send_status(AKIOS_STATUS_PARKED, 0, 0, 0);
    if (got >= 0)
        got = akios_receive(AKIOS_FD_STATUS, &in);
    if (got == 0)
        _exit(0); /* akiosd has no use for this cage, or is gone */
    if (got < 0)
        return got;
    if (in.nfds < 1 || in.request.kind != AKIOS_REQUEST_RUN)
        return -EPROTO;
    /* The plan so far stays mapped: it ends with the process, or with its exec. */
    int err = akios_map_plan(child, in.fds[0], in.request.plan_size);
    child->fds = in.fds + 1;
    child->nfds = in.nfds - 1;
    close(in.fds[0]);
    prctl(PR_SET_NAME, "akios-init");
    return err;
}
