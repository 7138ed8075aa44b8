#include "compress/prune.h"

#include <stdio.h>

#include "api/api.h"
#include "brisk_compress.h"

_Static_assert((int)BRISK_PRUNE_CONTIGUOUS == (int)BK_PRUNE_CONTIGUOUS, "choices agree");
_Static_assert((int)BRISK_PRUNE_MEASURED == (int)BK_PRUNE_MEASURED, "spreads agree");

enum { DEFAULT_TOKENS = 20000 };

BK_API void brisk_prune_default(brisk_prune_options *options) {
    *options = (brisk_prune_options){.max_tokens = DEFAULT_TOKENS};
}

BK_API const char *brisk_prune_strategies(char *text, size_t cap) {
    if (cap) bk_prune_strategies(text, cap);
    return text;
}

static brisk_prune_side side(const bk_prune_side *s) {
    return (brisk_prune_side){.parameters = s->parameters,
                              .bytes = s->bytes,
                              .zeros = s->zeros,
                              .decode = s->decode,
                              .prefill = s->prefill};
}

static void convert(const bk_prune_result *r, brisk_prune_result *out) {
    *out = (brisk_prune_result){.ratio = r->ratio,
                                .calibration_tokens = r->calibration_tokens,
                                .sparse_tensors = r->sparse_tensors,
                                .before = side(&r->before),
                                .after = side(&r->after),
                                .decode_ratio = r->decode_ratio,
                                .prefill_ratio = r->prefill_ratio};
    snprintf(out->removed, sizeof out->removed, "%s", r->removed);
    bk_api_eval_result(&r->quality, &out->quality);
}

BK_API brisk_status brisk_prune(const char *in, const char *out, const brisk_prune_options *options,
                                brisk_prune_result *result, brisk_error *err) {
    if (!in || !out) return bk_api_null(in ? "out" : "in", err);
    if (!options) return bk_api_null("options", err);
    const brisk_prune_options *p = options;
    bk_prune_options o = {.strategy = p->strategy,
                          .ratio = p->ratio,
                          .target_speed = p->target_speed,
                          .calibrate = {p->calibrate, p->calibrate ? p->calibrate_len : 0},
                          .max_tokens = p->max_tokens,
                          .no_repair = p->no_repair,
                          .reconstruct = p->reconstruct,
                          .choice = (bk_prune_choice)p->choice,
                          .keep_n = p->keep_n,
                          .keep_m = p->keep_m,
                          .spread = (bk_prune_spread)p->spread,
                          .sparse = p->sparse,
                          .type = p->type,
                          .eval = {p->eval, p->eval ? p->eval_len : 0},
                          .bench = p->bench,
                          .threads = p->threads,
                          .progress = p->progress,
                          .user = p->user,
                          .cancel = p->cancel};
    bk_prune_result r;
    bk_error e;
    bk_status st = bk_prune(in, out, &o, &r, &e);
    if (result) convert(&r, result);
    return bk_api_result(st, &e, err);
}
