/* See credentials.h.  System calls only: the launcher calls this around a clone. */
#include <errno.h>
#include <linux/capability.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "credentials.h"

int akios_take_effective_uid(uid_t uid)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct sets[2];
    if (syscall(SYS_capget, &header, sets) < 0 || syscall(SYS_setresuid, -1, uid, -1) < 0)
        return -errno;
    return syscall(SYS_capset, &header, sets) < 0 ? -errno : 0;
}
