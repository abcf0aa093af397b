/* The ring: see ring.h for its shape, akios.h for its calls. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ring.h"

/* Maps the header, and behind it the same data pages twice in a row. */
static int map_memory(struct akios_ring *ring, uint32_t size)
{
    size_t whole = AKIOS_SHARED_BYTES + 2ul * size;
    uint8_t *base = mmap(NULL, whole, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (base == MAP_FAILED)
        return -errno;
    size_t first = AKIOS_SHARED_BYTES + (size_t)size;
    if (mmap(base, first, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, ring->memory_fd, 0) ==
            MAP_FAILED ||
        mmap(base + first, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, ring->memory_fd,
             AKIOS_SHARED_BYTES) == MAP_FAILED) {
        int err = -errno;
        munmap(base, whole);
        return err;
    }
    ring->shared = (struct akios_shared *)(void *)base;
    ring->data = base + AKIOS_SHARED_BYTES;
    ring->size = size;
    return 0;
}

static struct akios_ring *make_ring(int memory_fd, int wake_fd, int kick_fd)
{
    struct akios_ring *ring = aligned_alloc(64, sizeof *ring);
    if (ring == NULL)
        return NULL;
    memset(ring, 0, sizeof *ring);
    ring->owners = 1;
    ring->memory_fd = memory_fd;
    ring->wake_fd = wake_fd;
    ring->kick_fd = kick_fd;
    return ring;
}

static bool is_size(uint64_t size)
{
    return size >= AKIOS_RING_MIN && size <= AKIOS_RING_MAX && (size & (size - 1)) == 0;
}

int akios_ring_open(uint32_t size, struct akios_ring **out)
{
    if (!is_size(size))
        return -EINVAL;
    struct akios_ring *ring =
        make_ring(memfd_create("akios-ring", MFD_CLOEXEC), eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK),
                  eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    if (ring == NULL)
        return -ENOMEM;
    int err = 0;
    if (ring->memory_fd < 0 || ring->wake_fd < 0 || ring->kick_fd < 0 ||
        ftruncate(ring->memory_fd, AKIOS_SHARED_BYTES + (off_t)size) < 0)
        err = -errno;
    if (err == 0)
        err = map_memory(ring, size);
    if (err != 0) {
        akios_ring_close(ring);
        return err;
    }
    ring->shared->version = AKIOS_RING_VERSION;
    ring->shared->size = size;
    ring->shared->magic = AKIOS_RING_MAGIC;
    *out = ring;
    return 0;
}

int akios_ring_adopt(int memory_fd, int wake_fd, int kick_fd, struct akios_ring **out)
{
    struct stat memory;
    if (fstat(memory_fd, &memory) < 0)
        return -errno;
    if (memory.st_size < AKIOS_SHARED_BYTES ||
        !is_size((uint64_t)memory.st_size - AKIOS_SHARED_BYTES))
        return -EBADMSG;
    struct akios_ring *ring = make_ring(memory_fd, wake_fd, kick_fd);
    if (ring == NULL)
        return -ENOMEM;
    int err = map_memory(ring, (uint32_t)(memory.st_size - AKIOS_SHARED_BYTES));
    if (err == 0)
        err = akios_ring_check(ring);
    if (err != 0) {
        ring->memory_fd = ring->wake_fd = ring->kick_fd = -1; /* the caller's */
        akios_ring_close(ring);
        return err;
    }
    atomic_store(&ring->shared->sleeping, AKIOS_AWAKE);
    *out = ring;
    return 0;
}

void akios_ring_descriptors(const struct akios_ring *ring, int *fds)
{
    fds[0] = ring->memory_fd;
    fds[1] = ring->wake_fd;
    fds[2] = ring->kick_fd;
}

void akios_ring_share(struct akios_ring *ring)
{
    atomic_fetch_add(&ring->owners, 1);
}

void akios_ring_close(struct akios_ring *ring)
{
    if (ring == NULL || atomic_fetch_sub(&ring->owners, 1) != 1)
        return;
    if (ring->shared != NULL)
        munmap(ring->shared, AKIOS_SHARED_BYTES + 2ul * ring->size);
    const int fds[] = {ring->memory_fd, ring->wake_fd, ring->kick_fd};
    for (unsigned n = 0; n < 3; n++)
        if (fds[n] >= 0)
            close(fds[n]);
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

static void wake_consumer(struct akios_ring *ring)
{
    _Atomic uint32_t *sleeping = &ring->shared->sleeping;
    if (atomic_exchange_explicit(sleeping, AKIOS_AWAKE, memory_order_relaxed) != AKIOS_AWAKE)
        ring_bell(ring->wake_fd);
}

static uint64_t head_of(const struct akios_ring *ring)
{
    return atomic_load_explicit(&ring->shared->head, memory_order_acquire);
}

static uint64_t unread_bytes(const struct akios_ring *ring)
{
    return head_of(ring) - atomic_load_explicit(&ring->read_at, memory_order_acquire);
}

static bool room_for_largest(const struct akios_ring *ring)
{
    uint64_t tail = atomic_load_explicit(&ring->shared->tail, memory_order_acquire);
    return ring->size - (head_of(ring) - tail) >= AKIOS_RECORD_MAX;
}

bool akios_ring_has_room(struct akios_ring *ring)
{
    if (room_for_largest(ring))
        return true;
    atomic_store_explicit(&ring->shared->full, 1, memory_order_relaxed);
    atomic_thread_fence(memory_order_seq_cst);
    /* The consumer may have made room between the look and the flag, and then it saw no flag. */
    if (room_for_largest(ring))
        return true;
    /* It may wait for half a ring of what it has not read, and there is not so much to come. */
    if (atomic_load_explicit(&ring->shared->sleeping, memory_order_relaxed) == AKIOS_LINGERING)
        wake_consumer(ring);
    return false;
}

struct akios_record *akios_ring_slot(struct akios_ring *ring)
{
    uint64_t head = atomic_load_explicit(&ring->shared->head, memory_order_relaxed);
    return (struct akios_record *)(void *)(ring->data + (head & (ring->size - 1)));
}

void akios_ring_publish(struct akios_ring *ring, uint64_t head)
{
    atomic_store_explicit(&ring->shared->head, head, memory_order_release);
    /* Either this fence comes first and the consumer sees the new head, or the consumer's does and
     * its flag is seen here. */
    atomic_thread_fence(memory_order_seq_cst);
    uint32_t sleeping = atomic_load_explicit(&ring->shared->sleeping, memory_order_relaxed);
    if (sleeping == AKIOS_ASLEEP ||
        (sleeping == AKIOS_LINGERING && unread_bytes(ring) > ring->size / 2))
        wake_consumer(ring);
}

void akios_ring_end(struct akios_ring *ring, int error)
{
    atomic_store_explicit(&ring->shared->error, error, memory_order_relaxed);
    atomic_store_explicit(&ring->shared->ended, 1, memory_order_release);
    atomic_thread_fence(memory_order_seq_cst);
    wake_consumer(ring);
}

int akios_ring_sleep(struct akios_ring *ring, uint32_t state)
{
    atomic_store_explicit(&ring->shared->sleeping, state, memory_order_relaxed);
    atomic_thread_fence(memory_order_seq_cst);
    uint64_t enough = state == AKIOS_LINGERING ? ring->size / 2 : 0;
    bool is_full = atomic_load_explicit(&ring->shared->full, memory_order_relaxed) != 0;
    bool lingers_for_nothing = state == AKIOS_LINGERING && is_full;
    if (unread_bytes(ring) <= enough && !lingers_for_nothing &&
        !atomic_load_explicit(&ring->shared->ended, memory_order_acquire))
        return 1;
    akios_ring_wake(ring);
    return 0;
}

void akios_ring_wake(struct akios_ring *ring)
{
    uint64_t rings;
    atomic_store_explicit(&ring->shared->sleeping, AKIOS_AWAKE, memory_order_relaxed);
    ssize_t got = read(ring->wake_fd, &rings, sizeof rings);
    (void)got;
}

static bool is_same(const struct akios_record *a, const struct akios_record *b)
{
    /* That the target was gone may be found later, and what is read twice must fold alike. */
    if (a->size != b->size || ((a->flags ^ b->flags) & ~(uint32_t)AKIOS_GONE) != 0 ||
        a->pid != b->pid || a->nr != b->nr || a->err != b->err)
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

int64_t akios_ring_read(const struct akios_ring *ring, uint64_t *at, uint64_t to, uint8_t *buffer,
                        size_t capacity, uint32_t max_records)
{
    if (capacity < AKIOS_RECORD_MAX || max_records == 0 || ((uintptr_t)buffer & 7) != 0)
        return -EINVAL;
    struct akios_record *last = NULL;
    size_t filled = 0;
    uint32_t records = 0;
    while (*at != to) {
        const struct akios_record *next = (const void *)(ring->data + (*at & (ring->size - 1)));
        if (last != NULL && last->count < UINT32_MAX && is_same(last, next)) {
            last->count++;
            /* One that was made is not hidden among those that were not. */
            last->flags &= next->flags | ~(uint32_t)AKIOS_GONE;
        } else {
            if (records == max_records || filled + next->size > capacity)
                break;
            last = (struct akios_record *)(void *)(buffer + filled);
            memcpy(last, next, next->size);
            filled += last->size;
            records++;
        }
        *at += next->size;
    }
    return (int64_t)filled;
}

int64_t akios_ring_drain(struct akios_ring *ring, uint8_t *buffer, size_t capacity,
                         uint32_t max_records)
{
    uint64_t at = atomic_load_explicit(&ring->read_at, memory_order_relaxed);
    int64_t filled = akios_ring_read(ring, &at, head_of(ring), buffer, capacity, max_records);
    atomic_store_explicit(&ring->read_at, at, memory_order_release);
    return filled;
}

void akios_ring_counters(const struct akios_ring *ring, struct akios_pump_counters *counters)
{
    counters->ended = (int32_t)atomic_load_explicit(&ring->shared->ended, memory_order_acquire);
    counters->error = atomic_load_explicit(&ring->shared->error, memory_order_relaxed);
    counters->records = atomic_load_explicit(&ring->shared->records, memory_order_relaxed);
    counters->denials = atomic_load_explicit(&ring->shared->denials, memory_order_relaxed);
    counters->bytes = atomic_load_explicit(&ring->shared->bytes, memory_order_relaxed);
    counters->gone = atomic_load_explicit(&ring->shared->gone, memory_order_relaxed);
    counters->waits_full = atomic_load_explicit(&ring->shared->waits_full, memory_order_relaxed);
    counters->waits_rate = atomic_load_explicit(&ring->shared->waits_rate, memory_order_relaxed);
}
