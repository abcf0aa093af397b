/* Counts of what no control group charges: see bounds.h.
 *
 * Sockets are read off the network namespace at each call.  Filters, locks and directories have no
 * gauge: what was granted since the last count is added to it, and only where the sum reaches the
 * bound are they counted again: after half of the bound was granted, or once a second, so that a
 * cage that lives at its bound costs no more than that.
 *
 * Sources: proc(5), proc_locks(5), the kernel's cgroup-v2.rst, net/ipv4/proc.c. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bounds.h"
#include "directories.h"

#define MOST_MEMBERS 65536u
#define TURNS 8

static long read_number(const char *text, const char *name)
{
    const char *found = strstr(text, name);
    return found == NULL ? -1 : strtol(found + strlen(name), NULL, 10);
}

static bool read_start(int fd, char *text, size_t size)
{
    ssize_t got = fd < 0 ? -1 : pread(fd, text, size - 1, 0);
    text[got < 0 ? 0 : got] = 0;
    return got > 0;
}

static long read_filters(long pid)
{
    char path[64], text[4096];
    snprintf(path, sizeof path, "/proc/%ld/status", pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    bool read_it = read_start(fd, text, sizeof text);
    if (fd >= 0)
        close(fd);
    return read_it ? read_number(text, "\nSeccomp_filters:") : -1;
}

static long count_sockets(struct akios_bounds *bounds, pid_t pid)
{
    char text[256];
    if (bounds->sockstat < 0) {
        snprintf(text, sizeof text, "/proc/%d/net/sockstat", (int)pid);
        bounds->sockstat = open(text, O_RDONLY | O_CLOEXEC);
    }
    return read_start(bounds->sockstat, text, sizeof text) ? read_number(text, "sockets: used")
                                                           : -1;
}

/* The numbers in a file of the group, one a line; *count of them, to be freed.  NULL where it
 * cannot be read. */
static long *read_members(const struct akios_bounds *bounds, const char *name, size_t *count)
{
    int fd = bounds->group < 0 ? -1 : openat(bounds->group, name, O_RDONLY | O_CLOEXEC);
    FILE *file = fd < 0 ? NULL : fdopen(fd, "r");
    if (file == NULL) {
        if (fd >= 0)
            close(fd);
        return NULL;
    }
    long *members = calloc(MOST_MEMBERS, sizeof *members);
    *count = 0;
    while (members != NULL && *count < MOST_MEMBERS && fscanf(file, "%ld", &members[*count]) == 1)
        ++*count;
    fclose(file);
    return members;
}

/* Threads that share a filter are counted each: never too few.  One that ended before it was looked
 * at may have left its filters to a child that is not in the list: -1. */
static long sum_filters(const struct akios_bounds *bounds)
{
    size_t count;
    long *members = read_members(bounds, "cgroup.threads", &count), total = 0;
    if (members == NULL)
        return -1;
    for (size_t n = 0; n < count && total >= 0; n++) {
        long filters = read_filters(members[n]);
        if (filters < 0)
            total = -1;
        else if (filters > (long)bounds->counted->base)
            total += filters - (long)bounds->counted->base;
    }
    free(members);
    return total;
}

static long count_filters(struct akios_bounds *bounds)
{
    long total = -1;
    for (int turn = 0; turn < TURNS && total < 0; turn++)
        total = sum_filters(bounds);
    return total;
}

static int compare(const void *a, const void *b)
{
    long left = *(const long *)a, right = *(const long *)b;
    return (left > right) - (left < right);
}

/* Those that belong to a process.  Its number in /proc/locks is a living one: the table refuses to
 * share descriptors with a process of another number. */
static long count_locks(struct akios_bounds *bounds)
{
    size_t count;
    long *members = read_members(bounds, "cgroup.procs", &count), total = 0, pid;
    FILE *file = members == NULL ? NULL : fopen("/proc/locks", "re");
    if (file == NULL) {
        free(members);
        return -1;
    }
    qsort(members, count, sizeof *members, compare);
    char line[256];
    while (fgets(line, sizeof line, file) != NULL)
        if (sscanf(line, "%*s POSIX %*s %*s %ld", &pid) == 1 &&
            bsearch(&pid, members, count, sizeof *members, compare) != NULL)
            total++;
    fclose(file);
    free(members);
    return total;
}

/* The table has all threads of a process share its descriptors.  Descriptors on their way to
 * another process are in none: where there are some, it is looked again, and then nothing can be
 * said. */
static long sum_directories(const struct akios_bounds *bounds)
{
    size_t count;
    long *members = read_members(bounds, "cgroup.procs", &count), total = 0;
    if (members == NULL)
        return -1;
    for (size_t n = 0; n < count && total >= 0; n++) {
        long kib = akios_weigh_open_directories(members[n]);
        total = kib < 0 ? -1 : total + kib;
    }
    free(members);
    return total;
}

static long count_directories(struct akios_bounds *bounds)
{
    long total = -1;
    for (int turn = 0; turn < TURNS && total < 0; turn++)
        total = sum_directories(bounds);
    return total;
}

static bool admit_counted(struct akios_bounds *bounds, unsigned kind, uint32_t size,
                          uint64_t now_ns, long (*count)(struct akios_bounds *))
{
    struct akios_counted *counted = bounds->counted;
    uint32_t most = bounds->most[kind];
    if (counted->held[kind] + counted->granted[kind] >= most && count != NULL &&
        now_ns >= counted->again_ns[kind]) {
        long held = count(bounds);
        counted->held[kind] = held < 0 || held > (long)most ? most : (uint32_t)held;
        counted->granted[kind] = 0;
        /* With half of it free the next count is far off anyhow. */
        counted->again_ns[kind] = counted->held[kind] <= most / 2 ? 0 : now_ns + NS_PER_S;
    }
    if (counted->held[kind] + counted->granted[kind] >= most)
        return false;
    counted->granted[kind] += size;
    return true;
}

bool akios_bounds_admit(struct akios_bounds *bounds, unsigned kind, pid_t pid, uint64_t argument,
                        uint64_t now_ns)
{
    if (kind >= AKIOS_COUNTED)
        return false;
    if (bounds->most[kind] == 0)
        return true;
    switch (kind) {
    case AKIOS_COUNTED_SOCKETS:
    case AKIOS_COUNTED_NETLINK: {
        long used = count_sockets(bounds, pid);
        return used >= 0 && used < (long)bounds->most[kind];
    }
    case AKIOS_COUNTED_FILTERS: return admit_counted(bounds, kind, 1, now_ns, count_filters);
    case AKIOS_COUNTED_LOCKS: return admit_counted(bounds, kind, 1, now_ns, count_locks);
    case AKIOS_COUNTED_DIRECTORIES:
        return admit_counted(bounds, kind, akios_weigh_reading(pid, (int)argument), now_ns,
                             count_directories);
    default: /* nothing tells whose they are: all there ever were */
        return admit_counted(bounds, kind, 1, now_ns, NULL);
    }
}

void akios_bounds_open(struct akios_bounds *bounds, const struct akios_pump_config *config,
                       struct akios_counted *counted)
{
    bounds->counted = counted;
    memcpy(bounds->most, config->most, sizeof bounds->most);
    bounds->group = config->group < 0 ? -1 : fcntl(config->group, F_DUPFD_CLOEXEC, 3);
    bounds->sockstat = -1;
    /* Another akiosd may have filters of its own, of which the cage knows nothing. */
    long own = counted->base == 0 ? read_filters((long)getpid()) : 0;
    if (counted->base == 0)
        counted->base = own < 0 ? 1 : (uint32_t)own + 1;
}

void akios_bounds_close(struct akios_bounds *bounds)
{
    if (bounds->group >= 0)
        close(bounds->group);
    if (bounds->sockstat >= 0)
        close(bounds->sockstat);
}
