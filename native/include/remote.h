/* Bounded reads of a target's memory.  Addresses come from the target and may be anything. */
#ifndef AKIOS_REMOTE_H
#define AKIOS_REMOTE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* What was read: the bytes kept, and whether the pointer failed or there was more than the limit.
 */
struct akios_content {
    uint16_t len;
    bool fault;
    bool cut;
};

/* A string of at most `limit` bytes without its NUL. */
struct akios_content akios_read_string(pid_t pid, uint64_t address, uint8_t *out, size_t limit);
/* The strings of an execve argv, each with its NUL, within AKIOS_ARGV_COUNT and AKIOS_ARGV_MAX. */
struct akios_content akios_read_argv(pid_t pid, uint64_t address, uint8_t *out);
/* A socket address of the length the target claims, at most AKIOS_SOCKADDR_MAX. */
struct akios_content akios_read_sockaddr(pid_t pid, uint64_t address, uint64_t claimed,
                                         uint8_t *out);

/* What descriptor fd of the target stands for, or with AT_FDCWD its working directory: at most
 * AKIOS_DIR_MAX bytes into out; 0 where /proc does not tell.  No file is opened. */
uint16_t akios_read_link(pid_t pid, int fd, uint8_t *out);
/* Where this path of the target starts, fd being its directory: 0 where the path says so itself. */
uint16_t akios_read_start(pid_t pid, int fd, const uint8_t *path, size_t path_len, uint8_t *out);

#endif
