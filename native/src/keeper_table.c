/* The names that are kept, in their order, each with its descriptors: see keeper_table.h. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "keeper_table.h"

static struct akios_kept **entries;
static size_t count, room, descriptors;

const struct akios_kept *akios_kept_at(size_t index)
{
    return index < count ? entries[index] : NULL;
}

/* The first whose name is not less than this one. */
static size_t find(const char *name)
{
    size_t low = 0, high = count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (strcmp(entries[middle]->name, name) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static void release(struct akios_kept *entry)
{
    for (uint32_t n = 0; n < entry->nfds; n++)
        close(entry->fds[n]);
    descriptors -= entry->nfds;
    free(entry);
}

static size_t remove_range(size_t from, size_t to)
{
    for (size_t at = from; at < to; at++)
        release(entries[at]);
    memmove(entries + from, entries + to, (count - to) * sizeof(struct akios_kept *));
    count -= to - from;
    return to - from;
}

size_t akios_kept_drop(const char *name)
{
    size_t at = find(name);
    bool found = at < count && strcmp(entries[at]->name, name) == 0;
    return found ? remove_range(at, at + 1) : 0;
}

size_t akios_kept_drop_prefix(const char *prefix)
{
    size_t length = strlen(prefix), from = find(prefix), to = from;
    while (to < count && strncmp(entries[to]->name, prefix, length) == 0)
        to++;
    return remove_range(from, to);
}

static int make_room(size_t more)
{
    if (count + more <= room)
        return 0;
    size_t wanted = (count + more) * 2;
    struct akios_kept **larger = realloc(entries, wanted * sizeof(struct akios_kept *));
    if (larger == NULL)
        return -ENOMEM;
    entries = larger;
    room = wanted;
    return 0;
}

static struct akios_kept *make_entry(const struct akios_keep_slot *slot, const int *fds)
{
    struct akios_kept *entry = malloc(sizeof *entry + slot->nfds * sizeof(int));
    if (entry == NULL)
        return NULL;
    memcpy(entry->name, slot->name, sizeof entry->name);
    entry->nfds = slot->nfds;
    memcpy(entry->fds, fds, slot->nfds * sizeof(int));
    return entry;
}

static void insert(struct akios_kept *entry)
{
    akios_kept_drop(entry->name);
    size_t at = find(entry->name);
    memmove(entries + at + 1, entries + at, (count - at) * sizeof(struct akios_kept *));
    entries[at] = entry;
    count++;
    descriptors += entry->nfds;
}

int akios_kept_keep(const struct akios_keep_slot *slots, size_t nslots, const int *fds, size_t nfds)
{
    struct akios_kept *made[AKIOS_KEEP_SLOTS];
    if (descriptors + nfds > AKIOS_KEEP_MOST_FDS)
        return -ENOSPC;
    int err = make_room(nslots);
    size_t done = 0;
    for (; err == 0 && done < nslots; done++) {
        made[done] = make_entry(&slots[done], fds);
        if (made[done] == NULL) {
            err = -ENOMEM;
            break;
        }
        fds += slots[done].nfds;
    }
    for (size_t n = 0; n < done; n++) {
        if (err == 0)
            insert(made[n]);
        else
            free(made[n]); /* the descriptors stay the caller's */
    }
    return err;
}
