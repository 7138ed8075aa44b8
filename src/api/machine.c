#include <stdio.h>

#include "api/api.h"
#include "brisk_tools.h"
#include "measure/limits.h"
#include "model/peek.h"
#include "sys/cgroup.h"
#include "sys/cpu.h"
#include "sys/memory.h"

/* The kernel's file has the choices with the one in force in brackets: "always [madvise] never". */
static void read_huge_pages(char *out, size_t cap) {
    char text[128];
    out[0] = '\0';
    if (!bk_read_text("", "/sys/kernel/mm/transparent_hugepage/enabled", text, sizeof text)) return;
    const char *open = strchr(text, '['), *close = open ? strchr(open, ']') : NULL;
    if (close) snprintf(out, cap, "%.*s", (int)(close - open - 1), open + 1);
}

BK_API void brisk_machine_get(brisk_machine *m) {
    bk_memory memory;
    *m = (brisk_machine){0};
    bk_cpu_model_name(m->cpu, sizeof m->cpu);
    bk_cpu_features(m->features, sizeof m->features);
    m->best_level = bk_cpu_level_name(bk_cpu_best());
    bk_cpu_level level;
    m->level = bk_cpu_level_choose(NULL, &level, NULL) ? NULL : bk_cpu_level_name(level);
    m->cores = bk_cpu_cores(&m->cpus);
    m->cpu_quota = bk_cpu_quota();
    m->threads = bk_cpu_default_threads();
    bk_memory_read(bk_memory_root(), &memory);
    m->memory = memory.total;
    m->memory_available = memory.available;
    m->memory_limit = memory.cgroup_limit;
    read_huge_pages(m->huge_pages, sizeof m->huge_pages);
}

/* ---- Limits ------------------------------------------------------------------------------------- */

_Static_assert((int)BRISK_LIMITS_COUNTS == (int)BK_LIMITS_COUNTS, "as many thread counts");
_Static_assert((int)BRISK_LIMITS_SIZES == (int)BK_LIMITS_SIZES, "as many sizes");

BK_API void brisk_limits_options_default(brisk_limits_options *options) {
    *options = (brisk_limits_options){0};
}

static void copy_limits(const bk_limits *l, brisk_limits *out) {
    *out = (brisk_limits){.level = bk_cpu_level_name(l->level),
                          .date = l->date,
                          .n_counts = l->n_counts,
                          .n_sizes = l->n_sizes};
    memcpy(out->cpu, l->cpu, sizeof out->cpu);
    memcpy(out->threads, l->threads, sizeof out->threads);
    memcpy(out->bytes, l->bytes, sizeof out->bytes);
    memcpy(out->read, l->read, sizeof out->read);
    memcpy(out->read_median, l->read_median, sizeof out->read_median);
    memcpy(out->int8, l->int8, sizeof out->int8);
    memcpy(out->int8_memory, l->int8_memory, sizeof out->int8_memory);
    memcpy(out->bf16, l->bf16, sizeof out->bf16);
    memcpy(out->f32, l->f32, sizeof out->f32);
    memcpy(out->barrier, l->barrier, sizeof out->barrier);
}

BK_API brisk_status brisk_limits_get(const brisk_limits_options *options, brisk_limits *limits,
                                     brisk_error *err) {
    if (!limits) return bk_api_null("limits", err);
    *limits = (brisk_limits){0};
    brisk_limits_options o = {0};
    if (options) o = *options;
    bk_limits_watch watch = {.progress = o.progress, .user = o.user, .cancel = o.cancel};
    bk_limits l;
    bk_error e;
    bk_cpu_level level;
    bk_status st = bk_cpu_level_choose(o.cpu_level, &level, &e);
    if (!st) st = bk_limits_get(level, o.threads, o.again, &watch, &l, &e);
    if (!st) copy_limits(&l, limits);
    return bk_api_result(st, &e, err);
}

BK_API brisk_status brisk_read_rate(uint64_t bytes, int threads, const volatile bool *cancel,
                                    double *best, double *median, brisk_error *err) {
    if (!best) return bk_api_null("best", err);
    double unused;
    bk_error e;
    bk_cpu_level level;
    bk_status st = bk_cpu_level_choose(NULL, &level, &e);
    if (!st)
        st = bk_read_rate_measure(level, threads, bytes, cancel, best, median ? median : &unused,
                                  &e);
    return bk_api_result(st, &e, err);
}

/* ---- Files -------------------------------------------------------------------------------------- */

BK_API brisk_status brisk_model_peek(const char *path, brisk_brief *brief, brisk_error *err) {
    if (!brief) return bk_api_null("brief", err);
    *brief = (brisk_brief){0};
    if (!path) return bk_api_null("path", err);
    bk_brief b;
    bk_error e;
    bk_status st = bk_model_peek(path, &b, &e);
    *brief = (brisk_brief){.n_params = b.n_params, .file_bytes = b.file_bytes};
    memcpy(brief->architecture, b.architecture, sizeof brief->architecture);
    memcpy(brief->name, b.name, sizeof brief->name);
    memcpy(brief->quantization, b.quantization, sizeof brief->quantization);
    return bk_api_result(st, &e, err);
}
