/* Many small files in one call, without the interpreter's lock: what a publication of the ledger
 * writes. */
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "akios.h"

static int write_all(int fd, const uint8_t *data, size_t len)
{
    while (len > 0) {
        ssize_t done = write(fd, data, len);
        if (done < 0 && errno == EINTR)
            continue;
        if (done < 0)
            return -errno;
        data += done;
        len -= (size_t)done;
    }
    return 0;
}

static int write_one(int dirfd, const char *path, const uint8_t *data, size_t len, unsigned mode)
{
    int fd;
    do
        /* No O_TRUNC: the blocks of a file that is written again would go back with what they hold.
         */
        fd = openat(dirfd, path, O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, mode);
    while (fd < 0 && errno == EINTR);
    if (fd < 0)
        return -errno;
    int err = write_all(fd, data, len);
    struct stat status;
    if (err == 0 &&
        (fstat(fd, &status) < 0 || (status.st_size > (off_t)len && ftruncate(fd, (off_t)len) < 0)))
        err = -errno;
    /* Some file systems tell only now that there was no room.  Linux closes it whatever close says.
     */
    if (close(fd) < 0 && err == 0 && errno != EINTR)
        err = -errno;
    return err;
}

int akios_write_files(int dirfd, const char *const *paths, const uint8_t *const *data,
                      const size_t *lens, size_t n, unsigned mode, size_t *failed)
{
    for (size_t i = 0; i < n; i++) {
        int err = write_one(dirfd, paths[i], data[i], lens[i], mode);
        if (err < 0) {
            *failed = i;
            return err;
        }
    }
    return 0;
}
