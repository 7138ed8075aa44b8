#include "model/state_dict.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/buf.h"
#include "base/mem.h"
#include "sys/file.h"

enum { MAX_LAYERS = 1024, MAX_UNITS = 1 << 17, MAX_VOCAB = 1 << 24, MAX_VOCAB_BYTES = 256 << 20 };

typedef struct dict {
    const bk_safetensors *s;
    bool *used; /* tensors in the order of bk_safetensors_at */
    char prefix[128];
    int n_layers;
    uint64_t embd, hidden, vocab;
    const bk_st_tensor *embed, *head, *bias; /* head NULL: tied; bias NULL: none */
    bk_gguf_builder *b;
    bk_error *err;
} dict;

static const char hidden_name[] = "weight_hh_l0";

static const bk_st_tensor *at(const dict *d, size_t i) { return bk_safetensors_at(d->s, i); }

static void use(dict *d, const bk_st_tensor *t) { d->used[t - at(d, 0)] = true; }

/* "<prefix><name>", NULL when there is none. */
static const bk_st_tensor *find(const dict *d, const char *prefix, const char *name) {
    char full[192];
    snprintf(full, sizeof full, "%s%s", prefix, name);
    return bk_safetensors_find(d->s, full);
}

static bk_status check_float(const dict *d, const bk_st_tensor *t) {
    if (t->type && t->n_elements > 0) return BK_OK;
    return bk_fail(d->err, BK_ERR_UNSUPPORTED,
                   "tensor '" BK_STR_FMT "': type %s found; wanted F32, F16 or BF16, not empty",
                   BK_STR_ARG(t->name), t->dtype);
}

/* ---- The LSTM ------------------------------------------------------------------------------- */

static bk_status find_prefix(dict *d) {
    size_t end = sizeof hidden_name - 1, found = 0;
    for (size_t i = 0; i < bk_safetensors_count(d->s); i++) {
        bk_str name = at(d, i)->name;
        if (name.len < end || memcmp(name.data + name.len - end, hidden_name, end) != 0) continue;
        if (found++)
            return bk_fail(d->err, BK_ERR_UNSUPPORTED,
                           "two recurrent networks, '%s%s' and '" BK_STR_FMT "'; wanted one",
                           d->prefix, hidden_name, BK_STR_ARG(name));
        if (name.len - end >= sizeof d->prefix)
            return bk_fail(d->err, BK_ERR_FORMAT, "tensor '" BK_STR_FMT "': the name is too long",
                           BK_STR_ARG(name));
        memcpy(d->prefix, name.data, name.len - end);
        d->prefix[name.len - end] = '\0';
    }
    if (found) return BK_OK;
    return bk_fail(d->err, BK_ERR_FORMAT,
                   "neither a config.json beside the file nor the weights of a torch.nn.LSTM in it "
                   "(a tensor '...%s')",
                   hidden_name);
}

/* What the same names mean in other networks. */
static bk_status refuse_others(const dict *d, const bk_st_tensor *hh) {
    const char *what = NULL;
    if (find(d, d->prefix, "weight_hh_l0_reverse"))
        what = "an LSTM of two directions, which knows what follows";
    else if (find(d, d->prefix, "weight_hr_l0"))
        what = "an LSTM with proj_size";
    else if (hh->ne[0] > 0 && hh->ne[1] == 3 * hh->ne[0])
        what = "a GRU (three gates)";
    else if (hh->ne[1] == hh->ne[0])
        what = "a plain recurrent network (no gates)";
    if (!what) return BK_OK;
    return bk_fail(d->err, BK_ERR_UNSUPPORTED,
                   "tensor '" BK_STR_FMT "' belongs to %s; wanted a torch.nn.LSTM of one direction "
                   "without projections",
                   BK_STR_ARG(hh->name), what);
}

/* A tensor of the LSTM with shape [rows][cols], cols 0: [rows]. An absent vector is zeros (bias=False). */
static bk_status add_part(dict *d, int layer, const char *torch, const char *ours, uint64_t rows,
                          uint64_t cols) {
    char from[64], to[64];
    uint64_t ne[2] = {cols ? cols : rows, rows};
    int n_dims = cols ? 2 : 1;
    snprintf(from, sizeof from, "%s_l%d", torch, layer);
    snprintf(to, sizeof to, "blk.%d.%s", layer, ours);
    const bk_st_tensor *t = find(d, d->prefix, from);
    if (!t && !cols) {
        const uint8_t *zeros = bk_gguf_builder_alloc(d->b, rows, sizeof(float));
        if (zeros) bk_gguf_builder_tensor(d->b, to, BK_TYPE_F32, 1, ne, zeros);
        return BK_OK;
    }
    if (!t) return bk_fail(d->err, BK_ERR_FORMAT, "tensor '%s%s' is missing", d->prefix, from);
    bk_status status = check_float(d, t);
    if (status != BK_OK) return status;
    if (t->n_dims != n_dims || t->ne[0] != ne[0] || (cols && t->ne[1] != rows))
        return bk_fail(d->err, BK_ERR_FORMAT,
                       "tensor '" BK_STR_FMT "': a shape of %llu x %llu found, %llu x %llu wanted",
                       BK_STR_ARG(t->name), (unsigned long long)t->ne[1],
                       (unsigned long long)t->ne[0], (unsigned long long)(cols ? rows : 1),
                       (unsigned long long)ne[0]);
    use(d, t);
    bk_gguf_builder_tensor(d->b, to, t->type->type, n_dims, ne, t->data);
    return BK_OK;
}

static bk_status add_layers(dict *d) {
    bk_status s = BK_OK;
    uint64_t gates = 4 * d->hidden;
    for (int i = 0; s == BK_OK && i < d->n_layers; i++) {
        s = add_part(d, i, "weight_ih", "lstm_ih.weight", gates, i ? d->hidden : d->embd);
        if (s == BK_OK) s = add_part(d, i, "bias_ih", "lstm_ih.bias", gates, 0);
        if (s == BK_OK) s = add_part(d, i, "weight_hh", "lstm_hh.weight", gates, d->hidden);
        if (s == BK_OK) s = add_part(d, i, "bias_hh", "lstm_hh.bias", gates, 0);
    }
    return s;
}

/* Sizes follow from layer 0. */
static bk_status measure(dict *d) {
    const bk_st_tensor *hh = find(d, d->prefix, hidden_name);
    const bk_st_tensor *ih = find(d, d->prefix, "weight_ih_l0");
    bk_status status = refuse_others(d, hh);
    if (status != BK_OK) return status;
    if (!ih || ih->n_dims != 2 || hh->n_dims != 2 || ih->ne[0] < 1 || ih->ne[0] > MAX_UNITS ||
        hh->ne[0] < 1 || hh->ne[0] > MAX_UNITS)
        return bk_fail(
            d->err, BK_ERR_FORMAT,
            "tensor '%sweight_ih_l0' is missing, or it or '%s%s' is no matrix of 1 to %d "
            "columns",
            d->prefix, d->prefix, hidden_name, MAX_UNITS);
    d->embd = ih->ne[0];
    d->hidden = hh->ne[0];
    char name[32];
    do {
        snprintf(name, sizeof name, "weight_hh_l%d", ++d->n_layers);
    } while (d->n_layers < MAX_LAYERS && find(d, d->prefix, name));
    return BK_OK;
}

/* ---- Embedding and decoder ------------------------------------------------------------------ */

static bool ends_with(bk_str s, const char *end) {
    size_t n = strlen(end);
    return s.len >= n && memcmp(s.data + s.len - n, end, n) == 0;
}

/* The vector "<name>.bias" of a matrix "<name>.weight" with a value for each row. */
static const bk_st_tensor *bias_of(const dict *d, const bk_st_tensor *t) {
    char stem[160];
    if (!ends_with(t->name, ".weight") || t->name.len >= sizeof stem) return NULL;
    size_t n = t->name.len - strlen("weight");
    memcpy(stem, t->name.data, n);
    stem[n] = '\0';
    const bk_st_tensor *bias = find(d, stem, "bias");
    return bias && bias->n_dims == 1 && bias->ne[0] == t->ne[1] ? bias : NULL;
}

static bool named_like_embedding(const bk_st_tensor *t) {
    static const char *const parts[] = {"emb", "Emb", "encoder", "lookup", "wte"};
    char name[256] = "";
    memcpy(name, t->name.data, bk_min_size(t->name.len, sizeof name - 1));
    for (size_t i = 0; i < BK_ARRAY_LEN(parts); i++)
        if (strstr(name, parts[i])) return true;
    return false;
}

/* Whether of two matrices the first is the embedding: by shape, bias or name. -1: cannot be told. */
static int first_embeds(const dict *d, const bk_st_tensor *a, const bk_st_tensor *b) {
    if (d->embd != d->hidden) return a->ne[0] == d->embd;
    bool bias[2] = {bias_of(d, a) != NULL, bias_of(d, b) != NULL};
    if (bias[0] != bias[1]) return bias[1];
    bool named[2] = {named_like_embedding(a), named_like_embedding(b)};
    return named[0] != named[1] ? named[0] : -1;
}

/* The matrices that are not of the LSTM, one or two. */
static bk_status find_matrices(dict *d, const bk_st_tensor *m[2], size_t *n) {
    *n = 0;
    for (size_t i = 0; i < bk_safetensors_count(d->s); i++) {
        const bk_st_tensor *t = at(d, i);
        if (d->used[i] || t->n_dims != 2) continue;
        bool fits = t->ne[0] == d->embd || t->ne[0] == d->hidden;
        if (*n == 2 || !fits || t->ne[1] < 1 || t->ne[1] > MAX_VOCAB)
            return bk_fail(d->err, BK_ERR_UNSUPPORTED,
                           "tensor '" BK_STR_FMT "' of %llu x %llu is neither the embedding (%llu "
                           "columns) nor the decoder (%llu columns)",
                           BK_STR_ARG(t->name), (unsigned long long)t->ne[1],
                           (unsigned long long)t->ne[0], (unsigned long long)d->embd,
                           (unsigned long long)d->hidden);
        bk_status status = check_float(d, t);
        if (status != BK_OK) return status;
        m[(*n)++] = t;
    }
    return BK_OK;
}

static bk_status find_ends(dict *d) {
    const bk_st_tensor *m[2] = {NULL, NULL};
    size_t n;
    bk_status status = find_matrices(d, m, &n);
    if (status != BK_OK) return status;
    if (n == 0 || (n == 1 && d->embd != d->hidden))
        return bk_fail(d->err, BK_ERR_FORMAT,
                       "%zu matrices beside the LSTM's, wanted an embedding of %llu columns and a "
                       "decoder of %llu",
                       n, (unsigned long long)d->embd, (unsigned long long)d->hidden);
    int first = n == 2 ? first_embeds(d, m[0], m[1]) : 1;
    if (first < 0)
        return bk_fail(d->err, BK_ERR_FORMAT,
                       "which of '" BK_STR_FMT "' and '" BK_STR_FMT "' embeds? Name that one "
                       "embedding.weight or encoder.weight",
                       BK_STR_ARG(m[0]->name), BK_STR_ARG(m[1]->name));
    d->embed = first ? m[0] : m[1];
    d->head = n == 1 ? NULL : first ? m[1] : m[0];
    d->vocab = d->embed->ne[1];
    if (d->embed->ne[0] != d->embd ||
        (d->head && (d->head->ne[0] != d->hidden || d->head->ne[1] != d->vocab)))
        return bk_fail(d->err, BK_ERR_FORMAT,
                       "embedding '" BK_STR_FMT "' and decoder '" BK_STR_FMT "' have other shapes "
                       "than each other and the LSTM want",
                       BK_STR_ARG(m[0]->name), BK_STR_ARG(m[1]->name));
    d->bias = bias_of(d, d->head ? d->head : d->embed);
    return d->bias ? check_float(d, d->bias) : BK_OK;
}

static bk_status add_ends(dict *d) {
    const bk_st_tensor *parts[] = {d->embed, d->head, d->bias};
    static const char *const names[] = {"token_embd.weight", "output.weight", "output.bias"};
    for (size_t i = 0; i < BK_ARRAY_LEN(parts); i++) {
        const bk_st_tensor *t = parts[i];
        if (!t) continue;
        use(d, t);
        bk_gguf_builder_tensor(d->b, names[i], t->type->type, t->n_dims, t->ne, t->data);
    }
    for (size_t i = 0; i < bk_safetensors_count(d->s); i++)
        if (!d->used[i])
            return bk_fail(d->err, BK_ERR_UNSUPPORTED,
                           "tensor '" BK_STR_FMT "' has no role in a language model of embedding, "
                           "LSTM and decoder",
                           BK_STR_ARG(at(d, i)->name));
    return BK_OK;
}

/* ---- The file ------------------------------------------------------------------------------- */

static void add_keys(const dict *d) {
    bk_gguf_builder_str(d->b, "general.architecture", BK_STR("lstm"));
    bk_gguf_builder_str(d->b, "general.type", BK_STR("model"));
    bk_gguf_builder_u32(d->b, "lstm.context_length", 1 << 20);
    bk_gguf_builder_u32(d->b, "lstm.block_count", (uint32_t)d->n_layers);
    bk_gguf_builder_u32(d->b, "lstm.embedding_length", (uint32_t)d->embd);
    bk_gguf_builder_u32(d->b, "lstm.hidden_length", (uint32_t)d->hidden);
    bk_gguf_builder_u32(d->b, "lstm.output_length", (uint32_t)d->hidden);
    bk_gguf_builder_u32(d->b, "lstm.vocab_size", (uint32_t)d->vocab);
    bk_gguf_builder_file_type(d->b, d->embed->type);
}

/* The file's name without folder and ending. */
static void add_name(bk_gguf_builder *b, const char *path) {
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    const char *dot = strrchr(name, '.');
    bk_gguf_builder_str(b, "general.name",
                        (bk_str){name, dot ? (size_t)(dot - name) : strlen(name)});
}

static bk_status find_vocab(const char *path, bk_buf *out, bk_error *err) {
    static const char *const names[] = {"vocab.json", "vocab.txt"};
    const char *slash = strrchr(path, '/');
    int folder = slash ? (int)(slash - path) + 1 : 0;
    struct stat st;
    for (size_t i = 0; i < BK_ARRAY_LEN(names); i++) {
        bk_buf_clear(out);
        bk_buf_printf(out, "%.*s%s", folder, path, names[i]);
        if (out->failed) return bk_fail(err, BK_ERR_NOMEM, "no memory for a path");
        if (stat(out->data, &st) == 0) return BK_OK;
    }
    return bk_fail(err, BK_ERR_NOT_FOUND,
                   "no vocabulary beside the weights: wanted vocab.json ({\"token\": id}) or "
                   "vocab.txt (a token a line), or name the file with --vocab");
}

bk_status bk_state_dict_read(const bk_safetensors *s, bk_gguf_builder *b, size_t *n_vocab,
                             bk_error *err) {
    dict d = {.s = s, .b = b, .err = err};
    d.used = bk_alloc_zero(bk_safetensors_count(s) + 1, sizeof *d.used);
    if (!d.used) return bk_fail(err, BK_ERR_NOMEM, "no memory for a list of tensors");
    bk_status st = find_prefix(&d);
    if (st == BK_OK) st = measure(&d);
    if (st == BK_OK) st = add_layers(&d);
    if (st == BK_OK) st = find_ends(&d);
    if (st == BK_OK) st = add_ends(&d);
    if (st == BK_OK) add_keys(&d);
    *n_vocab = (size_t)d.vocab;
    bk_free(d.used);
    return st;
}

static bk_status read_vocab(const char *path, const char *vocab, size_t n, bk_gguf_builder *b,
                            bk_error *err) {
    bk_buf found = {.limit = 1 << 14}, text = {.limit = MAX_VOCAB_BYTES};
    bk_status status = vocab ? BK_OK : find_vocab(path, &found, err);
    const char *name = vocab ? vocab : found.data;
    if (status == BK_OK) status = bk_file_read(name, &text, err);
    if (status == BK_OK) {
        bool json = ends_with(bk_str_from(name), ".json");
        status = bk_state_vocab_read(bk_buf_view(&text), json, n, b, err);
        if (status != BK_OK) bk_error_prefix(err, "%s", name);
    }
    bk_buf_free(&text);
    bk_buf_free(&found);
    return status;
}

bk_status bk_state_dict_open(const char *path, const char *vocab, bk_gguf **out, bk_error *err) {
    bk_map map;
    bk_safetensors *s = NULL;
    size_t n = 0;
    *out = NULL;
    bk_status status = bk_map_open(path, &map, err);
    if (status != BK_OK) return status;
    bk_gguf_builder *b = bk_gguf_builder_create();
    if (!b) status = bk_fail(err, BK_ERR_NOMEM, "no memory for a model");
    if (status == BK_OK) status = bk_safetensors_parse(map.data, map.size, &s, err);
    if (status == BK_OK) status = bk_state_dict_read(s, b, &n, err);
    if (status == BK_OK) status = read_vocab(path, vocab, n, b, err);
    bk_safetensors_destroy(&s);
    if (status == BK_OK) {
        add_name(b, path);
        bk_gguf_builder_map(b, &map);
        return bk_gguf_builder_finish(&b, out, err);
    }
    bk_map_close(&map);
    bk_gguf_builder_destroy(&b);
    return status;
}
