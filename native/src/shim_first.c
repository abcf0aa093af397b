/* See first.h.  What is looked at may change a moment later, and nothing depends on it but an
 * errno.
 *
 * Sources: proc_pid_fd(5); net/socket.c, fs/fcntl.c and fs/ioctl.c look the descriptor up before
 * anything else. */
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "first.h"

static void name_descriptor(pid_t pid, uint64_t register_, char *path, size_t size)
{
    snprintf(path, size, "/proc/%d/fd/%d", (int)pid, (int)register_);
}

/* The bits of the link say what the descriptor was opened for: O_PATH is for nothing, and most
 * calls do not see such a one. */
static bool is_open(pid_t pid, uint64_t register_)
{
    char path[48];
    struct stat link;
    name_descriptor(pid, register_, path, sizeof path);
    return lstat(path, &link) == 0 && (link.st_mode & (S_IRUSR | S_IWUSR)) != 0;
}

static bool is_socket(pid_t pid, uint64_t register_)
{
    static const char start[] = "socket:[";
    char path[48], what[sizeof start];
    name_descriptor(pid, register_, path, sizeof path);
    ssize_t got = readlink(path, what, sizeof what);
    return got == (ssize_t)sizeof what && memcmp(what, start, sizeof start - 1) == 0;
}

static bool is_readable(pid_t pid, uint64_t address, size_t size)
{
    char kept[AKIOS_SOCKADDR_MAX];
    struct iovec local = {kept, size}, remote = {(void *)(uintptr_t)address, size};
    return process_vm_readv(pid, &local, 1, &remote, 1, 0) == (ssize_t)size;
}

static bool is_refused(pid_t pid, const struct akios_pump_rule *rule, const uint64_t *args)
{
    uint64_t value = args[rule->arg];
    switch (rule->flags >> 8) {
    case AKIOS_FIRST_ABOVE: return (value & rule->mask) > rule->value;
    case AKIOS_FIRST_BELOW: return (value & rule->mask) < rule->value;
    case AKIOS_FIRST_DESCRIPTOR: return !is_open(pid, value);
    case AKIOS_FIRST_SOCKET: return !is_socket(pid, value);
    case AKIOS_FIRST_MEMORY: return !is_readable(pid, value, rule->value);
    case AKIOS_FIRST_OPTIONAL: return value != 0 && !is_readable(pid, value, rule->value);
    default: return false;
    }
}

int32_t akios_refused_first(pid_t pid, const struct akios_pump_rule *rules, unsigned count,
                            const uint64_t *args)
{
    for (unsigned n = 0; n < count; n++) {
        const struct akios_pump_rule *rule = &rules[n];
        if (rule->flags >> 8 != AKIOS_FIRST_WHEN) {
            if (is_refused(pid, rule, args))
                return rule->err;
        } else if ((args[rule->arg] & rule->mask) != rule->value) {
            n++;
        }
    }
    return 0;
}
