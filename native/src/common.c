/* Small wrappers of system calls that the C library of the oldest supported distribution lacks. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "launcher.h"
#include "uapi.h"

static int result(long value) { return value < 0 ? -errno : (int)value; }

void *akios_at(const struct akios_child *child, uint32_t offset, uint64_t length) {
    if (offset > child->plan_size || length > child->plan_size - offset)
        return NULL;
    return child->plan + offset;
}

int akios_send_status(uint32_t kind, int32_t err, uint32_t step, uint32_t value) {
    struct akios_status message = {.kind = kind, .err = err, .step = step, .value = value};
    /* write, not sendmsg: it is never notified, so that it works before somebody serves the listener */
    return result(write(AKIOS_FD_STATUS, &message, sizeof message));
}

int akios_send_fd(int fd, uint32_t kind) {
    struct akios_status message = {.kind = kind};
    struct iovec iov = {.iov_base = &message, .iov_len = sizeof message};
    union {
        char bytes[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } control;
    memset(&control, 0, sizeof control);
    struct msghdr header = {
        .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof control.bytes};
    struct cmsghdr *cmsg = CMSG_FIRSTHDR(&header);
    cmsg->cmsg_level = SOL_SOCKET;
    cmsg->cmsg_type = SCM_RIGHTS;
    cmsg->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(cmsg), &fd, sizeof fd);
    return result(sendmsg(AKIOS_FD_STATUS, &header, MSG_NOSIGNAL));
}

int akios_open_beneath(int root_fd, const char *path, uint64_t flags) {
    struct akios_open_how how = {
        .flags = flags | O_CLOEXEC, .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS};
    return result(syscall(__NR_openat2, root_fd, path[0] ? path : ".", &how, sizeof how));
}

int akios_open_tree(int dirfd, const char *path, unsigned flags) {
    return result(syscall(__NR_open_tree, dirfd, path, flags | OPEN_TREE_CLOEXEC));
}

int akios_move_mount(int from_fd, int to_fd, const char *to_path) {
    unsigned flags = MOVE_MOUNT_F_EMPTY_PATH | (to_path[0] ? 0 : MOVE_MOUNT_T_EMPTY_PATH);
    return result(syscall(__NR_move_mount, from_fd, "", to_fd, to_path, flags));
}

int akios_mount_setattr(int fd, const char *path, unsigned flags, uint64_t set, uint64_t clear) {
    struct akios_mount_attr attr = {.attr_set = set, .attr_clr = clear};
    return result(syscall(__NR_mount_setattr, fd, path, flags, &attr, sizeof attr));
}

static int configure(int fs_fd, char *options, uint32_t options_len) {
    /* key NUL value NUL …; an empty value is a flag.  The lengths were checked by akios_at, and
     * strnlen keeps every string inside them. */
    uint32_t at = 0;
    while (at < options_len) {
        char *key = options + at;
        uint32_t key_len = (uint32_t)strnlen(key, options_len - at);
        at += key_len + 1;
        if (at >= options_len)
            return -EINVAL;
        char *value = options + at;
        at += (uint32_t)strnlen(value, options_len - at) + 1;
        unsigned command = value[0] ? FSCONFIG_SET_STRING : FSCONFIG_SET_FLAG;
        if (syscall(__NR_fsconfig, fs_fd, command, key, value[0] ? value : NULL, 0) < 0)
            return -errno;
    }
    return syscall(__NR_fsconfig, fs_fd, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0 ? -errno : 0;
}

int akios_fs_mount(const char *type, char *options, uint32_t options_len, uint64_t attrs) {
    int fs_fd = result(syscall(__NR_fsopen, type, FSOPEN_CLOEXEC));
    if (fs_fd < 0)
        return fs_fd;
    int err = configure(fs_fd, options, options_len);
    int mount_fd = err < 0 ? err : result(syscall(__NR_fsmount, fs_fd, FSMOUNT_CLOEXEC, (unsigned)attrs));
    close(fs_fd);
    return mount_fd;
}

int akios_landlock_create(uint64_t handled_fs, uint64_t scoped, uint64_t size) {
    struct akios_landlock_ruleset_attr attr = {.handled_access_fs = handled_fs, .scoped = scoped};
    return result(syscall(__NR_landlock_create_ruleset, &attr, (size_t)size, 0));
}

int akios_landlock_restrict(int ruleset_fd) {
    return result(syscall(__NR_landlock_restrict_self, ruleset_fd, 0));
}
