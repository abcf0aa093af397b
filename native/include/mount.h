/* Mounts by descriptor, the same for the launcher and for akiosd.  A value >= 0 or -errno. */
#ifndef AKIOS_MOUNT_H
#define AKIOS_MOUNT_H

#include <stddef.h>
#include <stdint.h>

/* cffi: begin */

/* open_tree(2): a descriptor of the mount at path, close-on-exec; with OPEN_TREE_CLONE of a
 * detached copy. */
int akios_open_tree(int dirfd, const char *path, unsigned flags);
/* move_mount(2) of the mount from_fd stands for; an empty to_path is the place to_dirfd stands for.
 */
int akios_move_mount(int from_fd, int to_dirfd, const char *to_path);
/* mount_setattr(2) on the mount fd stands for, with AT_RECURSIVE in flags on those below it, too.
 * propagation 0 leaves its peer group as it is; userns_fd >= 0 makes it idmapped, once, while it is
 * detached. */
int akios_mount_setattr(int fd, unsigned flags, uint64_t set, uint64_t clear, uint64_t propagation,
                        int userns_fd);
/* fsopen(2), fsconfig(2), fsmount(2): a detached mount.  options: key NUL value NUL ...,
 * options_len bytes; an empty value is a flag, and a key without a value is -EINVAL.  No string is
 * read beyond options_len. */
int akios_fs_mount(const char *type, const char *options, size_t options_len, uint64_t attrs);

/* cffi: end */

#endif
