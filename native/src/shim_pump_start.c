/* Starting and stopping a pump: what it is given is checked here, once, so that its loop need not.
 */
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "pump.h"
#include "ring.h"
#include "thread.h"
#include "uapi.h"

#define ERRNO_MAX 4095

_Static_assert(sizeof((struct akios_pump_config *)NULL)->most == AKIOS_COUNTED * sizeof(uint32_t),
               "a bound each");

static bool is_arg_or_none(uint8_t arg)
{
    return arg < 6 || arg == AKIOS_PUMP_NO_ARG;
}

static bool is_errno_or_zero(int32_t err)
{
    return err >= 0 && err <= ERRNO_MAX;
}

/* An err of 0 without a flag that says what it means, or a flag with an err it has no use for, was
 * not meant. */
static bool is_valid_verdict(const struct akios_pump_rule *rule)
{
    uint32_t kind = rule->flags >> 8;
    switch (rule->flags & 0xff) {
    case 0: return kind == 0 && rule->err != 0;
    case AKIOS_PUMP_RULE_CONTINUE:
    case AKIOS_PUMP_RULE_AND:
    case AKIOS_PUMP_RULE_DEFER:
    case AKIOS_PUMP_RULE_DEFER | AKIOS_PUMP_RULE_SILENT:
    case AKIOS_PUMP_RULE_ANSWER: return kind == 0 && rule->err == 0;
    case AKIOS_PUMP_RULE_COUNT:
    case AKIOS_PUMP_RULE_COUNT | AKIOS_PUMP_RULE_SILENT:
        return kind < AKIOS_COUNTED && rule->err != 0;
    default: return false;
    }
}

static bool is_valid_rule(const struct akios_pump_rule *rule, const struct akios_pump_entry *entry,
                          uint32_t nr)
{
    /* A rule on a pointer would decide on an address, which says nothing, or on what stands there,
     * which the target may change: both are mistakes of the policy compiler. */
    bool on_pointer = rule->arg == entry->path_arg || rule->arg == entry->path2_arg ||
                      rule->arg == entry->argv_arg || rule->arg == entry->sockaddr_arg;
    return rule->nr == nr && rule->arg < 6 && !on_pointer && is_errno_or_zero(rule->err) &&
           is_valid_verdict(rule);
}

/* These look at what pointers show, and may: the call is not made whatever they say. */
static bool is_valid_first(const struct akios_pump_rule *rule, uint32_t nr)
{
    uint32_t kind = rule->flags >> 8;
    bool is_memory = kind == AKIOS_FIRST_MEMORY || kind == AKIOS_FIRST_OPTIONAL;
    return rule->nr == nr && rule->arg < 6 && (rule->flags & 0xff) == AKIOS_PUMP_RULE_FIRST &&
           kind < AKIOS_FIRST && is_errno_or_zero(rule->err) &&
           (rule->err == 0) == (kind == AKIOS_FIRST_WHEN) &&
           rule->value <= (is_memory ? AKIOS_SOCKADDR_MAX : UINT64_MAX);
}

static bool is_valid_entry(const struct akios_pump *pump, uint32_t nr, size_t rule_total)
{
    const struct akios_pump_entry *entry = &pump->entries[nr];
    if (!is_arg_or_none(entry->path_arg) || !is_arg_or_none(entry->path2_arg) ||
        !is_arg_or_none(entry->argv_arg) || !is_arg_or_none(entry->sockaddr_arg) ||
        !is_arg_or_none(entry->sockaddr_len_arg) || !is_errno_or_zero(entry->default_errno) ||
        (size_t)entry->rule_first + entry->rule_count + entry->first_count > rule_total)
        return false;
    const struct akios_pump_rule *rules = &pump->rules[entry->rule_first];
    for (unsigned n = 0; n < entry->rule_count; n++)
        if (!is_valid_rule(&rules[n], entry, nr))
            return false;
    for (unsigned n = 0; n < entry->first_count; n++)
        if (!is_valid_first(&rules[entry->rule_count + n], nr))
            return false;
    return entry->rule_count == 0 ||
           (rules[entry->rule_count - 1].flags & AKIOS_PUMP_RULE_AND) == 0;
}

static int copy_table(const uint8_t *table, size_t table_len, struct akios_pump **out)
{
    size_t entries_len = sizeof((struct akios_pump *)NULL)->entries;
    if (table_len < entries_len || (table_len - entries_len) % sizeof(struct akios_pump_rule) != 0)
        return -EINVAL;
    size_t rules_len = table_len - entries_len;
    struct akios_pump *pump = calloc(1, sizeof *pump + rules_len);
    if (pump == NULL)
        return -ENOMEM;
    memcpy(pump->entries, table, entries_len);
    if (rules_len > 0)
        memcpy(pump->rules, table + entries_len, rules_len);
    for (uint32_t nr = 0; nr < AKIOS_PUMP_NRS; nr++)
        if (pump->entries[nr].known != 0 &&
            !is_valid_entry(pump, nr, rules_len / sizeof(struct akios_pump_rule))) {
            free(pump);
            return -EINVAL;
        }
    *out = pump;
    return 0;
}

static size_t larger(size_t a, size_t b)
{
    return a > b ? a : b;
}

/* A newer kernel's structures may be longer than those of our headers, and it writes its own
 * length. */
static int make_buffers(struct akios_pump *pump)
{
    struct seccomp_notif_sizes sizes;
    if (syscall(SYS_seccomp, SECCOMP_GET_NOTIF_SIZES, 0, &sizes) < 0)
        return -errno;
    pump->notif_size = larger(sizes.seccomp_notif, sizeof *pump->notif);
    pump->resp_size = larger(sizes.seccomp_notif_resp, sizeof *pump->resp);
    if (pump->notif_size > sizeof pump->ring->shared->notif)
        return -E2BIG;
    pump->notif = (struct seccomp_notif *)(void *)pump->ring->shared->notif;
    pump->resp = calloc(1, pump->resp_size);
    return pump->resp == NULL ? -ENOMEM : 0;
}

static void set_rate(struct akios_pump *pump, const struct akios_pump_config *config)
{
    if (config->events_per_second == 0)
        return;
    pump->interval_ns = larger(NS_PER_S / config->events_per_second, 1);
    uint64_t burst = config->burst != 0 ? config->burst : config->events_per_second;
    pump->burst_ns = (burst - 1) * pump->interval_ns;
}

int akios_pump_start(int listener_fd, struct akios_ring *ring, const uint8_t *table,
                     size_t table_len, const struct akios_pump_config *config,
                     struct akios_pump **out)
{
    struct akios_pump *pump;
    int err = copy_table(table, table_len, &pump);
    if (err != 0)
        return err;
    pump->owners = 1;
    pump->ring = ring;
    akios_bounds_open(&pump->bounds, config, &ring->shared->counted);
    if ((err = make_buffers(pump)) != 0) {
        akios_pump_release(pump);
        return err;
    }
    pump->listener = listener_fd;
    pump->niceness = config->niceness;
    pump->deferred = config->deferred;
    set_rate(pump, config);
    if (config->sync_wake_up != 0)
        /* Kernels before 6.6 lack it; it changes speed only. */
        (void)ioctl(listener_fd, SECCOMP_IOCTL_NOTIF_SET_FLAGS, SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP);
    akios_ring_share(ring);         /* the thread's */
    atomic_store(&pump->owners, 2); /* the thread and the caller */
    if ((err = akios_thread_start(akios_pump_run, pump, NULL)) != 0) {
        akios_ring_close(ring);
        atomic_store(&pump->owners, 1);
        akios_pump_release(pump);
        return err;
    }
    *out = pump;
    return 0;
}

void akios_pump_stop(struct akios_pump *pump)
{
    atomic_store(&pump->ring->stop, 1);
    akios_ring_kick(pump->ring);
}

void akios_pump_close(struct akios_pump *pump)
{
    if (pump == NULL)
        return;
    akios_pump_stop(pump);
    akios_pump_release(pump);
}
