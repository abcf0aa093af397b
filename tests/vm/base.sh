#!/bin/bash
# base.sh SUITE DIR: fetches what a guest of SUITE (trixie, bookworm, noble) is made of.
#   DIR/root.tar   a root with systemd, kernel, Python, compiler, the libraries AKIOS needs, and what tests its package
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd -P)
suite=$1 dir=$2
case $suite in noble) kernel=linux-image-virtual ;; *) kernel=linux-image-cloud-amd64 ;; esac
packages=(
  systemd systemd-sysv dbus kmod "$kernel" busybox-static
  python3 python3-venv python3-dev gcc libc6-dev
  libseccomp2 libseccomp-dev libcap2-bin libcap-dev libssl-dev
  bubblewrap ca-certificates e2fsprogs git iproute2 libpam-systemd nftables procps quota strace sudo tmux util-linux
  apparmor autopkgtest nano needrestart python3-pytest
)
without=(--dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*')
mkdir -p "$dir"
"$here/../../packaging/fresh_root" "$suite" "$dir/root.tar" "${without[@]}" --include="$(IFS=,; echo "${packages[*]}")"
