#!/bin/sh
# Runs as root in the guest. Disks: vdb holds a tar with the project and `command`, vdc takes a tar with the results.
# The log goes out line by line through a virtio port; the serial line carries READY and "go EPOCH". END goes both ways:
# a package that is installed or purged may start what takes the serial line for itself.
modprobe -a virtio_console loop overlay
log=/dev/vport0p1
stty -F /dev/ttyS0 raw -echo
# Held open from here on: the last close of a terminal throws away what has arrived.
exec 3<>/dev/ttyS0
# What every run loads is read now, so that the saved memory holds it.
/opt/akios/bin/python -m pytest --version >/dev/null 2>&1
/opt/akios/bin/python -c 'import trio, msgspec, cffi, hypothesis, pyroute2, cryptography, yaml, structlog, click'
sync

echo AKIOS-READY >&3
read -r word epoch <&3
[ "$word" = go ] || exit 1
date -s "@$epoch" >/dev/null
cd /srv/akios || exit 1
dd if=/dev/vdb iflag=direct bs=1M status=none | tar -xf - 2>/dev/null
ln -s /opt/akios .venv
export VM_OUT=/run/vm-out PATH="/opt/akios/bin:$PATH" HOME=/root LANG=C.UTF-8
mkdir -p $VM_OUT
exec 4>$log
sh ./.vm-command >&4 2>&1 3>&- 4>&- </dev/null
code=$?
tar -C $VM_OUT -cf - . | dd of=/dev/vdc bs=1M conv=fsync status=none
printf '\nAKIOS-END %s\n' "$code" >&4
echo "AKIOS-END $code" >&3
