# AKIOS confines what it runs; AppArmor is told only that akiosd may make user namespaces, where it would refuse them otherwise.
abi <abi/3.0>,
include <tunables/global>

profile usr.lib.akios.akiosd /usr/lib/akios/bin/akiosd flags=(unconfined) {
  userns,

  include if exists <local/usr.lib.akios.akiosd>
}
