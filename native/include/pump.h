/* The pump's own state, shared by its start (shim_pump_start.c) and its thread (shim_pump.c). */
#ifndef AKIOS_PUMP_H
#define AKIOS_PUMP_H

#include <linux/seccomp.h>
#include <stdatomic.h>

#include "akios.h"
#include "bounds.h"

struct akios_pump {
    int niceness;
    struct akios_ring *ring;
    int listener;
    _Atomic uint32_t owners;
    struct seccomp_notif *notif; /* in the ring's memory; of the size this kernel names */
    size_t notif_size;
    struct seccomp_notif_resp *resp;
    size_t resp_size;
    uint64_t interval_ns; /* between two events at the limit, 0: no limit */
    uint64_t burst_ns;
    struct akios_bounds bounds;
    int deferred; /* where calls go that somebody else answers, -1: nowhere */
    struct akios_pump_entry entries[AKIOS_PUMP_NRS];
    struct akios_pump_rule rules[];
};

/* The thread's function. */
void *akios_pump_run(void *pump);
void akios_pump_release(struct akios_pump *pump);

#endif
