#include <string.h>

#include "base/json_write.h"
#include "cli/profile.h"

size_t profile_views(const profile_report *r, profile_view views[2]) {
    const brisk_profile_phase *prefill = &r->result.prefill, *decode = &r->result.decode;
    size_t n = 0;
    if (prefill->tokens > 0)
        views[n++] = (profile_view){"prefill", prefill, r->repetitions, "prompt"};
    if (decode->tokens > 0)
        views[n++] = (profile_view){"decode", decode, (double)decode->tokens, "token"};
    return n;
}

double profile_ops(const brisk_profile_part *p) {
    return (double)p->int8_ops + (double)p->int16_ops + (double)p->float_ops;
}

double profile_share(double limit_ns, double time_ns) {
    return limit_ns > 0 && time_ns > 0 ? limit_ns / time_ns : 0;
}

const char *profile_model(const profile_report *r, char *out, size_t cap) {
    const char *slash = strrchr(r->path, '/'), *file = slash ? slash + 1 : r->path;
    size_t len = strlen(file), end = strlen(".gguf");
    if (len > end && strcmp(file + len - end, ".gguf") == 0) len -= end;
    char name[256];
    bk_str_printable(name, sizeof name, file, len);
    snprintf(out, cap, "%s (%s, %s)", name, r->info.architecture, r->info.quantization);
    return out;
}

const char *profile_machine(const profile_report *r, char *out, size_t cap) {
    snprintf(out, cap, "%s, %d thread%s, %s", *r->machine.cpu ? r->machine.cpu : "CPU",
             r->info.threads, r->info.threads == 1 ? "" : "s", r->info.cpu_level);
    return out;
}

/* ---- Lines -------------------------------------------------------------------------------------- */

size_t profile_lines(const profile_view *v, profile_line lines[PROFILE_LINES]) {
    const brisk_profile_phase *p = v->phase;
    profile_line sum = {.name = "total",
                        .types = "",
                        .time_ns = p->total_ns,
                        .wait_ns = p->wait_ns,
                        .limit_ns = p->limit_ns};
    size_t n = 0;
    for (; n < p->n_parts; n++) {
        const brisk_profile_part *part = &p->parts[n];
        lines[n] =
            (profile_line){part->name,    part->types,    part->time_ns,       part->prepare_ns,
                           part->wait_ns, part->limit_ns, (double)part->bytes, profile_ops(part)};
        sum.prepare_ns += lines[n].prepare_ns;
        sum.bytes += lines[n].bytes;
        sum.ops += lines[n].ops;
    }
    lines[n++] = (profile_line){.name = "serial", .types = "", .time_ns = p->serial_ns};
    lines[n++] = sum;
    return n;
}

size_t profile_cells(const profile_view *v, const profile_line *l,
                     profile_cell cells[PROFILE_COLUMNS]) {
    const brisk_profile_phase *p = v->phase;
    bool ms = p->total_ns / v->per >= 2e7;
    const struct {
        const char *name, *unit;
        double value;
        bool percent;
    } all[] = {{"time", ms ? "ms" : "us", l->time_ns / v->per * (ms ? 1e-6 : 1e-3), false},
               {"share", "%", 100 * l->time_ns / p->total_ns, true},
               {"prepare", "%", 100 * l->prepare_ns / l->time_ns, true},
               {"wait", "%", 100 * l->wait_ns / l->time_ns, true},
               {"read", "MB", l->bytes / v->per * 1e-6, false},
               {"read", "GB/s", l->bytes / l->time_ns, false},
               {"compute", "Gop", l->ops / v->per * 1e-9, false},
               {"compute", "Gop/s", l->ops / l->time_ns, false},
               {"of limit", "%", 100 * profile_share(l->limit_ns, l->time_ns), true}};
    size_t n = BK_ARRAY_LEN(all) - (p->limit_ns > 0 ? 0 : 1);
    for (size_t i = 0; i < n; i++) {
        double x = all[i].value;
        int digits = all[i].percent ? 1 : x < 9.995 ? 2 : x < 99.95 ? 1 : 0;
        cells[i] = (profile_cell){.name = all[i].name, .unit = all[i].unit};
        if (x > 0) snprintf(cells[i].text, sizeof cells[i].text, "%.*f", digits, x);
    }
    return n;
}

/* ---- Table -------------------------------------------------------------------------------------- */

static void print_lines(const profile_view *v) {
    profile_line lines[PROFILE_LINES];
    profile_cell cells[PROFILE_COLUMNS];
    size_t n = profile_lines(v, lines);
    size_t columns = profile_cells(v, &lines[0], cells);
    printf("%-22s%-11s", "", "");
    for (size_t c = 0; c < columns; c++) printf(" %8s", cells[c].name);
    printf("\n%-22s%-11s", "operation", "weights");
    for (size_t c = 0; c < columns; c++) printf(" %8s", cells[c].unit);
    putchar('\n');
    for (size_t i = 0; i < n; i++) {
        profile_cells(v, &lines[i], cells);
        printf("%-22s%-11s", lines[i].name, lines[i].types);
        size_t used = columns;
        while (used > 0 && !*cells[used - 1].text) used--;
        for (size_t c = 0; c < used; c++) printf(" %8s", cells[c].text);
        putchar('\n');
    }
}

static void print_phase(const profile_report *r, const profile_view *v) {
    const brisk_profile_phase *p = v->phase;
    bool decode = p == &r->result.decode;
    printf("\n%s of %d token%s", v->name, decode ? r->n_gen : r->n_prompt,
           (decode ? r->n_gen : r->n_prompt) == 1 ? "" : "s");
    int before = r->n_depth + (decode ? r->n_prompt : 0);
    if (before > 0) printf(" after %d", before);
    printf(", figures per %s\n", v->per_name);
    print_lines(v);
    printf("%.1f tokens/s", (double)p->tokens * 1e9 / p->total_ns);
    if (p->limit_ns > 0)
        printf("; limit %.1f tokens/s, reached %.0f %%", (double)p->tokens * 1e9 / p->limit_ns,
               100 * p->limit_ns / p->total_ns);
    printf("; waiting %.1f %%, serial %.1f %%\n", 100 * p->wait_ns / p->total_ns,
           100 * p->serial_ns / p->total_ns);
}

void profile_print_table(const profile_report *r) {
    char text[512];
    profile_view views[2];
    printf("%s\n", profile_model(r, text, sizeof text));
    printf("%s\n", profile_machine(r, text, sizeof text));
    size_t n = profile_views(r, views);
    for (size_t i = 0; i < n; i++) print_phase(r, &views[i]);
    const brisk_profile *p = &r->result;
    if (p->int8_peak <= 0) return;
    printf("\nlimits: int8 %.0f Gop/s", p->int8_peak * 1e-9);
    if (p->int16_peak > 0) printf(", int16 %.0f", p->int16_peak * 1e-9);
    printf(", float %.0f", p->float_peak * 1e-9);
    for (size_t i = 0; i < n; i++)
        printf("; reading in %s %.1f GB/s", views[i].name, views[i].phase->read_rate * 1e-9);
    putchar('\n');
}

/* ---- JSON --------------------------------------------------------------------------------------- */

static void json_limit(bk_json *w, const char *key, double v) {
    bk_json_key(w, key);
    if (v > 0)
        bk_json_double(w, v, 9);
    else
        bk_json_null(w);
}

static void json_part(bk_json *w, const brisk_profile_part *p) {
    bk_json_begin(w, '{');
    bk_json_key_str(w, "name", p->name);
    bk_json_key_str(w, "weights", p->types);
    bk_json_key_uint(w, "calls", p->calls);
    bk_json_key_double(w, "time_ns", p->time_ns);
    bk_json_key_double(w, "work_ns", p->work_ns);
    bk_json_key_double(w, "prepare_ns", p->prepare_ns);
    bk_json_key_double(w, "wait_ns", p->wait_ns);
    bk_json_key_uint(w, "bytes", p->bytes);
    bk_json_key_uint(w, "int8_ops", p->int8_ops);
    bk_json_key_uint(w, "int16_ops", p->int16_ops);
    bk_json_key_uint(w, "float_ops", p->float_ops);
    bk_json_key_double(w, "bytes_per_second", (double)p->bytes * 1e9 / p->time_ns);
    bk_json_key_double(w, "ops_per_second", profile_ops(p) * 1e9 / p->time_ns);
    json_limit(w, "limit_ns", p->limit_ns);
    json_limit(w, "share_of_limit", profile_share(p->limit_ns, p->time_ns));
    bk_json_end(w, '}');
}

static void json_phase(bk_json *w, const profile_view *v) {
    const brisk_profile_phase *p = v->phase;
    bk_json_begin(w, '{');
    bk_json_key_str(w, "phase", v->name);
    bk_json_key_uint(w, "tokens", p->tokens);
    bk_json_key_uint(w, "passes", p->passes);
    bk_json_key_double(w, "tokens_per_second", (double)p->tokens * 1e9 / p->total_ns);
    bk_json_key_double(w, "total_ns", p->total_ns);
    bk_json_key_double(w, "work_ns", p->work_ns);
    bk_json_key_double(w, "wait_ns", p->wait_ns);
    bk_json_key_double(w, "serial_ns", p->serial_ns);
    json_limit(w, "limit_ns", p->limit_ns);
    json_limit(w, "share_of_limit", profile_share(p->limit_ns, p->total_ns));
    json_limit(w, "limit_bytes_per_second", p->read_rate);
    bk_json_key(w, "parts");
    bk_json_begin(w, '[');
    for (size_t i = 0; i < p->n_parts; i++) json_part(w, &p->parts[i]);
    bk_json_end(w, ']');
    bk_json_end(w, '}');
}

void profile_print_json(const profile_report *r) {
    bk_buf out = {0};
    bk_json w = {.out = &out};
    profile_view views[2];
    size_t n = profile_views(r, views);
    bk_json_begin(&w, '{');
    bk_json_key_str(&w, "model", r->path);
    bk_json_key_str(&w, "quantization", r->info.quantization);
    bk_json_key_str(&w, "cpu", r->machine.cpu);
    bk_json_key_str(&w, "cpu_level", r->info.cpu_level);
    bk_json_key_int(&w, "threads", r->info.threads);
    bk_json_key_str(&w, "date", r->date);
    bk_json_key_int(&w, "n_prompt", r->n_prompt);
    bk_json_key_int(&w, "n_gen", r->n_gen);
    bk_json_key_int(&w, "n_depth", r->n_depth);
    bk_json_key_int(&w, "n_ubatch", r->ubatch);
    bk_json_key_int(&w, "repetitions", r->repetitions);
    json_limit(&w, "limit_int8_ops_per_second", r->result.int8_peak);
    json_limit(&w, "limit_int16_ops_per_second", r->result.int16_peak);
    json_limit(&w, "limit_float_ops_per_second", r->result.float_peak);
    bk_json_key(&w, "phases");
    bk_json_begin(&w, '[');
    for (size_t i = 0; i < n; i++) json_phase(&w, &views[i]);
    bk_json_end(&w, ']');
    bk_json_end(&w, '}');
    bk_buf_putc(&out, '\n');
    if (!out.failed) fwrite(out.data, 1, out.len, stdout);
    bk_buf_free(&out);
}
