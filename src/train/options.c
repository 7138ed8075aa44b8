#include "train/options.h"

#include <string.h>

typedef enum field_type { INT, FLOAT, BOOL } field_type;

/* A checkpoint's number always holds (FIXED), holds and must agree with one that is given (SIZE), or
 * gives way to one that is given (FREE). */
typedef enum field_rule { FIXED, SIZE, FREE } field_rule;

typedef struct field {
    const char *name;
    size_t at;
    field_type type;
    field_rule rule;
    double min, max;
    double own[BK_TRAIN_KINDS]; /* mlp, lstm, llama */
} field;

#define AT(name) #name, offsetof(bk_train_options, name)
#define ALL(v) \
    { v, v, v }
static const field fields[] = {
    {AT(valid_share), FLOAT, FIXED, 0, 0.5, {0.2, 0.1, 0.1}},
    {AT(vocab_size), INT, FIXED, 0, 1 << 20, ALL(0)},
    {AT(casefold), BOOL, FIXED, 0, 1, ALL(0)},
    {AT(embedding), INT, SIZE, 1, 65536, {0, 256, 128}},
    {AT(hidden), INT, SIZE, 1, 65536, {32, 256, 0}},
    {AT(output), INT, SIZE, 0, 65536, ALL(0)},
    {AT(layers), INT, SIZE, 1, 256, {1, 2, 4}},
    {AT(heads), INT, SIZE, 1, 1024, {0, 0, 4}},
    {AT(kv_heads), INT, SIZE, 1, 1024, {0, 0, 4}},
    {AT(ffn), INT, SIZE, 0, 1 << 20, ALL(0)},
    {AT(sequence), INT, SIZE, 1, 1 << 16, {0, 128, 64}},
    {AT(batch), INT, SIZE, 1, 1 << 16, {32, 32, 12}},
    {AT(accumulate), INT, SIZE, 1, 1 << 16, ALL(1)},
    {AT(dropout), FLOAT, FIXED, 0, 0.9, ALL(0)},
    {AT(tied), BOOL, FIXED, 0, 1, ALL(0)},
    {AT(forget_bias), BOOL, FIXED, 0, 1, ALL(1)},
    {AT(steps), INT, FREE, 1, 1e9, {1000, 1000, 2000}},
    {AT(lr), FLOAT, FIXED, 0, 10, {5e-3, 2e-3, 1e-3}},
    {AT(min_lr), FLOAT, FIXED, 0, 10, {5e-4, 2e-4, 1e-4}},
    {AT(warmup), INT, FIXED, 0, 1e9, {0, 50, 100}},
    {AT(b1), FLOAT, FIXED, 0, 0.99999, ALL(0.9)},
    {AT(b2), FLOAT, FIXED, 0, 0.99999, {0.999, 0.95, 0.95}},
    {AT(eps), FLOAT, FIXED, 1e-12, 1, ALL(1e-8)},
    {AT(decay), FLOAT, FIXED, 0, 10, {0.01, 0.01, 0.1}},
    {AT(clip), FLOAT, FIXED, 0, 1e9, ALL(1)},
    {AT(patience), INT, FIXED, 0, 1e9, ALL(0)},
    {AT(floor_order), INT, FIXED, 0, 8, ALL(0)},
    {AT(quant_share), FLOAT, FIXED, 0, 1, ALL(1)},
    {AT(top_k), INT, FIXED, 1, 256, ALL(32)},
    {AT(projection), BOOL, FIXED, 0, 1, ALL(0)},
    {AT(decoder_bias), BOOL, FIXED, 0, 1, ALL(1)},
    {AT(rope_base), FLOAT, FIXED, 1, 1e9, ALL(10000)},
    {AT(norm_eps), FLOAT, FIXED, 0, 1, ALL(1e-5)},
    {AT(context), INT, FIXED, 0, 1 << 30, ALL(0)},
    {AT(keep_zeros), BOOL, FIXED, 0, 1, ALL(0)},
};

typedef struct text_field {
    const char *name;
    size_t at;
} text_field;

static const text_field texts[] = {{AT(normalize)},  {AT(stop_words)}, {AT(widths)},
                                   {AT(activation)}, {AT(quant)},      {AT(teacher)}};

static double get(const bk_train_options *o, const field *f) {
    const void *p = (const char *)o + f->at;
    if (f->type == INT) return *(const int *)p;
    return f->type == FLOAT ? (double)*(const float *)p : *(const bool *)p;
}

static void set(bk_train_options *o, const field *f, double v) {
    void *p = (char *)o + f->at;
    if (f->type == INT) *(int *)p = (int)v;
    if (f->type == FLOAT) *(float *)p = (float)v;
    if (f->type == BOOL) *(bool *)p = v != 0;
}

/* Sizes: 0 means that nothing is said. */
static bool is_open(const field *f) { return f->rule != FIXED; }

const char *bk_train_kind_name(bk_train_kind kind) {
    static const char *const names[] = {"mlp", "lstm", "llama"};
    return names[kind];
}

void bk_train_default(bk_train_kind kind, bk_train_options *o) {
    *o = (bk_train_options){.kind = kind, .seed = 1};
    for (size_t i = 0; i < BK_ARRAY_LEN(fields); i++)
        set(o, &fields[i], is_open(&fields[i]) ? 0 : fields[i].own[kind]);
}

void bk_train_options_complete(bk_train_options *o) {
    for (size_t i = 0; i < BK_ARRAY_LEN(fields); i++)
        if (is_open(&fields[i]) && get(o, &fields[i]) == 0)
            set(o, &fields[i], fields[i].own[o->kind]);
    if (o->kind != BK_TRAIN_LSTM) return;
    if (o->output == 0) o->output = o->hidden;
    if (o->resume || o->from) return;
    o->projection = o->output != o->hidden;
    o->decoder_bias = !o->tied;
}

bk_status bk_train_options_check(const bk_train_options *o, bk_error *err) {
    /* A network of classes can tell them without. */
    if (!o->data && !(o->kind == BK_TRAIN_MLP && o->from))
        return bk_fail(err, BK_ERR_INVALID, "no data given: a file is wanted");
    if ((unsigned)o->kind >= BK_TRAIN_KINDS || (unsigned)o->tune >= BK_TUNES)
        return bk_fail(err, BK_ERR_INVALID, "kind %d or tune %d is unknown", o->kind, o->tune);
    for (size_t i = 0; i < BK_ARRAY_LEN(fields); i++) {
        const field *f = &fields[i];
        double v = get(o, f);
        if (is_open(f) && v == 0) continue;
        /* A float of a limit is not always within it as a double. */
        double max = f->type == FLOAT ? (double)(float)f->max : f->max;
        double min = f->type == FLOAT ? (double)(float)f->min : f->min;
        bk_status st = bk_check_range(f->name, v, min, max, err);
        if (st) return st;
    }
    return BK_OK;
}

/* ---- Checkpoints -------------------------------------------------------------------------------- */

#define PREFIX "brisk.train."

static const char *key_of(const char *name, char out[64]) {
    size_t len = strlen(name);
    memcpy(out, PREFIX, sizeof PREFIX);
    memcpy(out + sizeof PREFIX - 1, name, len + 1);
    return out;
}

void bk_train_options_put(const bk_train_options *o, bk_gguf_builder *b) {
    char key[64];
    bk_gguf_builder_str(b, PREFIX "kind", bk_str_from(bk_train_kind_name(o->kind)));
    for (size_t i = 0; i < BK_ARRAY_LEN(fields); i++) {
        key_of(fields[i].name, key);
        double v = get(o, &fields[i]);
        if (fields[i].type == FLOAT) bk_gguf_builder_f32(b, key, (float)v);
        if (fields[i].type == INT) bk_gguf_builder_u32(b, key, (uint32_t)v);
        if (fields[i].type == BOOL) bk_gguf_builder_bool(b, key, v != 0);
    }
    for (size_t i = 0; i < BK_ARRAY_LEN(texts); i++) {
        const char *text = *(const char *const *)((const char *)o + texts[i].at);
        if (text) bk_gguf_builder_str(b, key_of(texts[i].name, key), bk_str_from(text));
    }
    bk_gguf_builder_u32(b, PREFIX "tune", (uint32_t)o->tune);
    bk_gguf_builder_u32(b, PREFIX "seed_low", (uint32_t)o->seed);
    bk_gguf_builder_u32(b, PREFIX "seed_high", (uint32_t)(o->seed >> 32));
}

static bk_status get_field(const bk_gguf *g, const field *f, bk_train_options *o, bk_error *err) {
    char key[64];
    uint32_t u = 0;
    float x = 0;
    bool flag = false;
    bk_status st;
    key_of(f->name, key);
    if (f->type == INT)
        st = bk_gguf_u32(g, key, 0, (uint32_t)f->max, &u, err);
    else if (f->type == FLOAT)
        st = bk_gguf_f32(g, key, (float)f->min, (float)f->max, &x, err);
    else
        st = bk_gguf_bool(g, key, &flag, err);
    if (st == BK_ERR_NOT_FOUND) return bk_fail(err, BK_ERR_FORMAT, "key '%s' is missing", key);
    if (st) return st;
    double given = get(o, f), v = f->type == INT ? u : f->type == FLOAT ? (double)x : flag;
    if (f->rule == SIZE && given != 0 && given != v)
        return bk_fail(err, BK_ERR_INVALID, "%s %g was asked for, the checkpoint has %g", f->name,
                       given, v);
    if (f->rule != FREE || given == 0) set(o, f, v);
    return BK_OK;
}

static bk_status get_text(const bk_gguf *g, const text_field *f, bk_arena *arena,
                          bk_train_options *o, bk_error *err) {
    char key[64];
    bk_str v = {0};
    bk_status st = bk_gguf_str(g, key_of(f->name, key), &v, err);
    if (st == BK_ERR_NOT_FOUND) return BK_OK;
    char *copy = st ? NULL : bk_arena_alloc(arena, v.len + 1, 1);
    if (st) return st;
    if (!copy) return bk_fail(err, BK_ERR_NOMEM, "no memory for key '%s'", key);
    if (v.len) memcpy(copy, v.data, v.len);
    *(const char **)((char *)o + f->at) = copy;
    return BK_OK;
}

bk_status bk_train_options_get(const bk_gguf *g, bk_arena *arena, bk_train_options *o,
                               bk_error *err) {
    bk_str kind = {0};
    uint32_t tune = 0, low = 0, high = 0;
    bk_status st = bk_gguf_str(g, PREFIX "kind", &kind, err);
    if (st == BK_ERR_NOT_FOUND) return bk_fail(err, BK_ERR_FORMAT, "it is no checkpoint");
    if (!st && !bk_str_eq(kind, bk_str_from(bk_train_kind_name(o->kind))))
        return bk_fail(err, BK_ERR_INVALID, "it is of kind " BK_STR_FMT ", %s was asked for",
                       BK_STR_ARG(kind), bk_train_kind_name(o->kind));
    for (size_t i = 0; !st && i < BK_ARRAY_LEN(fields); i++) st = get_field(g, &fields[i], o, err);
    for (size_t i = 0; !st && i < BK_ARRAY_LEN(texts); i++)
        st = get_text(g, &texts[i], arena, o, err);
    if (!st) st = bk_gguf_u32(g, PREFIX "tune", 0, BK_TUNES - 1, &tune, err);
    if (!st) st = bk_gguf_u32(g, PREFIX "seed_low", 0, UINT32_MAX, &low, err);
    if (!st) st = bk_gguf_u32(g, PREFIX "seed_high", 0, UINT32_MAX, &high, err);
    if (st == BK_ERR_NOT_FOUND) return bk_fail(err, BK_ERR_FORMAT, "it lacks its options");
    o->tune = (bk_train_tune)tune;
    o->seed = (uint64_t)high << 32 | low;
    return st;
}
