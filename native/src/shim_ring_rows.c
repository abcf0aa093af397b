/* The consumer's rows, and what is believed of a ring that another process left: see ring.h. */
#include <errno.h>

#include "ring.h"

static bool is_record(const struct akios_record *record, uint64_t most)
{
    if (most < sizeof *record || record->size < sizeof *record || record->size > most ||
        record->size > AKIOS_RECORD_MAX || record->size % 8 != 0)
        return false;
    size_t contents = (size_t)record->path_len + record->path2_len + record->argv_len +
                      record->sockaddr_len + record->dir_len + record->dir2_len;
    return contents <= record->size - sizeof *record && record->count == 1 && record->err >= 0 &&
           record->err < 4096;
}

/* Where the walk over whole records from `from` that does not pass `to` ends. */
static uint64_t walk(const struct akios_ring *ring, uint64_t from, uint64_t to)
{
    while (from < to) {
        const struct akios_record *record = (const void *)(ring->data + (from & (ring->size - 1)));
        if (!is_record(record, to - from))
            break;
        from += record->size;
    }
    return from;
}

/* A change of a row that a kill interrupted is finished. */
static int finish_change(struct akios_shared *shared)
{
    if (shared->change_at > AKIOS_ROWS)
        return -EBADMSG;
    if (shared->change_at != 0)
        shared->rows[shared->change_at - 1] = shared->change;
    akios_then();
    shared->change_at = 0;
    return 0;
}

static int check_rows(struct akios_ring *ring, uint64_t tail, uint64_t head, uint64_t *end)
{
    struct akios_shared *shared = ring->shared;
    if (shared->rows_made - shared->rows_done > AKIOS_ROWS)
        return -EBADMSG;
    *end = tail;
    /* The first may be done but for its number: then the tail lies behind it. */
    if (shared->rows_made != shared->rows_done &&
        shared->rows[shared->rows_done % AKIOS_ROWS].to == tail)
        shared->rows_done++;
    for (uint64_t n = shared->rows_done; n != shared->rows_made; n++) {
        const struct akios_row *row = &shared->rows[n % AKIOS_ROWS];
        if (row->from != *end || row->to < row->from || row->to > head || row->count == 0 ||
            walk(ring, row->from, row->to) != row->to)
            return -EBADMSG;
        *end = row->to;
    }
    return 0;
}

int akios_ring_check(struct akios_ring *ring)
{
    struct akios_shared *shared = ring->shared;
    uint64_t head = shared->head, tail = shared->tail, end;
    if (shared->magic != AKIOS_RING_MAGIC || shared->version != AKIOS_RING_VERSION ||
        shared->size != ring->size || head < tail || head - tail > ring->size ||
        ((head | tail) & 7) != 0)
        return -EBADMSG;
    int err = finish_change(shared);
    if (err == 0)
        err = check_rows(ring, tail, head, &end);
    if (err != 0)
        return err;
    if (walk(ring, end, head) != head)
        return -EBADMSG;
    const struct akios_journal *journal = &shared->journal;
    bool is_left = shared->notif[0] != 0 && shared->notif[0] == journal->id;
    if (is_left && (journal->head < head || walk(ring, head, journal->head) != journal->head ||
                    journal->head - tail > ring->size || journal->err < 0 || journal->err >= 4096))
        return -EBADMSG;
    atomic_store(&ring->read_at, end);
    return 0;
}

static struct akios_row *row_of(const struct akios_ring *ring, uint64_t number)
{
    return &ring->shared->rows[number % AKIOS_ROWS];
}

static uint64_t tail_of(const struct akios_ring *ring)
{
    return atomic_load_explicit(&ring->shared->tail, memory_order_relaxed);
}

int akios_ring_note(struct akios_ring *ring, uint64_t first, uint32_t count)
{
    struct akios_shared *shared = ring->shared;
    uint64_t made = shared->rows_made;
    if (akios_ring_rows(ring) == AKIOS_ROWS)
        return -ENOBUFS;
    *row_of(ring, made) = (struct akios_row){
        .first = first,
        .count = count,
        .from = made == shared->rows_done ? tail_of(ring) : row_of(ring, made - 1)->to,
        .to = atomic_load_explicit(&ring->read_at, memory_order_relaxed),
    };
    akios_then();
    shared->rows_made = made + 1;
    akios_then();
    return 0;
}

static void move_tail(struct akios_ring *ring, uint64_t tail)
{
    struct akios_shared *shared = ring->shared;
    atomic_store_explicit(&shared->tail, tail, memory_order_release);
    atomic_thread_fence(memory_order_seq_cst);
    if (atomic_load_explicit(&shared->full, memory_order_relaxed) != 0 &&
        atomic_exchange_explicit(&shared->full, 0, memory_order_relaxed) != 0)
        akios_ring_kick(ring);
}

void akios_ring_settle(struct akios_ring *ring, uint64_t size)
{
    struct akios_shared *shared = ring->shared;
    while (shared->rows_done != shared->rows_made) {
        const struct akios_row *row = row_of(ring, shared->rows_done);
        if (row->first + row->count > size)
            return;
        /* In this order: a row that lies before the tail is known to be done, and bytes behind the
         * tail without a row would be read again. */
        move_tail(ring, row->to);
        akios_then();
        shared->rows_done++;
    }
}

void akios_ring_free(struct akios_ring *ring)
{
    uint64_t read_at = atomic_load_explicit(&ring->read_at, memory_order_relaxed);
    if (akios_ring_rows(ring) == 0 && read_at != tail_of(ring))
        move_tail(ring, read_at);
}

uint32_t akios_ring_rows(const struct akios_ring *ring)
{
    return (uint32_t)(ring->shared->rows_made - ring->shared->rows_done);
}

int akios_ring_row(const struct akios_ring *ring, uint32_t number, struct akios_row *row)
{
    if (number >= akios_ring_rows(ring))
        return -ENOENT;
    *row = *row_of(ring, ring->shared->rows_done + number);
    return 0;
}

int64_t akios_ring_read_row(struct akios_ring *ring, uint32_t number, uint8_t *buffer,
                            size_t capacity, uint32_t max_records)
{
    struct akios_row row;
    int err = akios_ring_row(ring, number, &row);
    if (err < 0)
        return err;
    int64_t filled = akios_ring_read(ring, &row.from, row.to, buffer, capacity, max_records);
    return filled >= 0 && row.from != row.to ? -EBADMSG : filled;
}

int akios_ring_move_row(struct akios_ring *ring, uint32_t number, uint32_t without, uint64_t first)
{
    struct akios_shared *shared = ring->shared;
    struct akios_row row;
    int err = akios_ring_row(ring, number, &row);
    if (err < 0)
        return err;
    if (without >= row.count)
        return -EINVAL;
    row.first = first;
    row.count -= without;
    row.skip += without;
    shared->change = row;
    akios_then();
    shared->change_at = 1 + (shared->rows_done + number) % AKIOS_ROWS;
    akios_then();
    return finish_change(shared);
}
