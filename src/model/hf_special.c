/* Ids of special tokens, whether a text begins with one, and the chat template: out of
 * tokenizer_config.json, tokenizer.json's post_processor, config.json and generation_config.json, in the
 * order of precedence that llama.cpp's converter has. */
#include <stdio.h>
#include <string.h>

#include "model/hf_internal.h"

/* A token of tokenizer_config.json: its text, or an object with it. */
static bk_str configured(const bk_hf *h, const char *kind) {
    char name[32];
    snprintf(name, sizeof name, "%s_token", kind);
    const json_t *v = json_object_get(h->tokenizer_config, name);
    if (json_is_object(v)) v = json_object_get(v, "content");
    return bk_json_text(v);
}

/* -1 when there is no such token. */
static int64_t id_of(const bk_hf *h, bk_str text) {
    const json_t *added = json_object_get(h->tokenizer, "added_tokens");
    if (!text.data) return -1;
    for (size_t i = 0; i < json_array_size(added); i++) {
        const json_t *entry = json_array_get(added, i);
        if (bk_str_eq(bk_json_text(json_object_get(entry, "content")), text))
            return json_integer_value(json_object_get(entry, "id"));
    }
    const json_t *id =
        json_object_get(json_object_get(json_object_get(h->tokenizer, "model"), "vocab"),
                        text.data);
    return json_is_integer(id) ? json_integer_value(id) : -1;
}

/* An id of a configuration, the first where it is a list. */
static int64_t id_in(const json_t *config, const char *kind) {
    char name[32];
    snprintf(name, sizeof name, "%s_token_id", kind);
    const json_t *v = json_object_get(config, name);
    if (json_is_array(v)) v = json_array_get(v, 0);
    return json_is_integer(v) ? json_integer_value(v) : -1;
}

/* What the model itself takes for characters that it has no token for. */
static int64_t unknown_of(const bk_hf *h) {
    const json_t *model = json_object_get(h->tokenizer, "model");
    const json_t *id = json_object_get(model, "unk_id");
    if (json_is_integer(id)) return json_integer_value(id);
    return id_of(h, bk_json_text(json_object_get(model, "unk_token")));
}

/* What the post-processor puts around a text: the first and the last of a TemplateProcessing, when they
 * are special tokens. *decided: there is a post-processor that says so or says no. */
typedef struct around {
    bk_str first, last;
    bool decided, bytes;
} around;

static bk_str special_at(const json_t *list, size_t i) {
    const json_t *piece = json_object_get(json_array_get(list, i), "SpecialToken");
    return bk_json_text(json_object_get(piece, "id"));
}

static void look_at_processor(const json_t *p, int depth, around *a) {
    bk_str type = bk_json_text(json_object_get(p, "type"));
    const json_t *list = json_object_get(p, "processors");
    for (size_t i = 0; depth < 4 && i < json_array_size(list); i++)
        look_at_processor(json_array_get(list, i), depth + 1, a);
    if (bk_str_eq(type, BK_STR("ByteLevel"))) a->bytes = true;
    if (!bk_str_eq(type, BK_STR("TemplateProcessing"))) return;
    const json_t *single = json_object_get(p, "single");
    if (json_array_size(single) < 2) return;
    a->first = special_at(single, 0);
    a->last = special_at(single, json_array_size(single) - 1);
    a->decided = true;
}

static bk_status set_id(const bk_hf *h, const char *key, int64_t id, size_t n_vocab) {
    if (id < 0) return BK_OK;
    if ((uint64_t)id >= n_vocab)
        return bk_fail(h->err, BK_ERR_FORMAT,
                       "the id of key '%s' is %lld, wanted 0 to %zu (the rows of the embedding)",
                       key, (long long)id, n_vocab - 1);
    bk_gguf_builder_u32(h->b, key, (uint32_t)id);
    return BK_OK;
}

/* Whether a token goes before (after) every text: the post-processor decides, then add_X_token. */
static void set_add(const bk_hf *h, const char *option, const char *key, const around *a,
                    bk_str found, int64_t id) {
    const json_t *said = json_object_get(h->tokenizer_config, option);
    bool add = json_is_true(said);
    if (found.data)
        add = id >= 0 && id_of(h, found) == id;
    else if (a->decided || a->bytes)
        add = false;
    bk_gguf_builder_bool(h->b, key, add);
}

static bk_status add_ids(const bk_hf *h, size_t n_vocab) {
    static const struct {
        const char *kind, *key;
    } ids[] = {{"bos", "tokenizer.ggml.bos_token_id"},
               {"eos", "tokenizer.ggml.eos_token_id"},
               {"unk", "tokenizer.ggml.unknown_token_id"},
               {"pad", "tokenizer.ggml.padding_token_id"}};
    int64_t id[BK_ARRAY_LEN(ids)];
    around a = {0};
    look_at_processor(json_object_get(h->tokenizer, "post_processor"), 0, &a);
    for (size_t i = 0; i < BK_ARRAY_LEN(ids); i++) {
        id[i] = id_of(h, configured(h, ids[i].kind));
        if (id[i] < 0 && i == 0) id[i] = id_of(h, a.first);
        if (id[i] < 0 && i == 2) id[i] = unknown_of(h);
        if (id[i] < 0) id[i] = id_in(h->root, ids[i].kind);
        if (id[i] < 0) id[i] = id_in(h->config, ids[i].kind);
        if (id[i] < 0) id[i] = id_in(h->generation, ids[i].kind);
        bk_status s = set_id(h, ids[i].key, id[i], n_vocab);
        if (s != BK_OK) return s;
    }
    set_add(h, "add_bos_token", "tokenizer.ggml.add_bos_token", &a, a.first, id[0]);
    set_add(h, "add_eos_token", "tokenizer.ggml.add_eos_token", &a, a.last, id[1]);
    return BK_OK;
}

/* ---- The chat template ---------------------------------------------------------------------- */

/* One template, or a list of {name, template}, of which "default" counts. */
static bool add_template(const bk_hf *h, const json_t *v) {
    bk_str text = bk_json_text(v);
    for (size_t i = 0; i < json_array_size(v); i++) {
        const json_t *entry = json_array_get(v, i);
        if (bk_str_eq(bk_json_text(json_object_get(entry, "name")), BK_STR("default")))
            text = bk_json_text(json_object_get(entry, "template"));
    }
    if (text.data) bk_gguf_builder_str(h->b, "tokenizer.chat_template", text);
    return text.data != NULL;
}

static bk_status add_chat_template(const bk_hf *h) {
    bk_buf text = {.limit = 16 << 20};
    json_t *file;
    if (add_template(h, json_object_get(h->tokenizer_config, "chat_template"))) return BK_OK;
    bk_status s = bk_hf_read_text(h, "chat_template.jinja", &text);
    if (s == BK_OK) bk_gguf_builder_str(h->b, "tokenizer.chat_template", bk_buf_view(&text));
    bk_buf_free(&text);
    if (s != BK_ERR_NOT_FOUND) return s;
    s = bk_hf_read_json(h, "chat_template.json", true, &file);
    if (s == BK_OK) add_template(h, json_object_get(file, "chat_template"));
    if (s == BK_OK) json_decref(file);
    return s == BK_ERR_NOT_FOUND ? BK_OK : s;
}

bk_status bk_hf_add_special(bk_hf *h, size_t n_vocab) {
    bk_status s = add_ids(h, n_vocab);
    return s == BK_OK ? add_chat_template(h) : s;
}
