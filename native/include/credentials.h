/* The effective uid of one thread, the same for the launcher and for akiosd. */
#ifndef AKIOS_CREDENTIALS_H
#define AKIOS_CREDENTIALS_H

#include <sys/types.h>

/* Takes `uid` as the effective id of the calling thread alone, unlike the C library's functions,
 * and keeps the capabilities that were effective.  Real and saved id stay: no capability is lost
 * for good, and nobody of that user may signal the thread.  The kernel forgets whose death is ours
 * (PR_SET_PDEATHSIG).  0 or -errno. */
int akios_take_effective_uid(uid_t uid);

#endif
