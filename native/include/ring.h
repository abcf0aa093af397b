/* The ring between one pump thread (producer) and one Trio task (consumer) of the same process, in
 * a memory that outlives that process: whoever is killed in the middle of anything leaves what the
 * next one needs.
 *
 * The memory is a memfd: struct akios_shared, then the data pages, which are mapped twice in a row,
 * so that a record never wraps.  Positions count bytes for ever and are reduced modulo the size
 * only for access.  What each side writes stands on cache lines of its own.
 *
 * A kill stops between two instructions, and every store before it is there.  So the order of the
 * stores is what counts, and the compiler keeps it (akios_then). */
#ifndef AKIOS_RING_H
#define AKIOS_RING_H

#include <stdatomic.h>
#include <stdbool.h>

#include "akios.h"

#define AKIOS_RECORD_MAX                                                                           \
    ((sizeof(struct akios_record) + 2 * AKIOS_PATH_MAX + 2 * AKIOS_DIR_MAX + AKIOS_ARGV_MAX +      \
      AKIOS_SOCKADDR_MAX + 7) &                                                                    \
     ~7ul)

#define AKIOS_RING_MAGIC 0x474e4952534f494bull
#define AKIOS_RING_VERSION 1

enum { AKIOS_SHARED_BYTES = 8192, AKIOS_NOTIF_BYTES = 512 };

/* What is done with the call in notif, written before anything of it is done. */
struct akios_journal {
    uint64_t id; /* of the notification; written last, so that the rest belongs to it */
    uint64_t head, records, bytes, denials, next_ns; /* as they are once it is done */
    int32_t err;
    uint32_t verdict;
};

/* See bounds.h. */
struct akios_counted {
    uint64_t again_ns[AKIOS_COUNTED]; /* not counted again before */
    uint32_t held[AKIOS_COUNTED];     /* when last counted */
    uint32_t granted[AKIOS_COUNTED];  /* since then */
    uint32_t base; /* filters that every process of the cage has: the first akiosd's and the cage's
                    * own */
};

/* Behind each name: who writes it. */
struct akios_shared {
    uint64_t magic; /* at the start */
    uint32_t version;
    uint32_t size; /* of the data */

    _Alignas(64) _Atomic uint64_t head; /* producer */
    _Atomic uint64_t records, denials, bytes, gone, waits_full, waits_rate;
    _Atomic int32_t error;
    _Atomic uint32_t ended;

    _Alignas(64) _Atomic uint64_t tail; /* consumer: what lies before it is durable elsewhere */
    _Atomic uint32_t sleeping;          /* consumer, but for the producer that wakes it */

    /* set by the producer, cleared by the consumer, and only on a full ring */
    _Alignas(64) _Atomic uint32_t full;

    _Alignas(64) uint64_t notif[AKIOS_NOTIF_BYTES / 8]; /* the kernel; id 0: none outstanding */
    struct akios_journal journal;                       /* producer */
    uint64_t next_ns;             /* producer: when an event would come that never uses the burst */
    struct akios_counted counted; /* producer */

    _Alignas(64) uint64_t rows_made; /* consumer */
    uint64_t rows_done;
    struct akios_row rows[AKIOS_ROWS]; /* row n is rows[n % AKIOS_ROWS] */
    uint64_t change_at;                /* a row that is being changed, and 1 + its number */
    struct akios_row change;
};

_Static_assert(sizeof(struct akios_shared) <= AKIOS_SHARED_BYTES, "one place for the header");

struct akios_ring {
    struct akios_shared *shared;
    uint8_t *data;
    uint32_t size;
    int memory_fd;
    int wake_fd; /* producer -> consumer: there is something */
    int kick_fd; /* consumer -> producer: there is room, or stop */
    _Atomic uint32_t owners;
    _Atomic uint32_t stop;
    _Alignas(64) _Atomic uint64_t read_at; /* consumer: what lies before it was given out */
};

/* What stands before is stored before what stands behind, for whoever looks after a kill. */
static inline void akios_then(void)
{
    atomic_signal_fence(memory_order_seq_cst);
}

void akios_ring_share(struct akios_ring *ring);

/* Producer: is there room for the largest record?  Says so to the consumer when there is not. */
bool akios_ring_has_room(struct akios_ring *ring);
/* Producer: where the next record is built; valid after akios_ring_has_room. */
struct akios_record *akios_ring_slot(struct akios_ring *ring);
/* Producer: the record in the slot is whole, and ends there. */
void akios_ring_publish(struct akios_ring *ring, uint64_t head);
void akios_ring_end(struct akios_ring *ring, int error);
void akios_ring_kick(struct akios_ring *ring);
/* Copies records from *at, and not beyond `to`; *at is where it stopped.  Bytes, or -EINVAL. */
int64_t akios_ring_read(const struct akios_ring *ring, uint64_t *at, uint64_t to, uint8_t *buffer,
                        size_t capacity, uint32_t max_records);
/* Is everything in the memory as a process that was killed at any place leaves it?  Finishes what
 * that process had begun, and finds out what was not given out yet.  0 or -EBADMSG. */
int akios_ring_check(struct akios_ring *ring);

/* One writer only: a plain load and store are enough, an atomic add would lock the bus. */
static inline void akios_count(_Atomic uint64_t *counter, uint64_t n)
{
    uint64_t value = atomic_load_explicit(counter, memory_order_relaxed);
    atomic_store_explicit(counter, value + n, memory_order_relaxed);
}

#endif
