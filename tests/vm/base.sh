#!/bin/bash
# base.sh DIR: fetches what the guest is made of.
#   DIR/root.tar   a Debian root with systemd, kernel, Python, compiler and the libraries AKIOS needs
#   DIR/qemu/      QEMU of the same release, unpacked and never installed: older ones emulate process creation 5-8 times slower
set -euo pipefail
dir=$1
suite=trixie
packages=(
  systemd systemd-sysv dbus kmod linux-image-cloud-amd64 busybox-static
  python3 python3-venv python3-dev gcc libc6-dev
  libseccomp2 libseccomp-dev libcap2-bin libcap-dev libssl3t64 libssl-dev
  bubblewrap ca-certificates e2fsprogs git iproute2 libpam-systemd nftables procps quota strace sudo tmux util-linux
)
quiet=(--quiet --mode=root --aptopt='Apt::Install-Recommends "false"')
without=(--dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*')

mkdir -p "$dir"
mmdebstrap "${quiet[@]}" --variant=extract --include=qemu-system-x86,seabios "$suite" "$dir/qemu" &
qemu=$!
mmdebstrap "${quiet[@]}" --variant=minbase "${without[@]}" \
  --include="$(IFS=,; echo "${packages[*]}")" "$suite" "$dir/root.tar"
wait "$qemu"
