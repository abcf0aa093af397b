#!/bin/bash
# keep.sh TREE GROUP: runs enter.sh in namespaces and control groups (all named GROUP) of its own. At end of file on standard
# input, so also when the test that started it was killed, it ends them and removes TREE, which was made for it.
set -uo pipefail
tree=$1 group=$2
here=$(cd "$(dirname "$0")" && pwd)
groups=()
for place in /sys/fs/cgroup/*/; do
  case $place in */cpuset/) continue ;; esac # nothing may join one that has no processors yet
  [ ! -L "${place%/}" ] && [ -e "$place/cgroup.procs" ] && mkdir "$place$group" && groups+=("$place$group")
done
(
  for place in "${groups[@]}"; do echo "$BASHPID" >"$place/cgroup.procs"; done
  exec unshare --cgroup --mount --pid --fork --kill-child --uts --ipc "$here/enter.sh" "$tree"
) &
child=$!
cat >/dev/null
exec 2>/dev/null
kill -KILL "$child" 2>/dev/null
wait "$child" 2>/dev/null
for place in "${groups[@]}"; do
  # What an akiosd made in there, deepest first; a group is free once the kernel has buried its processes.
  until find "$place" -depth -type d -exec rmdir {} + 2>/dev/null; do
    [ -e "$place" ] || break
    sleep 0.05
  done
done
rm -rf --one-file-system "$tree"
