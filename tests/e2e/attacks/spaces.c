/* Namespaces, mounts, roots, file handles. */
#include "attack.h"

#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>

struct clone3_args {
    uint64_t flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls, set_tid, set_tid_size, cgroup;
};

static int raw_clone(uint64_t flags) {
    long pid = syscall(SYS_clone, flags | SIGCHLD, 0, 0, 0, 0);
    if (pid == 0)
        _exit(0);
    return outcome(pid);
}

static int unshare_user(void) { return outcome(unshare(CLONE_NEWUSER)); }
static int unshare_mount(void) { return outcome(unshare(CLONE_NEWNS)); }
static int unshare_net(void) { return outcome(unshare(CLONE_NEWNET)); }
static int unshare_pid(void) { return outcome(unshare(CLONE_NEWPID)); }
static int unshare_time(void) { return outcome(unshare(0x80)); }
static int clone_user(void) { return raw_clone(CLONE_NEWUSER); }
static int clone_user_and_net(void) { return raw_clone(CLONE_NEWUSER | CLONE_NEWNET); }
/* The kernel looks at the lower half of the flags only. */
static int clone_user_high(void) { return raw_clone(CLONE_NEWUSER | 0xdead00000000ull); }
static int clone_mount(void) { return raw_clone(CLONE_NEWNS); }

static int clone3_user(void) {
    struct clone3_args args = {.flags = CLONE_NEWUSER, .exit_signal = SIGCHLD};
    long pid = syscall(SYS_clone3, &args, sizeof args);
    if (pid == 0)
        _exit(0);
    return outcome(pid);
}

static int clone3_time(void) {
    struct clone3_args args = {.flags = 0x80, .exit_signal = SIGCHLD};
    long pid = syscall(SYS_clone3, &args, sizeof args);
    if (pid == 0)
        _exit(0);
    return outcome(pid);
}

static int setns_own(void) {
    int fd = open("/proc/self/ns/net", O_RDONLY);
    return fd < 0 ? errno : outcome(setns(fd, CLONE_NEWNET));
}

static int mount_tmpfs(void) { return outcome(mount("x", "/tmp", "tmpfs", 0, NULL)); }
static int mount_bind(void) { return outcome(mount("/usr", "/mnt", NULL, MS_BIND, NULL)); }
static int mount_overlay(void) { return outcome(mount("x", "/mnt", "overlay", 0, "lowerdir=/usr:/etc")); }
static int mount_proc(void) { return outcome(mount("x", "/mnt", "proc", 0, NULL)); }
static int remount_proc_sys(void) {
    struct stat found;
    if (stat("/proc/sys", &found) == 0 && mount("/proc/sys", "/proc/sys", NULL, MS_BIND, NULL) < 0)
        return errno;
    return outcome(mount(NULL, "/proc/sys", NULL, MS_REMOUNT | MS_BIND, NULL));
}
static int remount_usr(void) {
    if (mount("/usr", "/usr", NULL, MS_BIND, NULL) < 0)
        return errno;
    return outcome(mount(NULL, "/usr", NULL, MS_REMOUNT | MS_BIND, NULL));
}
static int unmount_proc(void) { return outcome(umount2("/proc", MNT_DETACH)); }

static int new_mount_api(void) {
    int fs = (int)syscall(SYS_fsopen, "tmpfs", 0);
    if (fs < 0 || syscall(SYS_fsconfig, fs, 6 /* create */, NULL, NULL, 0) < 0)
        return errno;
    int tree = (int)syscall(SYS_fsmount, fs, 0, 0);
    return tree < 0 ? errno : outcome(syscall(SYS_move_mount, tree, "", AT_FDCWD, "/mnt", 4 /* empty from path */));
}
static int clone_tree(void) { return outcome(syscall(SYS_open_tree, AT_FDCWD, "/usr", 1 /* clone */)); }
/* Without the clone flag open_tree is no more than O_PATH, and still an unlooked-at way to a descriptor. */
static int open_tree_path(void) { return outcome(syscall(SYS_open_tree, AT_FDCWD, "/usr", 0)); }
static int move_old_mount(void) {
    if (mount("x", "/tmp", "tmpfs", 0, NULL) < 0)
        return errno;
    return outcome(syscall(SYS_move_mount, AT_FDCWD, "/tmp", AT_FDCWD, "/mnt", 0));
}
static int pick_mount(void) { return outcome(syscall(SYS_fspick, AT_FDCWD, "/proc", 0)); }
static int set_mount_attr(void) {
    uint64_t attr[4] = {0, 8 /* clear noexec */, 0, 0};
    return outcome(syscall(SYS_mount_setattr, AT_FDCWD, "/proc", 0, attr, sizeof attr));
}

static int change_root(void) { return outcome(chroot("/tmp")); }
static int pivot(void) {
    if (mount("x", "/mnt", "tmpfs", 0, NULL) < 0 || chdir("/mnt") < 0)
        return errno;
    return outcome(syscall(SYS_pivot_root, ".", "."));
}

static int open_by_handle(void) {
    struct {
        struct file_handle head;
        unsigned char bytes[128];
    } handle = {.head.handle_bytes = 128};
    int mount_id;
    /* /usr is an overlay inside, and gives no handles out; /tmp is on a disk that does. */
    if (name_to_handle_at(AT_FDCWD, "/tmp", &handle.head, &mount_id, 0) < 0)
        return errno == EOPNOTSUPP ? ENOTSUP : errno;
    int fd = open("/tmp", O_RDONLY | O_DIRECTORY);
    return outcome(open_by_handle_at(fd, &handle.head, O_RDONLY));
}

static const struct attack attacks[] = {
    {"unshare_user", unshare_user},
    {"unshare_mount", unshare_mount},
    {"unshare_net", unshare_net},
    {"unshare_pid", unshare_pid},
    {"unshare_time", unshare_time},
    {"clone_user", clone_user},
    {"clone_user_and_net", clone_user_and_net},
    {"clone_user_high", clone_user_high},
    {"clone_mount", clone_mount},
    {"clone3_user", clone3_user},
    {"clone3_time", clone3_time},
    {"setns_own", setns_own},
    {"mount_tmpfs", mount_tmpfs},
    {"mount_bind", mount_bind},
    {"mount_overlay", mount_overlay},
    {"mount_proc", mount_proc},
    {"remount_proc_sys", remount_proc_sys},
    {"remount_usr", remount_usr},
    {"unmount_proc", unmount_proc},
    {"new_mount_api", new_mount_api},
    {"clone_tree", clone_tree},
    {"open_tree_path", open_tree_path},
    {"move_mount", move_old_mount},
    {"fspick", pick_mount},
    {"mount_setattr", set_mount_attr},
    {"change_root", change_root},
    {"pivot", pivot},
    {"open_by_handle", open_by_handle},
};

MAIN(attacks)
