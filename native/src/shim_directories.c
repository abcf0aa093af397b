/* What lies in the kernel for directories that are being read.
 *
 * An overlay keeps all names of a merged directory (fs/overlayfs/readdir.c), once more for each
 * reading that began after a change, and ext4 some hundreds of them (fs/ext4/dir.c); neither is
 * charged to any group, and both stay until the descriptor is closed.  How much it is, nobody
 * tells: a directory's own size on its disk is the measure.
 *
 * No question here waits for a file system (AT_STATX_DONT_SYNC). */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "directories.h"

/* In the kernel a name takes up to eight times its size on the disk, and few are as short. */
#define PER_DISK 4u
#define LEAST_KIB 64u
/* A thread may put another directory in the place of one that was weighed, so of these no more than
 * this many KiB are granted before all are counted. */
#define LEAST_OF_THREADS_KIB 1024u

static bool look_at(int dir, const char *path, struct statx *found)
{
    return statx(dir, path, AT_STATX_DONT_SYNC | AT_NO_AUTOMOUNT,
                 STATX_TYPE | STATX_SIZE | STATX_NLINK, found) == 0;
}

static uint32_t weigh(const struct statx *found)
{
    uint64_t kib = LEAST_KIB + PER_DISK * (found->stx_size >> 10);
    return kib > INT32_MAX / 2 ? INT32_MAX / 2 : (uint32_t)kib;
}

uint32_t akios_weigh_reading(pid_t thread, int fd)
{
    char path[64];
    struct statx found;
    snprintf(path, sizeof path, "/proc/%d/fd/%d", (int)thread, fd);
    uint32_t kib = look_at(AT_FDCWD, path, &found) ? weigh(&found) : LEAST_KIB;
    snprintf(path, sizeof path, "/proc/%d/task", (int)thread);
    /* Two links, and one for each thread (proc(5)). */
    bool alone = look_at(AT_FDCWD, path, &found) && found.stx_nlink <= 3;
    return alone || kib > LEAST_OF_THREADS_KIB ? kib : LEAST_OF_THREADS_KIB;
}

/* Descriptors that a socket holds for who will receive them (fdinfo of unix sockets,
 * proc_pid_fdinfo(5)). */
static bool holds_descriptors(long pid, const char *fd)
{
    char path[300], text[1024];
    snprintf(path, sizeof path, "/proc/%ld/fdinfo/%s", pid, fd);
    int file = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t got = file < 0 ? 0 : read(file, text, sizeof text - 1);
    if (file >= 0)
        close(file);
    text[got < 0 ? 0 : got] = 0;
    const char *found = strstr(text, "scm_fds:");
    return found != NULL && strtol(found + strlen("scm_fds:"), NULL, 10) > 0;
}

/* Of all that one thread has open; *any says whether that is anything. */
static long weigh_table(long thread, bool *any)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%ld/fd", thread);
    *any = false;
    DIR *list = opendir(path);
    if (list == NULL)
        return errno == ENOENT || errno == ESRCH ? 0 : -1;
    long kib = 0;
    struct dirent *entry;
    while (kib >= 0 && (entry = readdir(list)) != NULL) {
        struct statx found;
        if (entry->d_name[0] == '.')
            continue;
        *any = true;
        if (!look_at(dirfd(list), entry->d_name, &found))
            continue;
        if (S_ISDIR(found.stx_mode))
            kib += weigh(&found);
        else if (S_ISSOCK(found.stx_mode) && holds_descriptors(thread, entry->d_name))
            kib = -1;
    }
    closedir(list);
    return kib;
}

/* A first thread that has ended shows nothing of what the others of its process have open. */
long akios_weigh_open_directories(long pid)
{
    bool any;
    long kib = weigh_table(pid, &any);
    if (any || kib < 0)
        return kib;
    char path[64];
    snprintf(path, sizeof path, "/proc/%ld/task", pid);
    DIR *list = opendir(path);
    if (list == NULL)
        return errno == ENOENT || errno == ESRCH ? 0 : -1;
    struct dirent *entry;
    while (kib >= 0 && !any && (entry = readdir(list)) != NULL)
        if (entry->d_name[0] != '.')
            kib = weigh_table(strtol(entry->d_name, NULL, 10), &any);
    closedir(list);
    return kib;
}
