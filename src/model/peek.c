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

/* What general.file_type names: the mixture that the file was quantised to, where the single type that
 * holds most weights says less (the values of llama.cpp's files). NULL when it is not there. */
static const char *file_type(const bk_gguf *g) {
    static const char *const names[] = {
        [0] = "F32",      [1] = "F16",      [2] = "Q4_0",    [3] = "Q4_1",    [7] = "Q8_0",
        [8] = "Q5_0",     [9] = "Q5_1",     [10] = "Q2_K",   [11] = "Q3_K_S", [12] = "Q3_K_M",
        [13] = "Q3_K_L",  [14] = "Q4_K_S",  [15] = "Q4_K_M", [16] = "Q5_K_S", [17] = "Q5_K_M",
        [18] = "Q6_K",    [19] = "IQ2_XXS", [20] = "IQ2_XS", [21] = "Q2_K_S", [22] = "IQ3_XS",
        [23] = "IQ3_XXS", [24] = "IQ1_S",   [25] = "IQ4_NL", [26] = "IQ3_S",  [27] = "IQ3_M",
        [28] = "IQ2_S",   [29] = "IQ2_M",   [30] = "IQ4_XS", [31] = "IQ1_M",  [32] = "BF16",
        [36] = "TQ1_0",   [37] = "TQ2_0",   [38] = "MXFP4"};
    uint32_t type;
    if (bk_gguf_u32(g, "general.file_type", 0, BK_ARRAY_LEN(names) - 1, &type, NULL)) return NULL;
    return names[type];
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
    const char *mixture = file_type(g);
    if (mixture) snprintf(out->quantization, sizeof out->quantization, "%s", mixture);
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
