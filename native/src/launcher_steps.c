/* The steps of a plan.  Each function is one mechanism and returns 0 or -errno; which, in what
 * order and with which values was decided in Python. */
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/keyctl.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/fanotify.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "domain.h"
#include "launcher.h"
#include "uapi.h"

struct step {
    struct akios_child *child;
    const struct akios_op *op;
    char *a, *b, *c;
    int fd;
};

static int check(long value)
{
    return value < 0 ? -errno : 0;
}

static int enter_cgroup_v1(const struct step *s)
{
    /* "0" means the writer: the kernel takes the cheap path only for a task that moves itself. */
    return check(write(s->fd, "0", 1));
}

static int place_mount(const struct step *s, int mount_fd, const char *path)
{
    if (s->op->flags & AKIOS_F_STAGE)
        return akios_move_mount(mount_fd, AT_FDCWD, path);
    int target = akios_open_beneath(s->child->root_fd, path, O_PATH);
    if (target < 0)
        return target;
    int err = akios_move_mount(mount_fd, target, "");
    close(target);
    return err;
}

static int attach(const struct step *s)
{
    if (s->op->u0) {
        int err = akios_mount_setattr(s->fd, 0, s->op->u0, 0, 0, -1);
        if (err < 0)
            return err;
    }
    return place_mount(s, s->fd, s->a);
}

static int mount_new(const struct step *s)
{
    int mount_fd = akios_fs_mount(s->a, s->b, s->op->b_len, s->op->u0);
    if (mount_fd < 0)
        return mount_fd;
    int err = place_mount(s, mount_fd, s->c);
    close(mount_fd);
    return err;
}

static int export_mount(const struct step *s)
{
    int mount_fd = akios_fs_mount(s->a, s->b, s->op->b_len, s->op->u0);
    if (mount_fd < 0)
        return mount_fd;
    int err = akios_send_fd(mount_fd, AKIOS_STATUS_MOUNT);
    close(mount_fd);
    return err < 0 ? err : 0;
}

static int is_directory(int fd)
{
    struct stat status;
    return fstat(fd, &status) == 0 && S_ISDIR(status.st_mode);
}

static int bind_inside(const struct step *s)
{
    /* a: source, absolute in the staging root or below the new root; c: target below the new root.
     * With EXIST_OK a source or target that is not there is no failure, with SAME_KIND neither is a
     * target that cannot carry the source: one of the two is a directory. */
    int optional = (s->op->flags & AKIOS_F_EXIST_OK) != 0;
    int same_kind = (s->op->flags & AKIOS_F_SAME_KIND) != 0;
    int source = s->op->flags & AKIOS_F_STAGE ? open(s->a, O_PATH | O_CLOEXEC | O_NOFOLLOW)
                                              : akios_open_beneath(s->child->root_fd, s->a, O_PATH);
    if (source < 0)
        return s->op->flags & AKIOS_F_STAGE ? -errno : (source == -ENOENT && optional ? 0 : source);
    int target = akios_open_beneath(s->child->root_fd, s->c, O_PATH);
    if (target < 0) {
        close(source);
        return (target == -ENOENT && optional) || (target == -ENOTDIR && same_kind) ? 0 : target;
    }
    if (same_kind && is_directory(source) != is_directory(target)) {
        close(source);
        close(target);
        return 0;
    }
    int tree = akios_open_tree(source, "", OPEN_TREE_CLONE | AT_EMPTY_PATH);
    int err = tree < 0 ? tree : 0;
    if (err == 0 && s->op->u0)
        err = akios_mount_setattr(tree, 0, s->op->u0, 0, 0, -1);
    if (err == 0)
        err = akios_move_mount(tree, target, "");
    if (tree >= 0)
        close(tree);
    close(source);
    close(target);
    return err;
}

/* a: parent below the new root, b: name in it */
static int open_parent(const struct step *s)
{
    if (strchr(s->b, '/') != NULL)
        return -EINVAL;
    return akios_open_beneath(s->child->root_fd, s->a, O_PATH | O_DIRECTORY);
}

static int make_entry(const struct step *s)
{
    int parent = open_parent(s);
    if (parent < 0)
        return parent;
    int err = 0;
    if (s->op->kind == AKIOS_OP_MKDIR)
        err = check(mkdirat(parent, s->b, (mode_t)s->op->u0));
    else if (s->op->kind == AKIOS_OP_SYMLINK)
        err = check(symlinkat(s->c, parent, s->b));
    else
        err = check(mknodat(parent, s->b, (mode_t)s->op->u0, (dev_t)s->op->u1));
    if (err == -EEXIST && (s->op->flags & AKIOS_F_EXIST_OK)) {
        close(parent);
        return 0; /* what stands there is checked when it is used: no link is followed then */
    }
    if (err == 0)
        err = check(fchownat(parent, s->b, s->op->uid, s->op->gid, AT_SYMLINK_NOFOLLOW));
    close(parent);
    return err;
}

/* a: parent below the new root, b: a name in it; events of the mount there go to the group.  Only
 * now is the mount's place known to be what the plan made: nothing of the cage has run.  With
 * EXIST_OK one that is not there is no failure. */
static int watch_mount(const struct step *s)
{
    int parent = open_parent(s), err = parent;
    if (parent >= 0) {
        err = check(fanotify_mark(s->fd, FAN_MARK_ADD | FAN_MARK_MOUNT | FAN_MARK_DONT_FOLLOW,
                                  s->op->u0, parent, s->b));
        close(parent);
    }
    return err == -ENOENT && (s->op->flags & AKIOS_F_EXIST_OK) ? 0 : err;
}

static int use_root(const struct step *s)
{
    int fd = open(s->a, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    s->child->root_fd = fd;
    return 0;
}

static int pivot(const struct step *s)
{
    if (fchdir(s->child->root_fd) < 0 || syscall(SYS_pivot_root, ".", ".") < 0 ||
        umount2(".", MNT_DETACH) < 0)
        return -errno;
    return check(chdir("/"));
}

static int open_pty(const struct step *s)
{
    int master = akios_open_beneath(s->child->root_fd, s->a, O_RDWR | O_NOCTTY);
    if (master < 0)
        return master;
    struct winsize size = {.ws_row = (unsigned short)s->op->u0,
                           .ws_col = (unsigned short)s->op->u1};
    int unlock = 0;
    if (ioctl(master, TIOCSPTLCK, &unlock) < 0 || ioctl(master, TIOCSWINSZ, &size) < 0)
        return -errno;
    int slave = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (slave < 0)
        return -errno;
    int err = akios_send_fd(master, AKIOS_STATUS_PTY);
    close(master);
    for (int fd = 0; fd < 3 && err >= 0; fd++)
        if (dup2(slave, fd) < 0)
            err = -errno;
    return err < 0 ? err : 0;
}

static int limit(const struct step *s)
{
    struct rlimit now, want = {.rlim_cur = s->op->u1, .rlim_max = s->op->u2};
    if (getrlimit((int)s->op->u0, &now) < 0)
        return -errno;
    /* A hard limit can be lowered only, with or without CAP_SYS_RESOURCE. */
    if (want.rlim_max > now.rlim_max)
        want.rlim_max = now.rlim_max;
    if (want.rlim_cur > want.rlim_max)
        want.rlim_cur = want.rlim_max;
    return check(setrlimit((int)s->op->u0, &want));
}

static int drop_bounding(void)
{
    for (int capability = 0; capability < 64; capability++)
        if (prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) < 0 && errno != EINVAL)
            return -errno;
    return check(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0));
}

static int set_ids(const struct step *s)
{
    if (syscall(SYS_setgroups, 0, NULL) < 0 ||
        syscall(SYS_setresgid, s->op->gid, s->op->gid, s->op->gid) < 0)
        return -errno;
    return check(syscall(SYS_setresuid, s->op->uid, s->op->uid, s->op->uid));
}

static int drop_capabilities(void)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct none[2] = {{0}, {0}};
    return check(syscall(SYS_capset, &header, none));
}

static int lock_down(const struct step *s)
{
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
        return -errno;
    if (s->child->domain)
        return 0; /* it has to end its cage itself, and learns from the status socket when */
    return check(prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0));
}

static int allow_beneath(int ruleset_fd, int parent_fd, uint64_t access)
{
    struct akios_landlock_path_beneath rule = {.allowed_access = access, .parent_fd = parent_fd};
    return check(
        syscall(__NR_landlock_add_rule, ruleset_fd, AKIOS_LANDLOCK_RULE_PATH_BENEATH, &rule, 0));
}

static int add_rule(int ruleset_fd, const char *path, uint64_t access)
{
    int parent = open(path, O_PATH | O_CLOEXEC);
    if (parent < 0)
        return -errno;
    int err = allow_beneath(ruleset_fd, parent, access);
    close(parent);
    return err;
}

static int landlock_rule(const struct step *s)
{
    if (s->fd >= 0)
        return allow_beneath(s->child->ruleset_fd, s->fd, s->op->u0);
    int err = add_rule(s->child->ruleset_fd, s->a, s->op->u0);
    return err == -ENOENT && (s->op->flags & AKIOS_F_EXIST_OK) ? 0 : err;
}

/* The ruleset that the agent adds to itself.  A layer that does not mention REFER refuses every
 * rename from one directory to another (landlock(7)), so it is allowed everywhere: the layer above
 * decides. */
static int prepare_scope(struct akios_child *child)
{
    const struct akios_plan *head = (const struct akios_plan *)(const void *)child->plan;
    if (head->nested_scope == 0)
        return 0;
    child->scope_fd = akios_landlock_create(AKIOS_LANDLOCK_ACCESS_FS_REFER, 0, head->nested_scope,
                                            sizeof(struct akios_landlock_ruleset_attr));
    return child->scope_fd < 0 ? child->scope_fd
                               : add_rule(child->scope_fd, "/", AKIOS_LANDLOCK_ACCESS_FS_REFER);
}

static int read_canary(void)
{
    int fd = openat(AKIOS_FD_CANARY, "canary", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    close(fd);
    return 0;
}

static int landlock_enforce(const struct step *s)
{
    /* The control first: without it a refusal would prove nothing. */
    int before = read_canary();
    if (before < 0)
        return before;
    int reached = s->child->domain ? akios_domain_can_signal() : 0;
    int err = akios_landlock_restrict(s->child->ruleset_fd);
    if (err == 0 && s->child->domain)
        err = akios_domain_prove(reached);
    if (err < 0)
        return err;
    close(s->child->ruleset_fd);
    s->child->landlock_proof = read_canary() == -EACCES;
    return prepare_scope(s->child);
}

static int load_filter(const struct step *s)
{
    struct sock_fprog program = {.len = (unsigned short)(s->op->a_len / sizeof(struct sock_filter)),
                                 .filter = (struct sock_filter *)(void *)s->a};
    if (s->op->a_len % sizeof(struct sock_filter) != 0 ||
        s->op->a_len / sizeof(struct sock_filter) > 4096)
        return -EINVAL;
    if (s->child->domain)
        return akios_domain_handover(&program, s->op->u0);
    long fd = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, (unsigned)s->op->u0, &program);
    if (fd < 0)
        return -errno;
    s->child->listener_fd = (int)fd;
    return 0;
}

static int run_step(const struct step *s)
{
    const struct akios_op *op = s->op;
    switch ((enum akios_op_kind)op->kind) {
    case AKIOS_OP_CGROUP_V1: return enter_cgroup_v1(s);
    case AKIOS_OP_UNSHARE: return check(unshare((int)op->u0));
    case AKIOS_OP_SETNS: return check(setns(s->fd, (int)op->u0));
    case AKIOS_OP_HOSTNAME: return check(sethostname(s->a, op->a_len));
    case AKIOS_OP_SETSID: return check(setsid());
    case AKIOS_OP_ATTACH: return attach(s);
    case AKIOS_OP_MKDIR:
    case AKIOS_OP_MKFILE:
    case AKIOS_OP_SYMLINK:
    case AKIOS_OP_MKNOD: return make_entry(s);
    case AKIOS_OP_FSMOUNT: return mount_new(s);
    case AKIOS_OP_EXPORT: return export_mount(s);
    case AKIOS_OP_BIND: return bind_inside(s);
    case AKIOS_OP_SETATTR:
        return akios_mount_setattr(s->child->root_fd,
                                   op->flags & AKIOS_F_RECURSIVE ? AT_RECURSIVE : 0, op->u0, op->u1,
                                   0, -1);
    case AKIOS_OP_ROOT: return use_root(s);
    case AKIOS_OP_CANARY: {
        int fd = open(s->a, O_PATH | O_DIRECTORY | O_CLOEXEC);
        return fd < 0 ? -errno : check(dup2(fd, AKIOS_FD_CANARY));
    }
    case AKIOS_OP_PIVOT: return pivot(s);
    case AKIOS_OP_STDIO: return check(dup2(s->fd, (int)op->u0));
    case AKIOS_OP_PTY: return open_pty(s);
    case AKIOS_OP_CLOSE_RANGE: return check(syscall(__NR_close_range, (unsigned)op->u0, ~0U, 0));
    case AKIOS_OP_RLIMIT: return limit(s);
    case AKIOS_OP_UMASK: umask((mode_t)op->u0); return 0;
    case AKIOS_OP_KEYRING: return check(syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, NULL));
    case AKIOS_OP_BOUNDING: return drop_bounding();
    case AKIOS_OP_SECUREBITS: return check(prctl(PR_SET_SECUREBITS, op->u0, 0, 0, 0));
    case AKIOS_OP_IDS: return set_ids(s);
    case AKIOS_OP_CAPSET: return drop_capabilities();
    case AKIOS_OP_LOCKDOWN: return lock_down(s);
    case AKIOS_OP_LANDLOCK: {
        int fd = akios_landlock_create(op->u0, op->uid, op->u1, op->u2);
        s->child->ruleset_fd = fd;
        return fd < 0 ? fd : 0;
    }
    case AKIOS_OP_LANDLOCK_RULE: return landlock_rule(s);
    case AKIOS_OP_LANDLOCK_ENFORCE: return landlock_enforce(s);
    case AKIOS_OP_SECCOMP: return load_filter(s);
    case AKIOS_OP_PARK: return akios_park(s->child);
    case AKIOS_OP_WATCH: return watch_mount(s);
    case AKIOS_OP_DOMAIN: return akios_domain_begin(s->child);
    }
    return -EINVAL;
}

static int resolve_step(struct akios_child *child, const struct akios_op *op, struct step *s)
{
    *s = (struct step){.child = child, .op = op, .fd = -1};
    s->a = akios_at(child, op->a_at, (uint64_t)op->a_len + 1);
    s->b = akios_at(child, op->b_at, (uint64_t)op->b_len + 1);
    s->c = akios_at(child, op->c_at, (uint64_t)op->c_len + 1);
    if (s->a == NULL || s->b == NULL || s->c == NULL || op->fd >= (int)child->nfds)
        return -EPROTO;
    if (op->fd >= 0)
        s->fd = child->fds[op->fd];
    return 0;
}

int akios_run_steps(struct akios_child *child, uint32_t *number)
{
    const struct akios_plan *head = (const struct akios_plan *)(const void *)child->plan;
    const struct akios_op *ops =
        akios_at(child, head->ops_at, (uint64_t)head->op_count * sizeof(struct akios_op));
    if (ops == NULL || head->ops_at % _Alignof(struct akios_op) != 0)
        return -EPROTO;
    for (uint32_t i = 0; i < head->op_count; i++) {
        *number = i;
        struct step s;
        int err = resolve_step(child, &ops[i], &s);
        if (err == 0)
            err = run_step(&s);
        if (err < 0)
            return err;
        if (ops[i].kind == AKIOS_OP_PARK)
            return akios_run_steps(child, number); /* of the plan that came */
    }
    return 0;
}
