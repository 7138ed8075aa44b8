/* The control groups of this process, version 2, version 1 or both at once: limits that a container
 * or a service manager sets. */
#ifndef BRISK_SYS_CGROUP_H
#define BRISK_SYS_CGROUP_H

#include "base/base.h"

enum { BK_CGROUP_PATH = 4096 }; /* longest path */

/* Reads ROOT + path into text (NUL-terminated, cut to fit). False when there is no such file. */
bool bk_read_text(const char *root, const char *path, char *text, size_t cap);

/* The limit of the group in the folder ROOT + dir, in any unit; 0 when it has none. */
typedef double (*bk_cgroup_read)(const char *root, const char *dir, bool v2);

/* The least of what `read` finds for this process's group and all groups above it; 0 when there is
 * no limit. controller ("cpu", "memory") names the hierarchy of version 1. ROOT/proc/self/cgroup and
 * mountinfo lead to the groups; root is "" on the machine itself. */
double bk_cgroup_least(const char *root, const char *controller, bk_cgroup_read read);

#endif
