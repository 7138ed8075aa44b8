#include "quant/quant.h"

#include <stdio.h>
#include <strings.h>

#include "quant/formats.h"

#define ENTRY(name) &bk_quant_##name,
static const bk_quant *const formats[] = {BK_FORMATS(ENTRY)};

/* By number. Gaps are numbers that the format has withdrawn or never given out. */
static const char *const type_names[] = {
    [0] = "F32",     [1] = "F16",        [2] = "Q4_0",    [3] = "Q4_1",     [4] = "Q4_2",
    [5] = "Q4_3",    [6] = "Q5_0",       [7] = "Q5_1",    [8] = "Q8_0",     [9] = "Q8_1",
    [10] = "Q2_K",   [11] = "Q3_K",      [12] = "Q4_K",   [13] = "Q5_K",    [14] = "Q6_K",
    [15] = "Q8_K",   [16] = "IQ2_XXS",   [17] = "IQ2_XS", [18] = "IQ3_XXS", [19] = "IQ1_S",
    [20] = "IQ4_NL", [21] = "IQ3_S",     [22] = "IQ2_S",  [23] = "IQ4_XS",  [24] = "I8",
    [25] = "I16",    [26] = "I32",       [27] = "I64",    [28] = "F64",     [29] = "IQ1_M",
    [30] = "BF16",   [34] = "TQ1_0",     [35] = "TQ2_0",  [39] = "MXFP4",   [40] = "NVFP4",
    [41] = "Q1_0",   [63] = "Q8_AFFINE",
};

const bk_quant *bk_quant_find(uint32_t type) {
    for (size_t i = 0; i < BK_ARRAY_LEN(formats); i++) {
        if ((uint32_t)formats[i]->type == type) return formats[i];
    }
    return NULL;
}

bk_status bk_quant_named(const char *name, const bk_quant **out, bk_error *err) {
    char known[512] = "";
    size_t len = 0;
    for (size_t i = 0; i < BK_ARRAY_LEN(formats); i++) {
        *out = formats[i];
        if (formats[i]->type == BK_TYPE_I8) continue; /* parts of tensors, no weights */
        if (strcasecmp(name, formats[i]->name) == 0) return BK_OK;
        if (len < sizeof known)
            len += (size_t)snprintf(known + len, sizeof known - len, "%s%s", len ? ", " : "",
                                    formats[i]->name);
    }
    *out = NULL;
    return bk_fail(err, BK_ERR_INVALID, "type '%.40s' found; %s wanted", name, known);
}

const char *bk_quant_type_name(uint32_t type) {
    return type < BK_ARRAY_LEN(type_names) ? type_names[type] : NULL;
}

void bk_canon_half(const bk_quant *format, const uint8_t *block, bk_canon *out) {
    out->d[0] = out->d[1] = bk_load_half(block + format->d_at);
    out->m[0] = out->m[1] = format->has_min ? bk_load_half(block + format->m_at) : 0;
}

void bk_canon_super(const bk_quant *format, const uint8_t *block, size_t part, bk_canon *out) {
    size_t groups = 32 / (size_t)format->sub;
    float d = bk_load_half(block + format->d_at), m = bk_load_half(block + format->m_at);
    for (size_t h = 0; h < groups; h++) {
        int8_t scale;
        uint8_t min = 0;
        format->scale(block, part * groups + h, &scale, &min);
        out->d[h] = d * (float)scale;
        out->m[h] = format->has_min ? -(m * (float)min) : 0;
    }
    if (groups == 1) {
        out->d[1] = out->d[0];
        out->m[1] = out->m[0];
    }
}

void bk_quant_dequantize(const bk_quant *format, const void *blocks, float *out, size_t n) {
    if (format->dequantize) {
        format->dequantize(blocks, out, n);
        return;
    }
    for (size_t i = 0; i < n / 32; i++) {
        bk_canon c;
        format->unpack(blocks, i, &c);
        for (size_t k = 0; k < 32; k++) {
            *out++ = c.d[k / 16] * (float)((int)c.q[k] - format->zero) + c.m[k / 16];
        }
    }
}
