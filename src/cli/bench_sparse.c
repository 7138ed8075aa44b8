#include "cli/bench_sparse.h"

#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/json_write.h"

typedef struct sparse_options {
    int m, k, threads, rounds;
    const char *densities, *svg, *cpu_level;
    opt_ints columns;
    bool json;
} sparse_options;

const char *const sparse_names[BRISK_SPARSE_FORMS] = {"dense q4_0", "dense q8_0", "tiles q4_0",
                                                      "tiles q8_0", "bits q4_0",  "csr f32"};

static bool parse(sparse_options *o, int argc, char **argv, int *status) {
    const opt_spec specs[] = {
        {"-m", "N", "rows of the matrix (1024)", OPT_INT, &o->m, 1, 65536},
        {"-k", "N", "its columns (2048)", OPT_INT, &o->k, 32, 65536},
        {"--density", "D,...", "shares that are not 0 (0.1,0.25,0.5,0.75,0.9,1)", OPT_STR,
         &o->densities, 0, 0},
        {"-n --columns", "N,...", "vectors multiplied at once (1,4,16,128)", OPT_INTS, &o->columns,
         1, 4096},
        {"-t --threads", "N", "compute threads; 0: as many as there are cores", OPT_INT,
         &o->threads, 0, 256},
        {"-r --rounds", "N", "every form is timed in each of so many rounds (3)", OPT_INT,
         &o->rounds, 1, 100},
        {"--cpu-level", "NAME", "kernels: avx512, avxvnni, avx2, ref", OPT_STR, &o->cpu_level, 0,
         0},
        {"--json", NULL, "one JSON object instead of the tables", OPT_FLAG, &o->json, 0, 0},
        {"--svg", "FILE", "a picture of the tables", OPT_STR, &o->svg, 0, 0},
    };
    const opt_table table = {
        .verb = "bench sparse",
        .usage = "usage: brisk bench sparse [-m N] [-k N] [--density D,...] [-n N,...] [options]",
        .about = "Times products of sparse matrices against dense ones, with weights in the cache "
                 "and from memory.",
        .specs = specs,
        .n_specs = BK_ARRAY_LEN(specs)};
    return cli_options(&table, argc, argv, status);
}

/* ---- What follows from the times ----------------------------------------------------------------- */

double sparse_speed(const sparse_case *c, int form) {
    double dense = fmin(c->seconds[BRISK_SPARSE_DENSE_Q4_0], c->seconds[BRISK_SPARSE_DENSE_Q8_0]);
    return dense / c->seconds[form];
}

double sparse_break_even(const sparse_report *r, int form, int columns, bool cold) {
    const sparse_case *last = NULL; /* cases are in order of density */
    for (size_t i = 0; i < r->n_cases; i++) {
        const sparse_case *c = &r->cases[i];
        if (c->columns != columns || c->cold != cold) continue;
        double now = sparse_speed(c, form) - 1;
        if (now < 0 && !last) return 0;
        if (now < 0) {
            double before = sparse_speed(last, form) - 1;
            return last->density + (c->density - last->density) * before / (before - now);
        }
        last = c;
    }
    return last ? last->density : 0;
}

static void take_row(const brisk_sparse_row *row, void *user) {
    sparse_report *r = user;
    if (r->n_rows++ % BRISK_SPARSE_FORMS == 0) r->n_cases++;
    sparse_case *c = &r->cases[r->n_cases - 1];
    c->density = row->density;
    c->columns = row->columns;
    c->cold = row->cold;
    c->seconds[row->form] = row->seconds;
    c->bytes[row->form] = row->bytes;
}

/* ---- Tables and JSON ------------------------------------------------------------------------------ */

static void print_case(const sparse_report *r, const sparse_case *c) {
    double places = (double)r->m * (double)r->k * c->columns;
    printf("| %6.2f |", c->density);
    for (int f = 0; f < BRISK_SPARSE_FORMS; f++) {
        printf(" %6.1f", places / c->seconds[f] * 1e-9);
        if (f == BRISK_SPARSE_DENSE_Q4_0 || f == BRISK_SPARSE_DENSE_Q8_0)
            printf("        |");
        else
            printf(" (%4.2fx) |", sparse_speed(c, f));
    }
    printf("\n");
}

static void print_table(const sparse_report *r, int columns, bool cold) {
    printf("\n%d vector%s, weights %s\n\n| density |", columns, columns == 1 ? "" : "s",
           cold ? "from memory" : "in the cache");
    for (int f = 0; f < BRISK_SPARSE_FORMS; f++) printf(" %-14s |", sparse_names[f]);
    printf("\n|--------:|");
    for (int f = 0; f < BRISK_SPARSE_FORMS; f++) printf("---------------:|");
    printf("\n");
    for (size_t i = 0; i < r->n_cases; i++)
        if (r->cases[i].columns == columns && r->cases[i].cold == cold) print_case(r, &r->cases[i]);
    printf("faster than the dense kernels up to a density of:");
    for (int f = BRISK_SPARSE_TILES_Q4_0; f < BRISK_SPARSE_FORMS; f++)
        printf("%s %s %.2f", f > BRISK_SPARSE_TILES_Q4_0 ? "," : "", sparse_names[f],
               sparse_break_even(r, f, columns, cold));
    printf("\n");
}

static void print_tables(const sparse_report *r) {
    printf("y = W x: weights %zu x %zu; %s, %s, %d thread%s\nbillions of weights per second, those "
           "that are 0 counted too; (times the faster of the two dense forms)\n",
           r->m, r->k, r->cpu, r->cpu_level, r->threads, r->threads == 1 ? "" : "s");
    for (int cold = 0; cold < 2; cold++)
        for (int i = 0; i < r->n_columns; i++) print_table(r, r->columns[i], cold);
}

static void json_case(bk_json *w, const sparse_case *c) {
    for (int f = 0; f < BRISK_SPARSE_FORMS; f++) {
        bk_json_begin(w, '{');
        bk_json_key_str(w, "form", sparse_names[f]);
        bk_json_key_double(w, "density", c->density);
        bk_json_key_int(w, "columns", c->columns);
        bk_json_key_str(w, "weights", c->cold ? "memory" : "cache");
        bk_json_key_double(w, "seconds", c->seconds[f]);
        bk_json_key_uint(w, "bytes", c->bytes[f]);
        bk_json_key_double(w, "over_dense", sparse_speed(c, f));
        bk_json_end(w, '}');
    }
}

static void print_json(const sparse_report *r) {
    bk_buf text = {0};
    bk_json w = {.out = &text};
    bk_json_begin(&w, '{');
    bk_json_key_str(&w, "cpu", r->cpu);
    bk_json_key_str(&w, "cpu_level", r->cpu_level);
    bk_json_key_int(&w, "threads", r->threads);
    bk_json_key_uint(&w, "m", r->m);
    bk_json_key_uint(&w, "k", r->k);
    bk_json_key(&w, "rows");
    bk_json_begin(&w, '[');
    for (size_t i = 0; i < r->n_cases; i++) json_case(&w, &r->cases[i]);
    bk_json_end(&w, ']');
    bk_json_end(&w, '}');
    printf("%s\n", text.failed ? "" : text.data);
    bk_buf_free(&text);
}

/* ---- The verb ------------------------------------------------------------------------------------ */

/* "0.1,0.5": ascending. False when it is something else. */
static bool parse_densities(const char *text, brisk_sparse_test *t) {
    double last = 0;
    for (t->n_densities = 0; t->n_densities < BRISK_SPARSE_DENSITIES;) {
        char *end;
        double v = strtod(text, &end);
        if (end == text || !(v > last) || v > 1) return false;
        t->densities[t->n_densities++] = last = v;
        if (*end == '\0') return true;
        if (*end != ',') return false;
        text = end + 1;
    }
    return false;
}

static int write_svg(const sparse_report *r, const char *path) {
    bk_buf svg = {0};
    sparse_svg(r, &svg);
    int status = svg.failed ? cli_fail("no memory for the picture") : 0;
    if (!status && !cli_write_file(path, svg.data, svg.len)) status = EXIT_ERROR;
    bk_buf_free(&svg);
    return status;
}

/* What the report says of the machine. */
static void describe(sparse_report *r, const brisk_sparse_test *t) {
    brisk_machine machine;
    brisk_machine_get(&machine);
    r->m = t->m, r->k = t->k, r->threads = t->threads;
    r->n_columns = t->n_columns;
    memcpy(r->columns, t->columns, sizeof r->columns);
    brisk_cpu_name(r->cpu, sizeof r->cpu);
    snprintf(r->cpu_level, sizeof r->cpu_level, "%s",
             t->cpu_level    ? t->cpu_level
             : machine.level ? machine.level
                             : machine.best_level);
    time_t now = time(NULL);
    struct tm utc = {0};
    gmtime_r(&now, &utc);
    strftime(r->date, sizeof r->date, "%Y-%m-%d", &utc);
}

int bench_sparse(int argc, char **argv) {
    static sparse_report r; /* too much for a stack */
    sparse_options o = {.m = 1024, .k = 2048, .rounds = 3};
    brisk_sparse_test t;
    brisk_error err;
    int status = 0;
    if (!parse(&o, argc, argv, &status)) return status;
    brisk_sparse_test_default(&t);
    if (o.densities && !parse_densities(o.densities, &t))
        return cli_fail("--density: found '%.80s', wanted at most %d ascending numbers up to 1",
                        o.densities, BRISK_SPARSE_DENSITIES);
    if (o.columns.n > BRISK_SPARSE_COLUMNS)
        return cli_fail("--columns: %zu numbers, at most %d wanted", o.columns.n,
                        BRISK_SPARSE_COLUMNS);
    for (size_t i = 0; i < o.columns.n; i++) t.columns[i] = o.columns.v[i];
    if (o.columns.n) t.n_columns = (int)o.columns.n;
    if (o.threads) t.threads = o.threads;
    t.m = (size_t)o.m, t.k = (size_t)o.k;
    t.rounds = o.rounds;
    t.cpu_level = o.cpu_level;
    t.row = take_row;
    t.user = &r;
    t.cancel = &cli_interrupted;
    describe(&r, &t);
    cli_catch(SIGINT);
    brisk_status st = brisk_bench_sparse(&t, &err);
    if (st == BRISK_ERR_CANCELLED) return EXIT_INTERRUPTED;
    if (st) return cli_fail("%s", err.text);
    if (o.json)
        print_json(&r);
    else
        print_tables(&r);
    if (!cli_finish_output(stdout)) return EXIT_ERROR;
    return o.svg ? write_svg(&r, o.svg) : 0;
}
