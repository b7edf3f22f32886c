/* cpus.h - how many cores this process may keep busy. Blocks on /proc and /sys for a moment. */
#ifndef PFT_CPUS_H
#define PFT_CPUS_H

#include <stdint.h>

/* At least 1: those of the affinity mask (taskset, a cpuset), or fewer where the quota of a cgroup
 * of this process (docker --cpus, CPUQuota=) allows less; a part of a core counts as one. root
 * stands before /proc and /sys of the quota ("" = the machine's). */
uint32_t cpus_usable(const char *root);

#endif
