/* System calls around mounts, pidfds and namespaces that Python's os module lacks. */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "akios.h"
#include "uapi.h"

#ifndef MOUNT_ATTR_IDMAP
#define MOUNT_ATTR_IDMAP 0x00100000
#endif
#ifndef __NR_pidfd_getfd
#define __NR_pidfd_getfd 438
#endif
#ifndef __NR_quotactl_fd
#define __NR_quotactl_fd 443
#endif

static int result(long value) { return value < 0 ? -errno : (int)value; }

int akios_open_tree(int dirfd, const char *path, unsigned flags) {
    return result(syscall(__NR_open_tree, dirfd, path, flags | OPEN_TREE_CLOEXEC));
}

int akios_move_mount(int from_fd, int to_dirfd, const char *to_path) {
    unsigned flags = MOVE_MOUNT_F_EMPTY_PATH | (to_path[0] ? 0 : MOVE_MOUNT_T_EMPTY_PATH);
    return result(syscall(__NR_move_mount, from_fd, "", to_dirfd, to_path, flags));
}

int akios_mount_setattr(int fd, unsigned flags, uint64_t set, uint64_t clear, int userns_fd) {
    /* Clones of a shared mount are its peers: what is mounted in one appears in all, also on the host. */
    struct akios_mount_attr attr = {.attr_set = set, .attr_clr = clear, .propagation = MS_PRIVATE};
    if (userns_fd >= 0) {
        attr.attr_set |= MOUNT_ATTR_IDMAP;
        attr.userns_fd = (uint64_t)userns_fd;
    }
    return result(syscall(__NR_mount_setattr, fd, "", AT_EMPTY_PATH | flags, &attr, sizeof attr));
}

int akios_fs_mount(const char *type, const char *options, size_t options_len, uint64_t attrs) {
    /* options: key NUL value NUL …, an empty value is a flag; the caller's buffer ends with a NUL */
    int fs_fd = result(syscall(__NR_fsopen, type, FSOPEN_CLOEXEC));
    if (fs_fd < 0)
        return fs_fd;
    int err = 0;
    for (size_t at = 0; at < options_len && err == 0;) {
        const char *key = options + at;
        at += strlen(key) + 1;
        const char *value = at < options_len ? options + at : "";
        at += strlen(value) + 1;
        unsigned command = value[0] ? FSCONFIG_SET_STRING : FSCONFIG_SET_FLAG;
        if (syscall(__NR_fsconfig, fs_fd, command, key, value[0] ? value : NULL, 0) < 0)
            err = -errno;
    }
    if (err == 0 && syscall(__NR_fsconfig, fs_fd, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
        err = -errno;
    int mount_fd = err < 0 ? err : result(syscall(__NR_fsmount, fs_fd, FSMOUNT_CLOEXEC, (unsigned)attrs));
    close(fs_fd);
    return mount_fd;
}

int akios_pidfd_getfd(int pidfd, int fd) { return result(syscall(__NR_pidfd_getfd, pidfd, fd, 0)); }

int akios_unshare(int flags) { return result(unshare(flags)); }

int akios_quotactl_fd(int fd, unsigned command, unsigned id, void *data) {
    return result(syscall(__NR_quotactl_fd, fd, command, id, data));
}

int akios_landlock_abi(void) {
    /* LANDLOCK_CREATE_RULESET_VERSION: the ABI of this kernel, or why there is none */
    return result(syscall(__NR_landlock_create_ruleset, NULL, (size_t)0, 1U));
}

int akios_known_stat(int fd, struct akios_known_stat *found) {
    struct statx buffer;
    unsigned wanted = STATX_TYPE | STATX_MODE | STATX_UID | STATX_GID | STATX_INO | STATX_MNT_ID;
    unsigned flags = AT_EMPTY_PATH | AT_STATX_DONT_SYNC | AT_NO_AUTOMOUNT;
    memset(found, 0, sizeof *found);
    if (statx(fd, "", flags, wanted | STATX_BTIME, &buffer) < 0)
        return -errno;
    if ((buffer.stx_mask & wanted) != wanted)
        return -ENODATA;
    *found = (struct akios_known_stat){
        .mode = buffer.stx_mode, .uid = buffer.stx_uid, .gid = buffer.stx_gid,
        .dev_major = buffer.stx_dev_major, .dev_minor = buffer.stx_dev_minor,
        .inode = buffer.stx_ino, .mount_id = buffer.stx_mnt_id,
    };
    if (buffer.stx_mask & STATX_BTIME) {
        found->born_s = buffer.stx_btime.tv_sec;
        found->born_ns = buffer.stx_btime.tv_nsec;
    }
    return 0;
}
