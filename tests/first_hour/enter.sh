#!/bin/bash
# enter.sh TREE: process 1 of a fresh system in TREE, as a container has it: own mounts, processes and control groups, a static
# /dev, the host's network. Says "up" when it is. All of it goes with this process.
set -euo pipefail
tree=$1
mount --make-rprivate /
mount --bind "$tree" "$tree"
mount -t proc proc "$tree/proc"
mount -t sysfs -o ro sysfs "$tree/sys"
mount -t tmpfs -o mode=755 tmpfs "$tree/sys/fs/cgroup"
for place in /sys/fs/cgroup/*/; do
  place=${place%/} name=${place##*/}
  [ ! -L "$place" ] || continue
  mkdir "$tree/sys/fs/cgroup/$name"
  kind=cgroup options=$name
  case $name in unified) kind=cgroup2 options=rw ;; systemd) options=none,name=systemd ;; esac
  mount -t $kind -o "$options" $kind "$tree/sys/fs/cgroup/$name"
done
mount -t tmpfs -o mode=755 tmpfs "$tree/dev"
for node in null:1:3 zero:1:5 full:1:7 random:1:8 urandom:1:9 tty:5:0; do
  IFS=: read -r name major minor <<<"$node"
  mknod -m 666 "$tree/dev/$name" c "$major" "$minor"
done
mkdir "$tree/dev/pts" "$tree/dev/shm"
mount -t devpts -o newinstance,ptmxmode=666,mode=620,gid=5 devpts "$tree/dev/pts"
mount -t tmpfs -o mode=1777 tmpfs "$tree/dev/shm"
ln -s pts/ptmx "$tree/dev/ptmx"
ln -s /proc/self/fd "$tree/dev/fd"
mount -t tmpfs -o mode=755 tmpfs "$tree/run"
cd "$tree"
pivot_root . mnt
umount -l /mnt
echo up
exec 0</dev/null >/dev/null 2>&1
# As process 1 it is the parent of all that outlive theirs.
exec /usr/bin/python3 -c 'import signal; signal.signal(signal.SIGCHLD, signal.SIG_IGN)
while True: signal.pause()'
