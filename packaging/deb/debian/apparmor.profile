# A name, and nothing that unconfined programs may not do as well: what AKIOS runs is confined by AKIOS.
#
# For Debian 12 only. Where AppArmor has a say in user namespaces (abi 4.0: Debian 13, Ubuntu 24.04), a profile either keeps them
# from akiosd, root or not, or grants them to whoever enters it, which aa-exec(1) lets every user do; so there akiosd has none.
abi <abi/3.0>,
include <tunables/global>

profile usr.lib.akios.akiosd /usr/lib/akios/bin/akiosd flags=(unconfined) {
  include if exists <local/usr.lib.akios.akiosd>
}
