/* Looks at the machine, the build and what has been fetched, and says what to do about it. */
#include <jansson.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/json_write.h"
#include "brisk_tools.h"
#include "cli/cli.h"
#include "cli/find.h"
#include "cli/http.h"
#include "cli/limits.h"
#include "cli/spawn.h"

enum { FINDINGS_MOST = 16 };
#define GIGABYTE 1000000000u

typedef enum severity { FINE, NOTE, PROBLEM } severity;

static const char *const level_names[] = {"ok", "note", "problem"};

typedef struct finding {
    const char *what;
    severity level;
    char text[512], advice[256]; /* advice "": there is nothing to do */
} finding;

typedef struct report {
    finding v[FINDINGS_MOST];
    size_t n;
    brisk_machine machine;
} report;

static BK_PRINTF(3, 4) finding *add(report *r, const char *what, const char *fmt, ...) {
    finding *f = &r->v[bk_min_size(r->n, FINDINGS_MOST - 1)];
    r->n = bk_min_size(r->n + 1, FINDINGS_MOST);
    *f = (finding){.what = what};
    va_list args;
    va_start(args, fmt);
    vsnprintf(f->text, sizeof f->text, fmt, args);
    va_end(args);
    return f;
}

static BK_PRINTF(3, 4) void advise(finding *f, severity level, const char *fmt, ...) {
    f->level = level;
    va_list args;
    va_start(args, fmt);
    vsnprintf(f->advice, sizeof f->advice, fmt, args);
    va_end(args);
}

/* ---- The machine -------------------------------------------------------------------------------- */

static void look_at_cpu(report *r) {
    const brisk_machine *m = &r->machine;
    const char *wanted = getenv("BRISK_CPU");
    finding *f = add(r, "processor", "%s (%s)", *m->cpu ? m->cpu : "unknown",
                     *m->features ? m->features : "none of the instruction sets used here");
    f = add(r, "kernels", "%s", m->level ? m->level : wanted);
    if (!m->level) {
        advise(f, PROBLEM,
               "BRISK_CPU='%.40s' names no level: unset it, or set it to ref, avx2, "
               "avxvnni or avx512",
               wanted);
    } else if (strcmp(m->level, m->best_level) != 0) {
        advise(f, NOTE, "BRISK_CPU asks for this level; without it %s would be used",
               m->best_level);
    } else if (strcmp(m->level, "ref") == 0) {
        advise(f, NOTE, "without AVX2 everything is computed by portable C, many times slower");
    }
}

static void look_at_threads(report *r) {
    const brisk_machine *m = &r->machine;
    char quota[64] = "";
    if (m->cpu_quota > 0) {
        snprintf(quota, sizeof quota, "; the control group allows %.3g CPUs", m->cpu_quota);
    }
    finding *f = add(r, "threads", "%d, for %d core%s with %d hardware thread%s%s", m->threads,
                     m->cores, m->cores == 1 ? "" : "s", m->cpus, m->cpus == 1 ? "" : "s", quota);
    if (m->cpu_quota > 0 && m->cpu_quota < m->cores) {
        advise(f, NOTE, "the container's CPU limit leaves cores idle: raise it for more speed");
    }
}

static void look_at_memory(report *r) {
    const brisk_machine *m = &r->machine;
    char total[32], there[32], limit[32], more[80] = "";
    if (m->memory_limit > 0) {
        snprintf(more, sizeof more, "; the control group's limit is %s",
                 cli_bytes(m->memory_limit, limit, sizeof limit));
    }
    finding *f = add(r, "memory", "%s, of which %s are available%s",
                     cli_bytes(m->memory, total, sizeof total),
                     cli_bytes(m->memory_available, there, sizeof there), more);
    if (m->memory_limit > 0 && m->memory_limit < m->memory) {
        advise(f, NOTE, "models larger than the limit are refused: raise the container's limit");
    } else if (m->memory_available < GIGABYTE) {
        advise(f, NOTE, "there is room for small models only: end other programs");
    }
    if (!*m->huge_pages) return;
    f = add(r, "huge pages", "%s", m->huge_pages);
    if (strcmp(m->huge_pages, "never") == 0) {
        advise(f, NOTE,
               "weights are read faster with them; as root: echo madvise "
               ">/sys/kernel/mm/transparent_hugepage/enabled");
    }
}

/* ---- The build and what it needs ---------------------------------------------------------------- */

static void look_at_libraries(report *r) {
    char curl[256] = "";
    add(r, "brisk", "%s, jansson %s", brisk_version(), jansson_version_str());
#if BRISK_HAVE_LIBEDIT
    add(r, "line editing", "libedit");
#else
    advise(add(r, "line editing", "built without it"), NOTE,
           "install libedit-dev and build again to edit and recall lines in the chat");
#endif
#if BRISK_HAVE_CURL
    bool there = http_version(curl, sizeof curl);
    finding *f = add(r, "fetching", "%s", curl);
    if (!there) advise(f, NOTE, "install libcurl4 to fetch models of the hub and from URLs");
#else
    (void)curl;
    advise(add(r, "fetching", "built without libcurl"), NOTE,
           "install libcurl4-openssl-dev and build again to fetch models of the hub and from URLs");
#endif
}

static bool runs(const char *const *argv) {
    return spawn_run(&(spawn){.argv = argv, .output = "/dev/null"}) == 0;
}

static void look_at_programs(report *r) {
    const char *python = getenv("PYTHON");
    if (!python || !*python) python = "python3";
    const char *const pip[] = {python, "-m", "pip", "--version", NULL};
    const char *const sum[] = {"sha256sum", "--version", NULL};
    bool has_pip = runs(pip), has_sum = runs(sum);
    finding *f = add(r, "brisk pull", "%s with pip: %s; sha256sum: %s", python,
                     has_pip ? "there" : "missing", has_sum ? "there" : "missing");
    if (!has_sum) advise(f, NOTE, "install coreutils: nothing fetched can be checked without it");
    if (!has_pip)
        advise(f, NOTE, "install python3-pip: `brisk pull` of the default model needs it");
}

/* ---- Models ------------------------------------------------------------------------------------- */

static void look_at_cache(report *r) {
    char dir[2048], room[32];
    brisk_error err;
    struct statvfs v;
    if (brisk_cache_dir(dir, sizeof dir, &err)) {
        advise(add(r, "cache folder", "%s", err.text), PROBLEM,
               "set BRISK_CACHE to a folder you may write");
        return;
    }
    bool known = statvfs(dir, &v) == 0;
    uint64_t bytes = known ? (uint64_t)v.f_bavail * v.f_frsize : 0;
    finding *f =
        add(r, "cache folder", "%.300s, %s free", dir, cli_bytes(bytes, room, sizeof room));
    if (access(dir, W_OK) != 0) {
        advise(f, PROBLEM, "it cannot be written: set BRISK_CACHE to a folder you may write");
    } else if (known && bytes < GIGABYTE) {
        advise(f, NOTE, "make room, or set BRISK_CACHE to another disk");
    }
}

static void look_at_models(report *r) {
    found_list list;
    size_t broken = 0;
    char dir[2048] = "", path[4096];
    const cli_model *m = cli_find_model(CLI_DEFAULT_MODEL);
    find_models(&list);
    for (size_t i = 0; i < list.n; i++) broken += list.v[i].problem != NULL;
    finding *f = add(r, "models", "%zu on this machine", list.n);
    if (broken > 0) advise(f, NOTE, "%zu of them are not whole; `brisk ls` shows which", broken);
    find_free(&list);
    brisk_cache_dir(dir, sizeof dir, NULL);
    snprintf(path, sizeof path, "%s/%s", dir, m->file);
    bool there = access(path, R_OK) == 0;
    f = add(r, "default model", "%s: %s", m->title, there ? "there" : "not there yet");
    if (!there) advise(f, NOTE, "brisk pull");
}

/* ---- Printing ----------------------------------------------------------------------------------- */

static void print_text(const report *r, int color) {
    static const char *const codes[] = {"\033[32m", "\033[33m", "\033[31m"};
    bool colored = cli_colored(color, stdout);
    char safe[1024];
    for (size_t i = 0; i < r->n; i++) {
        const finding *f = &r->v[i];
        bk_str_printable(safe, sizeof safe, f->text, strlen(f->text));
        printf("%s%-8s%s %-14s %s\n", colored ? codes[f->level] : "", level_names[f->level],
               colored ? "\033[0m" : "", f->what, safe);
        if (!*f->advice) continue;
        bk_str_printable(safe, sizeof safe, f->advice, strlen(f->advice));
        printf("%-8s %-14s -> %s\n", "", "", safe);
    }
}

/* limits may be NULL. */
static void print_json(const report *r, const brisk_limits *limits) {
    const brisk_machine *m = &r->machine;
    bk_buf out = {0};
    bk_json w = {.out = &out};
    bk_json_begin(&w, '{');
    bk_json_key_str(&w, "version", brisk_version());
    bk_json_key_str(&w, "cpu", m->cpu);
    bk_json_key_str(&w, "cpu_features", m->features);
    bk_json_key_str(&w, "cpu_level", m->level ? m->level : "");
    bk_json_key_str(&w, "best_cpu_level", m->best_level);
    bk_json_key_int(&w, "cores", m->cores);
    bk_json_key_int(&w, "cpus", m->cpus);
    bk_json_key_double(&w, "cpu_quota", m->cpu_quota);
    bk_json_key_int(&w, "threads", m->threads);
    bk_json_key_uint(&w, "memory_bytes", m->memory);
    bk_json_key_uint(&w, "memory_available_bytes", m->memory_available);
    bk_json_key_uint(&w, "memory_limit_bytes", m->memory_limit);
    bk_json_key_str(&w, "huge_pages", m->huge_pages);
    bk_json_key(&w, "findings");
    bk_json_begin(&w, '[');
    for (size_t i = 0; i < r->n; i++) {
        bk_json_begin(&w, '{');
        bk_json_key_str(&w, "what", r->v[i].what);
        bk_json_key_str(&w, "level", level_names[r->v[i].level]);
        bk_json_key_str(&w, "text", r->v[i].text);
        bk_json_key_str(&w, "advice", r->v[i].advice);
        bk_json_end(&w, '}');
    }
    bk_json_end(&w, ']');
    if (limits) {
        bk_json_key(&w, "limits");
        limits_json(&w, limits);
    }
    bk_json_end(&w, '}');
    bk_buf_putc(&out, '\n');
    if (!out.failed) fwrite(out.data, 1, out.len, stdout);
    bk_buf_free(&out);
}

int cmd_doctor(int argc, char **argv) {
    bool json = false, show_limits = false, again = false;
    int color = COLOR_AUTO, threads = 0, status;
    const opt_spec specs[] = {
        {"--limits", NULL, "how fast memory is read and arithmetic is done here", OPT_FLAG,
         &show_limits, 0, 0},
        {"--measure", NULL, "the same, measured anew in place of what was kept", OPT_FLAG, &again,
         0, 0},
        {"-t --threads", "N", "limits for 1 to N threads; 0: as many as there are cores", OPT_INT,
         &threads, 0, 256},
        {"--json", NULL, "one JSON object", OPT_FLAG, &json, 0, 0},
        {"--color", "auto|always|never", "colour of the findings (auto)", OPT_CHOICE, &color, 0, 0},
    };
    const opt_table table = {.verb = "doctor",
                             .usage = "usage: brisk doctor [--limits] [--json]",
                             .about = "Looks at the machine, the build and what has been fetched, "
                                      "and says what to do about it.",
                             .specs = specs,
                             .n_specs = BK_ARRAY_LEN(specs)};
    if (!cli_options(&table, argc, argv, &status)) return status;
    report r = {0};
    brisk_machine_get(&r.machine);
    look_at_cpu(&r);
    look_at_threads(&r);
    look_at_memory(&r);
    look_at_libraries(&r);
    look_at_programs(&r);
    look_at_cache(&r);
    look_at_models(&r);
    brisk_limits limits;
    show_limits = show_limits || again;
    if (show_limits && (status = limits_get(threads, again, &limits))) return status;
    if (json) {
        print_json(&r, show_limits ? &limits : NULL);
    } else {
        print_text(&r, color);
        if (show_limits) limits_print(&limits);
    }
    bool bad = !cli_finish_output(stdout);
    for (size_t i = 0; i < r.n; i++) bad = bad || r.v[i].level == PROBLEM;
    return bad ? EXIT_ERROR : 0;
}
