#!/bin/bash
# base.sh SUITE DIR: fetches what a guest of SUITE (trixie, bookworm) is made of.
#   DIR/root.tar   a Debian root with systemd, kernel, Python, compiler, the libraries AKIOS needs, and what tests its package
set -euo pipefail
suite=$1 dir=$2
packages=(
  systemd systemd-sysv dbus kmod linux-image-cloud-amd64 busybox-static
  python3 python3-venv python3-dev gcc libc6-dev
  libseccomp2 libseccomp-dev libcap2-bin libcap-dev libssl-dev
  bubblewrap ca-certificates e2fsprogs git iproute2 libpam-systemd nftables procps quota strace sudo tmux util-linux
  apparmor autopkgtest nano needrestart python3-pytest
)
quiet=(--quiet --mode=root --variant=minbase --aptopt='Apt::Install-Recommends "false"')
without=(--dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*')
mkdir -p "$dir"
mmdebstrap "${quiet[@]}" "${without[@]}" --include="$(IFS=,; echo "${packages[*]}")" "$suite" "$dir/root.tar"
