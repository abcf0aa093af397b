"""What each argument of a system call is: one letter an argument, as ``shapes.KINDS`` reads them.

The letters say which values are worth trying, not what a type is: ``f`` a descriptor, ``s`` a
socket, ``p`` a path, ``b`` memory to write to, ``r`` memory to read from, ``n`` a size or count,
``x`` flags, ``i`` a process, ``g`` a signal, ``c`` a command or small number.  Letters and order
are those of the manual pages (section 2).
"""

from __future__ import annotations

SIGNATURES: dict[str, str] = {
    name: letters
    for group in (
        # files
        "read:fbn write:frn readv:fvc writev:fvc pread64:fbno pwrite64:frno preadv:fvcoo",
        "pwritev:fvcoo preadv2:fvcoox pwritev2:fvcoox open:pom openat:dpom openat2:dphn",
        "creat:pm close:f stat:pb lstat:pb fstat:fb newfstatat:dpbx statx:dpxnb access:pc",
        "faccessat:dpc faccessat2:dpcx lseek:foc dup:f dup2:ff dup3:ffo flock:fc fsync:f",
        "fdatasync:f sync: syncfs:f sync_file_range:foox truncate:po ftruncate:fo",
        "fallocate:fcoo fadvise64:fooc readahead:fon getcwd:bn chdir:p fchdir:d rename:pp",
        "renameat:dpdp renameat2:dpdpx mkdir:pm mkdirat:dpm rmdir:p link:pp linkat:dpdpx",
        "unlink:p unlinkat:dpx symlink:pp symlinkat:pdp readlink:pbn readlinkat:dpbn chmod:pm",
        "fchmod:fm fchmodat:dpm fchmodat2:dpmx chown:puu fchown:fuu lchown:puu fchownat:dpuux",
        "umask:m utime:pr utimes:pt futimesat:dpt utimensat:dptx statfs:pb fstatfs:fb",
        "sendfile:ffbn splice:fbfbnx tee:ffnx vmsplice:fvcx copy_file_range:fbfbnx",
        "cachestat:frbx name_to_handle_at:dpbbx file_getattr:dpbnx setxattr:pkrnx",
        "lsetxattr:pkrnx fsetxattr:fkrnx setxattrat:dpxkrn getxattr:pkbn lgetxattr:pkbn",
        "fgetxattr:fkbn getxattrat:dpxkbn listxattr:pbn llistxattr:pbn flistxattr:fbn",
        "listxattrat:dpxbn removexattr:pk lremovexattr:pk fremovexattr:fk removexattrat:dpxk",
        "inotify_init: inotify_init1:o inotify_add_watch:fpx inotify_rm_watch:fc",
        # memory
        "mprotect:wnc munmap:wn brk:w mremap:wnnxw msync:wnx mincore:wnb madvise:wnc mlock:wn",
        "mlock2:wnx munlock:wn mlockall:x munlockall: remap_file_pages:wnccx membarrier:cxc",
        "pkey_mprotect:wncc pkey_alloc:xx pkey_free:c mseal:wnx map_shadow_stack:wnx mmap:wncxfo",
        "memfd_create:kx",
        # waiting, pipes, timers
        "poll:bcc ppoll:bctrn select:cbbbt pselect6:cbbbtr epoll_create:c epoll_create1:o",
        "epoll_ctl:ecfr epoll_wait:ebcc epoll_pwait:ebccrn epoll_pwait2:ebctrn eventfd:c",
        "eventfd2:co signalfd:frn signalfd4:frno pipe:b pipe2:bo timerfd_create:co",
        "timerfd_settime:fxrb timerfd_gettime:fb nanosleep:tb clock_nanosleep:cctb",
        "clock_gettime:cb clock_getres:cb gettimeofday:bb time:b times:b alarm:c getitimer:cb",
        "setitimer:crb timer_create:crb timer_settime:ccrb timer_gettime:cb timer_getoverrun:c",
        "timer_delete:c pause:",
        # processes and threads
        "fork: vfork: clone:xbbbb clone3:bn execve:pvv execveat:dpvvx exit:c exit_group:c",
        "wait4:ibcb waitid:cibxb kill:ig tkill:ig tgkill:iig pidfd_open:io",
        "pidfd_send_signal:fgrx rt_sigaction:grbn rt_sigprocmask:crbn rt_sigreturn:",
        "rt_sigpending:bn rt_sigtimedwait:rbtn rt_sigqueueinfo:igr rt_tgsigqueueinfo:iigr",
        "rt_sigsuspend:rn sigaltstack:rb restart_syscall: futex:bcctbc futex_wait:bccctc",
        "futex_wake:bccc futex_requeue:bxcc futex_waitv:bcxtc set_robust_list:bn",
        "get_robust_list:ibb set_tid_address:b rseq:bnxc sched_yield: sched_getaffinity:inb",
        "sched_getparam:ib sched_getscheduler:i sched_get_priority_max:c",
        "sched_get_priority_min:c sched_rr_get_interval:ib sched_getattr:ibnx getpriority:ci",
        "ioprio_get:ci getcpu:bbb getpid: gettid: getppid: getpgid:i setpgid:ii getpgrp:",
        "getsid:i setsid: arch_prctl:cb uretprobe: uprobe: sched_setaffinity:inr",
        "sched_setattr:irx sched_setparam:ir sched_setscheduler:icr setpriority:cic",
        "ioprio_set:cic prctl:cbccc",
        # identity, limits, the system
        "getuid: geteuid: getgid: getegid: getresuid:bbb getresgid:bbb getgroups:cb setuid:u",
        "setgid:u setreuid:uu setregid:uu setresuid:uuu setresgid:uuu setfsuid:u setfsgid:u",
        "setgroups:cr capget:bb capset:bb getrlimit:cb setrlimit:cl prlimit64:iclb sysinfo:b",
        "getrusage:cb uname:b getrandom:bnx personality:x",
        # sockets and System V IPC
        "socket:xxc socketpair:xxcb connect:san bind:san listen:sc accept:sbb accept4:sbbo",
        "getsockname:sbb getpeername:sbb getsockopt:sccbb setsockopt:sccrn sendto:srnxan",
        "sendmsg:syx sendmmsg:sycx recvfrom:sbnxbb recvmsg:sbx recvmmsg:sbcxt shutdown:sc",
        "shmget:cnx shmat:cbx shmctl:ccb shmdt:b semget:ccx semop:cbn semctl:cccb",
        "semtimedop:cbnt msgget:cx msgsnd:crnx msgrcv:cbncx msgctl:ccb mq_open:qomb",
        "mq_unlink:q mq_timedsend:frnct mq_timedreceive:fbnbt mq_notify:fr mq_getsetattr:frb",
        # the rest that is decided by numbers
        "close_range:ffx getdents:fbn getdents64:fbn fcntl:fcb ioctl:fcb mknod:pmc",
        "mknodat:dpmc seccomp:cxb landlock_create_ruleset:rnx landlock_add_rule:fcrx",
        "landlock_restrict_self:fx",
        # refused whatever the arguments are
        "mount:pppxr umount2:px pivot_root:pp chroot:p open_tree:dpx open_tree_attr:dpxbn",
        "move_mount:dpdpx fsopen:kx fsconfig:fckrc fsmount:fxx fspick:dpx",
        "mount_setattr:dpxbn unshare:x setns:fx listns:rbnx ptrace:cibb process_vm_readv:ivcvcx",
        "process_vm_writev:ivcvcx pidfd_getfd:ffx kcmp:iiccc move_pages:icbbbx",
        "migrate_pages:icbb memfd_secret:x open_by_handle_at:dbx fanotify_init:xo",
        "fanotify_mark:fxodp quotactl:cpcb quotactl_fd:fccb lookup_dcookie:obn add_key:kkrnc",
        "request_key:kkkc keyctl:ccccc bpf:cbn perf_event_open:bicfx userfaultfd:o",
        "io_uring_setup:cb io_uring_enter:fccxbn io_uring_register:fcbc kexec_load:ccbx",
        "kexec_file_load:ffcpx create_module:kn init_module:rnk finit_module:fkx",
        "delete_module:kx query_module:kcbnb get_kernel_syms:b swapon:px swapoff:p reboot:cccb",
        "settimeofday:bb clock_settime:cb iopl:c ioperm:ccc acct:p syslog:cbc vhangup:",
        "sethostname:rn setdomainname:rn nfsservctl:cbb uselib:p _sysctl:b vserver:c",
        "lsm_set_self_attr:cbnx",
        # optional, and off by default
        "io_setup:cb io_destroy:c io_getevents:cccbt io_pgetevents:cccbtb io_submit:ccb",
        "io_cancel:cbb adjtimex:b clock_adjtime:cb file_setattr:dpbnx get_mempolicy:bbnwx",
        "listmount:rbnx lsm_get_self_attr:cbbx lsm_list_modules:bbx mbind:wncbnx",
        "modify_ldt:cbn process_madvise:fvccx process_mrelease:fx set_mempolicy:cbn",
        "set_mempolicy_home_node:wncx statmount:rbnx sysfs:ccb ustat:cb",
    )
    for name, letters in (word.split(":") for word in group.split())
}
