/* What akiosd and akios-keeper say to each other: one SOCK_SEQPACKET packet for a request, one for
 * its answer, in order.  akiosd/kernel/keeper.py has the same numbers.
 *
 * Numbers of a host's own byte order: both ends are on one machine.  They may be of two releases
 * while akiosd is upgraded, so that what stands here only ever grows. */
#ifndef AKIOS_KEEPER_H
#define AKIOS_KEEPER_H

#include <stdint.h>

#define AKIOS_KEEPER_VERSION 1
#define AKIOS_KEEP_NAME 64         /* bytes of a name with its NUL */
#define AKIOS_KEEP_SLOTS 64        /* names in one request */
#define AKIOS_KEEP_FDS 253         /* descriptors in one request: SCM_MAX_FD of unix(7) */
#define AKIOS_KEEP_MOST_FDS 131072 /* descriptors altogether */

enum akios_keep_kind {
    AKIOS_KEEP_HELLO = 1,       /* number: seconds that akiosd may be away */
    AKIOS_KEEP_HERE = 2,        /* what is kept is served again: time away is forgotten */
    AKIOS_KEEP_KEEP = 3,        /* number: slots that follow; all of them are kept, or none */
    AKIOS_KEEP_DROP = 4,        /* one slot: that name */
    AKIOS_KEEP_DROP_PREFIX = 5, /* one slot: every name that begins so */
    AKIOS_KEEP_TAKE = 6,        /* number: which, in the order of names; -ENOENT behind the last */
    AKIOS_KEEP_LEAVE = 7,       /* kill the control groups, forget everything and end */
};

struct akios_keep_slot {
    char name[AKIOS_KEEP_NAME];
    uint32_t nfds; /* of the packet's descriptors, in order */
};

struct akios_keep_request {
    uint32_t kind;
    uint32_t number;
    struct akios_keep_slot slots[AKIOS_KEEP_SLOTS]; /* as many as there are are sent */
};

/* result: -errno; HELLO: the version; KEEP and DROP: how many names; TAKE: descriptors that ride on
 * it. Of HELLO, number is the keeper's pid, and name since when nobody serves what is kept: ns
 * since the epoch in decimal, empty where somebody did until now. */
struct akios_keep_answer {
    int32_t result;
    uint32_t number;
    char name[AKIOS_KEEP_NAME]; /* of TAKE and HELLO */
};

#endif
