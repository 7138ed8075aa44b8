#include "cli/bench_matmul.h"

#include <signal.h>
#include <string.h>
#include <time.h>

#include "base/json_write.h"
#include "cli/limits.h"

typedef struct matmul_options {
    int m, n, k, rounds;
    const char *types, *svg, *peer;
    opt_ints threads;
    bool json;
} matmul_options;

static bool parse(matmul_options *o, int argc, char **argv, int *status) {
    const opt_spec specs[] = {
        {"-m", "N", "rows of the weights (1024)", OPT_INT, &o->m, 1, 65536},
        {"-n", "N", "vectors multiplied (1024)", OPT_INT, &o->n, 1, 65536},
        {"-k", "N", "values in each (1024)", OPT_INT, &o->k, 1, 65536},
        {"--type", "T,...", "types of weights: f32, f16, bf16, q8_0, q4_0 (f32)", OPT_STR,
         &o->types, 0, 0},
        {"-t --threads", "N,...", "compute threads (1 and as many as there are cores)", OPT_INTS,
         &o->threads, 1, 256},
        {"-r --rounds", "N", "every way is timed in each of so many rounds (5)", OPT_INT,
         &o->rounds, 1, 100},
        {"--peer", "FILE|none", "OpenBLAS's library (libopenblas.so.0)", OPT_STR, &o->peer, 0, 0},
        {"--json", NULL, "one JSON object instead of the table", OPT_FLAG, &o->json, 0, 0},
        {"--svg", "FILE", "a picture of the table", OPT_STR, &o->svg, 0, 0},
    };
    const opt_table table = {
        .verb = "bench matmul",
        .usage = "usage: brisk bench matmul [-m N] [-n N] [-k N] [--type T,...] [-t N,...]",
        .about = "Times the matrix product done naively, in blocks, by SIMD kernels and on several "
                 "threads.",
        .specs = specs,
        .n_specs = BK_ARRAY_LEN(specs)};
    return cli_options(&table, argc, argv, status);
}

/* ---- What follows from the times ----------------------------------------------------------------- */

const char *matmul_label(const matmul_line *l, char *out, size_t cap) {
    snprintf(out, cap, "%s, %d thread%s", l->way, l->row.threads, l->row.threads == 1 ? "" : "s");
    return out;
}

/* The measured rate of the instructions: between the numbers of threads that were measured, linearly. */
static double peak_of(const brisk_limits *l, bool integer, int threads) {
    const double *v = integer ? l->int8 : l->f32;
    int i = 0;
    while (i + 1 < l->n_counts && l->threads[i + 1] < threads) i++;
    if (threads <= l->threads[0] || i + 1 == l->n_counts) return v[i];
    double part = (double)(threads - l->threads[i]) / (double)(l->threads[i + 1] - l->threads[i]);
    return v[i] + part * (v[i + 1] - v[i]);
}

static void add_lines(matmul_report *r, const char *type, const brisk_matmul_result *result,
                      const brisk_limits *limits) {
    static const char *const ways[] = {"naive", "blocked", "SIMD", "OpenBLAS"};
    const matmul_line *first = &r->lines[r->n_lines];
    for (int i = 0; i < result->n_rows; i++) {
        const brisk_matmul_row *row = &result->rows[i];
        matmul_line *l = &r->lines[r->n_lines++];
        *l = (matmul_line){.type = type, .way = ways[row->way], .row = *row};
        l->rate = 2.0 * (double)r->m * (double)r->k * (double)row->vectors / row->best;
        l->over_naive = l->rate / first->rate;
        for (const matmul_line *one = first; one <= l; one++)
            if (one->row.way == row->way && one->row.threads == 1)
                l->over_one = l->rate / one->rate;
        l->efficiency = l->over_one / row->threads;
        /* Only the kernels multiply 8-bit numbers. */
        bool integer = result->integer && row->way == BRISK_MATMUL_SIMD;
        l->peak = peak_of(limits, integer, row->threads);
    }
}

/* ---- Table and JSON ------------------------------------------------------------------------------ */

static void print_table(const matmul_report *r) {
    const char *type = "";
    printf("y = W x: weights %zu x %zu, %zu vectors; %s, %s\n\n", r->m, r->k, r->n, r->cpu,
           r->cpu_level);
    printf("| type | way                   |   Gop/s |      ms | over naive | over 1 thread | "
           "efficiency | of peak | difference |\n");
    printf("|------|-----------------------|--------:|--------:|-----------:|--------------:|"
           "-----------:|--------:|-----------:|\n");
    for (size_t i = 0; i < r->n_lines; i++) {
        const matmul_line *l = &r->lines[i];
        char label[64], one[32] = "", part[32] = "";
        double ms = l->row.best * 1e3 * (double)r->n / (double)l->row.vectors;
        if (l->over_one > 0 && l->row.threads > 1) {
            snprintf(one, sizeof one, "%.2f", l->over_one);
            snprintf(part, sizeof part, "%.0f %%", 100 * l->efficiency);
        }
        printf("| %-4s | %-21s | %7.1f | %7.1f | %10.1f | %13s | %10s | %5.0f %% | %10.1e |\n",
               strcmp(type, l->type) == 0 ? "" : l->type, matmul_label(l, label, sizeof label),
               l->rate * 1e-9, ms, l->over_naive, one, part, 100 * l->rate / l->peak,
               l->row.difference);
        type = l->type;
    }
}

/* What a reader of the table must know beside it. */
static void print_notes(const matmul_report *r, const matmul_options *o) {
    bool slow = r->n_lines && r->lines[0].row.vectors < r->n;
    printf("\nfastest of %d rounds; peak: the multiply-add or 8-bit dot instructions alone, as in "
           "brisk doctor --limits\n",
           o->rounds);
    if (slow)
        printf("naive and blocked were timed on %zu of the vectors, ms are for all\n",
               r->lines[0].row.vectors);
    if (*r->peer) printf("peer: %s\n", r->peer);
    if (!*r->peer && strcmp(o->peer, "none") != 0 && strstr(o->types, "f32"))
        printf("no OpenBLAS to compare with (%s not found): apt install libopenblas0-pthread\n",
               o->peer);
}

static void print_json(const matmul_report *r) {
    bk_buf text = {0};
    bk_json w = {.out = &text};
    bk_json_begin(&w, '{');
    bk_json_key_str(&w, "cpu", r->cpu);
    bk_json_key_str(&w, "cpu_level", r->cpu_level);
    bk_json_key_str(&w, "peer", r->peer);
    bk_json_key_uint(&w, "m", r->m);
    bk_json_key_uint(&w, "n", r->n);
    bk_json_key_uint(&w, "k", r->k);
    bk_json_key(&w, "rows");
    bk_json_begin(&w, '[');
    for (size_t i = 0; i < r->n_lines; i++) {
        const matmul_line *l = &r->lines[i];
        bk_json_begin(&w, '{');
        bk_json_key_str(&w, "type", l->type);
        bk_json_key_str(&w, "way", l->way);
        bk_json_key_int(&w, "threads", l->row.threads);
        bk_json_key_uint(&w, "vectors", l->row.vectors);
        bk_json_key_double(&w, "best_seconds", l->row.best);
        bk_json_key_double(&w, "median_seconds", l->row.median);
        bk_json_key_double(&w, "ops_per_second", l->rate);
        bk_json_key_double(&w, "over_naive", l->over_naive);
        bk_json_key(&w, "over_one_thread");
        if (l->over_one > 0)
            bk_json_double(&w, l->over_one, 5);
        else
            bk_json_null(&w);
        bk_json_key_double(&w, "peak_ops_per_second", l->peak);
        bk_json_key_double(&w, "of_peak", l->rate / l->peak);
        bk_json_key_double(&w, "max_difference", l->row.difference);
        bk_json_end(&w, '}');
    }
    bk_json_end(&w, ']');
    bk_json_end(&w, '}');
    printf("%s\n", text.failed ? "" : text.data);
    bk_buf_free(&text);
}

/* ---- The verb ------------------------------------------------------------------------------------ */

/* One type; 0, or the exit status that ends the program. */
static int run_type(const matmul_options *o, const char *type, const brisk_limits *limits,
                    matmul_report *r) {
    brisk_matmul_test t;
    brisk_matmul_result result;
    brisk_error err;
    brisk_matmul_default(&t);
    t.type = type;
    t.m = r->m, t.n = r->n, t.k = r->k;
    t.rounds = o->rounds;
    t.peer = strcmp(o->peer, "none") == 0 ? "" : o->peer;
    t.cancel = &cli_interrupted;
    if (o->threads.given) {
        t.n_threads = (int)o->threads.n;
        memcpy(t.threads, o->threads.v, o->threads.n * sizeof *t.threads);
    }
    brisk_status st = brisk_bench_matmul(&t, &result, &err);
    if (st == BRISK_ERR_CANCELLED) return EXIT_INTERRUPTED;
    if (st) return cli_fail("%s: %s", type, err.text);
    r->cpu_level = result.cpu_level;
    if (*result.peer) memcpy(r->peer, result.peer, sizeof r->peer);
    add_lines(r, type, &result, limits);
    return 0;
}

/* Cuts "f32,q8_0" in place. */
static int split_types(char *text, const char *types[MATMUL_TYPES]) {
    int n = 0;
    for (char *end; text; text = end) {
        end = strchr(text, ',');
        if (end) *end++ = '\0';
        if (n == MATMUL_TYPES) return -1;
        types[n++] = text;
    }
    return n;
}

static int write_svg(const matmul_report *r, const char *path) {
    bk_buf svg = {0};
    matmul_svg(r, &svg);
    int status = svg.failed ? cli_fail("no memory for the picture") : 0;
    if (!status && !cli_write_file(path, svg.data, svg.len)) status = EXIT_ERROR;
    bk_buf_free(&svg);
    return status;
}

static int run(const matmul_options *o, const char *const *types, int n_types, matmul_report *r) {
    brisk_limits limits;
    int status = limits_get(0, false, &limits); /* more threads than cores have no higher peak */
    cli_catch(SIGINT);
    for (int i = 0; i < n_types && !status; i++) status = run_type(o, types[i], &limits, r);
    if (status) return status;
    if (o->json) {
        print_json(r);
    } else {
        print_table(r);
        print_notes(r, o);
    }
    if (!cli_finish_output(stdout)) return EXIT_ERROR;
    return o->svg ? write_svg(r, o->svg) : 0;
}

int bench_matmul(int argc, char **argv) {
    static matmul_report r; /* too much for a stack */
    matmul_options o = {
        .m = 1024, .n = 1024, .k = 1024, .rounds = 5, .types = "f32", .peer = "libopenblas.so.0"};
    const char *types[MATMUL_TYPES];
    char text[128];
    int status = 0;
    if (!parse(&o, argc, argv, &status)) return status;
    if (o.threads.n > BRISK_MATMUL_THREADS)
        return cli_fail("--threads: %zu numbers, at most %d wanted", o.threads.n,
                        BRISK_MATMUL_THREADS);
    snprintf(text, sizeof text, "%s", o.types);
    int n_types = strlen(o.types) < sizeof text ? split_types(text, types) : -1;
    if (n_types < 0) return cli_fail("--type: more than %d types", MATMUL_TYPES);
    r.m = (size_t)o.m, r.n = (size_t)o.n, r.k = (size_t)o.k;
    brisk_cpu_name(r.cpu, sizeof r.cpu);
    time_t now = time(NULL);
    struct tm utc = {0};
    gmtime_r(&now, &utc);
    strftime(r.date, sizeof r.date, "%Y-%m-%d", &utc);
    return run(&o, types, n_types, &r);
}
