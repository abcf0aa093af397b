/* What the kernel knows of an open file without asking its file system (statx(2)). */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "akios.h"

int akios_known_stat(int fd, struct akios_known_stat *found)
{
    struct statx buffer;
    unsigned wanted = STATX_TYPE | STATX_MODE | STATX_UID | STATX_GID | STATX_INO | STATX_MNT_ID;
    unsigned flags = AT_EMPTY_PATH | AT_STATX_DONT_SYNC | AT_NO_AUTOMOUNT;
    memset(found, 0, sizeof *found);
    if (statx(fd, "", flags, wanted | STATX_BTIME, &buffer) < 0)
        return -errno;
    if ((buffer.stx_mask & wanted) != wanted)
        return -ENODATA;
    *found = (struct akios_known_stat){
        .mode = buffer.stx_mode,
        .uid = buffer.stx_uid,
        .gid = buffer.stx_gid,
        .dev_major = buffer.stx_dev_major,
        .dev_minor = buffer.stx_dev_minor,
        .inode = buffer.stx_ino,
        .mount_id = buffer.stx_mnt_id,
    };
    if (buffer.stx_mask & STATX_BTIME) {
        found->born_s = buffer.stx_btime.tv_sec;
        found->born_ns = buffer.stx_btime.tv_nsec;
    }
    return 0;
}
