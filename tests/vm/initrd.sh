#!/bin/busybox sh
b=/bin/busybox
$b mount -t devtmpfs dev /dev
# Ubuntu's kernel has all of them built in.
for module in /modules/*.ko; do [ ! -e "$module" ] || $b insmod "$module"; done
while [ ! -b /dev/vda ]; do $b usleep 20000; done
$b mount -t ext4 -o noatime /dev/vda /root
$b mount --move /dev /root/dev
exec $b switch_root /root /lib/systemd/systemd
