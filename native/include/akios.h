/* The mechanisms that the Python side calls in its own process: the pump, the ring, batch hashing,
 * sockets in another network namespace.  What the launcher executes is in plan.h.
 *
 * Every function returns a value >= 0 or -errno.  No function keeps a pointer after it returned
 * unless its comment says so. */
#ifndef AKIOS_H
#define AKIOS_H

#include <stddef.h>
#include <stdint.h>

/* cffi: begin */

/* One numeric comparison on a notification: (args[arg] & mask) == value -> err.  The first rule
 * that holds decides. flags, AKIOS_PUMP_RULE_*: CONTINUE: the call is made (err 0).  AND: this and
 * the next comparison together; only the last of such a row decides.  ANSWER: the call is answered
 * with 0 and not made.  COUNT: it is made while there are fewer than the bound of kind flags >> 8
 * (AKIOS_COUNTED_*), else answered err.  SILENT: made, it is not recorded.  DEFER: it is recorded
 * (not so with SILENT) and given to whoever reads config.deferred, who answers it.
 *
 * Behind the rules that decide stand those of what the kernel itself would have refused before
 * (flags FIRST, and what is compared in flags >> 8, AKIOS_FIRST_*): they change which errno a call
 * gets that is not made, never whether it is made. */
struct akios_pump_rule {
    uint32_t nr;
    uint32_t arg;
    uint64_t mask;
    uint64_t value;
    int32_t err;
    uint32_t flags;
};

/* What the pump does with system call number nr (index in the table of AKIOS_PUMP_NRS).
 * An argument number of 255 means "none". */
struct akios_pump_entry {
    uint16_t kind;       /* goes into the record, meaning is Python's */
    uint16_t rule_first; /* first akios_pump_rule of this nr */
    uint16_t rule_count;
    uint8_t known; /* 0: answered ENOSYS and recorded */
    uint8_t path_arg;
    uint8_t path2_arg;
    uint8_t dirfd_arg;
    uint8_t dirfd2_arg;
    uint8_t sockaddr_arg;
    uint8_t sockaddr_len_arg;
    uint8_t argv_arg;
    uint8_t words;         /* AKIOS_WORD_*: strings that are no paths */
    uint8_t first_count;   /* how many rules of AKIOS_PUMP_RULE_FIRST stand behind the others */
    int32_t default_errno; /* answer when no rule matched: 0 continues */
};

/* The table given to akios_pump_start: struct akios_pump_entry[1024], then any number of
 * struct akios_pump_rule.  err and default_errno are positive errno values, 0 continues the call.
 */
enum { AKIOS_PUMP_NRS = 1024, AKIOS_PUMP_NO_ARG = 255 };
enum {
    AKIOS_PUMP_RULE_CONTINUE = 1,
    AKIOS_PUMP_RULE_AND = 2,
    AKIOS_PUMP_RULE_ANSWER = 4,
    AKIOS_PUMP_RULE_COUNT = 8,
    AKIOS_PUMP_RULE_SILENT = 16,
    AKIOS_PUMP_RULE_FIRST = 32,
    AKIOS_PUMP_RULE_DEFER = 64
};
enum {
    AKIOS_FIRST_ABOVE = 0,      /* (args[arg] & mask) > value */
    AKIOS_FIRST_BELOW = 1,      /* (args[arg] & mask) < value */
    AKIOS_FIRST_DESCRIPTOR = 2, /* the target has no such descriptor open, or only by O_PATH */
    AKIOS_FIRST_SOCKET = 3,     /* the descriptor is no socket */
    AKIOS_FIRST_MEMORY = 4,   /* one of the value bytes at the address args[arg] is not readable */
    AKIOS_FIRST_OPTIONAL = 5, /* the same, and NULL is none */
    AKIOS_FIRST_WHEN = 6,     /* the next rule counts where (args[arg] & mask) == value */
    AKIOS_FIRST = 7
};
enum {
    AKIOS_COUNTED_SOCKETS = 0,     /* all sockets of the network namespace */
    AKIOS_COUNTED_NETLINK = 1,     /* the same, for a netlink socket */
    AKIOS_COUNTED_FILTERS = 2,     /* seccomp filters beyond the cage's own */
    AKIOS_COUNTED_LOCKS = 3,       /* record locks of processes, F_SETLK */
    AKIOS_COUNTED_OFD_LOCKS = 4,   /* calls of F_OFD_SETLK, ever */
    AKIOS_COUNTED_DIRECTORIES = 5, /* KiB that the kernel keeps for directories being read */
    AKIOS_COUNTED = 6
};

/* What stands at path_arg or path2_arg is no path that the kernel looks up: a name, the text of a
 * link. */
enum { AKIOS_WORD_PATH = 1, AKIOS_WORD_PATH2 = 2 };

enum {
    AKIOS_PATH_MAX = 4096,
    AKIOS_DIR_MAX = 4096,
    AKIOS_ARGV_MAX = 4096,
    AKIOS_ARGV_COUNT = 64,
    AKIOS_SOCKADDR_MAX = 128
};

/* akios_record.flags.  HAS: the content is there.  FAULT: the pointer could not be read.
 * CUT: there was more than the limit.  GONE: the target died or was interrupted before its call was
 * answered (where that is seen before the answer, nothing read from its memory is kept; seen at the
 * answer, the flag is set only if the consumer has not drained the record yet).
 * FOREIGN: not this machine's architecture.  UNKNOWN: not in the table.  Both were answered ENOSYS.
 * HAS_DIR: where the path starts, as /proc named it when the call was stopped. */
enum {
    AKIOS_HAS_PATH = 1 << 0,
    AKIOS_HAS_PATH2 = 1 << 1,
    AKIOS_HAS_ARGV = 1 << 2,
    AKIOS_HAS_SOCKADDR = 1 << 3,
    AKIOS_FAULT_PATH = 1 << 4,
    AKIOS_FAULT_PATH2 = 1 << 5,
    AKIOS_FAULT_ARGV = 1 << 6,
    AKIOS_FAULT_SOCKADDR = 1 << 7,
    AKIOS_CUT_PATH = 1 << 8,
    AKIOS_CUT_PATH2 = 1 << 9,
    AKIOS_CUT_ARGV = 1 << 10,
    AKIOS_CUT_SOCKADDR = 1 << 11,
    AKIOS_GONE = 1 << 12,
    AKIOS_UNKNOWN = 1 << 13,
    AKIOS_FOREIGN = 1 << 14,
    AKIOS_HAS_DIR = 1 << 15,
    AKIOS_HAS_DIR2 = 1 << 16
};

/* One notified system call.  Behind the header stand path, path2, argv (each argument ends in NUL),
 * sockaddr, dir and dir2 without gaps, then zeros up to size, which is a multiple of 8.  dir is
 * where path starts: the working directory, or what its directory's descriptor stands for; without
 * a path, the file that the call works on. */
struct akios_record {
    uint32_t size;
    uint32_t flags;
    uint64_t time_ns; /* CLOCK_REALTIME when it was received; of the first one if count > 1 */
    uint32_t pid;     /* thread id in akiosd's pid namespace */
    uint32_t nr;
    int32_t err;    /* what was answered: 0 continued, else the errno */
    uint32_t count; /* identical consecutive records folded into this one */
    uint16_t kind;
    uint16_t path_len;
    uint16_t path2_len;
    uint16_t argv_len;
    uint16_t sockaddr_len;
    uint16_t dir_len;
    uint16_t dir2_len;
    uint8_t content_args; /* bit n: args[n] is an address whose content stands in the record */
    uint8_t pad;
    uint64_t args[6];
};

struct akios_ring;
struct akios_pump;

/* Written by the pump, read at any time. */
struct akios_pump_counters {
    uint64_t records;
    uint64_t denials;
    uint64_t bytes;      /* of records, before folding */
    uint64_t gone;       /* records whose target was gone when the call was to be answered */
    uint64_t waits_full; /* times the pump waited for room in the ring */
    uint64_t waits_rate; /* times the pump waited for events_per_second */
    int32_t ended;       /* 1: the pump ended and closed the listener, nothing will follow */
    int32_t error; /* why: 0 every task of the filter is dead, ECANCELED stopped, else an errno */
};

struct akios_pump_config {
    uint32_t events_per_second; /* 0: no limit */
    uint32_t burst;        /* events that may come at once after a pause; 0: those of one second */
    uint32_t sync_wake_up; /* 1: SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP where the kernel has it */
    int32_t niceness;      /* of the thread, setpriority(2) */
    int32_t group;         /* the cage's v2 group, the caller's; -1: none, nothing is counted */
    uint32_t most[6];      /* AKIOS_COUNTED bounds, 0: none */
    int32_t deferred;      /* a pipe, non-blocking, the caller's until the ring has ended; -1 */
};

/* A call that waits for its answer (SECCOMP_IOCTL_NOTIF_SEND, _ADDFD) by somebody else. */
struct akios_deferred {
    uint64_t id;
    uint32_t pid; /* thread id in akiosd's pid namespace */
    uint32_t nr;
    uint64_t args[6];
};

enum { AKIOS_RING_MIN = 1 << 16, AKIOS_RING_MAX = 1 << 28 };
enum { AKIOS_AWAKE = 0, AKIOS_ASLEEP = 1, AKIOS_LINGERING = 2 };

/* Which entries of a log are which bytes of the ring: reading from..to again, with its borders,
 * gives `skip` entries that stand elsewhere, and then those with the indices from `first`. */
enum { AKIOS_ROWS = 64 };
struct akios_row {
    uint64_t first;
    uint64_t from;
    uint64_t to;
    uint32_t count;
    uint32_t skip;
};

/* A ring of `size` bytes (a power of two between AKIOS_RING_MIN and AKIOS_RING_MAX). */
int akios_ring_open(uint32_t size, struct akios_ring **ring);
/* The ring that another process had, from its descriptors, which are the ring's on success.
 * -EBADMSG where anything in it is not as a process that was killed at any place leaves it. */
int akios_ring_adopt(int memory_fd, int wake_fd, int kick_fd, struct akios_ring **ring);
/* The descriptors by which it is adopted, in that order; they stay the ring's own. */
void akios_ring_descriptors(const struct akios_ring *ring, int *fds);
/* Gives up the consumer's share.  The memory and the descriptors go when the pump has ended, too.
 */
void akios_ring_close(struct akios_ring *ring);
/* The eventfd that becomes readable when a sleeping consumer is to wake; stays the ring's own. */
int akios_ring_wake_fd(const struct akios_ring *ring);
/* Announces that the consumer is about to wait on the wake fd: ASLEEP for the next record,
 * LINGERING until the ring is half full.  1: wait now; 0: do not wait, there is something to drain.
 */
int akios_ring_sleep(struct akios_ring *ring, uint32_t state);
/* The consumer is awake again; empties the wake fd. */
void akios_ring_wake(struct akios_ring *ring);
/* Copies at most max_records records (after folding) into buffer and returns their bytes, 0 when
 * all were given out.  Identical consecutive records become one with a count: same pid, nr, kind,
 * err, flags but GONE, contents, and same args but for addresses whose content is in the record.
 * Their room stays taken until akios_ring_settle or akios_ring_free. */
int64_t akios_ring_drain(struct akios_ring *ring, uint8_t *buffer, size_t capacity,
                         uint32_t max_records);
/* What was drained since the last row gives `count` entries, which will be those from `first` of a
 * log.  -ENOBUFS when there are AKIOS_ROWS of them already. */
int akios_ring_note(struct akios_ring *ring, uint64_t first, uint32_t count);
/* The log has `size` entries on disk: rows that are among them are done, and their room is free. */
void akios_ring_settle(struct akios_ring *ring, uint64_t size);
/* Everything that was drained is done, where there are no rows. */
void akios_ring_free(struct akios_ring *ring);
/* How many rows are not done.  The first of them is number 0 below. */
uint32_t akios_ring_rows(const struct akios_ring *ring);
int akios_ring_row(const struct akios_ring *ring, uint32_t number, struct akios_row *row);
/* The records of a row once more, with its borders. */
int64_t akios_ring_read_row(struct akios_ring *ring, uint32_t number, uint8_t *buffer,
                            size_t capacity, uint32_t max_records);
/* The last of a row's entries, without so many, are those from `first` now. */
int akios_ring_move_row(struct akios_ring *ring, uint32_t number, uint32_t without, uint64_t first);
void akios_ring_counters(const struct akios_ring *ring, struct akios_pump_counters *counters);

/* Names of system calls by number: name nr is text[ends[nr - 1] .. ends[nr]], empty where it has
 * none. */
struct akios_names {
    const char *text;
    const uint32_t *ends;
    uint32_t count;
    uint32_t size; /* of text */
};
enum { AKIOS_NAME_MAX = 64, AKIOS_ENTRY_VERSION = 1, AKIOS_ENTRY_ROOM = 1024 };

/* Records as akios_ring_drain gave them → their entries, each behind its length as in a bundle
 * (uint16, big-endian).  Returns the bytes written; -EBADMSG for what is no record, -ENOBUFS when
 * capacity is less than size and AKIOS_ENTRY_ROOM for each record. */
int64_t akios_encode_entries(const uint8_t *records, size_t size, const struct akios_names *names,
                             uint8_t *out, size_t capacity);

/* Starts the thread that serves listener_fd, which is the pump's from success on: it is closed when
 * the pump ends.  The table is copied.  A ring has one pump at a time; on an adopted one, the call
 * that the pump before had received and not answered is answered first. */
int akios_pump_start(int listener_fd, struct akios_ring *ring, const uint8_t *table,
                     size_t table_len, const struct akios_pump_config *config,
                     struct akios_pump **pump);
/* Asks the pump to end and returns at once; the ring says when it has. */
void akios_pump_stop(struct akios_pump *pump);
/* Stops, and gives up the caller's share.  Never waits: a thread held up by the target's memory
 * (a page on a dead network file system) frees what is left when it returns. */
void akios_pump_close(struct akios_pump *pump);

/* SHA-256 of 0x00 || entry for the n entries of an entry bundle (c2sp.org/tlog-tiles: big-endian
 * uint16 length, entry, and again); out: 32 n bytes.  -EBADMSG unless data holds exactly n entries
 * and not one byte more. */
int akios_sha256_bundle(const uint8_t *data, size_t len, size_t n, uint8_t *out);
/* Where the entries of such data end: ends[0] is the offset behind the first of them, ends[1]
 * behind 256 more, and so on, as many as capacity has room for.  Returns how many entries there
 * are, -EBADMSG where the last is cut short. */
int64_t akios_bundle_ends(const uint8_t *data, size_t len, size_t first, uint64_t *ends,
                          size_t capacity);
/* SHA-256 of 0x01 || pair for n pairs of 64 bytes (RFC 6962); out: 32 n bytes. */
int akios_sha256_nodes(const uint8_t *pairs, size_t n, uint8_t *out);

/* Creates or overwrites n files below dirfd, in their order; links in the last place are refused.
 * Nothing is synced. On failure *failed is the index of the file; those before it are whole, it may
 * be there in part. */
int akios_write_files(int dirfd, const char *const *paths, const uint8_t *const *data,
                      const size_t *lens, size_t n, unsigned mode, size_t *failed);

struct akios_socket_spec {
    int32_t domain;
    int32_t type;
    int32_t protocol;
    int32_t backlog;        /* < 0: do not listen */
    uint32_t reuse_address; /* SO_REUSEADDR before bind */
    uint32_t address_len;   /* 0: do not bind */
    uint8_t address[128];   /* a struct sockaddr_* of the domain */
};

/* Makes n sockets (close-on-exec, non-blocking) in the network namespace of netns_fd, from a thread
 * of its own, so that no other thread ever changes its namespace.  All or none: on failure fds
 * holds nothing, *failed the index of the socket (n: entering the namespace). */
int akios_netns_sockets(int netns_fd, const struct akios_socket_spec *specs, size_t n, int *fds,
                        size_t *failed);

/* ---- mounts of another mount namespace (shim_mount_space.c) ---- */

/* Each in a thread of its own that enters the namespace of mntns_fd; needs CAP_SYS_ADMIN and
 * CAP_SYS_CHROOT.  A close-on-exec descriptor, or -errno. */

/* That namespace's mountinfo (proc(5)), open for reading; proc_fd is akiosd's own /proc. */
int akios_mount_space_info(int mntns_fd, int proc_fd);
/* A detached clone of the mount at tree_fd; -EINVAL when that is not one of the namespace's. */
int akios_mount_space_clone(int mntns_fd, int tree_fd);

/* ---- files executed and written, as the kernel tells them (shim_file_use.c) ---- */

/* akios_file_use.use: bits of fanotify_mark(2), FAN_OPEN_EXEC and FAN_CLOSE_WRITE. */
enum { AKIOS_FILE_WRITTEN = 0x8, AKIOS_FILE_EXECUTED = 0x1000, AKIOS_FILE_USE_MAX = 5120 };

/* One event; behind it path_len bytes of path, then zeros or anything up to size, a multiple of 8.
 */
struct akios_file_use {
    uint32_t size;
    uint32_t use;
    uint32_t pid;   /* of the process, in akiosd's pid namespace */
    uint32_t count; /* equal consecutive events folded into this one */
    uint16_t path_len;
    uint8_t pad[6];
};

/* A group that gets events and stops nobody; the descriptor is the caller's, close-on-exec and
 * non-blocking.  It is made by a thread of its own under the uid `owner`, on whose account it is:
 * the kernel lets each have 128. */
int akios_file_use_open(uint32_t owner);
/* Takes at most max_events off the group's queue: bytes of struct akios_file_use written, 0 when it
 * is empty. lost: how many events had no name, and overflows of the queue, each of which may stand
 * for many.  It may wait where the file's own file system does: call it from a thread that may. */
int64_t akios_file_use_read(int fd, uint8_t *buffer, size_t capacity, uint32_t max_events,
                            uint32_t *lost);

/* ---- open files (shim_stat.c) ---- */

struct akios_known_stat {
    uint32_t mode;
    uint32_t uid;
    uint32_t gid;
    uint32_t dev_major;
    uint32_t dev_minor;
    uint32_t born_ns; /* of the second born_s */
    int64_t born_s;   /* since 1970; 0 where the file system keeps no time of birth */
    uint64_t inode;
    uint64_t mount_id; /* as in mountinfo and /proc/PID/fdinfo */
};

/* What the kernel knows of an open file already (statx(2), AT_STATX_DONT_SYNC): its file system is
 * not asked, and so cannot keep the caller waiting. */
int akios_known_stat(int fd, struct akios_known_stat *found);

/* cffi: end */

#endif
