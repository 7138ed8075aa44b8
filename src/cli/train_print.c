#include <math.h>
#include <string.h>
#include <time.h>

#include "base/json_write.h"
#include "base/mem.h"
#include "brisk_tools.h"
#include "cli/train.h"
#include "cli/train_svg.h"

static bool is_mlp(const train_run *r) { return r->o.kind == BRISK_TRAIN_MLP; }

/* From nats per token to nats per character of the part held out. */
static double per_char(const train_run *r) {
    const brisk_train_info *i = &r->info;
    return i->valid_chars > 0 ? (double)i->valid_tokens / (double)i->valid_chars : 1;
}

static bool is_char(const train_run *r) { return r->info.vocab == BRISK_VOCAB_CHAR; }

void train_print_start(const train_run *r) {
    const brisk_train_info *i = &r->info;
    char memory[32];
    cli_bytes(i->memory, memory, sizeof memory);
    if (is_mlp(r)) {
        printf("%s: %d columns, %d classes; %llu examples to learn from, %llu held out\n",
               r->o.data, i->inputs, i->n_vocab, (unsigned long long)i->train_tokens,
               (unsigned long long)i->valid_tokens);
    } else {
        printf("%s: %llu tokens to learn from, %llu held out; %d different\n", r->o.data,
               (unsigned long long)i->train_tokens, (unsigned long long)i->valid_tokens,
               i->n_vocab);
    }
    printf("%s of %llu weights, %s to train; %d thread%s, %s\n", r->kind,
           (unsigned long long)i->n_params, memory, i->threads, &"s"[i->threads == 1],
           i -> cpu_level);
    if (i->floor > 0)
        printf("an n-gram model of order %d reaches %.4f nats per token\n", r->o.floor_order,
               i->floor);
    if (r->o.quant)
        printf("%.1f %% of the weights go forward as %s\n",
               100 * (double)i->n_quantised / (double)i->n_params, r->o.quant);
    if (i->step > 0) printf("going on after step %d\n", i->step);
    fflush(stdout);
}

/* What the reference of a repair is. */
static const char *reference_of(const train_run *r) {
    return r->o.teacher ? "the teacher's" : "without rounding";
}

void train_print_before(const train_run *r) {
    const brisk_train_score *s = &r->score;
    if (r->json || !r->scored) return;
    printf("before: loss %.4f", s->loss);
    if (s->reference > 0) printf(", %s %.4f", reference_of(r), s->reference);
    putchar('\n');
    fflush(stdout);
}

void train_print_row(const train_run *r, const train_row *row) {
    if (r->json) return;
    printf("step %*d of %d  loss %.4f", (int)log10(r->info.steps) + 1, row->step, r->info.steps,
           row->loss);
    if (row->valid_loss > 0) printf("  valid %.4f", row->valid_loss);
    if (is_mlp(r) && row->valid_loss > 0) printf("  right %.2f %%", 100 * row->accuracy);
    printf("  %.0f %s/s\n", row->tokens_per_second, is_mlp(r) ? "examples" : "tokens");
    fflush(stdout);
}

static void print_confusion(const train_run *r) {
    const brisk_train_score *s = &r->score;
    if (s->classes == 0 || !s->confusion) return;
    printf("\ntrue \\ given");
    for (int k = 0; k < s->classes; k++) printf(" %6.6s", brisk_train_class_name(r->train, k));
    putchar('\n');
    for (int i = 0; i < s->classes; i++) {
        printf("%12.12s", brisk_train_class_name(r->train, i));
        for (int k = 0; k < s->classes; k++)
            printf(" %6llu", (unsigned long long)s->confusion[i * s->classes + k]);
        putchar('\n');
    }
}

void train_print_end(const train_run *r) {
    const brisk_train_score *s = &r->score;
    if (r->scored && is_mlp(r)) {
        printf("held out: %.2f %% of %llu examples right, loss %.4f\n", 100 * s->accuracy,
               (unsigned long long)s->tokens, s->loss);
        print_confusion(r);
    } else if (r->scored) {
        printf("held out: loss %.4f nats per token, perplexity %.3f, over %llu tokens", s->loss,
               s->perplexity, (unsigned long long)s->tokens);
        if (!is_char(r)) printf("; %.4f nats per character", s->loss * per_char(r));
        putchar('\n');
        if (r->info.floor > 0)
            printf("the n-gram model's is %.4f: %s\n", r->info.floor,
                   s->loss < r->info.floor ? "beaten" : "not beaten");
    }
    if (r->scored && s->before > 0) {
        printf("%.4f before", s->before);
        if (s->reference > 0) printf(", %s %.4f", reference_of(r), s->reference);
        if (s->recovered != 0) printf(": %.1f %% of the damage recovered", 100 * s->recovered);
        putchar('\n');
    }
    if (r->seconds > 0)
        printf("%llu %s in %.1f s: %.0f per second\n", (unsigned long long)r->tokens,
               is_mlp(r) ? "examples" : "tokens", r->seconds, (double)r->tokens / r->seconds);
}

static void json_sizes(bk_json *w, const brisk_train_info *i) {
    const struct {
        const char *name;
        int v;
    } sizes[] = {
        {"vocab", i->n_vocab},     {"inputs", i->inputs},     {"embedding", i->embedding},
        {"hidden", i->hidden},     {"output", i->output},     {"layers", i->layers},
        {"heads", i->heads},       {"kv_heads", i->kv_heads}, {"ffn", i->ffn},
        {"sequence", i->sequence}, {"batch", i->batch},       {"accumulate", i->accumulate},
        {"step", i->step},         {"steps", i->steps},       {"threads", i->threads}};
    for (size_t k = 0; k < BK_ARRAY_LEN(sizes); k++)
        if (sizes[k].v > 0) bk_json_key_int(w, sizes[k].name, sizes[k].v);
}

static void json_confusion(bk_json *w, const brisk_train_score *s) {
    bk_json_key(w, "confusion");
    bk_json_begin(w, '[');
    for (int i = 0; i < s->classes; i++) {
        bk_json_begin(w, '[');
        for (int k = 0; k < s->classes; k++) bk_json_uint(w, s->confusion[i * s->classes + k]);
        bk_json_end(w, ']');
    }
    bk_json_end(w, ']');
}

void train_print_json(const train_run *r) {
    const brisk_train_info *i = &r->info;
    const brisk_train_score *s = &r->score;
    bk_buf out = {0};
    bk_json w = {.out = &out};
    bk_json_begin(&w, '{');
    bk_json_key_str(&w, "kind", r->kind);
    if (r->out) bk_json_key_str(&w, "out", r->out);
    bk_json_key_uint(&w, "params", i->n_params);
    json_sizes(&w, i);
    bk_json_key_uint(&w, "train_tokens", i->train_tokens);
    bk_json_key_uint(&w, "valid_tokens", i->valid_tokens);
    bk_json_key_uint(&w, "valid_chars", i->valid_chars);
    if (i->floor > 0) bk_json_key_double(&w, "floor", i->floor);
    if (r->log.n > 0) bk_json_key_double(&w, "train_loss", r->log.rows[r->log.n - 1].loss);
    if (r->scored) {
        bk_json_key_double(&w, "valid_loss", s->loss);
        bk_json_key_double(&w, "perplexity", s->perplexity);
        bk_json_key_double(&w, "best_loss", i->best_loss);
        if (s->before > 0) bk_json_key_double(&w, "before", s->before);
        if (s->reference > 0) bk_json_key_double(&w, "reference", s->reference);
        if (s->recovered != 0) bk_json_key_double(&w, "recovered", s->recovered);
    }
    if (r->scored && is_mlp(r)) bk_json_key_double(&w, "accuracy", s->accuracy);
    if (r->scored && s->classes > 0) json_confusion(&w, s);
    bk_json_key_uint(&w, "tokens", r->tokens);
    bk_json_key_double(&w, "seconds", r->seconds);
    bk_json_end(&w, '}');
    bk_buf_putc(&out, '\n');
    if (!out.failed) fwrite(out.data, 1, out.len, stdout);
    bk_buf_free(&out);
}

/* As a shell takes it. */
static void put_word(bk_buf *out, const char *word) {
    bk_buf_putc(out, ' ');
    size_t plain = strspn(word, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                                "-_=+.,/:%@");
    if (word[0] && word[plain] == '\0') {
        bk_buf_append_str(out, word);
        return;
    }
    bk_buf_putc(out, '\'');
    for (; *word; word++) {
        if (*word == '\'') bk_buf_append_str(out, "'\\'");
        bk_buf_putc(out, *word);
    }
    bk_buf_putc(out, '\'');
}

void train_print_resume(const train_run *r) {
    bk_buf out = {0};
    for (int i = 0; i < r->argc; i++)
        if (strcmp(r->argv[i], "--resume") != 0) put_word(&out, r->argv[i]);
    fprintf(stderr, "stopped after step %d; go on with: brisk%s --resume\n", r->info.step,
            out.failed ? " train" : out.data);
    bk_buf_free(&out);
}

/* ---- The picture -------------------------------------------------------------------------------- */

bool train_write_plot(const train_run *r) {
    if (!r->plot || r->log.n == 0) return true;
    char cpu[64], machine[128], date[32], title[256], floor[64];
    train_point *points = bk_alloc(2 * r->log.n, sizeof *points);
    if (!points) return cli_fail("no memory for the picture"), false;
    train_plot p = {.title = title,
                    .unit = is_mlp(r)    ? "nats per example"
                            : is_char(r) ? "nats per character"
                                         : "nats per token",
                    .machine = machine,
                    .date = date,
                    .train = points,
                    .valid = points + r->log.n,
                    .n_train = r->log.n,
                    .floor = r->info.floor,
                    .floor_name = floor};
    for (size_t i = 0; i < r->log.n; i++) {
        const train_row *row = &r->log.rows[i];
        points[i] = (train_point){row->step, row->loss};
        if (row->valid_loss > 0)
            points[r->log.n + p.n_valid++] = (train_point){row->step, row->valid_loss};
    }
    time_t now = time(NULL);
    struct tm utc = {0};
    gmtime_r(&now, &utc);
    strftime(date, sizeof date, "%Y-%m-%d", &utc);
    const char *name = strrchr(r->o.data, '/');
    static const char *const models[] = {"Simple network", "LSTM language model", "Transformer"};
    snprintf(title, sizeof title, "%s of %llu weights on %s", models[r->o.kind],
             (unsigned long long)r->info.n_params, name ? name + 1 : r->o.data);
    snprintf(machine, sizeof machine, "%s, %d thread%s", brisk_cpu_name(cpu, sizeof cpu),
             r->info.threads, &"s"[r->info.threads == 1]);
    snprintf(floor, sizeof floor, "Witten-Bell, order %d", r->o.floor_order);
    bk_buf out = {0};
    cli_train_plot(&p, &out);
    bool good = !out.failed && cli_write_file(r->plot, out.data ? out.data : "", out.len);
    bk_buf_free(&out);
    bk_free(points);
    return good;
}
