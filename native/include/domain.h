/* A cage without namespaces: what holds its processes together is their Landlock domain, whose
 * signal scope reaches exactly them, and init, to which all of them come when their parents die. */
#ifndef AKIOS_DOMAIN_H
#define AKIOS_DOMAIN_H

#include <stdint.h>

#include "launcher.h"

/* Clones like clone3(2) with CLONE_PARENT and a pidfd, by the older call: containers have no
 * clone3.  The pid, 0 in the child, or -errno. */
long akios_domain_clone(int *pidfd);

/* Asks the kernel to give orphans of the cage to this process. */
int akios_domain_begin(struct akios_child *child);

/* 0 when this process cannot signal its parent any more, -EXDEV when it can; `before` is what
 * akios_domain_can_signal said when nothing was restricted. */
int akios_domain_can_signal(void);
int akios_domain_prove(int before);

/* Loads the filter and hands its listener to akiosd by a helper that shares the descriptors and is
 * not under the filter: nothing that this process could do itself is sure not to be notified. */
int akios_domain_handover(const void *program, uint64_t flags);

/* Starts a copy of this process with memory of its own, and waits until that has executed or ended;
 * as fork(2).  The copy may be read by akiosd: it is its supervisor, without a privilege. */
pid_t akios_domain_fork(void);

/* Memory that such a copy shares with this process, NULL when there is none. */
void *akios_domain_share(size_t size);

/* Kills every process of the cage but this one, in one step for all, and reaps them. */
void akios_domain_end(void);

#endif
