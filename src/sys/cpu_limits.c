/* How much of the machine this process may use: physical cores of its affinity mask, and the CPU
 * quota of its control groups. More threads than that make every barrier wait for a thread that is
 * not running.
 *
 * All texts come from the kernel's virtual files, read whole; what does not parse counts as absent. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "sys/cpu_detect.h"

enum { PATH_CAP = 4096, TEXT_CAP = 1 << 20, LINE_FIELDS = 16 };

/* Reads ROOT + path into text (NUL-terminated, cut to fit). False when there is no such file. */
static bool read_text(const char *root, const char *path, char *text, size_t cap) {
    char full[PATH_CAP];
    int n = snprintf(full, sizeof full, "%s%s", root, path);
    if (n < 0 || (size_t)n >= sizeof full) return false;
    FILE *f = fopen(full, "re");
    if (!f) return false;
    size_t len = fread(text, 1, cap - 1, f);
    fclose(f);
    text[len] = '\0';
    return len > 0;
}

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
            if (read_text(root, path, list, sizeof list)) {
                first = first_allowed(list, allowed, n_cpus);
            }
        }
        if (first < 0 || first == cpu) cores++; /* siblings are counted at the first of them */
    }
    return cores;
}

/* ---- Control groups ------------------------------------------------------------------------- */

/* Whether the comma-separated list holds the word. */
static bool list_has(const char *list, const char *word) {
    size_t len = strlen(word);
    for (const char *p = list; p; p = strchr(p, ',')) {
        if (*p == ',') p++;
        if (!strncmp(p, word, len) && (p[len] == ',' || p[len] == '\0')) return true;
    }
    return false;
}

/* This process's group in the hierarchy: of v2, or of the v1 hierarchy with the cpu controller.
 * Lines are "ID:CONTROLLERS:PATH"; v2 has ID 0 and no controllers. Cuts `text` up. */
static const char *group_path(char *text, bool v2) {
    char *save = NULL;
    for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
        char *controllers = strchr(line, ':');
        char *path = controllers ? strchr(controllers + 1, ':') : NULL;
        if (!path) continue;
        *controllers++ = '\0';
        *path++ = '\0';
        bool match = v2 ? !strcmp(line, "0") && !*controllers : list_has(controllers, "cpu");
        if (match) return path;
    }
    return NULL;
}

/* Splits a mountinfo line at blanks; returns the number of fields. */
static size_t split(char *line, char *fields[LINE_FIELDS]) {
    size_t n = 0;
    char *save = NULL;
    for (char *f = strtok_r(line, " ", &save); f && n < LINE_FIELDS;
         f = strtok_r(NULL, " ", &save)) {
        fields[n++] = f;
    }
    return n;
}

/* Finds where the hierarchy is mounted: *mount the place, *top the group that is mounted there.
 * Fields: ID PARENT DEV TOP MOUNT OPTIONS [TAGS...] - TYPE SOURCE SUPEROPTIONS. Cuts `text` up. */
static bool find_mount(char *text, bool v2, const char **mount, const char **top) {
    char *save = NULL;
    for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
        char *f[LINE_FIELDS];
        size_t n = split(line, f), dash = 6;
        while (dash < n && strcmp(f[dash], "-")) dash++;
        if (dash + 3 >= n) continue;
        bool match = v2 ? !strcmp(f[dash + 1], "cgroup2")
                        : !strcmp(f[dash + 1], "cgroup") && list_has(f[dash + 3], "cpu");
        if (match) {
            *top = f[3];
            *mount = f[4];
            return true;
        }
    }
    return false;
}

/* The quota of the group in folder `dir`, in CPUs; 0 when it has none. */
static double read_quota(const char *root, const char *dir, bool v2) {
    char path[PATH_CAP], text[128];
    long long quota = 0, period = 0;
    int n = snprintf(path, sizeof path, "%s/%s", dir, v2 ? "cpu.max" : "cpu.cfs_quota_us");
    if (n < 0 || (size_t)n >= sizeof path || !read_text(root, path, text, sizeof text)) return 0;
    char *end;
    quota = strtoll(text, &end, 10); /* "max 100000" and "-1" mean none */
    if (end == text || quota <= 0) return 0;
    if (!v2) {
        n = snprintf(path, sizeof path, "%s/cpu.cfs_period_us", dir);
        if (n < 0 || (size_t)n >= sizeof path || !read_text(root, path, text, sizeof text))
            return 0;
        end = text;
    }
    period = strtoll(end, NULL, 10);
    return period > 0 ? (double)quota / (double)period : 0;
}

/* The smaller of two quotas, where 0 means none. */
static double tighter(double a, double b) {
    if (a <= 0 || b <= 0) return a > b ? a : b;
    return a < b ? a : b;
}

/* The folder of the process's group. A container sees the host's path of its group, or one that
 * starts with "/..", although only `top` and what is below is mounted: then the mount point stands
 * for the group. */
static bool group_folder(const char *mount, const char *top, const char *group, char *dir) {
    size_t skip = strcmp(top, "/") ? strlen(top) : 0;
    const char *below = group;
    if (strncmp(group, top, skip) || (group[skip] != '/' && group[skip] != '\0'))
        skip = 0, below = "";
    below += skip;
    if (!strncmp(below, "/..", 3)) below = "";
    int n = snprintf(dir, PATH_CAP, "%s%s", mount, below);
    if (n < 0 || n >= PATH_CAP) return false;
    for (size_t len = (size_t)n; len > 1 && dir[len - 1] == '/'; len--) dir[len - 1] = '\0';
    return true;
}

static double hierarchy_quota(const char *root, bool v2, char *text) {
    char group[PATH_CAP], dir[PATH_CAP];
    if (!read_text(root, "/proc/self/cgroup", text, TEXT_CAP)) return 0;
    const char *path = group_path(text, v2);
    if (!path || strlen(path) >= sizeof group) return 0;
    memcpy(group, path, strlen(path) + 1);

    const char *mount, *top;
    if (!read_text(root, "/proc/self/mountinfo", text, TEXT_CAP)) return 0;
    if (!find_mount(text, v2, &mount, &top)) return 0;
    if (!group_folder(mount, top, group, dir)) return 0;

    double least = 0;
    size_t mount_len = strlen(mount);
    for (;;) {
        least = tighter(least, read_quota(root, dir, v2));
        char *slash = strrchr(dir, '/');
        if (!slash || (size_t)(slash - dir) < mount_len) return least;
        *slash = '\0';
    }
}

double bk_cgroup_cpus(const char *root) {
    char *text = bk_alloc(TEXT_CAP, 1); /* hosts of many containers have long lists of mounts */
    if (!text) return 0;
    double v2 = hierarchy_quota(root, true, text);
    double least = tighter(v2, hierarchy_quota(root, false, text));
    bk_free(text);
    return least;
}
