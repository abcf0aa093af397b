# A name, and nothing that unconfined programs may not do as well: what AKIOS runs is confined by AKIOS.
#
# No `userns` rule is needed, where the host keeps unprivileged programs from making user namespaces (Ubuntu 24.04 and later,
# kernel.apparmor_restrict_unprivileged_userns): akiosd makes those of its cages as root with CAP_SYS_ADMIN, which is not kept
# from it.  None is given either: agents inherit this profile, and what they may not do should be refused here too.
abi <abi/3.0>,
include <tunables/global>

profile usr.lib.akios.akiosd /usr/lib/akios/bin/akiosd flags=(unconfined) {
  include if exists <local/usr.lib.akios.akiosd>
}
