#!/bin/bash
# image.sh BASE DIR REQUIREMENTS SCRIPTS: makes the bootable guest out of what base.sh fetched.
#   REQUIREMENTS  a pip requirements file, installed into /opt/akios by the guest's own Python
#   SCRIPTS       lines `name = module:function`, the console scripts of pyproject.toml
#   DIR/rootfs    the root as a tree, also the chroot that compiles native/    DIR/root.ext4  the same as a disk
#   DIR/vmlinuz, DIR/initrd
set -euo pipefail
base=$1 dir=$2 requirements=$3 scripts=$4
here=$(cd "$(dirname "$0")" && pwd)
root=$dir/rootfs

unpack() {
  rm -rf "$root" && mkdir -p "$root" && tar -C "$root" -xf "$base/root.tar"
  kernel=$(ls "$root/lib/modules")
  # What left manuals and documents out of the root would leave those of a package out too.
  rm "$root/etc/dpkg/dpkg.cfg.d/99mmdebstrap"
  mv "$root/boot/vmlinuz-$kernel" "$dir/vmlinuz"
  rm -rf "${root:?}"/boot/*
}

# pip in the chroot is to see the network as pip on this machine does: same resolver, configuration and certificates.
install_python() {
  cp -L /etc/resolv.conf /etc/hosts "$root/etc/"
  cp -L /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/ca-certificates.crt"
  local file
  for file in /etc/pip.conf "${PIP_CERT:-}" "${SSL_CERT_FILE:-}" "${REQUESTS_CA_BUNDLE:-}"; do
    [ -f "$file" ] && mkdir -p "$root$(dirname "$file")" && cp -L "$file" "$root$file"
  done
  cp "$requirements" "$root/tmp/requirements"
  mount -t proc proc "$root/proc"
  trap 'umount -l "$root/proc"' EXIT
  chroot "$root" python3 -m venv /opt/akios
  chroot "$root" /opt/akios/bin/pip install -q --disable-pip-version-check -r /tmp/requirements
  umount "$root/proc"
  trap - EXIT
  rm -f "$root/etc/pip.conf" "$root/tmp/requirements"
}

# The project itself arrives at run time, in /srv/akios: editing it does not change the image.
install_scripts() {
  echo /srv/akios >"$(echo "$root"/opt/akios/lib/python3.*/site-packages)/akios.pth"
  local name target
  while IFS=' =:' read -r name module target; do
    printf '#!/opt/akios/bin/python\nimport sys\nfrom %s import %s\nsys.exit(%s())\n' "$module" "$target" "$target" \
      >"$root/opt/akios/bin/$name"
    chmod +x "$root/opt/akios/bin/$name"
  done <"$scripts"
}

# Whatever starts by itself would run again and again out of the saved state; nothing here is needed for tests.
configure() {
  local systemd=$root/etc/systemd/system unit
  echo akios-vm >"$root/etc/hostname"
  printf '127.0.0.1 localhost akios-vm\n' >"$root/etc/hosts"
  : >"$root/etc/fstab"
  echo 5a105a105a105a105a105a105a105a10 >"$root/etc/machine-id"
  rm -rf "$systemd"/timers.target.wants
  for unit in systemd-udevd.service systemd-udevd-{control,kernel}.socket systemd-udev-{trigger,settle}.service systemd-firstboot.service \
    systemd-pstore.service systemd-tmpfiles-clean.timer systemd-timesyncd.service systemd-resolved.service systemd-networkd.service \
    tmp.mount dev-hugepages.mount modprobe@{configfs,fuse}.service; do
    ln -sf /dev/null "$systemd/$unit"
  done
  mkdir -p "$root/etc/systemd/journald.conf.d" "$root/srv/akios"
  printf '[Journal]\nStorage=volatile\nAudit=no\n' >"$root/etc/systemd/journald.conf.d/vm.conf"
  chroot "$root" groupadd --system akios
  chroot "$root" useradd --create-home --shell /bin/bash --groups akios dev
  install -m 755 "$here/guest.sh" "$root/usr/local/sbin/akios-vm"
  install -m 644 "$here/akios-vm.service" "$here/akios-vm.target" "$systemd/"
  ln -sf akios-vm.target "$systemd/default.target"
}

# An initrd of busybox and the modules between the kernel and its disk.
make_initrd() {
  local tree=$dir/initrd.d module count=10
  rm -rf "$tree" && mkdir -p "$tree"/{bin,dev,root,modules}
  cp "$root/usr/bin/busybox" "$tree/bin/"
  # shellcheck disable=SC2016
  chroot "$root" sh -c 'modprobe -S "$0" -a --show-depends virtio_pci virtio_blk' "$kernel" | awk '$1 == "insmod" && !seen[$2]++ {print $2}' |
    while read -r module; do
      count=$((count + 1))
      case $module in
        *.xz) xz -dc "$root$module" ;;
        *.zst) zstd -dcq "$root$module" ;;
        *) cat "$root$module" ;;
      esac >"$tree/modules/$count.ko"
    done
  install -m 755 "$here/initrd.sh" "$tree/init"
  (cd "$tree" && find . | "$root/usr/bin/busybox" cpio -o -H newc 2>/dev/null) >"$dir/initrd"
  rm -rf "$tree"
}

make_disk() {
  rm -f "$dir/root.ext4" && truncate -s 6G "$dir/root.ext4"
  # No journal: the disk is thrown away after every run, and a crash of the guest is a failed run.
  mke2fs -q -t ext4 -O '^has_journal' -E lazy_itable_init=1 -m 0 -d "$root" "$dir/root.ext4"
}

mkdir -p "$dir"
unpack
install_python
install_scripts
configure
make_initrd
make_disk
