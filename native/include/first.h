/* What the kernel would have refused before: which errno a call gets that is not made. */
#ifndef AKIOS_FIRST_H
#define AKIOS_FIRST_H

#include <sys/types.h>

#include "akios.h"

/* What the kernel answers this call of thread pid before it comes to what is refused here, by the
 * first of these rules (AKIOS_PUMP_RULE_FIRST) that speaks; 0 where none does. */
int32_t akios_refused_first(pid_t pid, const struct akios_pump_rule *rules, unsigned count,
                            const uint64_t *args);

#endif
