/* Shared by the files of akios-launcher.  Everything after clone3 uses system calls only: no
 * allocation, no stdio, no locale. */
#ifndef AKIOS_LAUNCHER_H
#define AKIOS_LAUNCHER_H

#include <stddef.h>
#include <stdint.h>

#include "mount.h"
#include "plan.h"

/* One cage being made: the mapped plan and the descriptors that came with it. */
struct akios_child {
    char *plan; /* private mapping, writable, plan_size bytes, last byte NUL */
    size_t plan_size;
    const int *fds;
    unsigned nfds;
    int root_fd;        /* O_PATH of the new root, -1 before the step "root" */
    int ruleset_fd;     /* Landlock ruleset under construction, -1 */
    int scope_fd;       /* Landlock ruleset that the agent adds to itself, -1 */
    int listener_fd;    /* seccomp listener, -1 */
    int landlock_proof; /* 1: a read that succeeded before was refused after */
    int domain;         /* 1: a cage without namespaces, see domain.h */
};

/* A request with its descriptors, which are the receiver's. */
struct akios_received {
    struct akios_request request;
    int fds[AKIOS_PLAN_MAX_FDS + 3];
    unsigned nfds;
};

/* The next request on a SOCK_SEQPACKET socket: 1, 0 at end of file, -EPROTO for anything that is
 * not one. */
int akios_receive(int socket_fd, struct akios_received *in);

/* Maps a plan of this size for the child, which keeps what it had on failure. */
int akios_map_plan(struct akios_child *child, int fd, uint32_t size);

/* Says that everything so far is done and waits for the plan that goes on from there; leaves at end
 * of file. */
int akios_park(struct akios_child *child);

/* Runs every step; 0, or -errno with the number of the failing step in *step. */
int akios_run_steps(struct akios_child *child, uint32_t *step);

/* Pid 1 of the cage; never returns. */
_Noreturn void akios_init(struct akios_child *child);

/* The string or array at an offset, or NULL when it does not lie inside the plan. */
void *akios_at(const struct akios_child *child, uint32_t offset, uint64_t length);

int akios_send_status(uint32_t kind, int32_t err, uint32_t step, uint32_t value);
/* Sends a message whole, with fd where that is >= 0; it stays the caller's. */
int akios_send_with_fd(int socket_fd, const void *message, size_t size, int fd);
int akios_send_fd(int fd, uint32_t kind);

/* Opens below the new root without following any link. */
int akios_open_beneath(int root_fd, const char *path, uint64_t flags);

int akios_landlock_create(uint64_t handled_fs, uint64_t handled_net, uint64_t scoped,
                          uint64_t size);
int akios_landlock_restrict(int ruleset_fd);

#endif
