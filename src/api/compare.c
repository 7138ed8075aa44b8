#include "compress/compare.h"

#include <string.h>

#include "api/api.h"
#include "base/mem.h"
#include "brisk_compress.h"

/* What the caller sees, and what owns its texts. */
typedef struct comparison {
    brisk_comparison shown;
    brisk_compare_row rows[BK_FRONTIER_MOST];
    bk_comparison *own;
} comparison;

BK_API void brisk_compare_default(brisk_compare_options *options) {
    *options = (brisk_compare_options){
        .rounds = 5, .n_prompt = 256, .n_gen = 32, .prompts = 16, .answer_tokens = 64};
}

static brisk_compare_rival rival(const bk_rival *r) {
    return (brisk_compare_rival){r->fast, r->slow, r->value};
}

static brisk_compare_phase phase(const bk_compare_row *r, int which) {
    const bk_lap *lap = &r->laps[which];
    const bk_judgement *j = &r->judged[which];
    return (brisk_compare_phase){.speed = lap->speed,
                                 .ratio = lap->ratio,
                                 .spread = lap->spread,
                                 .equal_speed = rival(&j->equal_speed),
                                 .equal_quality = rival(&j->equal_quality),
                                 .dominated = j->dominated,
                                 .by = j->by,
                                 .tie = j->tie};
}

static void show(const bk_compare_row *r, brisk_compare_row *out) {
    const bk_greedy *g = &r->answers;
    const bk_flips *f = &r->flips;
    *out = (brisk_compare_row){.name = r->name,
                               .dense = r->dense,
                               .file_bytes = r->file_bytes,
                               .resident_bytes = r->resident_bytes,
                               .n_params = r->n_params,
                               .decode = phase(r, BK_COMPARE_DECODE),
                               .prefill = phase(r, BK_COMPARE_PREFILL)};
    bk_api_eval_result(&r->quality, &out->quality);
    out->answers = (brisk_greedy_result){(int)g->n_prompts, (int)g->n_tokens, (int)g->same,
                                         g->median, g->mean};
    out->choices = (brisk_choices_result){f->n, f->right, f->ref_right, f->to_wrong, f->to_right};
}

static bk_str text_of(const char *text, size_t len) {
    return text ? (bk_str){text, len} : (bk_str){"", 0};
}

static bk_compare_options convert(const brisk_compare_options *o) {
    return (bk_compare_options){.calibrate = text_of(o->calibrate, o->calibrate_len),
                                .text = text_of(o->text, o->text_len),
                                .choices = text_of(o->choices, o->choices_len),
                                .context = o->context,
                                .windows = o->windows,
                                .rounds = o->rounds,
                                .n_prompt = o->n_prompt,
                                .n_gen = o->n_gen,
                                .prompts = o->prompts,
                                .answer_tokens = o->answer_tokens,
                                .threads = o->threads,
                                .progress = o->progress,
                                .user = o->user,
                                .cancel = o->cancel};
}

BK_API brisk_status brisk_compare(const char *source, const char *const *recipes, size_t n,
                                  const brisk_compare_options *options, brisk_comparison **out,
                                  brisk_error *err) {
    if (!source || !recipes || !options) return bk_api_null("source, recipes or options", err);
    if (!out) return bk_api_null("out", err);
    *out = NULL;
    bk_compare_options o = convert(options);
    bk_error e;
    comparison *c = bk_alloc_zero(1, sizeof *c);
    bk_status st = c ? bk_compare(source, recipes, n, &o, &c->own, &e)
                     : bk_fail(&e, BK_ERR_NOMEM, "no memory for a comparison");
    if (!st) {
        for (size_t i = 0; i < c->own->n; i++) show(&c->own->rows[i], &c->rows[i]);
        c->shown = (brisk_comparison){c->rows, c->own->n, c->own->cpu_level, c->own->threads};
        *out = &c->shown;
    } else {
        bk_free(c);
    }
    return bk_api_result(st, &e, err);
}

BK_API void brisk_comparison_free(brisk_comparison **shown) {
    if (!shown || !*shown) return;
    comparison *c = (comparison *)(void *)*shown; /* its first member */
    bk_comparison_free(&c->own);
    bk_free(c);
    *shown = NULL;
}
