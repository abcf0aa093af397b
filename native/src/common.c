/* Small wrappers of system calls that the C library of the oldest supported distribution lacks. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "launcher.h"
#include "uapi.h"

static int result(long value)
{
    return value < 0 ? -errno : (int)value;
}

void *akios_at(const struct akios_child *child, uint32_t offset, uint64_t length)
{
    if (offset > child->plan_size || length > child->plan_size - offset)
        return NULL;
    return child->plan + offset;
}

int akios_send_status(uint32_t kind, int32_t err, uint32_t step, uint32_t value)
{
    struct akios_status message = {.kind = kind, .err = err, .step = step, .value = value};
    /* write, not sendmsg: it is never notified, so that it works before somebody serves the
     * listener */
    return result(write(AKIOS_FD_STATUS, &message, sizeof message));
}

int akios_send_with_fd(int socket_fd, const void *message, size_t size, int fd)
{
    struct iovec iov = {.iov_base = (void *)(uintptr_t)message, .iov_len = size};
    union {
        char bytes[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } control;
    memset(&control, 0, sizeof control);
    struct msghdr header = {.msg_iov = &iov, .msg_iovlen = 1};
    if (fd >= 0) {
        header.msg_control = control.bytes;
        header.msg_controllen = sizeof control.bytes;
        struct cmsghdr *cmsg = CMSG_FIRSTHDR(&header);
        cmsg->cmsg_level = SOL_SOCKET;
        cmsg->cmsg_type = SCM_RIGHTS;
        cmsg->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(cmsg), &fd, sizeof fd);
    }
    return result(sendmsg(socket_fd, &header, MSG_NOSIGNAL));
}

int akios_send_fd(int fd, uint32_t kind)
{
    struct akios_status message = {.kind = kind};
    return akios_send_with_fd(AKIOS_FD_STATUS, &message, sizeof message, fd);
}

int akios_open_beneath(int root_fd, const char *path, uint64_t flags)
{
    struct akios_open_how how = {.flags = flags | O_CLOEXEC,
                                 .resolve =
                                     RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS};
    return result(syscall(__NR_openat2, root_fd, path[0] ? path : ".", &how, sizeof how));
}

int akios_landlock_create(uint64_t handled_fs, uint64_t handled_net, uint64_t scoped, uint64_t size)
{
    struct akios_landlock_ruleset_attr attr = {
        .handled_access_fs = handled_fs, .handled_access_net = handled_net, .scoped = scoped};
    return result(syscall(__NR_landlock_create_ruleset, &attr, (size_t)size, 0));
}

int akios_landlock_restrict(int ruleset_fd)
{
    return result(syscall(__NR_landlock_restrict_self, ruleset_fd, 0));
}
