/* What the keeper gives up before it serves anybody. */
#ifndef AKIOS_CONFINE_KEEPER_H
#define AKIOS_CONFINE_KEEPER_H

/* Not dumpable, last for the OOM killer, without capabilities and without a way to get some, and
 * behind a filter that admits the few calls it makes.  0 or -errno. */
int akios_confine_keeper(void);

#endif
