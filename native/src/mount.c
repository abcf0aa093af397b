/* Mounts by descriptor: see mount.h.  System calls only: the launcher calls this between clone and
 * exec. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "mount.h"
#include "uapi.h"

static int result(long value)
{
    return value < 0 ? -errno : (int)value;
}

int akios_open_tree(int dirfd, const char *path, unsigned flags)
{
    return result(syscall(__NR_open_tree, dirfd, path, flags | OPEN_TREE_CLOEXEC));
}

int akios_move_mount(int from_fd, int to_dirfd, const char *to_path)
{
    unsigned flags = MOVE_MOUNT_F_EMPTY_PATH | (to_path[0] ? 0 : MOVE_MOUNT_T_EMPTY_PATH);
    return result(syscall(__NR_move_mount, from_fd, "", to_dirfd, to_path, flags));
}

int akios_mount_setattr(int fd, unsigned flags, uint64_t set, uint64_t clear, uint64_t propagation,
                        int userns_fd)
{
    struct akios_mount_attr attr = {.attr_set = set, .attr_clr = clear, .propagation = propagation};
    if (userns_fd >= 0) {
        attr.attr_set |= MOUNT_ATTR_IDMAP;
        attr.userns_fd = (uint64_t)userns_fd;
    }
    return result(syscall(__NR_mount_setattr, fd, "", AT_EMPTY_PATH | flags, &attr, sizeof attr));
}

/* The string at *at, which must end before size; *at is then behind its NUL.  NULL where there is
 * none. */
static const char *next_string(const char *data, size_t size, size_t *at)
{
    size_t from = *at;
    size_t length = from < size ? strnlen(data + from, size - from) : 0;
    if (from + length >= size)
        return NULL;
    *at = from + length + 1;
    return data + from;
}

static int configure(int fs_fd, const char *options, size_t options_len)
{
    for (size_t at = 0; at < options_len;) {
        const char *key = next_string(options, options_len, &at);
        const char *value = key == NULL ? NULL : next_string(options, options_len, &at);
        if (value == NULL)
            return -EINVAL;
        unsigned command = value[0] ? FSCONFIG_SET_STRING : FSCONFIG_SET_FLAG;
        if (syscall(__NR_fsconfig, fs_fd, command, key, value[0] ? value : NULL, 0) < 0)
            return -errno;
    }
    return result(syscall(__NR_fsconfig, fs_fd, FSCONFIG_CMD_CREATE, NULL, NULL, 0));
}

int akios_fs_mount(const char *type, const char *options, size_t options_len, uint64_t attrs)
{
    int fs_fd = result(syscall(__NR_fsopen, type, FSOPEN_CLOEXEC));
    if (fs_fd < 0)
        return fs_fd;
    int err = configure(fs_fd, options, options_len);
    int mount_fd =
        err < 0 ? err : result(syscall(__NR_fsmount, fs_fd, FSMOUNT_CLOEXEC, (unsigned)attrs));
    close(fs_fd);
    return mount_fd;
}
