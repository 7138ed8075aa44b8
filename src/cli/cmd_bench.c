/* llama-bench's tests, flags, columns and field names. */
#include <math.h>
#include <signal.h>
#include <string.h>
#include <time.h>

#include "brisk_tools.h"
#include "cli/bench.h"
#include "cli/bench_matmul.h"
#include "cli/bench_serve.h"
#include "cli/bench_sparse.h"
#include "cli/limits.h"

/* ---- Options ------------------------------------------------------------------------------------ */

typedef struct bench {
    opt_strs models, pairs;
    opt_ints n_prompt, n_gen, seqs, depth, batch, ubatch, threads;
    int repetitions, format;
    bool no_warm_up;

    bench_output out;
    brisk_model *model;
    const char *model_name, *hub;
    cli_cache_types cache;
    const char *head, *head_keep;
    bool fast;
    int sparse;
} bench;

static bool parse(bench *b, int argc, char **argv, int *status) {
    const opt_spec specs[] = {
        {"-m --model", "PATH|NAME", "model file, or name of a fetched one; may be repeated",
         OPT_STRS, &b->models, 0, 0},
        CLI_HUB_SPEC(&b->hub),
        {"-p --n-prompt", "N,...", "prompt tokens processed together (512)", OPT_INTS, &b->n_prompt,
         0, 1e8},
        {"-n --n-gen", "N,...", "tokens decoded one at a time (128)", OPT_INTS, &b->n_gen, 0, 1e8},
        {"-np --parallel", "N,...", "sequences decoded at once (1)", OPT_INTS, &b->seqs, 1, 1024},
        {"-pg", "P,N", "P prompt tokens, then N decoded; may be repeated", OPT_STRS, &b->pairs, 0,
         0},
        {"-d --n-depth", "N,...", "tokens in memory beforehand (0)", OPT_INTS, &b->depth, 0, 1e8},
        {"-b --batch-size", "N,...", "logical batch (2048)", OPT_INTS, &b->batch, 1, 1e6},
        {"-ub --ubatch-size", "N,...", "tokens per pass (512)", OPT_INTS, &b->ubatch, 1, 8192},
        {"-t --threads", "N,...", "compute threads; 0: as many as there are cores", OPT_INTS,
         &b->threads, 0, 256},
        CLI_CACHE_SPECS(&b->cache),
        CLI_FAST_SPEC(&b->fast),
        CLI_SPARSE_SPEC(&b->sparse),
        CLI_HEAD_SPECS(b),
        {"-r --repetitions", "N", "runs of each test (5)", OPT_INT, &b->repetitions, 1, BENCH_MOST},
        {"-o --output", "md|csv|json|jsonl", "format on stdout (md)", OPT_CHOICE, &b->format, 0, 0},
        {"--no-warmup", NULL, "no run beforehand", OPT_FLAG, &b->no_warm_up, 0, 0},
    };
    const opt_table table = {
        .verb = "bench",
        .usage = "usage: brisk bench [-m MODEL] [options]",
        .about = "Measures prompt and decode speed, as llama-bench does. Lists "
                 "are 1,2,4 or 2-8+2 or 1-8*2.\n"
                 "brisk bench matmul measures a matrix product, bench sparse sparse "
                 "ones, bench read memory\nalone, bench serve a server.",
        .specs = specs,
        .n_specs = BK_ARRAY_LEN(specs)};
    return cli_options(&table, argc, argv, status);
}

static bool parse_pair(const char *text, int *n_prompt, int *n_gen) {
    char first[16];
    const char *comma = strchr(text, ',');
    long long p, g;
    if (!comma || (size_t)(comma - text) >= sizeof first) return false;
    memcpy(first, text, (size_t)(comma - text));
    first[comma - text] = '\0';
    if (!opt_number(first, 0, 100000000, &p) || !opt_number(comma + 1, 0, 100000000, &g))
        return false;
    *n_prompt = (int)p;
    *n_gen = (int)g;
    return true;
}

/* ---- One test ----------------------------------------------------------------------------------- */

static void summarise(bench_row *row) {
    double n = row->repetitions, tokens = row->n_prompt + (double)row->n_gen * row->n_seqs;
    double sum_ns = 0, sum_ts = 0, var_ns = 0, var_ts = 0;
    for (int i = 0; i < row->repetitions; i++) {
        row->samples_ts[i] = tokens * 1e9 / (double)row->samples_ns[i];
        sum_ns += (double)row->samples_ns[i];
        sum_ts += row->samples_ts[i];
    }
    row->avg_ns = sum_ns / n;
    row->avg_ts = sum_ts / n;
    for (int i = 0; i < row->repetitions; i++) {
        var_ns += pow((double)row->samples_ns[i] - row->avg_ns, 2);
        var_ts += pow(row->samples_ts[i] - row->avg_ts, 2);
    }
    row->stddev_ns = n > 1 ? sqrt(var_ns / (n - 1)) : 0;
    row->stddev_ts = n > 1 ? sqrt(var_ts / (n - 1)) : 0;
}

/* 0, or the exit status that ends the program. */
static int run_test(bench *b, bench_row *row) {
    brisk_bench_test t;
    brisk_bench_default(&t);
    t.n_prompt = row->n_prompt;
    t.n_gen = row->n_gen;
    t.n_seqs = row->n_seqs;
    t.n_depth = row->n_depth;
    t.batch_size = bk_min_int(row->n_batch, row->n_ubatch);
    t.repetitions = row->repetitions;
    t.warm_up = !b->no_warm_up;
    t.cancel = &cli_interrupted;
    time_t now = time(NULL);
    struct tm utc;
    gmtime_r(&now, &utc);
    strftime(row->test_time, sizeof row->test_time, "%Y-%m-%dT%H:%M:%SZ", &utc);
    brisk_error err;
    brisk_status st = brisk_bench(b->model, &t, row->samples_ns, &err);
    if (st == BRISK_ERR_CANCELLED) return EXIT_INTERRUPTED;
    if (st) return cli_fail("%s", err.text);
    summarise(row);
    bench_print(&b->out, row);
    return fflush(stdout) == 0 ? 0 : cli_fail("cannot write the output");
}

/* Every number of sequences; without tokens to generate there is one. */
static int run_seqs(bench *b, bench_row *row) {
    int status = 0;
    for (size_t i = 0; i < b->seqs.n && !status; i++) {
        row->n_seqs = row->n_gen ? b->seqs.v[i] : 1;
        status = run_test(b, row);
        if (row->n_gen == 0) break;
    }
    return status;
}

static int run_tests(bench *b, bench_row *row) {
    int status = 0;
    for (size_t i = 0; i < b->n_prompt.n && !status; i++) {
        row->n_prompt = b->n_prompt.v[i];
        row->n_gen = 0;
        if (row->n_prompt > 0) status = run_seqs(b, row);
    }
    for (size_t i = 0; i < b->n_gen.n && !status; i++) {
        row->n_prompt = 0;
        row->n_gen = b->n_gen.v[i];
        if (row->n_gen > 0) status = run_seqs(b, row);
    }
    for (size_t i = 0; i < b->pairs.n && !status; i++) {
        parse_pair(b->pairs.v[i], &row->n_prompt, &row->n_gen);
        if (row->n_prompt + row->n_gen > 0) status = run_seqs(b, row);
    }
    return status;
}

/* ---- The grid ----------------------------------------------------------------------------------- */

static int run_model(bench *b, int threads, bench_row *row) {
    cli_open o = {.model = b->model_name,
                  .hub = b->hub,
                  .threads = threads,
                  .cache = b->cache,
                  .fast = b->fast,
                  .sparse = b->sparse,
                  .head = b->head,
                  .head_keep = b->head_keep,
                  .quiet = true};
    b->model = cli_open_model(&o, row->path, sizeof row->path);
    if (!b->model) return cli_failed();
    brisk_model_get_info(b->model, &row->info);
    int status = 0;
    for (size_t u = 0; u < b->batch.n * b->ubatch.n && !status; u++) {
        row->n_batch = b->batch.v[u / b->ubatch.n];
        row->n_ubatch = b->ubatch.v[u % b->ubatch.n];
        for (size_t d = 0; d < b->depth.n && !status; d++) {
            row->n_depth = b->depth.v[d];
            status = run_tests(b, row);
        }
    }
    brisk_model_close(&b->model);
    return status;
}

int cmd_bench(int argc, char **argv) {
    static bench_row row; /* its samples are too much for a stack */
    bench b = {.models = {.v = {CLI_DEFAULT_MODEL}, .n = 1},
               .n_prompt = {.v = {512}, .n = 1},
               .n_gen = {.v = {128}, .n = 1},
               .seqs = {.v = {1}, .n = 1},
               .depth = {.n = 1},
               .batch = {.v = {2048}, .n = 1},
               .ubatch = {.v = {512}, .n = 1},
               .threads = {.n = 1},
               .repetitions = 5};
    int status = 0, p, g;
    if (argc > 1 && strcmp(argv[1], "read") == 0) return bench_read(argc - 1, argv + 1);
    if (argc > 1 && strcmp(argv[1], "matmul") == 0) return bench_matmul(argc - 1, argv + 1);
    if (argc > 1 && strcmp(argv[1], "sparse") == 0) return bench_sparse(argc - 1, argv + 1);
    if (argc > 1 && strcmp(argv[1], "serve") == 0) return bench_serve(argc - 1, argv + 1);
    if (!parse(&b, argc, argv, &status)) return status;
    for (size_t i = 0; i < b.pairs.n; i++) {
        if (!parse_pair(b.pairs.v[i], &p, &g)) {
            return cli_fail("-pg: found '%.80s', wanted two whole numbers: 512,128", b.pairs.v[i]);
        }
    }
    b.out = (bench_output){.format = b.format,
                           .show_batch = b.batch.given,
                           .show_ubatch = b.ubatch.given};
    row.repetitions = b.repetitions;
    if (b.hub && b.models.given) return cli_fail("give -m or -hf, not both");
    if (b.hub) b.models.v[0] = NULL;
    cli_catch(SIGINT);
    bench_begin(&b.out);
    for (size_t m = 0; m < b.models.n && !status; m++) {
        b.model_name = b.models.v[m];
        for (size_t t = 0; t < b.threads.n && !status; t++) {
            status = run_model(&b, b.threads.v[t], &row);
        }
    }
    bench_end(&b.out);
    return cli_finish_output(stdout) ? status : EXIT_ERROR;
}
