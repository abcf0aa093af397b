/* The pump: one thread that serves one seccomp listener (seccomp_unotify(2)).
 *
 * A call goes this way: received into shared memory, its record built behind the head, journalled,
 * published, answered.  Killed at any place, another process finds out from that memory how far it
 * came, and goes on (serve_left).
 *
 * A record is in the ring before its call proceeds, so whoever kills the machine afterwards finds
 * the attempt in memory that the target cannot reach.  Waiting (for room in the ring, for the event
 * rate) is done *before* a notification is received: a cage with a received and unanswered one
 * cannot be frozen, and a target that dies meanwhile has done nothing yet.
 *
 * Decisions look at numbers only.  What a pointer shows may change between the look and the call,
 * so akios_pump_start refuses a table with a rule on a pointer. */
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "first.h"
#include "pump.h"
#include "remote.h"
#include "ring.h"

#if defined(__x86_64__)
#define NATIVE_ARCH AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define NATIVE_ARCH AUDIT_ARCH_AARCH64
#else
#error "name the AUDIT_ARCH of this machine"
#endif

enum outcome { GO_ON, READY, STOPPED, ALL_DEAD, FAILED };
/* By record->err; made or not, and told to nobody; answered with 0 and not made; answered by
 * somebody else, and that told to nobody. */
enum verdict { DECIDED, SILENT, ANSWERED, DEFERRED, HANDED_ON };

static uint64_t read_clock(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

/* Waits for a kick, the death of every target and, with POLLIN, a notification. */
static enum outcome wait_event(struct akios_pump *pump, short events,
                               const struct timespec *timeout)
{
    struct pollfd fds[2] = {
        {.fd = pump->listener, .events = events},
        {.fd = pump->ring->kick_fd, .events = POLLIN},
    };
    int ready = ppoll(fds, 2, timeout, NULL);
    if (ready < 0 && errno != EINTR)
        return FAILED;
    if (ready > 0 && fds[1].revents != 0) {
        uint64_t kicks;
        ssize_t got = read(pump->ring->kick_fd, &kicks, sizeof kicks);
        (void)got;
    }
    if (atomic_load_explicit(&pump->ring->stop, memory_order_relaxed) != 0)
        return STOPPED;
    if (ready <= 0 || fds[0].revents == 0)
        return GO_ON;
    return (fds[0].revents & POLLIN) != 0 ? READY : ALL_DEAD;
}

static enum outcome wait_room(struct akios_pump *pump)
{
    enum outcome outcome = GO_ON;
    if (akios_ring_has_room(pump->ring))
        return outcome;
    akios_count(&pump->ring->shared->waits_full, 1);
    do {
        outcome = wait_event(pump, 0, NULL);
    } while (outcome == GO_ON && !akios_ring_has_room(pump->ring));
    return outcome;
}

/* The token bucket, kept as the one number next_ns. */
static enum outcome wait_rate(struct akios_pump *pump)
{
    if (pump->interval_ns == 0)
        return GO_ON;
    uint64_t *next_ns = &pump->ring->shared->next_ns;
    uint64_t now = read_clock(CLOCK_MONOTONIC);
    bool counted = false;
    while (*next_ns > now + pump->burst_ns) {
        if (!counted)
            akios_count(&pump->ring->shared->waits_rate, 1);
        counted = true;
        uint64_t wait = *next_ns - pump->burst_ns - now;
        struct timespec timeout = {.tv_sec = (time_t)(wait / NS_PER_S),
                                   .tv_nsec = (long)(wait % NS_PER_S)};
        enum outcome outcome = wait_event(pump, 0, &timeout);
        if (outcome != GO_ON)
            return outcome;
        now = read_clock(CLOCK_MONOTONIC);
    }
    if (*next_ns < now)
        *next_ns = now;
    return GO_ON;
}

/* The rule that decides, NULL where none holds: then the entry's default does. */
static const struct akios_pump_rule *
find_rule(const struct akios_pump *pump, const struct akios_pump_entry *entry, const uint64_t *args)
{
    bool holds = true;
    for (unsigned n = 0; n < entry->rule_count; n++) {
        const struct akios_pump_rule *rule = &pump->rules[entry->rule_first + n];
        holds = holds && (args[rule->arg] & rule->mask) == rule->value;
        if ((rule->flags & AKIOS_PUMP_RULE_AND) != 0)
            continue;
        if (holds)
            return rule;
        holds = true;
    }
    return NULL;
}

/* What is done with a call, as the table says: sets record->err. */
static enum verdict decide(struct akios_pump *pump, const struct akios_pump_entry *entry,
                           struct akios_record *record)
{
    const struct akios_pump_rule *rule = find_rule(pump, entry, record->args);
    if (rule == NULL || (rule->flags & AKIOS_PUMP_RULE_COUNT) == 0) {
        record->err = rule == NULL ? entry->default_errno : rule->err;
        if (rule != NULL && (rule->flags & AKIOS_PUMP_RULE_DEFER) != 0)
            return (rule->flags & AKIOS_PUMP_RULE_SILENT) != 0 ? HANDED_ON : DEFERRED;
        return rule != NULL && (rule->flags & AKIOS_PUMP_RULE_ANSWER) != 0 ? ANSWERED : DECIDED;
    }
    uint64_t now = read_clock(CLOCK_MONOTONIC);
    bool more = akios_bounds_admit(&pump->bounds, rule->flags >> 8, (pid_t)record->pid,
                                   record->args[0], now);
    record->err = more ? 0 : rule->err;
    return more && (rule->flags & AKIOS_PUMP_RULE_SILENT) != 0 ? SILENT : DECIDED;
}

/* Notes one content in the record; flags as those of path, shifted to its place. */
static uint8_t *add_content(struct akios_record *record, uint8_t *end, struct akios_content content,
                            uint16_t *len, unsigned place, uint8_t arg)
{
    if (content.fault) {
        record->flags |= (uint32_t)AKIOS_FAULT_PATH << place;
        /* The kernel reads memory that process_vm_readv(2) does not: mapped for writing or
         * executing only, or special mappings.  A call that cannot be recorded is not made; NULL
         * means "none" to some calls. */
        if (record->err == 0 && record->args[arg] != 0)
            record->err = EFAULT;
    }
    if (content.cut)
        record->flags |= (uint32_t)AKIOS_CUT_PATH << place;
    if (!content.fault || content.len > 0)
        record->flags |= (uint32_t)AKIOS_HAS_PATH << place;
    if (!content.fault)
        record->content_args = (uint8_t)(record->content_args | 1u << arg);
    *len = content.len;
    return end + content.len;
}

/* Where a path starts that the target gave with this directory argument; a hint like the path
 * itself. */
static uint8_t *add_directory(struct akios_record *record, uint8_t *end, const uint8_t *path,
                              uint16_t path_len, uint8_t dirfd_arg, uint32_t flag, uint16_t *len)
{
    int fd = dirfd_arg == AKIOS_PUMP_NO_ARG ? AT_FDCWD : (int)record->args[dirfd_arg];
    *len = path != NULL ? akios_read_start((pid_t)record->pid, fd, path, path_len, end)
                        : akios_read_link((pid_t)record->pid, fd, end);
    if (*len > 0)
        record->flags |= flag;
    return end + *len;
}

static uint8_t *read_directories(struct akios_record *record, const struct akios_pump_entry *entry,
                                 uint8_t *end)
{
    const uint8_t *path = (const uint8_t *)(record + 1);
    bool one = (record->flags & AKIOS_HAS_PATH) != 0, two = (record->flags & AKIOS_HAS_PATH2) != 0;
    if (one && (entry->words & AKIOS_WORD_PATH) == 0)
        end = add_directory(record, end, path, record->path_len, entry->dirfd_arg, AKIOS_HAS_DIR,
                            &record->dir_len);
    else if (entry->path_arg == AKIOS_PUMP_NO_ARG && entry->dirfd_arg != AKIOS_PUMP_NO_ARG)
        end =
            add_directory(record, end, NULL, 0, entry->dirfd_arg, AKIOS_HAS_DIR, &record->dir_len);
    if (two && (entry->words & AKIOS_WORD_PATH2) == 0)
        end = add_directory(record, end, path + record->path_len, record->path2_len,
                            entry->dirfd2_arg, AKIOS_HAS_DIR2, &record->dir2_len);
    return end;
}

static uint8_t *read_contents(struct akios_record *record, const struct akios_pump_entry *entry)
{
    pid_t pid = (pid_t)record->pid;
    const uint64_t *args = record->args;
    uint8_t *end = (uint8_t *)(record + 1);
    if (entry->path_arg != AKIOS_PUMP_NO_ARG)
        end = add_content(record, end,
                          akios_read_string(pid, args[entry->path_arg], end, AKIOS_PATH_MAX),
                          &record->path_len, 0, entry->path_arg);
    if (entry->path2_arg != AKIOS_PUMP_NO_ARG)
        end = add_content(record, end,
                          akios_read_string(pid, args[entry->path2_arg], end, AKIOS_PATH_MAX),
                          &record->path2_len, 1, entry->path2_arg);
    if (entry->argv_arg != AKIOS_PUMP_NO_ARG)
        end = add_content(record, end, akios_read_argv(pid, args[entry->argv_arg], end),
                          &record->argv_len, 2, entry->argv_arg);
    if (entry->sockaddr_arg != AKIOS_PUMP_NO_ARG) {
        uint64_t claimed = entry->sockaddr_len_arg == AKIOS_PUMP_NO_ARG
                               ? AKIOS_SOCKADDR_MAX
                               : args[entry->sockaddr_len_arg];
        end = add_content(record, end,
                          akios_read_sockaddr(pid, args[entry->sockaddr_arg], claimed, end),
                          &record->sockaddr_len, 3, entry->sockaddr_arg);
    }
    return read_directories(record, entry, end);
}

/* A call that is not made gets the errno of what the kernel looks at before it comes to what was
 * refused here. */
static void refuse_as_the_kernel(const struct akios_pump *pump,
                                 const struct akios_pump_entry *entry, struct akios_record *record)
{
    const struct akios_pump_rule *rules = &pump->rules[entry->rule_first + entry->rule_count];
    int32_t err = akios_refused_first((pid_t)record->pid, rules, entry->first_count, record->args);
    /* A path that is too long is found before the one behind it, or the arguments; names of
     * attributes are read before the path. */
    bool cut = (record->flags & AKIOS_CUT_PATH) != 0 && (entry->words & AKIOS_WORD_PATH2) == 0;
    if (err == 0 && cut && record->err == EFAULT)
        err = ENAMETOOLONG;
    if (err != 0)
        record->err = err;
}

/* After the reads: if the target died meanwhile, its pid may be another's and so may what was read.
 */
static bool is_still_waiting(struct akios_pump *pump)
{
    return ioctl(pump->listener, SECCOMP_IOCTL_NOTIF_ID_VALID, &pump->notif->id) == 0;
}

static enum verdict build_record(struct akios_pump *pump, struct akios_record *record)
{
    enum verdict verdict = DECIDED;
    const struct seccomp_notif *notif = pump->notif;
    memset(record, 0, sizeof *record);
    record->time_ns = read_clock(CLOCK_REALTIME);
    record->pid = notif->pid;
    record->nr = (uint32_t)notif->data.nr;
    record->count = 1;
    memcpy(record->args, notif->data.args, sizeof record->args);

    uint8_t *end = (uint8_t *)(record + 1);
    const struct akios_pump_entry *entry =
        record->nr < AKIOS_PUMP_NRS ? &pump->entries[record->nr] : NULL;
    record->err = ENOSYS;
    if (notif->data.arch != NATIVE_ARCH) {
        record->flags |= AKIOS_FOREIGN;
    } else if (entry == NULL || entry->known == 0) {
        record->flags |= AKIOS_UNKNOWN;
    } else {
        record->kind = entry->kind;
        verdict = decide(pump, entry, record);
        if (verdict == SILENT || verdict == HANDED_ON)
            return verdict;
        end = read_contents(record, entry);
        if (record->err != 0 || verdict == ANSWERED)
            refuse_as_the_kernel(pump, entry, record);
        /* Every attempt to read sets a flag, also one that found an empty string or nothing. */
        if (record->flags != 0 && !is_still_waiting(pump)) {
            end = (uint8_t *)(record + 1);
            record->flags = AKIOS_GONE;
            record->path_len = record->path2_len = record->argv_len = record->sockaddr_len = 0;
            record->dir_len = record->dir2_len = 0;
            record->content_args = 0;
        }
    }
    size_t padding = -(uintptr_t)end & 7;
    memset(end, 0, padding);
    record->size = (uint32_t)(end + padding - (uint8_t *)record);
    return verdict;
}

static bool answer(struct akios_pump *pump, int32_t err, enum verdict verdict)
{
    memset(pump->resp, 0, pump->resp_size);
    pump->resp->id = pump->notif->id;
    pump->resp->error = -err;
    pump->resp->flags = err == 0 && verdict != ANSWERED ? SECCOMP_USER_NOTIF_FLAG_CONTINUE : 0;
    int sent;
    do {
        sent = ioctl(pump->listener, SECCOMP_IOCTL_NOTIF_SEND, pump->resp);
    } while (sent < 0 && errno == EINTR);
    return sent == 0;
}

/* Who answers it must not keep the others waiting, so it has a thread or task of its own. */
static bool defer(const struct akios_pump *pump)
{
    const struct seccomp_notif *notif = pump->notif;
    struct akios_deferred call = {
        .id = notif->id, .pid = notif->pid, .nr = (uint32_t)notif->data.nr};
    memcpy(call.args, notif->data.args, sizeof call.args);
    return write(pump->deferred, &call, sizeof call) == (ssize_t)sizeof call;
}

/* Does what the journal says; what was done of it before a kill is not done twice. */
static enum outcome carry_out(struct akios_pump *pump)
{
    struct akios_shared *shared = pump->ring->shared;
    const struct akios_journal *journal = &shared->journal;
    struct akios_record *record = akios_ring_slot(pump->ring);
    bool is_new = atomic_load_explicit(&shared->head, memory_order_relaxed) != journal->head;
    bool gone = is_new && (record->flags & AKIOS_GONE) != 0;
    int32_t err = journal->err;
    shared->next_ns = journal->next_ns;
    atomic_store_explicit(&shared->records, journal->records, memory_order_relaxed);
    atomic_store_explicit(&shared->bytes, journal->bytes, memory_order_relaxed);
    atomic_store_explicit(&shared->denials, journal->denials, memory_order_relaxed);
    akios_then();
    if (is_new)
        akios_ring_publish(pump->ring, journal->head);
    if (journal->verdict == HANDED_ON || (journal->verdict == DEFERRED && err == 0 && !gone)) {
        if (defer(pump))
            return GO_ON;
        err = EAGAIN; /* more wait than the pipe holds */
    }
    /* EINPROGRESS: answered before, and the target has not seen it yet.  ENOENT for a record that
     * was there already: answered before, or gone; nobody can tell. */
    if (!answer(pump, err, journal->verdict) && errno != EINPROGRESS) {
        if (errno != ENOENT)
            return FAILED;
        if (is_new) /* nobody but this thread writes here until the ring comes round */
            __atomic_fetch_or(&record->flags, AKIOS_GONE, __ATOMIC_RELAXED);
        gone = is_new;
    }
    akios_count(&shared->gone, gone);
    return GO_ON;
}

static enum outcome serve_received(struct akios_pump *pump)
{
    struct akios_shared *shared = pump->ring->shared;
    struct akios_journal *journal = &shared->journal;
    struct akios_record *record = akios_ring_slot(pump->ring);
    enum verdict verdict = build_record(pump, record);
    bool told = verdict != SILENT && verdict != HANDED_ON;
    uint64_t size = told ? record->size : 0;
    journal->head = atomic_load_explicit(&shared->head, memory_order_relaxed) + size;
    journal->records = atomic_load_explicit(&shared->records, memory_order_relaxed) + told;
    journal->bytes = atomic_load_explicit(&shared->bytes, memory_order_relaxed) + size;
    journal->denials =
        atomic_load_explicit(&shared->denials, memory_order_relaxed) + (told && record->err != 0);
    journal->next_ns = shared->next_ns + (told ? pump->interval_ns : 0);
    journal->err = told ? record->err : 0;
    journal->verdict = verdict;
    akios_then();
    journal->id = pump->notif->id;
    akios_then();
    return carry_out(pump);
}

/* A received call is never delivered again.  So its id lies in memory that outlives this process
 * before anything else happens, and with id 0 there is none. */
static enum outcome serve_one(struct akios_pump *pump)
{
    *(volatile uint64_t *)pump->ring->shared->notif = 0;
    akios_then();
    memset(pump->notif, 0, pump->notif_size);
    akios_then();
    if (ioctl(pump->listener, SECCOMP_IOCTL_NOTIF_RECV, pump->notif) < 0)
        return errno == ENOENT || errno == EINTR ? GO_ON : FAILED;
    return serve_received(pump);
}

/* The call that a pump before this one had received when it was killed. */
static enum outcome serve_left(struct akios_pump *pump)
{
    if (pump->notif->id == 0)
        return GO_ON;
    return pump->ring->shared->journal.id == pump->notif->id ? carry_out(pump)
                                                             : serve_received(pump);
}

void akios_pump_release(struct akios_pump *pump)
{
    if (atomic_fetch_sub(&pump->owners, 1) != 1)
        return;
    akios_bounds_close(&pump->bounds);
    free(pump->resp);
    free(pump);
}

void *akios_pump_run(void *argument)
{
    struct akios_pump *pump = argument;
    struct akios_ring *ring = pump->ring;
    int error = 0;
    pthread_setname_np(pthread_self(), "akios-pump");
    /* A thread has the niceness of the one that made it.  Where it may not be changed, it is
     * nobody's loss. */
    (void)setpriority(PRIO_PROCESS, 0, pump->niceness);
    enum outcome outcome = serve_left(pump);
    while (outcome == GO_ON)
        if ((outcome = wait_room(pump)) == GO_ON && (outcome = wait_rate(pump)) == GO_ON &&
            (outcome = wait_event(pump, POLLIN, NULL)) == READY)
            outcome = serve_one(pump);
    if (outcome == FAILED)
        error = errno;
    else if (outcome == STOPPED)
        error = ECANCELED;
    /* From here every notified call of the cage fails with ENOSYS. */
    close(pump->listener);
    akios_pump_release(pump);
    akios_ring_end(ring, error);
    akios_ring_close(ring);
    return NULL;
}
