#include <stdio.h>

#include "base/buf.h"
#include "base/json_write.h"
#include "cli/eval.h"

static void print_distance(const brisk_eval_result *r) {
    printf("KL divergence   mean %.6f +/- %.6f, median %.6f, p90 %.6f, p99 %.6f, p99.9 %.6f, "
           "max %.6f  (%zu tokens)\n",
           r->kl_mean, r->kl_error, r->kl_median, r->kl_p90, r->kl_p99, r->kl_p999, r->kl_max,
           r->compared);
    printf("  by position  ");
    for (int i = 0; i < BRISK_EVAL_PARTS; i++) printf(" %.6f", r->kl_parts[i]);
    printf("\nsame top token  %.3f %%; the reference's is among the best five for %.3f %%\n",
           100 * r->top_agreement, 100 * r->near_agreement);
    if (r->tokens > 0) printf("RMS of delta p  %.3f %%\n", 100 * r->rms_dp);
    if (r->outside > 0)
        printf("out of set      %zu of %zu tokens; %.3f %% of the reference's probability\n",
               r->impossible, r->tokens, 100 * r->outside);
}

void eval_print_text(const eval_report *report) {
    const brisk_eval_result *r = report->result;
    const brisk_greedy_result *g = report->answers;
    const brisk_choices_result *c = report->choices;
    if (r->tokens > 0) {
        printf("perplexity      %.4f +/- %.5f  (%zu tokens scored)\n", r->ppl, r->ppl_error,
               r->tokens);
    }
    if (r->compared > 0 && r->tokens > 0)
        printf("of the reference %.4f; ln of the ratio %.6f +/- %.6f\n", r->ref_ppl, r->log_ratio,
               r->log_ratio_error);
    if (r->compared > 0) print_distance(r);
    if (g->prompts > 0)
        printf("greedy answers  differ after %.1f tokens (median; mean %.1f); %d of %d not within "
               "%d\n",
               g->median, g->mean, g->same, g->prompts, g->tokens);
    if (c->questions == 0) return;
    double n = (double)c->questions;
    printf("multiple choice %.1f %% of %zu questions right", 100 * (double)c->right / n,
           c->questions);
    if (report->reference)
        printf("; reference %.1f %%; %zu became wrong, %zu right", 100 * (double)c->ref_right / n,
               c->to_wrong, c->to_right);
    putchar('\n');
}

static void put_result(bk_json *w, const brisk_eval_result *r) {
    bk_json_key_uint(w, "tokens", r->tokens);
    if (r->tokens > 0) {
        bk_json_key_double(w, "nll", r->nll);
        bk_json_key_double(w, "ppl", r->ppl);
        bk_json_key_double(w, "ppl_error", r->ppl_error);
    }
    if (r->compared == 0) return;
    bk_json_key_uint(w, "compared", r->compared);
    if (r->tokens > 0) {
        bk_json_key_double(w, "ref_ppl", r->ref_ppl);
        bk_json_key_double(w, "log_ratio", r->log_ratio);
        bk_json_key_double(w, "log_ratio_error", r->log_ratio_error);
        bk_json_key_double(w, "rms_dp", r->rms_dp);
        bk_json_key_uint(w, "impossible", r->impossible);
    }
    bk_json_key_double(w, "kl_mean", r->kl_mean);
    bk_json_key_double(w, "kl_error", r->kl_error);
    bk_json_key_double(w, "kl_median", r->kl_median);
    bk_json_key_double(w, "kl_p90", r->kl_p90);
    bk_json_key_double(w, "kl_p99", r->kl_p99);
    bk_json_key_double(w, "kl_p999", r->kl_p999);
    bk_json_key_double(w, "kl_max", r->kl_max);
    bk_json_key(w, "kl_parts");
    bk_json_begin(w, '[');
    for (int i = 0; i < BRISK_EVAL_PARTS; i++) bk_json_double(w, r->kl_parts[i], 9);
    bk_json_end(w, ']');
    bk_json_key_double(w, "top_agreement", r->top_agreement);
    bk_json_key_double(w, "near_agreement", r->near_agreement);
    bk_json_key_double(w, "outside", r->outside);
}

static void put_answers(bk_json *w, const brisk_greedy_result *g) {
    bk_json_key(w, "greedy");
    bk_json_begin(w, '{');
    bk_json_key_int(w, "prompts", g->prompts);
    bk_json_key_int(w, "tokens", g->tokens);
    bk_json_key_int(w, "same", g->same);
    bk_json_key_double(w, "median", g->median);
    bk_json_key_double(w, "mean", g->mean);
    bk_json_end(w, '}');
}

static void put_choices(bk_json *w, const brisk_choices_result *c, bool reference) {
    bk_json_key(w, "choices");
    bk_json_begin(w, '{');
    bk_json_key_uint(w, "questions", c->questions);
    bk_json_key_uint(w, "right", c->right);
    if (reference) {
        bk_json_key_uint(w, "ref_right", c->ref_right);
        bk_json_key_uint(w, "to_wrong", c->to_wrong);
        bk_json_key_uint(w, "to_right", c->to_right);
    }
    bk_json_end(w, '}');
}

void eval_print_json(const eval_report *r) {
    bk_buf out = {0};
    bk_json w = {.out = &out};
    bk_json_begin(&w, '{');
    bk_json_key_str(&w, "model", r->model);
    put_result(&w, r->result);
    if (r->answers->prompts > 0) put_answers(&w, r->answers);
    if (r->choices->questions > 0) put_choices(&w, r->choices, r->reference);
    bk_json_key_double(&w, "seconds", r->seconds);
    bk_json_end(&w, '}');
    bk_buf_putc(&out, '\n');
    if (!out.failed) fwrite(out.data, 1, out.len, stdout);
    bk_buf_free(&out);
}
