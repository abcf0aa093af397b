/* Bounded reads of a target's memory: see remote.h. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "akios.h"
#include "remote.h"

/* The smallest page of any machine we run on; finer cuts than the real pages do no harm. */
#define PAGE 4096ul
/* Nearly every path is shorter, and copying a whole page costs more than the call that asks for it.
 */
#define FIRST_READ 256ul

_Static_assert(AKIOS_PATH_MAX <= 4096 && AKIOS_ARGV_MAX <= 4096,
               "read_memory cuts at most 4096 bytes");

/* Reads up to len (<= 4096) bytes, fewer where a page is missing.  process_vm_readv(2) stops at
 * whole elements, so the remote side is one element for each page. */
static size_t read_memory(pid_t pid, uint64_t address, uint8_t *out, size_t len)
{
    struct iovec local = {.iov_base = out, .iov_len = len};
    struct iovec remote[2];
    size_t to_edge = PAGE - (address & (PAGE - 1));
    size_t first = len < to_edge ? len : to_edge;
    remote[0].iov_base = (void *)(uintptr_t)address;
    remote[0].iov_len = first;
    remote[1].iov_base = (void *)(uintptr_t)(address + first);
    remote[1].iov_len = len - first;
    ssize_t got = process_vm_readv(pid, &local, 1, remote, len > first ? 2 : 1, 0);
    return got < 0 ? 0 : (size_t)got;
}

struct akios_content akios_read_string(pid_t pid, uint64_t address, uint8_t *out, size_t limit)
{
    struct akios_content content = {0};
    size_t done = 0;
    size_t step = FIRST_READ;
    while (done < limit) {
        size_t want = limit - done < step ? limit - done : step;
        size_t got = read_memory(pid, address + done, out + done, want);
        if (got == 0) {
            /* A piece of a string means nothing; the pump refuses the call. */
            content.fault = true;
            return content;
        }
        const uint8_t *nul = memchr(out + done, 0, got);
        if (nul != NULL) {
            content.len = (uint16_t)(nul - out);
            return content;
        }
        done += got;
        step = limit;
    }
    content.len = (uint16_t)limit;
    content.cut = true;
    return content;
}

struct akios_content akios_read_argv(pid_t pid, uint64_t address, uint8_t *out)
{
    struct akios_content content = {0};
    uint64_t pointers[AKIOS_ARGV_COUNT + 1];
    size_t got = address == 0 ? 0 : read_memory(pid, address, (uint8_t *)pointers, sizeof pointers);
    size_t count = got / sizeof pointers[0];
    size_t filled = 0;
    for (size_t n = 0;; n++) {
        if (n == count) {
            content.fault = address != 0 && n <= AKIOS_ARGV_COUNT;
            break;
        }
        if (pointers[n] == 0)
            break;
        if (n == AKIOS_ARGV_COUNT || filled + 1 >= AKIOS_ARGV_MAX) {
            content.cut = true;
            break;
        }
        struct akios_content one =
            akios_read_string(pid, pointers[n], out + filled, AKIOS_ARGV_MAX - filled - 1);
        if (one.fault) {
            content.fault = true;
            break;
        }
        filled += one.len;
        out[filled++] = 0;
        content.cut = one.cut;
        if (one.cut)
            break;
    }
    content.len = (uint16_t)filled;
    return content;
}

struct akios_content akios_read_sockaddr(pid_t pid, uint64_t address, uint64_t claimed,
                                         uint8_t *out)
{
    struct akios_content content = {0};
    /* The kernel takes the length as an int: the upper half of the register is not looked at. */
    uint32_t len = (uint32_t)claimed;
    if (address == 0 || len == 0)
        return content;
    content.cut = len > AKIOS_SOCKADDR_MAX;
    size_t want = content.cut ? AKIOS_SOCKADDR_MAX : len;
    size_t got = read_memory(pid, address, out, want);
    content.fault = got < want;
    content.len = (uint16_t)got;
    return content;
}

/* What a descriptor of the target stands for, or its working directory (AT_FDCWD), as
 * proc_pid_fd(5) and proc_pid_cwd(5) name it: from the root of the mounts it is on, which for a
 * cage is its own. */
uint16_t akios_read_link(pid_t pid, int fd, uint8_t *out)
{
    char link[48];
    if (fd == AT_FDCWD)
        snprintf(link, sizeof link, "/proc/%d/cwd", (int)pid);
    else
        snprintf(link, sizeof link, "/proc/%d/fd/%d", (int)pid, fd);
    ssize_t got = readlink(link, (char *)out, AKIOS_DIR_MAX);
    return got < 0 ? 0 : (uint16_t)got;
}

/* Names of the caller's own descriptors and directory: absolute, and yet they say nothing by
 * themselves. */
static const char *const own_descriptors[] = {"/proc/self/fd/", "/proc/thread-self/fd/",
                                              "/dev/fd/"};
static const char own_directory[] = "/proc/self/cwd";

/* The number at the start of size bytes that end in '/' or with them; -1 where there is none. */
static int read_number(const uint8_t *text, size_t size)
{
    int number = -1;
    for (size_t n = 0; n < size && text[n] != '/'; n++) {
        if (text[n] < '0' || text[n] > '9' || number > 1 << 24)
            return -1;
        number = (number < 0 ? 0 : number) * 10 + (text[n] - '0');
    }
    return number;
}

uint16_t akios_read_start(pid_t pid, int fd, const uint8_t *path, size_t path_len, uint8_t *out)
{
    if (path_len == 0 || path[0] != '/')
        return akios_read_link(pid, fd, out);
    for (size_t n = 0; n < sizeof own_descriptors / sizeof own_descriptors[0]; n++) {
        size_t size = strlen(own_descriptors[n]);
        if (path_len > size && memcmp(path, own_descriptors[n], size) == 0) {
            int number = read_number(path + size, path_len - size);
            return number < 0 ? 0 : akios_read_link(pid, number, out);
        }
    }
    size_t size = sizeof own_directory - 1;
    if (path_len >= size && memcmp(path, own_directory, size) == 0 &&
        (path_len == size || path[size] == '/'))
        return akios_read_link(pid, AT_FDCWD, out);
    return 0;
}
