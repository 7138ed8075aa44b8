/* All texts come from the kernel's virtual files, read whole; what does not parse counts as absent. */
#include "sys/cgroup.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"

enum { PATH_CAP = BK_CGROUP_PATH, TEXT_CAP = 1 << 20, LINE_FIELDS = 16 };

bool bk_read_text(const char *root, const char *path, char *text, size_t cap) {
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

/* Whether the comma-separated list holds the word. */
static bool list_has(const char *list, const char *word) {
    size_t len = strlen(word);
    for (const char *p = list; p; p = strchr(p, ',')) {
        if (*p == ',') p++;
        if (!strncmp(p, word, len) && (p[len] == ',' || p[len] == '\0')) return true;
    }
    return false;
}

/* This process's group in the hierarchy: of v2 (controller NULL), or of v1 with that controller.
 * Lines are "ID:CONTROLLERS:PATH"; v2 has ID 0 and no controllers. Cuts `text` up. */
static const char *group_path(char *text, const char *controller) {
    char *save = NULL;
    for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
        char *controllers = strchr(line, ':');
        char *path = controllers ? strchr(controllers + 1, ':') : NULL;
        if (!path) continue;
        *controllers++ = '\0';
        *path++ = '\0';
        bool match =
            controller ? list_has(controllers, controller) : !strcmp(line, "0") && !*controllers;
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
static bool find_mount(char *text, const char *controller, const char **mount, const char **top) {
    char *save = NULL;
    for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
        char *f[LINE_FIELDS];
        size_t n = split(line, f), dash = 6;
        while (dash < n && strcmp(f[dash], "-")) dash++;
        if (dash + 3 >= n) continue;
        bool match = controller
                         ? !strcmp(f[dash + 1], "cgroup") && list_has(f[dash + 3], controller)
                         : !strcmp(f[dash + 1], "cgroup2");
        if (match) {
            *top = f[3];
            *mount = f[4];
            return true;
        }
    }
    return false;
}

/* The smaller of two limits, where 0 means none. */
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

static double hierarchy_least(const char *root, const char *controller, bk_cgroup_read read,
                              char *text) {
    char group[PATH_CAP], dir[PATH_CAP];
    if (!bk_read_text(root, "/proc/self/cgroup", text, TEXT_CAP)) return 0;
    const char *path = group_path(text, controller);
    if (!path || strlen(path) >= sizeof group) return 0;
    memcpy(group, path, strlen(path) + 1);

    const char *mount, *top;
    if (!bk_read_text(root, "/proc/self/mountinfo", text, TEXT_CAP)) return 0;
    if (!find_mount(text, controller, &mount, &top)) return 0;
    if (!group_folder(mount, top, group, dir)) return 0;

    double least = 0;
    size_t mount_len = strlen(mount);
    for (;;) {
        least = tighter(least, read(root, dir, !controller));
        char *slash = strrchr(dir, '/');
        if (!slash || (size_t)(slash - dir) < mount_len) return least;
        *slash = '\0';
    }
}

double bk_cgroup_least(const char *root, const char *controller, bk_cgroup_read read) {
    char *text = bk_alloc(TEXT_CAP, 1); /* hosts of many containers have long lists of mounts */
    if (!text) return 0;
    double v2 = hierarchy_least(root, NULL, read, text);
    double least = tighter(v2, hierarchy_least(root, controller, read, text));
    bk_free(text);
    return least;
}
