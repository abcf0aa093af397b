/* Interfaces of the kernel itself: rings, programs, keys, clocks, devices, privileges, foreign calls. */
#include "attack.h"

#include <grp.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/time.h>
#include <termios.h>

static int io_uring(void) {
    char params[120] = {0};
    return outcome(syscall(SYS_io_uring_setup, 4, params));
}
static int bpf_map(void) {
    struct {
        uint32_t type, key_size, value_size, entries;
    } attr = {2, 4, 4, 1};
    return outcome(syscall(SYS_bpf, 0, &attr, sizeof attr));
}
static int perf_event(void) {
    uint32_t attr[32] = {1 /* software */, sizeof attr, 0};
    return outcome(syscall(SYS_perf_event_open, attr, 0, -1, -1, 0));
}
static int userfault(void) { return outcome(syscall(SYS_userfaultfd, 1 /* user mode only */)); }
static int add_key(void) { return outcome(syscall(SYS_add_key, "user", "akios", "x", 1, -2 /* process keyring */)); }
static int request_key(void) {
    long key = syscall(SYS_request_key, "user", "akios-nothing", NULL, 0);
    return key < 0 && errno == ENOKEY ? 0 : outcome(key);
}
static int session_keyring(void) { return outcome(syscall(SYS_keyctl, 1 /* join session */, "akios")); }
static int user_keyring(void) { return outcome(syscall(SYS_keyctl, 0 /* get id */, -4 /* of the user */, 1)); }
static int fanotify(void) { return outcome(syscall(SYS_fanotify_init, 0, O_RDONLY)); }
static int read_klog(void) { return outcome(syscall(SYS_syslog, 10 /* size of the buffer */, NULL, 0)); }
static int host_name(void) { return outcome(sethostname("owned", 5)); }
static int set_clock(void) {
    struct timezone zone = {0, 0};
    return outcome(syscall(SYS_settimeofday, NULL, &zone));
}
static int io_ports(void) { return outcome(syscall(SYS_ioperm, 0x80, 1, 1)); }
static int accounting(void) { return outcome(syscall(SYS_acct, NULL)); }
static int swap_on(void) { return outcome(syscall(SYS_swapon, "/dev/null/nothing", 0)); }
static int load_module(void) { return outcome(syscall(SYS_finit_module, -1, "", 0)); }
static int load_kernel(void) { return outcome(syscall(SYS_kexec_load, 0, 17, NULL, 0)); }
static int quota(void) { return outcome(syscall(SYS_quotactl, 0x80000100 /* Q_SYNC */, NULL, 0, NULL)); }
static int secret_memory(void) { return outcome(syscall(SYS_memfd_secret, 0)); }

/* Neither takes a page of the pool before it is touched, so that both succeed where the pool is empty. */
static int huge_pages(void) {
    int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB | MAP_NORESERVE;
    return mmap(NULL, 64 << 20, PROT_READ | PROT_WRITE, flags, -1, 0) == MAP_FAILED ? errno : 0;
}
static int huge_memory(void) { return outcome(memfd_create("huge", MFD_HUGETLB)); }

static int no_randomisation(void) { return outcome(personality(ADDR_NO_RANDOMIZE)); }
static int exec_readable(void) { return outcome(personality(READ_IMPLIES_EXEC)); }
static int personality_high(void) { return outcome(syscall(SYS_personality, 0xdead00000000ul | ADDR_NO_RANDOMIZE)); }

static int own_pty(void) {
    int master = posix_openpt(O_RDWR | O_NOCTTY);
    if (master < 0 || grantpt(master) < 0 || unlockpt(master) < 0)
        return -1;
    setsid();
    return open(ptsname(master), O_RDWR);
}
static int on_pty(unsigned long command, void *argument) {
    int tty = own_pty();
    return tty < 0 ? errno : outcome(syscall(SYS_ioctl, tty, command, argument));
}
static char letter = 'x', selection[8] = {3 /* paste */};
static int line_discipline = 0 /* N_TTY */;
static int tiocsti(void) { return on_pty(TIOCSTI, &letter); }
static int tiocsti_high(void) { return on_pty(0xdeadbeef00000000ul | TIOCSTI, &letter); }
static int tioclinux(void) { return on_pty(TIOCLINUX, selection); }
static int tioclinux_high(void) { return on_pty(0x100000000ul | TIOCLINUX, selection); }
static int tiocsetd(void) { return on_pty(TIOCSETD, &line_discipline); }
static int tioccons(void) { return on_pty(TIOCCONS, NULL); }

static int make_node(mode_t type, int major, int minor, int old) {
    char path[] = "/tmp/akios-node-XXXXXX";
    int fd = mkstemp(path);
    close(fd);
    unlink(path);
    dev_t device = makedev((unsigned)major, (unsigned)minor);
#ifdef SYS_mknod
    int result = outcome(old ? syscall(SYS_mknod, path, type | 0600, device) : mknod(path, type | 0600, device));
#else
    (void)old;
    int result = outcome(mknod(path, type | 0600, device));
#endif
    unlink(path);
    return result;
}
static int make_char(void) { return make_node(S_IFCHR, 1, 1, 0); }
static int make_char_old(void) { return make_node(S_IFCHR, 1, 1, 1); }
static int make_block(void) { return make_node(S_IFBLK, 7, 0, 0); }
/* An overlay's whiteout is a device 0:0, which the kernel lets anybody make. */
static int make_whiteout(void) { return make_node(S_IFCHR, 0, 0, 0); }

static int become_root(void) { return outcome(setuid(0)); }
static int become_other(void) { return outcome(setresuid(12345, 12345, 12345)); }
static int become_other_group(void) { return outcome(setresgid(0, 0, 0)); }
static int join_groups(void) {
    gid_t groups[] = {0, 4, 6};
    return outcome(setgroups(3, groups));
}
static int raise_capabilities(void) {
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct all[2] = {{1u << CAP_NET_ADMIN, 1u << CAP_NET_ADMIN, 1u << CAP_NET_ADMIN}, {0}};
    return outcome(syscall(SYS_capset, &header, all));
}
static int raise_ambient(void) {
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2];
    syscall(SYS_capget, &header, data);
    data[0].inheritable = data[0].permitted;
    syscall(SYS_capset, &header, data);
    return outcome(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_CHOWN, 0, 0));
}
static int loosen_securebits(void) { return outcome(prctl(PR_SET_SECUREBITS, 0)); }
static int drop_bounding(void) { return outcome(prctl(PR_CAPBSET_DROP, CAP_WAKE_ALARM)); }
static int allow_new_privileges(void) {
    return prctl(PR_SET_NO_NEW_PRIVS, 0, 0, 0, 0) == 0 || prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 0 ? 0 : EPERM;
}
static int move_break(void) { return outcome(prctl(PR_SET_MM, PR_SET_MM_ARG_START, sbrk(0), 0, 0)); }
static int schedule_core(void) {
    int result = outcome(prctl(PR_SCHED_CORE, PR_SCHED_CORE_CREATE, 0, 0, 0));
    return result == ENODEV ? 0 : result; /* no hyper-threads here: the call was allowed */
}
static int real_time(void) {
    struct sched_param {
        int priority;
    } param = {1};
    return outcome(syscall(SYS_sched_setscheduler, 0, 1 /* FIFO */, &param));
}
static int better_nice(void) { return outcome(setpriority(PRIO_PROCESS, 0, -5)); }

static int own_listener(void) {
    struct sock_filter allow = {BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ALLOW};
    struct sock_fprog program = {1, &allow};
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    return outcome(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER, &program));
}

#ifdef __x86_64__
static int legacy_call(void) {
    long result;
    __asm__ volatile("int $0x80" : "=a"(result) : "a"(20L /* getpid */) : "memory", "r8", "r9", "r10", "r11");
    return result > 0 ? 0 : ENOSYS;
}
static int legacy_mount(void) {
    long result;
    __asm__ volatile("int $0x80" : "=a"(result) : "a"(21L /* mount */), "b"(0), "c"(0), "d"(0), "S"(0), "D"(0) : "memory");
    return result == -EFAULT || result == -EINVAL ? 0 : (int)-result;
}
static int x32_call(void) { return outcome(syscall(0x40000000 | SYS_getpid)); }
#else
static int legacy_call(void) { return EOPNOTSUPP; }
static int legacy_mount(void) { return EOPNOTSUPP; }
static int x32_call(void) { return ENOSYS; }
#endif
static int beyond_table(void) { return outcome(syscall(100000)); }

#define A(name) {#name, name}
static const struct attack attacks[] = {
    A(io_uring), A(bpf_map), A(perf_event), A(userfault), A(add_key), A(request_key), A(session_keyring),
    A(user_keyring), A(fanotify), A(read_klog), A(host_name), A(set_clock), A(io_ports), A(accounting), A(swap_on),
    A(load_module), A(load_kernel), A(quota), A(secret_memory), A(huge_pages), A(huge_memory), A(no_randomisation), A(exec_readable),
    A(personality_high), A(tiocsti), A(tiocsti_high), A(tioclinux), A(tioclinux_high), A(tiocsetd), A(tioccons),
    A(make_char), A(make_char_old), A(make_block), A(make_whiteout), A(become_root), A(become_other), A(become_other_group), A(join_groups),
    A(raise_capabilities), A(raise_ambient), A(loosen_securebits), A(drop_bounding), A(allow_new_privileges),
    A(move_break), A(schedule_core), A(real_time), A(better_nice), A(own_listener), A(legacy_call), A(legacy_mount),
    A(x32_call), A(beyond_table),
};

MAIN(attacks)
