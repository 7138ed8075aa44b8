#include <stdio.h>
#include <stdlib.h>

#include "api/api.h"
#include "brisk_tools.h"
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
    m->level = m->best_level;
    const char *wanted = getenv("BRISK_CPU");
    bk_cpu_level level;
    if (wanted && *wanted) {
        m->level = bk_cpu_level_parse(wanted, &level) ? bk_cpu_level_name(level) : NULL;
    }
    m->cores = bk_cpu_cores(&m->cpus);
    m->cpu_quota = bk_cpu_quota();
    m->threads = bk_cpu_default_threads();
    bk_memory_read(bk_memory_root(), &memory);
    m->memory = memory.total;
    m->memory_available = memory.available;
    m->memory_limit = memory.cgroup_limit;
    read_huge_pages(m->huge_pages, sizeof m->huge_pages);
}

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
