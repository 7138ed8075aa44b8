/* brisk quantize: the matrices of a model in fewer bits. */
#include <signal.h>
#include <string.h>

#include "base/json_write.h"
#include "base/mem.h"
#include "brisk_compress.h"
#include "cli/cli.h"
#include "cli/compare.h"

enum { MOST_TYPES = 64, DEFAULT_TOKENS = 8192 };

/* All tensors of one type, or one tensor. */
typedef struct total {
    char type[16];
    size_t tensors;
    uint64_t weights, bytes;
} total;

typedef struct row {
    char *name;
    char from[16], to[16];
    uint64_t weights, before, after;
} row;

typedef struct quantizing {
    brisk_quantize_options o;
    brisk_quantize_report report;
    const char *in, *out;
    bool json, failed;
    cli_progress bar;
    row *rows;
    size_t n_rows, cap;
    total totals[MOST_TYPES];
    size_t n_totals;
} quantizing;

static void on_progress(const char *step, double done, void *user) {
    quantizing *q = user;
    if (q->bar.what != step) {
        cli_progress_end(&q->bar);
        cli_progress_start(&q->bar, step);
    }
    cli_progress_show(&q->bar, done, NULL);
}

static void add_total(quantizing *q, const brisk_quantize_tensor *t) {
    size_t i = 0;
    while (i < q->n_totals && strcmp(q->totals[i].type, t->to) != 0) i++;
    if (i == MOST_TYPES) return;
    if (i == q->n_totals)
        snprintf(q->totals[q->n_totals++].type, sizeof q->totals[i].type, "%s", t->to);
    q->totals[i].tensors++;
    q->totals[i].weights += t->weights;
    q->totals[i].bytes += t->bytes_after;
}

static void on_tensor(const brisk_quantize_tensor *t, void *user) {
    quantizing *q = user;
    add_total(q, t);
    if (q->n_rows == q->cap) {
        size_t cap = q->cap ? 2 * q->cap : 256;
        row *rows = bk_realloc(q->rows, cap, sizeof *rows);
        if (!rows) {
            q->failed = true;
            return;
        }
        q->rows = rows, q->cap = cap;
    }
    row *r = &q->rows[q->n_rows++];
    *r = (row){
        bk_strndup(t->name, strlen(t->name)), "", "", t->weights, t->bytes_before, t->bytes_after};
    snprintf(r->from, sizeof r->from, "%s", t->from);
    snprintf(r->to, sizeof r->to, "%s", t->to);
    if (!r->name) q->failed = true;
}

static double bits(uint64_t bytes, uint64_t weights) {
    return weights ? 8.0 * (double)bytes / (double)weights : 0;
}

/* ---- What is printed ---------------------------------------------------------------------------- */

static void print_tensors(const quantizing *q) {
    printf("%-32s %12s  %-8s %-8s %12s\n", "tensor", "weights", "from", "to", "bytes");
    for (size_t i = 0; i < q->n_rows; i++) {
        const row *r = &q->rows[i];
        printf("%-32s %12llu  %-8s %-8s %12llu\n", r->name, (unsigned long long)r->weights, r->from,
               r->to, (unsigned long long)r->after);
    }
    printf("\n");
}

static void print_text(const quantizing *q) {
    const brisk_quantize_report *r = &q->report;
    char before[32], after[32];
    if (q->o.dry_run) print_tensors(q);
    printf("%-10s %8s %14s %12s %8s\n", "type", "tensors", "weights", "size", "bits");
    for (size_t i = 0; i < q->n_totals; i++) {
        const total *t = &q->totals[i];
        printf("%-10s %8zu %14llu %12s %8.3f\n", t->type, t->tensors,
               (unsigned long long)t->weights, cli_bytes(t->bytes, after, sizeof after),
               bits(t->bytes, t->weights));
    }
    printf("\n%s -> %s, %.3f -> %.3f bits per weight", cli_bytes(r->bytes_before, before, 32),
           cli_bytes(r->bytes_after, after, 32), bits(r->bytes_before, r->weights),
           bits(r->bytes_after, r->weights));
    if (!q->o.dry_run) printf(", rounded in %.1f s", r->round_seconds);
    if (r->plan_seconds >= 0.1) printf(", planned in %.1f s", r->plan_seconds);
    if (r->text_tokens)
        printf(" after %.1f s with %zu tokens of text", r->text_seconds, r->text_tokens);
    printf("\n");
    if (r->kl_estimate >= 0) printf("estimated KL %.5f", r->kl_estimate);
    if (r->kl >= 0) printf(", measured %.5f", r->kl);
    if (r->ms >= 0) printf(", %.3f ms a token", r->ms);
    if (r->kl_estimate >= 0) printf("\n");
}

static void put_tensor(bk_json *w, const row *r) {
    bk_json_begin(w, '{');
    bk_json_key_str(w, "name", r->name);
    bk_json_key_str(w, "from", r->from);
    bk_json_key_str(w, "to", r->to);
    bk_json_key_uint(w, "weights", r->weights);
    bk_json_key_uint(w, "bytes", r->after);
    bk_json_end(w, '}');
}

static void print_json(const quantizing *q) {
    const brisk_quantize_report *r = &q->report;
    bk_buf out = {0};
    bk_json w = {.out = &out};
    bk_json_begin(&w, '{');
    bk_json_key_str(&w, "in", q->in);
    if (q->out) bk_json_key_str(&w, "out", q->out);
    bk_json_key_uint(&w, "weights", r->weights);
    bk_json_key_uint(&w, "bytes_before", r->bytes_before);
    bk_json_key_uint(&w, "bytes_after", r->bytes_after);
    bk_json_key_double(&w, "bits_per_weight", bits(r->bytes_after, r->weights));
    bk_json_key_uint(&w, "requantised", r->requantised);
    bk_json_key_uint(&w, "without_importance", r->unweighted);
    bk_json_key_uint(&w, "text_tokens", r->text_tokens);
    bk_json_key_double(&w, "text_seconds", r->text_seconds);
    bk_json_key_double(&w, "round_seconds", r->round_seconds);
    bk_json_key_double(&w, "plan_seconds", r->plan_seconds);
    if (r->kl_estimate >= 0) bk_json_key_double(&w, "kl_estimate", r->kl_estimate);
    if (r->kl >= 0) bk_json_key_double(&w, "kl", r->kl);
    if (r->ms >= 0) bk_json_key_double(&w, "ms_per_token", r->ms);
    bk_json_key(&w, "tensors");
    bk_json_begin(&w, '[');
    for (size_t i = 0; i < q->n_rows; i++) put_tensor(&w, &q->rows[i]);
    bk_json_end(&w, ']');
    bk_json_end(&w, '}');
    printf("%.*s\n", (int)out.len, out.data ? out.data : "");
    bk_buf_free(&out);
}

/* What the table does not say. */
static void print_notes(const quantizing *q) {
    const brisk_quantize_report *r = &q->report;
    if (r->requantised)
        fprintf(stderr,
                "brisk: %zu tensors were quantised already; from floats they would lose less\n",
                r->requantised);
    if (r->unweighted)
        fprintf(stderr,
                "brisk: rounded without importance, as the matrix has nothing of them: %s and %zu "
                "more\n",
                r->unweighted_name, r->unweighted - 1);
}

/* ---- The run ------------------------------------------------------------------------------------ */

static int quantize(quantizing *q) {
    char path[4096];
    brisk_error err;
    if (!cli_model_path(q->in, path, sizeof path)) return EXIT_ERROR;
    cli_catch(SIGINT);
    cli_catch(SIGTERM);
    q->o.progress = on_progress;
    q->o.tensor = on_tensor;
    q->o.user = q;
    q->o.cancel = &cli_interrupted;
    brisk_status st = brisk_quantize(path, q->out, &q->o, &q->report, &err);
    cli_progress_end(&q->bar);
    if (st == BRISK_ERR_CANCELLED) return EXIT_INTERRUPTED;
    if (st) return cli_fail("%s", err.text);
    if (q->failed) return cli_fail("no memory for a table");
    if (q->n_rows == 0) return 0; /* statistics alone */
    print_notes(q);
    if (q->json)
        print_json(q);
    else
        print_text(q);
    return cli_finish_output(stdout) ? 0 : EXIT_ERROR;
}

/* IN OUT TYPE; without TYPE where there is a target, without OUT where nothing is written. */
static bool take_paths(quantizing *q, const opt_strs *rest) {
    const brisk_quantize_options *o = &q->o;
    size_t typed = !(o->target_bpw > 0 || o->target_ms > 0 || o->target_kl > 0);
    bool collects = o->imatrix_out != NULL && rest->n == 1 && typed;
    if (rest->n != 2 + typed && !(o->dry_run && rest->n == 1 + typed) && !collects) {
        cli_fail("brisk quantize takes the model, OUT.gguf and a type or a target (no OUT with "
                 "--dry-run, neither with --imatrix-out)");
        return false;
    }
    q->in = rest->v[0];
    q->out = rest->n == 2 + typed ? rest->v[1] : NULL;
    if (typed && rest->n > 1) q->o.type = rest->v[rest->n - 1];
    return true;
}

static void free_all(quantizing *q, bk_buf *text) {
    for (size_t i = 0; i < q->n_rows; i++) bk_free(q->rows[i].name);
    bk_free(q->rows);
    bk_buf_free(text);
}

int cmd_quantize(int argc, char **argv) {
    if (compare_asked(argc, argv)) return compare_run("quantize", argc, argv);
    quantizing q = {0};
    brisk_quantize_options *o = &q.o;
    const char *calibrate = NULL;
    bool plain = false;
    float bpw = 0, ms = 0, kl = 0;
    int max_tokens = DEFAULT_TOKENS;
    opt_strs rest = {0}, types = {0};
    brisk_quantize_default(o);
    const opt_spec specs[] = {
        {"--target-bpw", "X", "bits per weight; each matrix gets the type that pays most",
         OPT_FLOAT, &bpw, 0.1, 64},
        {"--target-ms", "X", "time of a decoded token on this machine", OPT_FLOAT, &ms, 1e-4, 1e6},
        {"--target-kl", "X", "mean KL from the source; the smallest model within it", OPT_FLOAT,
         &kl, 1e-6, 100},
        {"--imatrix", "FILE", "importance of inputs, a file of brisk or llama.cpp", OPT_STR,
         &o->imatrix, 0, 0},
        {"--calibrate", "TEXT", "collect it from this text", OPT_STR, &calibrate, 0, 0},
        {"--imatrix-out", "FILE", "write it; without OUT and TYPE nothing else is done", OPT_STR,
         &o->imatrix_out, 0, 0},
        {"-c --ctx-size", "N", "tokens a window of the text (512)", OPT_INT, &o->context, 2,
         1 << 20},
        {"--calibrate-tokens", "N", "of the text that are read (8192; 0: all)", OPT_INT,
         &max_tokens, 0, INT32_MAX},
        {"--plain", NULL, "round to the nearest instead of searching scales", OPT_FLAG, &plain, 0,
         0},
        {"--tensor-type", "PATTERN=TYPE", "of tensors whose names match; may be repeated", OPT_STRS,
         &types, 0, 0},
        {"--output-tensor-type", "TYPE", "of the head", OPT_STR, &o->output_type, 0, 0},
        {"--token-embedding-type", "TYPE", "of the embedding", OPT_STR, &o->embedding_type, 0, 0},
        {"--leave-output-tensor", NULL, "the head stays as it is", OPT_FLAG, &o->leave_output, 0,
         0},
        {"--pure", NULL, "the same type everywhere", OPT_FLAG, &o->pure, 0, 0},
        {"--dry-run", NULL, "show the plan, write nothing", OPT_FLAG, &o->dry_run, 0, 0},
        {"-t --threads", "N", "threads (one per core)", OPT_INT, &o->threads, 1, 256},
        {"--json", NULL, "one JSON object", OPT_FLAG, &q.json, 0, 0},
    };
    const opt_table table = {.verb = "quantize",
                             .usage =
                                 "usage: brisk quantize IN OUT.gguf TYPE|--target-bpw X [options]",
                             .about = "Writes a model with its matrices in fewer bits; TYPE is a "
                                      "type (q8_0) or a mixture (Q4_K_M).",
                             .specs = specs,
                             .n_specs = BK_ARRAY_LEN(specs),
                             .rest = &rest};
    int status;
    bk_buf text = {0};
    if (!cli_options(&table, argc, argv, &status)) return status;
    o->target_bpw = (double)bpw, o->target_ms = (double)ms, o->target_kl = (double)kl;
    o->max_tokens = (size_t)max_tokens;
    if (!take_paths(&q, &rest)) return EXIT_ERROR;
    if (calibrate && !cli_read_file(calibrate, &text)) return EXIT_ERROR;
    o->rounding = plain ? BRISK_ROUND_PLAIN : BRISK_ROUND_SEARCH;
    o->tensor_types = types.v, o->n_tensor_types = types.n;
    o->text = calibrate ? bk_buf_view(&text).data : NULL;
    o->text_len = text.len;
    o->text_name = calibrate;
    status = quantize(&q);
    free_all(&q, &text);
    return status;
}
