/* How much of the machine's CPUs this process may use: physical cores of its affinity mask, and the
 * quota of its control groups. More threads than that make every barrier wait for a thread that is
 * not running. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sys/cgroup.h"
#include "sys/cpu_detect.h"

/* ---- Cores ---------------------------------------------------------------------------------- */

/* The lowest allowed CPU in a list such as "0-3,64-67\n"; -1 when there is none. */
static int first_allowed(const char *list, const bool *allowed, int n_cpus) {
    const char *p = list;
    for (;;) {
        char *end;
        long first = strtol(p, &end, 10);
        if (end == p || first < 0) return -1;
        long last = first;
        if (*end == '-') {
            p = end + 1;
            last = strtol(p, &end, 10);
            if (end == p) return -1;
        }
        for (long cpu = first; cpu <= last && cpu < n_cpus; cpu++) {
            if (allowed[cpu]) return (int)cpu;
        }
        if (*end != ',') return -1;
        p = end + 1;
    }
}

int bk_count_cores(const char *root, const bool *allowed, int n_cpus) {
    /* The newer name first; kernels before 5.3 have only the second. */
    static const char *const NAMES[] = {"core_cpus_list", "thread_siblings_list"};
    int cores = 0;
    for (int cpu = 0; cpu < n_cpus; cpu++) {
        if (!allowed[cpu]) continue;
        int first = -1;
        for (size_t i = 0; i < BK_ARRAY_LEN(NAMES) && first < 0; i++) {
            char path[128], list[1024];
            snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%d/topology/%s", cpu, NAMES[i]);
            if (bk_read_text(root, path, list, sizeof list)) {
                first = first_allowed(list, allowed, n_cpus);
            }
        }
        if (first < 0 || first == cpu) cores++; /* siblings are counted at the first of them */
    }
    return cores;
}

/* ---- Quota -------------------------------------------------------------------------------------- */

/* The quota of the group in folder `dir`, in CPUs; 0 when it has none. */
static double read_quota(const char *root, const char *dir, bool v2) {
    char path[BK_CGROUP_PATH], text[128];
    long long quota = 0, period = 0;
    int n = snprintf(path, sizeof path, "%s/%s", dir, v2 ? "cpu.max" : "cpu.cfs_quota_us");
    if (n < 0 || (size_t)n >= sizeof path || !bk_read_text(root, path, text, sizeof text)) return 0;
    char *end;
    quota = strtoll(text, &end, 10); /* "max 100000" and "-1" mean none */
    if (end == text || quota <= 0) return 0;
    if (!v2) {
        n = snprintf(path, sizeof path, "%s/cpu.cfs_period_us", dir);
        if (n < 0 || (size_t)n >= sizeof path || !bk_read_text(root, path, text, sizeof text))
            return 0;
        end = text;
    }
    period = strtoll(end, NULL, 10);
    return period > 0 ? (double)quota / (double)period : 0;
}

double bk_cgroup_cpus(const char *root) { return bk_cgroup_least(root, "cpu", read_quota); }
