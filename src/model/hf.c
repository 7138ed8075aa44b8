#include "model/hf.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "model/hf_internal.h"
#include "model/state_dict.h"
#include "sys/file.h"

enum { MAX_JSON_BYTES = 256 << 20, MAX_DEPTH = 64 };

bk_status bk_hf_read_text(const bk_hf *h, const char *name, bk_buf *out) {
    bk_buf path = {.limit = 1 << 16};
    bk_buf_printf(&path, "%s/%s", h->folder, name);
    bk_status s = path.failed ? bk_fail(h->err, BK_ERR_NOMEM, "no memory for a path")
                              : bk_file_read(path.data, out, h->err);
    bk_buf_free(&path);
    return s;
}

bk_status bk_hf_read_json(const bk_hf *h, const char *name, bool optional, json_t **out) {
    bk_buf text = {.limit = MAX_JSON_BYTES};
    *out = NULL;
    bk_status s = bk_hf_read_text(h, name, &text);
    if (s == BK_ERR_NOT_FOUND && optional) return s;
    if (s == BK_OK) {
        s = bk_json_parse(bk_buf_view(&text), MAX_DEPTH, false, out, h->err);
        if (s == BK_OK && !json_is_object(*out)) {
            json_decref(*out);
            *out = NULL;
            s = bk_fail(h->err, BK_ERR_FORMAT, "found a list or a value, wanted an object");
        }
        if (s != BK_OK) bk_error_prefix(h->err, "%s", name);
    }
    bk_buf_free(&text);
    return s;
}

static bk_status read_optional(const bk_hf *h, const char *name, json_t **out) {
    bk_status s = bk_hf_read_json(h, name, true, out);
    return s == BK_ERR_NOT_FOUND ? BK_OK : s;
}

static bk_status read_folder(bk_hf *h) {
    size_t n_vocab;
    bk_status s = bk_hf_read_json(h, "config.json", false, &h->root);
    if (s == BK_OK) s = bk_hf_find_arch(h);
    if (s == BK_OK) s = bk_hf_read_json(h, "tokenizer.json", true, &h->tokenizer);
    if (s == BK_ERR_NOT_FOUND && h->arch)
        s = bk_fail(
            h->err, s,
            "no tokenizer.json in the folder; where there is only tokenizer.model, save the "
            "tokenizer with transformers");
    if (s == BK_OK) s = read_optional(h, "tokenizer_config.json", &h->tokenizer_config);
    if (s == BK_OK) s = read_optional(h, "generation_config.json", &h->generation);
    if (s == BK_OK) s = bk_hf_add_config(h);
    if (s == BK_OK) s = bk_hf_open_shards(h);
    if (s == BK_OK) s = bk_hf_add_tensors(h, &n_vocab);
    if (s == BK_OK && h->arch->vocab_size) {
        char key[64];
        snprintf(key, sizeof key, "%s.vocab_size", h->arch->gguf);
        bk_gguf_builder_u32(h->b, key, (uint32_t)n_vocab);
    }
    if (s == BK_OK) s = bk_hf_add_vocab(h, n_vocab);
    if (s == BK_OK) s = bk_hf_add_special(h, n_vocab);
    return s;
}

static bk_status open_folder(const char *folder, const bk_hf_options *options, bk_gguf **out,
                             bk_error *err) {
    bk_hf h = {.folder = folder, .options = options, .b = bk_gguf_builder_create(), .err = err};
    bk_status s = h.b ? read_folder(&h) : bk_fail(err, BK_ERR_NOMEM, "no memory for a model");
    for (size_t i = 0; i < h.n_shards; i++) {
        bk_free(h.shards[i].name);
        bk_free(h.shards[i].used);
        bk_safetensors_destroy(&h.shards[i].tensors);
    }
    bk_free(h.shards);
    json_decref(h.root);
    json_decref(h.tokenizer);
    json_decref(h.tokenizer_config);
    json_decref(h.generation);
    if (s == BK_OK) return bk_gguf_builder_finish(&h.b, out, err);
    bk_gguf_builder_destroy(&h.b);
    return s;
}

static bool ends_with(const char *s, const char *end) {
    size_t n = strlen(s), m = strlen(end);
    return n >= m && strcmp(s + n - m, end) == 0;
}

/* Whether the folder has a file of that name; false with folder->failed when memory is short. */
static bool has_file(bk_buf *folder, const char *name) {
    struct stat st;
    size_t len = folder->len;
    bk_buf_printf(folder, "/%s", name);
    bool there = !folder->failed && stat(folder->data, &st) == 0;
    if (!folder->failed) folder->data[folder->len = len] = '\0';
    return there;
}

/* A folder without config.json: a state dictionary, if anything. */
static bk_status open_state_dict(const char *path, bk_buf *folder, const bk_hf_options *options,
                                 bk_gguf **out, bk_error *err) {
    const char *vocab = options ? options->vocab : NULL;
    struct stat st;
    if (stat(path, &st) != 0 || !S_ISDIR(st.st_mode))
        return bk_state_dict_open(path, vocab, out, err);
    if (!has_file(folder, "model.safetensors"))
        return bk_fail(err, BK_ERR_FORMAT,
                       "a directory without config.json; name the GGUF file inside it");
    bk_buf_printf(folder, "/model.safetensors");
    if (folder->failed) return bk_fail(err, BK_ERR_NOMEM, "no memory for a path");
    return bk_state_dict_open(folder->data, vocab, out, err);
}

/* The folder that path means, "" when it is a GGUF file. */
static bk_status find_folder(const char *path, bk_buf *folder, bk_error *err) {
    struct stat st;
    const char *slash = strrchr(path, '/');
    bool directory = stat(path, &st) == 0 && S_ISDIR(st.st_mode);
    if (directory) {
        bk_buf_append_str(folder, path);
    } else if (ends_with(path, ".safetensors") || ends_with(path, ".json")) {
        bk_buf_append_str(folder, slash ? path : ".");
        if (slash) folder->len = slash == path ? 1 : (size_t)(slash - path);
        if (slash && !folder->failed) folder->data[folder->len] = '\0';
    }
    if (!folder->failed) return BK_OK;
    return bk_fail(err, BK_ERR_NOMEM, "no memory for a path of %zu bytes", strlen(path));
}

bk_status bk_model_file_open(const char *path, const bk_hf_options *options, bk_gguf **out,
                             bk_error *err) {
    bk_buf folder = {.limit = 1 << 14};
    *out = NULL;
    bk_status s = find_folder(path, &folder, err);
    if (s == BK_OK && folder.len == 0) {
        s = bk_gguf_open(path, out, err);
    } else if (s == BK_OK && (has_file(&folder, "config.json") || ends_with(path, ".json"))) {
        s = open_folder(folder.data, options, out, err);
    } else if (s == BK_OK) {
        s = open_state_dict(path, &folder, options, out, err);
    }
    bk_buf_free(&folder);
    return s;
}
