/* What a cage may hold of what no control group charges: counted before the call that would make
 * one more. */
#ifndef AKIOS_BOUNDS_H
#define AKIOS_BOUNDS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "ring.h"

#define NS_PER_S 1000000000ull

struct akios_bounds {
    uint32_t most[AKIOS_COUNTED];  /* 0: no bound */
    int group;                     /* the cage's v2 group, or -1 */
    int sockstat;                  /* of the cage's network namespace, -1 until first needed */
    struct akios_counted *counted; /* in the ring's memory */
};

void akios_bounds_open(struct akios_bounds *bounds, const struct akios_pump_config *config,
                       struct akios_counted *counted);
void akios_bounds_close(struct akios_bounds *bounds);
/* May thread `pid` make one more of `kind`, by a call with this first argument?  What cannot be
 * counted is full. */
bool akios_bounds_admit(struct akios_bounds *bounds, unsigned kind, pid_t pid, uint64_t argument,
                        uint64_t now_ns);

#endif
