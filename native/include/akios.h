/* The mechanisms that the Python side calls in its own process: the pump, the ring, batch hashing,
 * sockets in another network namespace.  What the launcher executes is in plan.h.
 *
 * Every function returns a value >= 0 or -errno.  No function keeps a pointer after it returned
 * unless its comment says so. */
#ifndef AKIOS_H
#define AKIOS_H

#include <stddef.h>
#include <stdint.h>

/* cffi: begin */

/* One numeric comparison on a notification: (args[arg] & mask) == value -> err.
 * flags bit 0: err 0 means "continue" and ends the search. */
struct akios_pump_rule {
    uint32_t nr;
    uint32_t arg;
    uint64_t mask;
    uint64_t value;
    int32_t err;
    uint32_t flags;
};

/* What the pump does with system call number nr (index in the table of AKIOS_PUMP_NRS).
 * An argument number of 255 means "none". */
struct akios_pump_entry {
    uint16_t kind;         /* goes into the record, meaning is Python's */
    uint16_t rule_first;   /* first akios_pump_rule of this nr */
    uint16_t rule_count;
    uint8_t known;         /* 0: answered ENOSYS and recorded */
    uint8_t path_arg;
    uint8_t path2_arg;
    uint8_t dirfd_arg;
    uint8_t dirfd2_arg;
    uint8_t sockaddr_arg;
    uint8_t sockaddr_len_arg;
    uint8_t argv_arg;
    uint8_t pad[2];
    int32_t default_errno; /* answer when no rule matched: 0 continues */
};

/* cffi: end */

#define AKIOS_PUMP_NRS 1024

#endif
