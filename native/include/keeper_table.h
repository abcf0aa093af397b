/* The keeper's table of names. */
#ifndef AKIOS_KEEPER_TABLE_H
#define AKIOS_KEEPER_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "keeper.h"

struct akios_kept {
    char name[AKIOS_KEEP_NAME];
    uint32_t nfds;
    int fds[];
};

/* In the order of names; NULL behind the last. */
const struct akios_kept *akios_kept_at(size_t index);

/* Keeps the descriptors under the names of the slots, whose nfds add up to nfds, in the place of
 * what was kept under them.  0, and they are the table's; or -errno, nothing is changed, and they
 * stay the caller's. */
int akios_kept_keep(const struct akios_keep_slot *slots, size_t nslots, const int *fds,
                    size_t nfds);

/* Closes; how many names were dropped. */
size_t akios_kept_drop(const char *name);
size_t akios_kept_drop_prefix(const char *prefix);

#endif
