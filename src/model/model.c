#include "model/model.h"

#include <stdatomic.h>
#include <string.h>

#include "base/mem.h"
#include "model/arch.h"
#include "model/hf.h"

static void destroy(bk_model *m) {
    bk_kv_pool_unref(&m->kv_pool);
    bk_free_weights(m);
    bk_device_destroy(&m->device);
    bk_tokenizer_destroy(&m->tokenizer);
    bk_template_destroy(&m->template);
    bk_arena_free(&m->arena);
    bk_free(m);
}

static const char *printable(bk_model *m, bk_str s) {
    char text[256];
    size_t len = bk_str_printable(text, sizeof text, s.data, s.len);
    char *copy = bk_arena_alloc(&m->arena, len + 1, 1);
    if (copy) memcpy(copy, text, len);
    return copy ? copy : "";
}

static bk_status make_kv_pool(bk_model *m, bk_error *err) {
    const bk_config *c = &m->config;
    size_t hidden = (size_t)c->n_hidden;
    bk_kv_shape shape = {.n_groups = m->n_groups,
                         .group = {m->group[0], m->group[1]},
                         .n_kv_heads = c->n_kv_heads,
                         .head_size = c->head_size,
                         .kv_type = m->meta.kv_type,
                         .state = hidden ? bk_lstm_state(hidden) : 0,
                         .max_tokens = (size_t)c->context_length};
    return bk_kv_pool_create(m->device, &shape, 0, &m->kv_pool, err);
}

static bk_status load(const bk_gguf *g, const bk_model_options *o, bk_model *m, bk_error *err) {
    bk_str name = {0};
    m->meta.file_bytes = bk_gguf_file_bytes(g);
    bk_status status = o->tokenizer_only ? BK_OK : bk_load_config(g, m, err);
    if (status == BK_OK) status = bk_load_vocab(g, m, o->pre, err);
    if (status == BK_OK) {
        m->meta.architecture = m->arch ? m->arch->name : "";
        status = bk_gguf_str(g, "general.name", &name, err);
        if (status == BK_ERR_NOT_FOUND) status = BK_OK;
        m->meta.name = printable(m, name);
    }
    if (status == BK_OK && !o->tokenizer_only) status = bk_load_weights(g, m, o, err);
    if (status == BK_OK && m->device) status = make_kv_pool(m, err);
    return status;
}

bk_status bk_model_load_gguf(const bk_gguf *g, const bk_model_options *options, bk_model **out,
                             bk_error *err) {
    bk_model_options o = {0};
    *out = NULL;
    if (options) o = *options;
    bk_kv_type kv_type = BK_KV_Q16;
    bk_status status = o.kv_type ? bk_kv_type_find(o.kv_type, &kv_type, err) : BK_OK;
    if (status != BK_OK) return status;
    bk_model *m = bk_alloc_zero(1, sizeof *m);
    if (!m) return bk_fail(err, BK_ERR_NOMEM, "no memory for a model");
    atomic_init(&m->refs, 1);
    m->meta.kv_type = kv_type;
    m->meta.fast = o.fast;
    status = load(g, &o, m, err);
    if (status != BK_OK)
        destroy(m);
    else
        *out = m;
    return status;
}

bk_status bk_model_load(const char *path, const bk_model_options *options, bk_model **out,
                        bk_error *err) {
    bk_gguf *g = NULL;
    *out = NULL;
    bk_hf_options hf = {.pre = options ? options->pre : NULL};
    bk_kv_type kv_type;
    bk_status status =
        options && options->kv_type ? bk_kv_type_find(options->kv_type, &kv_type, err) : BK_OK;
    if (status != BK_OK) return status;
    status = bk_model_file_open(path, &hf, &g, err);
    if (status == BK_OK) status = bk_model_load_gguf(g, options, out, err);
    bk_gguf_destroy(&g);
    if (status != BK_OK) bk_error_prefix(err, "%s", path);
    return status;
}

bk_model *bk_model_ref(bk_model *m) {
    atomic_fetch_add(&m->refs, 1);
    return m;
}

void bk_model_unref(bk_model **m) {
    if (*m && atomic_fetch_sub(&(*m)->refs, 1) == 1) destroy(*m);
    *m = NULL;
}

const bk_config *bk_model_config(const bk_model *m) { return &m->config; }
const bk_model_meta *bk_model_get_meta(const bk_model *m) { return &m->meta; }
const bk_tokenizer *bk_model_tokenizer(const bk_model *m) { return m->tokenizer; }

const bk_template *bk_model_template(const bk_model *m, const char **why) {
    if (why) *why = m->template ? NULL : m->template_why;
    return m->template;
}

void bk_model_set_trace(bk_model *m, struct bk_trace *trace) { m->device->trace = trace; }

void bk_model_skip_layer(bk_model *m, int layer, bool skip) {
    m->weights.layers[layer].skip = skip;
}

void bk_model_set_observer(bk_model *m, const bk_observer *observer) {
    m->device->observer = observer;
}

bk_status bk_model_new_kv(bk_model *m, bk_kv **out, bk_error *err) {
    *out = NULL;
    if (!m->kv_pool)
        return bk_fail(err, BK_ERR_INVALID, "the model was opened for its vocabulary alone");
    return bk_kv_create(m->kv_pool, out, err);
}

bk_kv_pool *bk_model_kv_pool(const bk_model *m) { return m->kv_pool; }
