#!/bin/bash
# qemu.sh DIR: QEMU of trixie, unpacked in DIR and never installed: older ones emulate process creation 5-8 times slower.
set -euo pipefail
mmdebstrap --quiet --mode=root --variant=extract --aptopt='Apt::Install-Recommends "false"' \
  --include=qemu-system-x86,seabios trixie "$1/tree"
