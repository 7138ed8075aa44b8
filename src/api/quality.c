#include <string.h>

#include "api/api.h"
#include "base/mem.h"
#include "brisk_tools.h"
#include "measure/choices.h"
#include "measure/eval.h"
#include "measure/greedy.h"

BK_API void brisk_eval_options_default(brisk_eval_options *options) {
    *options = (brisk_eval_options){0};
}

static bk_eval_options convert(const brisk_eval_options *o) {
    if (!o) return (bk_eval_options){0};
    return (bk_eval_options){.context = o->context,
                             .reference = bk_api_model(o->reference),
                             .reference_logits = o->reference_logits,
                             .save_logits = o->save_logits,
                             .progress = o->progress,
                             .user = o->user,
                             .cancel = o->cancel};
}

void bk_api_eval_result(const bk_summary *s, brisk_eval_result *out) {
    *out = (brisk_eval_result){.tokens = s->tokens,
                               .nll = s->nll,
                               .ppl = s->ppl,
                               .ppl_error = s->ppl_error,
                               .compared = s->compared,
                               .ref_ppl = s->ref_ppl,
                               .kl_mean = s->kl_mean,
                               .kl_error = s->kl_error,
                               .kl_median = s->kl_median,
                               .kl_p99 = s->kl_p99,
                               .kl_max = s->kl_max,
                               .top_agreement = s->top_agreement,
                               .log_ratio = s->log_ratio,
                               .log_ratio_error = s->log_ratio_error,
                               .kl_p90 = s->kl_p90,
                               .kl_p999 = s->kl_p999,
                               .rms_dp = s->rms_dp,
                               .near_agreement = s->near_agreement,
                               .impossible = s->impossible,
                               .outside = s->outside};
    _Static_assert(sizeof s->kl_part == sizeof out->kl_parts, "as many parts");
    memcpy(out->kl_parts, s->kl_part, sizeof out->kl_parts);
}

BK_API brisk_status brisk_eval_text(brisk_model *model, const char *text, size_t len,
                                    const brisk_eval_options *options, brisk_eval_result *out,
                                    brisk_error *err) {
    if (!model) return bk_api_null("model", err);
    if (!text || !out) return bk_api_null(text ? "result" : "text", err);
    bk_eval_options o = convert(options);
    bk_summary s = {0};
    bk_error e;
    bk_status st = bk_eval_text(bk_api_model(model), (bk_str){text, len}, &o, &s, &e);
    bk_api_eval_result(&s, out);
    return bk_api_result(st, &e, err);
}

BK_API brisk_status brisk_eval_tokens(brisk_model *model, const brisk_token *tokens,
                                      const size_t *lengths, size_t n_sequences,
                                      const brisk_eval_options *options, brisk_eval_result *out,
                                      brisk_error *err) {
    if (!model) return bk_api_null("model", err);
    if (!tokens || !lengths) return bk_api_null(tokens ? "lengths" : "tokens", err);
    if (!out) return bk_api_null("result", err);
    bk_eval_options o = convert(options);
    bk_summary s = {0};
    bk_error e;
    bk_status st = bk_eval_tokens(bk_api_model(model), tokens, lengths, n_sequences, &o, &s, &e);
    bk_api_eval_result(&s, out);
    return bk_api_result(st, &e, err);
}

typedef struct progress {
    const brisk_eval_options *o;
    size_t before, more; /* what comes before and after is counted in the same unit */
} progress;

static void on_progress(size_t done, size_t total, void *user) {
    const progress *p = user;
    if (p->o->progress)
        p->o->progress(p->before + done, p->before + total + p->more, 0, p->o->user);
}

BK_API brisk_status brisk_eval_greedy(brisk_model *model, const char *text, size_t len, int prompts,
                                      int tokens, const brisk_eval_options *options,
                                      brisk_greedy_result *out, brisk_error *err) {
    if (!model || !options || !options->reference)
        return bk_api_null(model ? "the reference" : "model", err);
    if (!text || !out) return bk_api_null(text ? "result" : "text", err);
    bk_error e;
    if (prompts < 1 || prompts > 10000 || tokens < 1 || tokens > 100000) {
        bk_status st =
            bk_fail(&e, BK_ERR_INVALID, "%d answers of %d tokens: 1 to 10000 of 1 to 100000",
                    prompts, tokens);
        return bk_api_result(st, &e, err);
    }
    progress p = {.o = options};
    const bk_greedy_options o = {.n_prompts = (size_t)prompts,
                                 .n_tokens = (size_t)tokens,
                                 .progress = on_progress,
                                 .user = &p,
                                 .cancel = options->cancel};
    bk_model *m = bk_api_model(model);
    bk_greedy g;
    bk_status st =
        bk_greedy_compare(bk_api_model(options->reference), &m, 1, (bk_str){text, len}, &o, &g, &e);
    if (!st) *out = (brisk_greedy_result){prompts, tokens, (int)g.same, g.median, g.mean};
    return bk_api_result(st, &e, err);
}

BK_API brisk_status brisk_eval_choices(brisk_model *model, const char *json, size_t len,
                                       const brisk_eval_options *options, brisk_choices_result *out,
                                       brisk_error *err) {
    if (!model) return bk_api_null("model", err);
    if (!json || !out) return bk_api_null(json ? "result" : "json", err);
    const brisk_eval_options none = {0}, *o = options ? options : &none;
    bk_model *ref = bk_api_model(o->reference);
    bk_choices c;
    bk_error e;
    bk_status st = bk_choices_parse((bk_str){json, len}, &c, &e);
    if (st) return bk_api_result(st, &e, err);
    uint8_t *picked = bk_alloc(c.n, 2);
    if (!picked) st = bk_fail(&e, BK_ERR_NOMEM, "no memory for %zu answers", c.n);
    progress p = {.o = o, .more = ref ? c.n : 0};
    if (!st)
        st = bk_choices_answer(bk_api_model(model), &c, picked, on_progress, &p, o->cancel, &e);
    p = (progress){.o = o, .before = c.n};
    if (!st && ref) st = bk_choices_answer(ref, &c, picked + c.n, on_progress, &p, o->cancel, &e);
    if (!st) {
        bk_flips f = bk_choices_count(&c, picked, ref ? picked + c.n : NULL);
        *out = (brisk_choices_result){f.n, f.right, f.ref_right, f.to_wrong, f.to_right};
    }
    bk_free(picked);
    bk_choices_free(&c);
    return bk_api_result(st, &e, err);
}
