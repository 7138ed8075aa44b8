#include "sys/memory.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sys/cgroup.h"

const char *bk_memory_root(void) {
#ifdef BRISK_TESTING
    const char *root = getenv("BRISK_TEST_ROOT");
    if (root) return root;
#endif
    return "";
}

/* The figure of a line "Name:   123 kB" in bytes; 0 when it is missing. */
static uint64_t meminfo(const char *text, const char *name) {
    const char *line = strstr(text, name);
    return line ? (uint64_t)strtoull(line + strlen(name), NULL, 10) * 1024 : 0;
}

static double read_limit(const char *root, const char *dir, bool v2) {
    char path[BK_CGROUP_PATH], text[64], *end;
    int n = snprintf(path, sizeof path, "%s/%s", dir, v2 ? "memory.max" : "memory.limit_in_bytes");
    if (n < 0 || (size_t)n >= sizeof path || !bk_read_text(root, path, text, sizeof text)) return 0;
    double limit = strtod(text, &end); /* "max" means none, as does the largest number of v1 */
    return end == text || limit <= 0 || limit >= 0x1p60 ? 0 : limit;
}

void bk_memory_read(const char *root, bk_memory *out) {
    char text[8192];
    *out = (bk_memory){0};
    if (bk_read_text(root, "/proc/meminfo", text, sizeof text)) {
        out->total = meminfo(text, "MemTotal:");
        out->available = meminfo(text, "MemAvailable:");
    }
    out->cgroup_limit = (uint64_t)bk_cgroup_least(root, "memory", read_limit);
}

bk_status bk_memory_check(const char *root, uint64_t needed, bk_error *err) {
    bk_memory m;
    bk_memory_read(root, &m);
    const struct limit {
        uint64_t bytes;
        const char *what, *advice;
    } limits[] = {
        {m.cgroup_limit, "the memory limit of this control group", "raise the container's limit"},
        {m.total, "the memory of this machine", "use a machine with more"},
    };
    for (size_t i = 0; i < BK_ARRAY_LEN(limits); i++) {
        if (limits[i].bytes == 0 || needed <= limits[i].bytes) continue;
        return bk_fail(err, BK_ERR_LIMIT,
                       "the weights need %.1f MB of memory, %s is %.1f MB: %s, or take a smaller "
                       "model or quantization",
                       (double)needed * 1e-6, limits[i].what, (double)limits[i].bytes * 1e-6,
                       limits[i].advice);
    }
    return BK_OK;
}
