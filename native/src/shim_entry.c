/* Records of the ring → entries of a log: the bytes akiosd.values.records.encode_entry gives a
 * Syscall, for which a Python object a record is too dear.  The shape is fixed; a test holds the
 * two against each other. */
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "akios.h"

/* All that an entry has beside the contents: keys, numbers, a name, and a header for each argument.
 */
enum { FIXED_MAX = 512 + 3 * AKIOS_ARGV_COUNT };
_Static_assert((int)FIXED_MAX <= (int)AKIOS_ENTRY_ROOM, "the room asked for is enough");

struct writer {
    uint8_t *at;
};

static void put(struct writer *to, const void *data, size_t size)
{
    memcpy(to->at, data, size);
    to->at += size;
}

static void put_byte(struct writer *to, unsigned byte)
{
    *to->at++ = (uint8_t)byte;
}

static void put_big_endian(struct writer *to, uint64_t value, unsigned bytes)
{
    while (bytes-- > 0)
        put_byte(to, (unsigned)(value >> (8 * bytes)) & 0xff);
}

/* The shortest form, as the msgpack specification recommends and msgspec does. */
static void put_number(struct writer *to, uint64_t value)
{
    if (value < 0x80) {
        put_byte(to, (unsigned)value);
    } else if (value <= UINT8_MAX) {
        put_byte(to, 0xcc);
        put_big_endian(to, value, 1);
    } else if (value <= UINT16_MAX) {
        put_byte(to, 0xcd);
        put_big_endian(to, value, 2);
    } else if (value <= UINT32_MAX) {
        put_byte(to, 0xce);
        put_big_endian(to, value, 4);
    } else {
        put_byte(to, 0xcf);
        put_big_endian(to, value, 8);
    }
}

static void put_text(struct writer *to, const char *text, size_t size)
{
    if (size < 32) {
        put_byte(to, 0xa0 | (unsigned)size);
    } else {
        put_byte(to, 0xd9);
        put_byte(to, (unsigned)size);
    }
    put(to, text, size);
}

static void put_key(struct writer *to, const char *key)
{
    put_text(to, key, strlen(key));
}

static void put_bytes(struct writer *to, const uint8_t *data, size_t size)
{
    if (size <= UINT8_MAX) {
        put_byte(to, 0xc4);
        put_big_endian(to, size, 1);
    } else {
        put_byte(to, 0xc5);
        put_big_endian(to, size, 2);
    }
    put(to, data, size);
}

static void put_array(struct writer *to, size_t count)
{
    if (count < 16) {
        put_byte(to, 0x90 | (unsigned)count);
    } else {
        put_byte(to, 0xdc);
        put_big_endian(to, count, 2);
    }
}

/* Each argument ends in NUL. */
static void put_argv(struct writer *to, const uint8_t *argv, size_t size, size_t count)
{
    put_array(to, count);
    const uint8_t *end = argv + size;
    for (const uint8_t *next = argv; next < end;) {
        size_t length = strnlen((const char *)next, (size_t)(end - next));
        put_bytes(to, next, length);
        next += length + 1;
    }
}

static size_t count_argv(const uint8_t *argv, size_t size)
{
    size_t count = 0;
    for (size_t n = 0; n < size; n++)
        count += argv[n] == 0;
    return count;
}

/* A path in a unix address ends at its first NUL: what the caller's buffer held behind it says
 * nothing. */
static size_t address_size(const uint8_t *address, size_t size)
{
    sa_family_t family;
    if (size <= sizeof family)
        return size;
    memcpy(&family, address, sizeof family);
    if (family != AF_UNIX || address[sizeof family] == 0)
        return size;
    return sizeof family + strnlen((const char *)address + sizeof family, size - sizeof family);
}

static void put_name(struct writer *to, uint32_t nr, const struct akios_names *names)
{
    uint32_t start = nr > 0 && nr < names->count ? names->ends[nr - 1] : 0;
    if (nr < names->count && names->ends[nr] > start) {
        put_text(to, names->text + start, names->ends[nr] - start);
        return;
    }
    char number[16];
    int size = snprintf(number, sizeof number, "#%u", nr);
    put_text(to, number, (size_t)size);
}

static void put_entry(struct writer *to, const struct akios_record *record,
                      const struct akios_names *names)
{
    const uint8_t *path = (const uint8_t *)(record + 1);
    const uint8_t *path2 = path + record->path_len;
    const uint8_t *argv = path2 + record->path2_len;
    const uint8_t *address = argv + record->argv_len;
    const uint8_t *directory = address + record->sockaddr_len;
    const uint8_t *directory2 = directory + record->dir_len;
    bool has_directory = (record->flags & AKIOS_HAS_DIR) != 0;
    bool has_directory2 = (record->flags & AKIOS_HAS_DIR2) != 0;
    bool has_path = (record->flags & AKIOS_HAS_PATH) != 0;
    bool has_path2 = (record->flags & AKIOS_HAS_PATH2) != 0;
    bool has_argv = (record->flags & AKIOS_HAS_ARGV) != 0;
    bool has_address = (record->flags & AKIOS_HAS_SOCKADDR) != 0;
    bool cut = (record->flags &
                (AKIOS_CUT_PATH | AKIOS_CUT_PATH2 | AKIOS_CUT_ARGV | AKIOS_CUT_SOCKADDR)) != 0;
    /* Arguments tell something only where no content was read: the rest are addresses. */
    bool bare = !has_path && !has_argv && !has_address;
    size_t arguments = has_argv ? count_argv(argv, record->argv_len) : 0;

    /* map 16, as msgspec writes where it may leave out defaults */
    put_byte(to, 0xde);
    put_big_endian(to,
                   7u + cut + bare + has_path + has_path2 + has_directory + has_directory2 +
                       (arguments > 0) + has_address + (record->err != 0) + (record->count != 1),
                   2);
    put_key(to, "kind");
    put_key(to, "syscall");
    put_key(to, "ts");
    put_number(to, record->time_ns);
    put_key(to, "v");
    put_number(to, AKIOS_ENTRY_VERSION);
    if (cut) {
        put_key(to, "truncated");
        put_byte(to, 0xc3);
    }
    put_key(to, "name");
    put_name(to, record->nr, names);
    put_key(to, "nr");
    put_number(to, record->nr);
    put_key(to, "pid");
    put_number(to, record->pid);
    put_key(to, "verdict");
    put_key(to, record->err != 0 ? "denied" : "requested");
    if (bare) {
        put_key(to, "args");
        put_array(to, 6);
        for (unsigned n = 0; n < 6; n++)
            put_number(to, record->args[n]);
    }
    if (has_path) {
        put_key(to, "path");
        put_bytes(to, path, record->path_len);
    }
    if (has_path2) {
        put_key(to, "path2");
        put_bytes(to, path2, record->path2_len);
    }
    if (has_directory) {
        put_key(to, "directory");
        put_bytes(to, directory, record->dir_len);
    }
    if (has_directory2) {
        put_key(to, "directory2");
        put_bytes(to, directory2, record->dir2_len);
    }
    if (arguments > 0) {
        put_key(to, "argv");
        put_argv(to, argv, record->argv_len, arguments);
    }
    if (has_address) {
        put_key(to, "address");
        put_bytes(to, address, address_size(address, record->sockaddr_len));
    }
    if (record->err != 0) {
        put_key(to, "errno");
        put_number(to, (uint64_t)record->err);
    }
    if (record->count != 1) {
        put_key(to, "count");
        put_number(to, record->count);
    }
}

static bool is_whole(const struct akios_record *record, size_t left)
{
    size_t contents = (size_t)record->path_len + record->path2_len + record->argv_len +
                      record->sockaddr_len + record->dir_len + record->dir2_len;
    if (record->size > left || (record->size & 7) != 0 || record->size < sizeof *record + contents)
        return false;
    if (record->path_len > AKIOS_PATH_MAX || record->path2_len > AKIOS_PATH_MAX ||
        record->argv_len > AKIOS_ARGV_MAX || record->sockaddr_len > AKIOS_SOCKADDR_MAX ||
        record->dir_len > AKIOS_DIR_MAX || record->dir2_len > AKIOS_DIR_MAX || record->err < 0)
        return false;
    const uint8_t *argv = (const uint8_t *)(record + 1) + record->path_len + record->path2_len;
    if (record->argv_len > 0 && argv[record->argv_len - 1] != 0)
        return false;
    return count_argv(argv, record->argv_len) <= AKIOS_ARGV_COUNT;
}

int64_t akios_encode_entries(const uint8_t *records, size_t size, const struct akios_names *names,
                             uint8_t *out, size_t capacity)
{
    if (((uintptr_t)records & 7) != 0)
        return -EINVAL;
    for (uint32_t n = 0; n < names->count; n++)
        if (names->ends[n] < (n > 0 ? names->ends[n - 1] : 0) || names->ends[n] > names->size ||
            names->ends[n] - (n > 0 ? names->ends[n - 1] : 0) > AKIOS_NAME_MAX)
            return -EINVAL;
    struct writer to = {out};
    for (size_t at = 0; at < size;) {
        const struct akios_record *record = (const void *)(records + at);
        if (size - at < sizeof *record || !is_whole(record, size - at))
            return -EBADMSG;
        if (capacity - (size_t)(to.at - out) < record->size + FIXED_MAX)
            return -ENOBUFS;
        uint8_t *length = to.at;
        to.at += 2;
        put_entry(&to, record, names);
        size_t written = (size_t)(to.at - length) - 2;
        length[0] = (uint8_t)(written >> 8);
        length[1] = (uint8_t)written;
        at += record->size;
    }
    return to.at - out;
}
