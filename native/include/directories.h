/* The weight, in KiB, of what the kernel keeps for directories that are being read. */
#ifndef AKIOS_DIRECTORIES_H
#define AKIOS_DIRECTORIES_H

#include <stdint.h>
#include <sys/types.h>

/* Of one that this thread is about to read. */
uint32_t akios_weigh_reading(pid_t thread, int fd);
/* Of all that are open in a process; -1 where some may be out of sight. */
long akios_weigh_open_directories(long pid);

#endif
