#include "model/peek.h"

#include <stdio.h>

#include "format/gguf.h"
#include "sys/file.h"

static void take_text(const bk_gguf *g, const char *key, char *out, size_t cap) {
    bk_str text;
    if (bk_gguf_str(g, key, &text, NULL) == BK_OK) {
        bk_str_printable(out, cap, text.data, text.len);
    }
}

static void count(const bk_gguf *g, bk_brief *out) {
    uint64_t per_type[64] = {0}, best = 0;
    for (size_t i = 0; i < bk_gguf_n_tensors(g); i++) {
        const bk_gguf_tensor *t = bk_gguf_tensor_at(g, i);
        out->n_params += t->n_elements;
        if ((unsigned)t->type->type >= BK_ARRAY_LEN(per_type)) continue;
        uint64_t n = per_type[t->type->type] += t->n_elements;
        if (n <= best) continue;
        best = n;
        snprintf(out->quantization, sizeof out->quantization, "%s", t->type->name);
    }
}

bk_status bk_model_peek(const char *path, bk_brief *out, bk_error *err) {
    bk_map map;
    bk_gguf *g = NULL;
    *out = (bk_brief){0};
    bk_status st = bk_map_open(path, &map, err);
    if (st) return st;
    out->file_bytes = map.size;
    st = bk_gguf_parse(map.data, map.size, &g, err);
    if (st) {
        bk_error_prefix(err, "%s", path);
    } else {
        take_text(g, "general.architecture", out->architecture, sizeof out->architecture);
        take_text(g, "general.name", out->name, sizeof out->name);
        count(g, out);
    }
    bk_gguf_destroy(&g);
    bk_map_close(&map);
    return st;
}
