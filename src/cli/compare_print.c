/* The comparison as text, JSON and CSV. */
#include <string.h>

#include "base/json_write.h"
#include "cli/compare.h"

const compare_view compare_views[2] = {{"decode", false}, {"prefill", true}};

const char *compare_rival(const brisk_comparison *c, const brisk_compare_rival *r, bool speed,
                          char *out, size_t cap) {
    char value[32];
    if (r->fast < 0) {
        snprintf(out, cap, "none");
        return out;
    }
    snprintf(value, sizeof value, speed ? "%.2fx" : "KL %.4f", r->value);
    if (r->fast == r->slow) {
        snprintf(out, cap, "%s (%s)", value, c->rows[r->fast].name);
    } else {
        snprintf(out, cap, "%s (%s, %s)", value, c->rows[r->fast].name, c->rows[r->slow].name);
    }
    return out;
}

const char *compare_verdict(const brisk_comparison *c, const brisk_compare_row *r,
                            const compare_view *v, char *out, size_t cap) {
    const brisk_compare_phase *p = compare_phase(r, v);
    const char *noise = p->tie ? " (within noise)" : "";
    const brisk_compare_rival *rival = &p->equal_speed;
    if (!p->dominated) {
        snprintf(out, cap, "frontier%s", noise);
    } else if (p->by >= 0) {
        snprintf(out, cap, "dominated by %s%s", c->rows[p->by].name, noise);
    } else {
        snprintf(out, cap, "dominated by a mixture of %s and %s%s", c->rows[rival->fast].name,
                 c->rows[rival->slow].name, noise);
    }
    return out;
}

/* ---- Text --------------------------------------------------------------------------------------- */

static int name_width(const brisk_comparison *c) {
    size_t width = 9;
    for (size_t i = 0; i < c->n_rows; i++) width = bk_max_size(width, strlen(c->rows[i].name));
    return (int)bk_min_size(width, 60);
}

static void text_row(const brisk_compare_row *r, int width, bk_buf *out) {
    char file[32], memory[32];
    bk_buf_printf(out, "%-*s %9s %9s %8.1f %5.2fx %8.1f %5.2fx %9.3f %9.5f %8.4f %6.2f", width,
                  r->name, cli_bytes(r->file_bytes, file, sizeof file),
                  cli_bytes(r->resident_bytes, memory, sizeof memory), r->prefill.speed,
                  r->prefill.ratio, r->decode.speed, r->decode.ratio, r->quality.ppl,
                  r->quality.kl_mean, r->quality.kl_p99, 100 * r->quality.top_agreement);
    if (r->answers.prompts) bk_buf_printf(out, " %6.1f", r->answers.median);
    if (r->choices.questions)
        bk_buf_printf(out, " %5.1f %+4d %+4d",
                      100 * (double)r->choices.right / (double)r->choices.questions,
                      -(int)r->choices.to_wrong, (int)r->choices.to_right);
    bk_buf_append_str(out, "\n");
}

static void text_rivals(const compare_report *r, const compare_view *v, int width, bk_buf *out) {
    char a[192], b[192], verdict[256];
    bk_buf_printf(out, "\n%-*s %7s  %-34s %-34s %s\n", width, v->name, "spread",
                  "dense at its speed", "dense at its quality", "verdict");
    for (size_t i = 1; i < r->c->n_rows; i++) {
        const brisk_compare_row *row = &r->c->rows[i];
        const brisk_compare_phase *p = compare_phase(row, v);
        bk_buf_printf(out, "%-*s %6.1f%%  %-34s %-34s %s\n", width, row->name, 100 * p->spread,
                      compare_rival(r->c, &p->equal_speed, false, a, sizeof a),
                      compare_rival(r->c, &p->equal_quality, true, b, sizeof b),
                      compare_verdict(r->c, row, v, verdict, sizeof verdict));
    }
}

void compare_text(const compare_report *r, bk_buf *out) {
    const brisk_compare_row *first = &r->c->rows[0];
    int width = name_width(r->c);
    bk_buf_printf(out, "%-*s %9s %9s %8s %6s %8s %6s %9s %9s %8s %6s", width, "candidate", "file",
                  "memory", "prefill", "", "decode", "", "ppl", "KL mean", "KL p99", "top %");
    if (first->answers.prompts) bk_buf_append_str(out, " greedy");
    if (first->choices.questions) bk_buf_append_str(out, " right %  flips");
    bk_buf_append_str(out, "\n");
    for (size_t i = 0; i < r->c->n_rows; i++) text_row(&r->c->rows[i], width, out);
    for (size_t v = 0; v < BK_ARRAY_LEN(compare_views); v++)
        text_rivals(r, &compare_views[v], width, out);
    bk_buf_printf(out, "\n%s, %s, %d threads, %s\n", r->cpu, r->c->cpu_level, r->c->threads,
                  r->date);
}

/* ---- Fields of JSON and CSV --------------------------------------------------------------------- */

typedef struct field {
    const char *name;
    double value;
    int digits;
} field;

enum { FIELDS = 40 };

static size_t phase_fields(const brisk_compare_phase *p, bool prefill, field *f) {
    const field all[] = {{prefill ? "prefill" : "decode", p->speed, 6},
                         {prefill ? "prefill_ratio" : "decode_ratio", p->ratio, 6},
                         {prefill ? "prefill_spread" : "decode_spread", p->spread, 4}};
    memcpy(f, all, sizeof all);
    return BK_ARRAY_LEN(all);
}

/* The numbers of a row; those that were not measured are left out. */
static size_t fields_of(const brisk_compare_row *r, field f[FIELDS]) {
    const brisk_eval_result *q = &r->quality;
    const field sizes[] = {{"file_bytes", (double)r->file_bytes, 15},
                           {"resident_bytes", (double)r->resident_bytes, 15},
                           {"n_params", (double)r->n_params, 15}};
    const field quality[] = {{"ppl", q->ppl, 9},
                             {"ppl_error", q->ppl_error, 6},
                             {"log_ratio", q->log_ratio, 9},
                             {"log_ratio_error", q->log_ratio_error, 6},
                             {"kl_mean", q->kl_mean, 9},
                             {"kl_error", q->kl_error, 6},
                             {"kl_median", q->kl_median, 9},
                             {"kl_p99", q->kl_p99, 9},
                             {"kl_max", q->kl_max, 9},
                             {"rms_dp", q->rms_dp, 9},
                             {"top_agreement", q->top_agreement, 9},
                             {"near_agreement", q->near_agreement, 9}};
    const field greedy[] = {{"greedy_median", r->answers.median, 9},
                            {"greedy_mean", r->answers.mean, 9},
                            {"greedy_same", r->answers.same, 9},
                            {"greedy_prompts", r->answers.prompts, 9}};
    const field choices[] = {{"choices", (double)r->choices.questions, 9},
                             {"choices_right", (double)r->choices.right, 9},
                             {"flips_to_wrong", (double)r->choices.to_wrong, 9},
                             {"flips_to_right", (double)r->choices.to_right, 9}};
    size_t n = BK_ARRAY_LEN(sizes);
    memcpy(f, sizes, sizeof sizes);
    n += phase_fields(&r->prefill, true, f + n);
    n += phase_fields(&r->decode, false, f + n);
    memcpy(f + n, quality, sizeof quality);
    n += BK_ARRAY_LEN(quality);
    if (r->answers.prompts) {
        memcpy(f + n, greedy, sizeof greedy);
        n += BK_ARRAY_LEN(greedy);
    }
    if (r->choices.questions) {
        memcpy(f + n, choices, sizeof choices);
        n += BK_ARRAY_LEN(choices);
    }
    return n;
}

static void json_rival(bk_json *w, const char *key, const brisk_comparison *c,
                       const brisk_compare_rival *r) {
    bk_json_key(w, key);
    if (r->fast < 0) {
        bk_json_null(w);
        return;
    }
    bk_json_begin(w, '{');
    bk_json_key_double(w, "value", r->value);
    bk_json_key_str(w, "fast", c->rows[r->fast].name);
    bk_json_key_str(w, "slow", c->rows[r->slow].name);
    bk_json_end(w, '}');
}

static void json_phase(bk_json *w, const brisk_comparison *c, const brisk_compare_row *r,
                       const compare_view *v) {
    const brisk_compare_phase *p = compare_phase(r, v);
    char verdict[256];
    bk_json_key(w, v->prefill ? "prefill_verdict" : "decode_verdict");
    bk_json_begin(w, '{');
    bk_json_key_str(w, "verdict", compare_verdict(c, r, v, verdict, sizeof verdict));
    bk_json_key_bool(w, "dominated", p->dominated);
    bk_json_key_bool(w, "tie", p->tie);
    json_rival(w, "equal_speed_kl", c, &p->equal_speed);
    json_rival(w, "equal_quality_ratio", c, &p->equal_quality);
    bk_json_end(w, '}');
}

void compare_json(const compare_report *r, bk_buf *out) {
    bk_json w = {.out = out};
    bk_json_begin(&w, '{');
    bk_json_key_str(&w, "source", r->source);
    bk_json_key_str(&w, "text", r->text);
    bk_json_key_str(&w, "cpu", r->cpu);
    bk_json_key_str(&w, "cpu_level", r->c->cpu_level);
    bk_json_key_int(&w, "threads", r->c->threads);
    bk_json_key_str(&w, "date", r->date);
    bk_json_key(&w, "rows");
    bk_json_begin(&w, '[');
    for (size_t i = 0; i < r->c->n_rows; i++) {
        const brisk_compare_row *row = &r->c->rows[i];
        field f[FIELDS];
        size_t n = fields_of(row, f);
        bk_json_begin(&w, '{');
        bk_json_key_str(&w, "name", row->name);
        bk_json_key_bool(&w, "dense", row->dense);
        for (size_t k = 0; k < n; k++) {
            bk_json_key(&w, f[k].name);
            bk_json_double(&w, f[k].value, f[k].digits);
        }
        for (size_t v = 0; v < BK_ARRAY_LEN(compare_views); v++)
            json_phase(&w, r->c, row, &compare_views[v]);
        bk_json_end(&w, '}');
    }
    bk_json_end(&w, ']');
    bk_json_end(&w, '}');
    bk_buf_putc(out, '\n');
}

/* Quoted; a quote inside is doubled (RFC 4180). */
static void csv_text(bk_buf *out, const char *text) {
    bk_buf_putc(out, '"');
    for (; *text; text++) {
        if (*text == '"') bk_buf_putc(out, '"');
        bk_buf_putc(out, *text);
    }
    bk_buf_putc(out, '"');
}

void compare_csv(const compare_report *r, bk_buf *out) {
    field f[FIELDS];
    size_t n = fields_of(&r->c->rows[0], f);
    bk_buf_append_str(out, "name,dense");
    for (size_t k = 0; k < n; k++) bk_buf_printf(out, ",%s", f[k].name);
    bk_buf_append_str(out, ",decode_verdict,prefill_verdict\n");
    for (size_t i = 0; i < r->c->n_rows; i++) {
        const brisk_compare_row *row = &r->c->rows[i];
        char verdict[256];
        fields_of(row, f);
        csv_text(out, row->name);
        bk_buf_printf(out, ",%d", row->dense);
        for (size_t k = 0; k < n; k++) bk_buf_printf(out, ",%.*g", f[k].digits, f[k].value);
        for (size_t v = 0; v < BK_ARRAY_LEN(compare_views); v++) {
            bk_buf_putc(out, ',');
            csv_text(out, compare_verdict(r->c, row, &compare_views[v], verdict, sizeof verdict));
        }
        bk_buf_putc(out, '\n');
    }
}
