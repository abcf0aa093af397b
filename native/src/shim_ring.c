/* The ring: see ring.h for its shape, akios.h for its calls. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "ring.h"

/* Maps the same pages twice in a row.  The descriptor is not needed afterwards. */
static int map_twice(uint32_t size, uint8_t **data)
{
    int fd = memfd_create("akios-ring", MFD_CLOEXEC);
    if (fd < 0)
        return -errno;
    int err = 0;
    uint8_t *base = MAP_FAILED;
    if (ftruncate(fd, size) < 0) {
        err = -errno;
    } else if ((base = mmap(NULL, 2ul * size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)) ==
               MAP_FAILED) {
        err = -errno;
    } else {
        for (int half = 0; half < 2 && err == 0; half++)
            if (mmap(base + (size_t)half * size, size, PROT_READ | PROT_WRITE,
                     MAP_SHARED | MAP_FIXED, fd, 0) == MAP_FAILED)
                err = -errno;
        if (err != 0)
            munmap(base, 2ul * size);
    }
    close(fd);
    *data = base;
    return err;
}

int akios_ring_open(uint32_t size, struct akios_ring **out)
{
    if (size < AKIOS_RING_MIN || size > AKIOS_RING_MAX || (size & (size - 1)) != 0)
        return -EINVAL;
    struct akios_ring *ring = aligned_alloc(64, sizeof *ring);
    if (ring == NULL)
        return -ENOMEM;
    memset(ring, 0, sizeof *ring);
    int err = map_twice(size, &ring->data);
    if (err != 0) {
        free(ring);
        return err;
    }
    ring->size = size;
    ring->owners = 1;
    ring->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    ring->kick_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (ring->wake_fd < 0 || ring->kick_fd < 0) {
        err = -errno;
        akios_ring_close(ring);
        return err;
    }
    *out = ring;
    return 0;
}

void akios_ring_share(struct akios_ring *ring)
{
    atomic_fetch_add(&ring->owners, 1);
}

void akios_ring_close(struct akios_ring *ring)
{
    if (ring == NULL || atomic_fetch_sub(&ring->owners, 1) != 1)
        return;
    munmap(ring->data, 2ul * ring->size);
    if (ring->wake_fd >= 0)
        close(ring->wake_fd);
    if (ring->kick_fd >= 0)
        close(ring->kick_fd);
    free(ring);
}

int akios_ring_wake_fd(const struct akios_ring *ring)
{
    return ring->wake_fd;
}

/* An eventfd write fails only when the counter is full, which means that it is readable anyway. */
static void ring_bell(int fd)
{
    uint64_t one = 1;
    ssize_t written = write(fd, &one, sizeof one);
    (void)written;
}

void akios_ring_kick(struct akios_ring *ring)
{
    ring_bell(ring->kick_fd);
}

static uint64_t used_bytes(const struct akios_ring *ring)
{
    return atomic_load_explicit(&ring->head, memory_order_acquire) -
           atomic_load_explicit(&ring->tail, memory_order_acquire);
}

static bool room_for_largest(const struct akios_ring *ring)
{
    return ring->size - used_bytes(ring) >= AKIOS_RECORD_MAX;
}

bool akios_ring_has_room(struct akios_ring *ring)
{
    if (room_for_largest(ring))
        return true;
    atomic_store_explicit(&ring->full, 1, memory_order_relaxed);
    atomic_thread_fence(memory_order_seq_cst);
    /* The consumer may have drained between the look and the flag, and then it saw no flag. */
    return room_for_largest(ring);
}

struct akios_record *akios_ring_slot(struct akios_ring *ring)
{
    uint64_t head = atomic_load_explicit(&ring->head, memory_order_relaxed);
    return (struct akios_record *)(void *)(ring->data + (head & (ring->size - 1)));
}

static void wake_consumer(struct akios_ring *ring)
{
    if (atomic_exchange_explicit(&ring->sleeping, AKIOS_AWAKE, memory_order_relaxed) != AKIOS_AWAKE)
        ring_bell(ring->wake_fd);
}

void akios_ring_publish(struct akios_ring *ring, uint32_t size)
{
    uint64_t head = atomic_load_explicit(&ring->head, memory_order_relaxed) + size;
    atomic_store_explicit(&ring->head, head, memory_order_release);
    /* Either this fence comes first and the consumer sees the new head, or the consumer's does and
     * its flag is seen here. */
    atomic_thread_fence(memory_order_seq_cst);
    uint32_t sleeping = atomic_load_explicit(&ring->sleeping, memory_order_relaxed);
    if (sleeping == AKIOS_ASLEEP ||
        (sleeping == AKIOS_LINGERING && used_bytes(ring) > ring->size / 2))
        wake_consumer(ring);
}

void akios_ring_end(struct akios_ring *ring, int error)
{
    atomic_store_explicit(&ring->error, error, memory_order_relaxed);
    atomic_store_explicit(&ring->ended, 1, memory_order_release);
    atomic_thread_fence(memory_order_seq_cst);
    wake_consumer(ring);
}

int akios_ring_sleep(struct akios_ring *ring, uint32_t state)
{
    atomic_store_explicit(&ring->sleeping, state, memory_order_relaxed);
    atomic_thread_fence(memory_order_seq_cst);
    uint64_t enough = state == AKIOS_LINGERING ? ring->size / 2 : 0;
    if (used_bytes(ring) <= enough && !atomic_load_explicit(&ring->ended, memory_order_acquire))
        return 1;
    akios_ring_wake(ring);
    return 0;
}

void akios_ring_wake(struct akios_ring *ring)
{
    uint64_t rings;
    atomic_store_explicit(&ring->sleeping, AKIOS_AWAKE, memory_order_relaxed);
    ssize_t got = read(ring->wake_fd, &rings, sizeof rings);
    (void)got;
}

static bool is_same(const struct akios_record *a, const struct akios_record *b)
{
    if (a->size != b->size || a->flags != b->flags || a->pid != b->pid || a->nr != b->nr ||
        a->err != b->err)
        return false;
    /* kind, the lengths, content_args and pad lie in one row */
    size_t from = offsetof(struct akios_record, kind);
    size_t to = offsetof(struct akios_record, args);
    if (memcmp((const uint8_t *)a + from, (const uint8_t *)b + from, to - from) != 0)
        return false;
    for (unsigned n = 0; n < 6; n++)
        if (((a->content_args >> n) & 1) == 0 && a->args[n] != b->args[n])
            return false;
    return memcmp(a + 1, b + 1, a->size - sizeof *a) == 0;
}

int64_t akios_ring_drain(struct akios_ring *ring, uint8_t *buffer, size_t capacity,
                         uint32_t max_records)
{
    if (capacity < AKIOS_RECORD_MAX || max_records == 0 || ((uintptr_t)buffer & 7) != 0)
        return -EINVAL;
    uint64_t tail = atomic_load_explicit(&ring->tail, memory_order_relaxed);
    uint64_t head = atomic_load_explicit(&ring->head, memory_order_acquire);
    struct akios_record *last = NULL;
    size_t filled = 0;
    uint32_t records = 0;
    while (tail != head) {
        const struct akios_record *next = (const void *)(ring->data + (tail & (ring->size - 1)));
        if (last != NULL && last->count < UINT32_MAX && is_same(last, next)) {
            last->count++;
        } else {
            if (records == max_records || filled + next->size > capacity)
                break;
            last = (struct akios_record *)(void *)(buffer + filled);
            memcpy(last, next, next->size);
            filled += last->size;
            records++;
        }
        tail += next->size;
    }
    atomic_store_explicit(&ring->tail, tail, memory_order_release);
    atomic_thread_fence(memory_order_seq_cst);
    if (atomic_load_explicit(&ring->full, memory_order_relaxed) != 0 &&
        atomic_exchange_explicit(&ring->full, 0, memory_order_relaxed) != 0)
        akios_ring_kick(ring);
    return (int64_t)filled;
}

void akios_ring_counters(const struct akios_ring *ring, struct akios_pump_counters *counters)
{
    counters->ended = (int32_t)atomic_load_explicit(&ring->ended, memory_order_acquire);
    counters->error = atomic_load_explicit(&ring->error, memory_order_relaxed);
    counters->records = atomic_load_explicit(&ring->records, memory_order_relaxed);
    counters->denials = atomic_load_explicit(&ring->denials, memory_order_relaxed);
    counters->bytes = atomic_load_explicit(&ring->bytes, memory_order_relaxed);
    counters->gone = atomic_load_explicit(&ring->gone, memory_order_relaxed);
    counters->waits_full = atomic_load_explicit(&ring->waits_full, memory_order_relaxed);
    counters->waits_rate = atomic_load_explicit(&ring->waits_rate, memory_order_relaxed);
}
