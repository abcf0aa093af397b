/* The ring between one pump thread (producer) and one Trio task (consumer) of the same process.
 *
 * The data pages are a memfd mapped twice in a row, so that a record never wraps.  head and tail
 * count bytes for ever and are reduced modulo the size only for access.  What each side writes
 * stands on cache lines of its own. */
#ifndef AKIOS_RING_H
#define AKIOS_RING_H

#include <stdatomic.h>
#include <stdbool.h>

#include "akios.h"

#define AKIOS_RECORD_MAX                                                                           \
    ((sizeof(struct akios_record) + 2 * AKIOS_PATH_MAX + 2 * AKIOS_DIR_MAX + AKIOS_ARGV_MAX +      \
      AKIOS_SOCKADDR_MAX + 7) &                                                                    \
     ~7ul)

struct akios_ring {
    /* fixed */
    uint8_t *data;
    uint32_t size;
    int wake_fd; /* producer -> consumer: there is something */
    int kick_fd; /* consumer -> producer: there is room, or stop */
    _Atomic uint32_t owners;
    _Atomic uint32_t stop;

    /* written by the producer */
    _Alignas(64) _Atomic uint64_t head;
    _Atomic uint64_t records, denials, bytes, gone, waits_full, waits_rate;
    _Atomic int32_t error;
    _Atomic uint32_t ended;

    /* written by the consumer, but for the one that wakes it */
    _Alignas(64) _Atomic uint64_t tail;
    _Atomic uint32_t sleeping;

    /* set by the producer, cleared by the consumer, and only on a full ring */
    _Alignas(64) _Atomic uint32_t full;
};

void akios_ring_share(struct akios_ring *ring);

/* Producer: is there room for the largest record?  Says so to the consumer when there is not. */
bool akios_ring_has_room(struct akios_ring *ring);
/* Producer: where the next record is built; valid after akios_ring_has_room. */
struct akios_record *akios_ring_slot(struct akios_ring *ring);
/* Producer: the record in the slot is whole. */
void akios_ring_publish(struct akios_ring *ring, uint32_t size);
void akios_ring_end(struct akios_ring *ring, int error);
void akios_ring_kick(struct akios_ring *ring);

/* One writer only: a plain load and store are enough, an atomic add would lock the bus. */
static inline void akios_count(_Atomic uint64_t *counter, uint64_t n)
{
    uint64_t value = atomic_load_explicit(counter, memory_order_relaxed);
    atomic_store_explicit(counter, value + n, memory_order_relaxed);
}

#endif
