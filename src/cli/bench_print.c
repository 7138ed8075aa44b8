#include <stdarg.h>
#include <string.h>

#include "base/json_write.h"
#include "brisk_tools.h"
#include "cli/bench.h"

/* ---- Fields, in llama-bench's order ------------------------------------------------------------- */

typedef enum field_kind { TEXT, WHOLE, FRACTION, TRUTH } field_kind;

typedef struct field {
    const char *name;
    field_kind kind;
    char text[4200];
} field;

enum { FIELDS_MAX = 32 };

typedef struct fields {
    field f[FIELDS_MAX];
    size_t n;
} fields;

static BK_PRINTF(4, 5) void add(fields *all, const char *name, field_kind kind, const char *fmt,
                                ...) {
    if (all->n == FIELDS_MAX) return;
    field *f = &all->f[all->n++];
    f->name = name;
    f->kind = kind;
    va_list args;
    va_start(args, fmt);
    vsnprintf(f->text, sizeof f->text, fmt, args);
    va_end(args);
}

/* "llama 135M Q4_1" */
static const char *model_type(const brisk_model_info *i, char *out, size_t cap) {
    double n = (double)i->n_params;
    const char *unit = n >= 999.5e6 ? "B" : n >= 999.5e3 ? "M" : "K";
    n /= n >= 999.5e6 ? 1e9 : n >= 999.5e3 ? 1e6 : 1e3;
    snprintf(out, cap, n < 99.5 && *unit == 'B' ? "%s %.2g%s %s" : "%s %.0f%s %s", i->architecture,
             n, unit, i->quantization);
    return out;
}

static void collect(fields *all, const bench_row *r) {
    char cpu[256], type[128];
    all->n = 0;
    add(all, "build_commit", TEXT, "brisk-%s", brisk_version());
    add(all, "build_number", WHOLE, "0");
    add(all, "cpu_info", TEXT, "%s", brisk_cpu_name(cpu, sizeof cpu));
    add(all, "gpu_info", TEXT, "%s", "");
    add(all, "backends", TEXT, "CPU");
    add(all, "cpu_level", TEXT, "%s", r->info.cpu_level);
    add(all, "model_filename", TEXT, "%s", r->path);
    add(all, "model_type", TEXT, "%s", model_type(&r->info, type, sizeof type));
    add(all, "model_size", WHOLE, "%llu", (unsigned long long)r->info.tensor_bytes);
    add(all, "model_n_params", WHOLE, "%llu", (unsigned long long)r->info.n_params);
    add(all, "n_batch", WHOLE, "%d", r->n_batch);
    add(all, "n_ubatch", WHOLE, "%d", r->n_ubatch);
    add(all, "n_threads", WHOLE, "%d", r->info.threads);
    add(all, "type_k", TEXT, "%s", r->info.kv_type);
    add(all, "type_v", TEXT, "%s", r->info.kv_type);
    add(all, "fast", TRUTH, "%s", r->info.fast ? "true" : "false");
    add(all, "head_keep", WHOLE, "%d", r->info.head_kept);
    add(all, "n_gpu_layers", WHOLE, "0");
    add(all, "flash_attn", WHOLE, "1");
    add(all, "embeddings", TRUTH, "false");
    add(all, "n_prompt", WHOLE, "%d", r->n_prompt);
    add(all, "n_gen", WHOLE, "%d", r->n_gen);
    add(all, "n_depth", WHOLE, "%d", r->n_depth);
    add(all, "n_parallel", WHOLE, "%d", r->n_seqs);
    add(all, "test_time", TEXT, "%s", r->test_time);
    add(all, "avg_ns", WHOLE, "%.0f", r->avg_ns);
    add(all, "stddev_ns", WHOLE, "%.0f", r->stddev_ns);
    add(all, "avg_ts", FRACTION, "%.6f", r->avg_ts);
    add(all, "stddev_ts", FRACTION, "%.6f", r->stddev_ts);
}

/* ---- Formats ------------------------------------------------------------------------------------ */

static void print_json(const fields *all, const bench_row *r, bool lines) {
    bk_buf out = {0};
    for (size_t i = 0; i < all->n; i++) {
        const field *f = &all->f[i];
        bk_json quoted = {.out = &out};
        bk_buf_printf(&out, "%s\"%s\": ", lines ? (i ? ", " : "{") : (i ? ",\n    " : "  {\n    "),
                      f->name);
        if (f->kind == TEXT) {
            bk_json_str(&quoted, bk_str_from(f->text));
        } else {
            bk_buf_append_str(&out, f->text);
        }
    }
    const char *gap = lines ? ", " : ",\n    ";
    bk_buf_printf(&out, "%s\"samples_ns\": [", gap);
    for (int i = 0; i < r->repetitions; i++) {
        bk_buf_printf(&out, "%s%llu", i ? ", " : " ", (unsigned long long)r->samples_ns[i]);
    }
    bk_buf_printf(&out, " ]%s\"samples_ts\": [", gap);
    for (int i = 0; i < r->repetitions; i++) {
        bk_buf_printf(&out, "%s%.6g", i ? ", " : " ", r->samples_ts[i]);
    }
    bk_buf_append_str(&out, lines ? " ]}\n" : " ]\n  }");
    if (!out.failed) fwrite(out.data, 1, out.len, stdout);
    bk_buf_free(&out);
}

static void print_csv(const fields *all, bool header) {
    for (size_t i = 0; i < all->n && header; i++) printf("%s%s", i ? "," : "", all->f[i].name);
    if (header) putchar('\n');
    for (size_t i = 0; i < all->n; i++) {
        fputs(i ? ",\"" : "\"", stdout);
        for (const char *c = all->f[i].text; *c; c++) {
            if (*c == '"') putchar('"'); /* doubled inside quotes (RFC 4180) */
            putchar((unsigned char)*c < 32 ? ' ' : *c);
        }
        putchar('"');
    }
    putchar('\n');
}

static const char *test_name(const bench_row *r, char *out, size_t cap) {
    int n;
    if (r->n_gen == 0) {
        n = snprintf(out, cap, "pp%d", r->n_prompt);
    } else if (r->n_prompt == 0) {
        n = snprintf(out, cap, "tg%d", r->n_gen);
    } else {
        n = snprintf(out, cap, "pp%d+tg%d", r->n_prompt, r->n_gen);
    }
    if (r->n_seqs > 1) n += snprintf(out + n, cap - (size_t)n, " x %d", r->n_seqs);
    if (r->n_depth > 0) snprintf(out + n, cap - (size_t)n, " @ d%d", r->n_depth);
    return out;
}

static void print_md(const bench_output *o, const bench_row *r) {
    if (o->rows == 0) {
        printf("| %-30s | %10s | %10s | %-10s | %7s |", "model", "size", "params", "backend",
               "threads");
        if (o->show_batch) printf(" %7s |", "n_batch");
        if (o->show_ubatch) printf(" %8s |", "n_ubatch");
        printf(" %15s | %20s |\n", "test", "t/s");
        printf(
            "| ------------------------------ | ---------: | ---------: | ---------- | ------: |");
        if (o->show_batch) printf(" ------: |");
        if (o->show_ubatch) printf(" -------: |");
        printf(" --------------: | -------------------: |\n");
    }
    char type[128], size[32], params[32], test[64], rate[64];
    double bytes = (double)r->info.tensor_bytes, n = (double)r->info.n_params;
    snprintf(size, sizeof size, bytes >= 0x1p30 ? "%.2f GiB" : "%.2f MiB",
             bytes / (bytes >= 0x1p30 ? 0x1p30 : 0x1p20));
    snprintf(params, sizeof params, n >= 1e9 ? "%.2f B" : "%.2f M", n / (n >= 1e9 ? 1e9 : 1e6));
    snprintf(rate, sizeof rate, "%.2f ± %.2f", r->avg_ts, r->stddev_ts);
    printf("| %-30s | %10s | %10s | %-10s | %7d |", model_type(&r->info, type, sizeof type), size,
           params, "CPU", r->info.threads);
    if (o->show_batch) printf(" %7d |", r->n_batch);
    if (o->show_ubatch) printf(" %8d |", r->n_ubatch);
    /* One column more: the sign takes two bytes. */
    printf(" %15s | %21s |\n", test_name(r, test, sizeof test), rate);
}

void bench_begin(const bench_output *o) {
    if (o->format == BENCH_JSON) printf("[\n");
}

void bench_print(bench_output *o, const bench_row *row) {
    static fields all;
    collect(&all, row);
    switch ((bench_format)o->format) {
    case BENCH_MD: print_md(o, row); break;
    case BENCH_CSV: print_csv(&all, o->rows == 0); break;
    case BENCH_JSON:
        if (o->rows > 0) printf(",\n");
        print_json(&all, row, false);
        break;
    case BENCH_JSONL: print_json(&all, row, true); break;
    }
    o->rows++;
}

void bench_end(const bench_output *o) {
    if (o->format == BENCH_JSON) printf(o->rows > 0 ? "\n]\n" : "]\n");
    if (o->format == BENCH_MD && o->rows > 0) printf("\nbuild: brisk %s\n", brisk_version());
}
