#include "compress/preset.h"

#include <stdio.h>
#include <strings.h>

/* Name, type of most tensors, general.file_type. */
#define PRESETS(X)              \
    X(F32, F32, 0)              \
    X(F16, F16, 1)              \
    X(BF16, BF16, 32)           \
    X(Q8_0, Q8_0, 7)            \
    X(Q8_AFFINE, Q8_AFFINE, -1) \
    X(Q6_K, Q6_K, 18)           \
    X(Q5_0, Q5_0, 8)            \
    X(Q5_1, Q5_1, 9)            \
    X(Q5_K_S, Q5_K, 16)         \
    X(Q5_K_M, Q5_K, 17)         \
    X(Q4_0, Q4_0, 2)            \
    X(Q4_1, Q4_1, 3)            \
    X(Q4_K_S, Q4_K, 14)         \
    X(Q4_K_M, Q4_K, 15)         \
    X(IQ4_NL, IQ4_NL, 25)       \
    X(IQ4_XS, IQ4_XS, 30)       \
    X(MXFP4, MXFP4, -1)         \
    X(MXFP4_MOE, MXFP4, 38)     \
    X(Q3_K_S, Q3_K, 11)         \
    X(Q3_K_M, Q3_K, 12)         \
    X(Q3_K_L, Q3_K, 13)         \
    X(IQ3_XXS, IQ3_XXS, 23)     \
    X(IQ3_XS, IQ3_S, 22)        \
    X(IQ3_S, IQ3_S, 26)         \
    X(IQ3_M, IQ3_S, 27)         \
    X(Q2_K, Q2_K, 10)           \
    X(Q2_K_S, Q2_K, 21)         \
    X(IQ2_XXS, IQ2_XXS, 19)     \
    X(IQ2_XS, IQ2_XS, 20)       \
    X(IQ2_S, IQ2_XS, 28)        \
    X(IQ2_M, IQ2_S, 29)         \
    X(IQ1_S, IQ1_S, 24)         \
    X(IQ1_M, IQ1_M, 31)         \
    X(TQ1_0, TQ1_0, 36)         \
    X(TQ2_0, TQ2_0, 37)

#define ENTRY(name, base, number) {#name, BK_TYPE_##base, number},
static const bk_preset presets[] = {PRESETS(ENTRY)};
#define NUMBER(name, base, number) AT_##name,
enum { PRESETS(NUMBER) N_PRESETS };

static const struct {
    const char *name, *means;
} aliases[] = {{"Q3_K", "Q3_K_M"}, {"Q4_K", "Q4_K_M"}, {"Q5_K", "Q5_K_M"}};

const bk_preset *bk_preset_named(const char *name) {
    for (size_t i = 0; i < BK_ARRAY_LEN(aliases); i++)
        if (strcasecmp(name, aliases[i].name) == 0) name = aliases[i].means;
    for (size_t i = 0; i < N_PRESETS; i++)
        if (strcasecmp(name, presets[i].name) == 0) return &presets[i];
    return NULL;
}

void bk_preset_names(char *out, size_t cap) {
    size_t len = 0;
    *out = '\0';
    for (size_t i = 0; i < N_PRESETS && len < cap; i++)
        len += (size_t)snprintf(out + len, cap - len, "%s%s", len ? ", " : "", presets[i].name);
}

/* ---- Tensors ------------------------------------------------------------------------------------ */

typedef enum role {
    ROLE_ANY,
    ROLE_HEAD,
    ROLE_EMBED,
    ROLE_V, /* also with queries and keys in one matrix */
    ROLE_K,
    ROLE_Q,
    ROLE_O,
    ROLE_DOWN,
    ROLE_GATE,
    ROLE_UP
} role;

static bool named(const bk_gguf_tensor *t, const char *name) {
    return bk_str_eq(t->name, bk_str_from(name));
}

bool bk_tensor_rounds(const bk_gguf_tensor *t) {
    return t->n_dims >= 2 && !bk_str_contains(t->name, "ffn_gate_inp");
}

bool bk_tensor_is_head(const bk_gguf_tensor *t, bool tied) {
    return named(t, "output.weight") || (tied && named(t, "token_embd.weight"));
}

int bk_tensor_layer(const bk_gguf_tensor *t) {
    if (!bk_str_starts(t->name, BK_STR("blk."))) return -1;
    int n = 0;
    size_t i = 4;
    for (; i < t->name.len && t->name.data[i] >= '0' && t->name.data[i] <= '9' && n < 100000; i++)
        n = 10 * n + (t->name.data[i] - '0');
    return i > 4 && i < t->name.len && t->name.data[i] == '.' ? n : -1;
}

static role role_of(const bk_gguf_tensor *t, bool tied) {
    static const struct {
        const char *part;
        role role;
    } parts[] = {{"attn_v.weight", ROLE_V},      {"attn_k.weight", ROLE_K},
                 {"attn_q.weight", ROLE_Q},      {"attn_qkv.weight", ROLE_V},
                 {"attn_output.weight", ROLE_O}, {"ffn_down", ROLE_DOWN},
                 {"ffn_gate", ROLE_GATE},        {"ffn_up", ROLE_UP}};
    if (bk_tensor_is_head(t, tied)) return ROLE_HEAD;
    if (named(t, "token_embd.weight")) return ROLE_EMBED;
    for (size_t i = 0; i < BK_ARRAY_LEN(parts); i++)
        if (bk_str_contains(t->name, parts[i].part)) return parts[i].role;
    return ROLE_ANY;
}

int bk_tensor_role(const bk_gguf_tensor *t, bool tied) {
    return bk_tensor_layer(t) < 0 ? 0 : (int)role_of(t, tied);
}

/* ---- Rules -------------------------------------------------------------------------------------- */

/* What must hold for a rule; several are joined by and. */
enum {
    FIRST_2 = 1, /* layers */
    FIRST_4 = 2,
    FIRST_16TH = 4,
    FIRST_8TH = 8,
    MIDDLE = 16,    /* not in the first or last eighth */
    MORE_BITS = 32, /* the first and last eighth and every third between */
    SHARED_4 = 64,  /* four heads and more share keys and values */
    SHARED_OR_EXPERTS = 128,
    EXPERTS_8 = 256,
    IMPORTANCE = 512,
    NO_IMPORTANCE = 1024,
    MISFIT = 2048, /* rows are no whole number of blocks of the base type */
    STACK = 4096   /* of experts */
};

#define P(name) (1ull << AT_##name)
#define IQ1_2 (P(IQ1_S) | P(IQ1_M) | P(IQ2_XXS) | P(IQ2_XS) | P(IQ2_S) | P(IQ2_M))
#define IQ2_BIG (P(IQ2_S) | P(IQ2_M))
#define IQ4 (P(IQ4_NL) | P(IQ4_XS))
#define ALL (~0ull)

/* The first that matches decides; none: the base type. */
static const struct rule {
    uint64_t presets;
    role role;
    unsigned when;
    bk_type type;
} rules[] = {
    {P(MXFP4_MOE), ROLE_HEAD, 0, BK_TYPE_Q8_0},
    {ALL, ROLE_HEAD, MISFIT, BK_TYPE_Q8_0},
    {IQ1_2 | P(IQ3_XXS), ROLE_HEAD, 0, BK_TYPE_Q5_K},
    {ALL & ~P(Q8_0) & ~P(Q8_AFFINE), ROLE_HEAD, 0, BK_TYPE_Q6_K},
    {P(MXFP4_MOE), ROLE_ANY, STACK, BK_TYPE_MXFP4},
    {P(MXFP4_MOE), ROLE_ANY, 0, BK_TYPE_Q8_0},
    {P(IQ2_XXS) | P(IQ2_XS) | P(IQ1_S) | P(IQ1_M), ROLE_EMBED, 0, BK_TYPE_Q2_K},
    {IQ2_BIG | P(IQ3_XXS), ROLE_EMBED, 0, BK_TYPE_IQ3_S},
    {P(TQ1_0) | P(TQ2_0), ROLE_EMBED, 0, BK_TYPE_Q4_K},

    {IQ1_2, ROLE_V, SHARED_OR_EXPERTS, BK_TYPE_Q4_K},
    {IQ2_BIG, ROLE_V, 0, BK_TYPE_IQ3_S},
    {IQ1_2, ROLE_V, 0, BK_TYPE_Q2_K},
    {IQ1_2, ROLE_K, EXPERTS_8, BK_TYPE_Q4_K},
    {IQ2_BIG, ROLE_DOWN, FIRST_8TH, BK_TYPE_IQ3_S},
    {IQ1_2, ROLE_DOWN, FIRST_8TH, BK_TYPE_Q2_K},
    {IQ1_2, ROLE_O, EXPERTS_8, BK_TYPE_Q5_K},
    {P(IQ1_S) | P(IQ1_M), ROLE_O, 0, BK_TYPE_IQ2_XXS},
    {IQ2_BIG, ROLE_O, 0, BK_TYPE_IQ3_S},

    {ALL & ~IQ1_2, ROLE_V, EXPERTS_8, BK_TYPE_Q8_0},
    {P(Q2_K) | P(Q2_K_S), ROLE_V, SHARED_4, BK_TYPE_Q4_K},
    {P(Q2_K), ROLE_V, 0, BK_TYPE_Q3_K},
    {P(IQ3_XXS) | P(IQ3_XS) | P(IQ3_S), ROLE_V, SHARED_4, BK_TYPE_Q4_K},
    {P(IQ3_XXS), ROLE_V, NO_IMPORTANCE, BK_TYPE_IQ3_S},
    {P(IQ3_M), ROLE_V, 0, BK_TYPE_Q4_K},
    {P(Q3_K_M), ROLE_V, FIRST_2, BK_TYPE_Q5_K},
    {P(Q3_K_M), ROLE_V, 0, BK_TYPE_Q4_K},
    {P(Q3_K_L), ROLE_V, 0, BK_TYPE_Q5_K},
    {IQ4, ROLE_V, SHARED_4, BK_TYPE_Q5_K},
    {P(Q4_K_M) | P(Q5_K_M), ROLE_V, MORE_BITS, BK_TYPE_Q6_K},
    {P(Q4_K_S), ROLE_V, FIRST_4, BK_TYPE_Q5_K},

    {ALL & ~IQ1_2, ROLE_K, EXPERTS_8, BK_TYPE_Q8_0},
    {P(IQ3_XS), ROLE_K, 0, BK_TYPE_IQ3_XXS},
    {P(IQ3_XXS), ROLE_K, 0, BK_TYPE_IQ2_S},
    {P(IQ3_XS), ROLE_Q, 0, BK_TYPE_IQ3_XXS},
    {P(IQ3_XXS), ROLE_Q, 0, BK_TYPE_IQ2_S},

    {P(Q2_K), ROLE_DOWN, 0, BK_TYPE_Q3_K},
    {P(Q2_K_S), ROLE_DOWN, FIRST_8TH, BK_TYPE_Q4_K},
    {P(IQ3_XXS), ROLE_DOWN, NO_IMPORTANCE | FIRST_8TH, BK_TYPE_Q4_K},
    {P(IQ3_XXS), ROLE_DOWN, NO_IMPORTANCE, BK_TYPE_Q3_K},
    {P(Q3_K_M), ROLE_DOWN, FIRST_16TH, BK_TYPE_Q5_K},
    {P(Q3_K_M), ROLE_DOWN, 0, BK_TYPE_Q4_K},
    {P(IQ3_M), ROLE_DOWN, FIRST_8TH, BK_TYPE_Q4_K},
    {P(IQ3_M), ROLE_DOWN, EXPERTS_8 | MORE_BITS, BK_TYPE_Q4_K},
    {P(Q3_K_L), ROLE_DOWN, 0, BK_TYPE_Q5_K},
    {P(Q4_K_M) | P(Q5_K_M), ROLE_DOWN, MORE_BITS, BK_TYPE_Q6_K},
    {IQ4, ROLE_DOWN, FIRST_8TH | NO_IMPORTANCE, BK_TYPE_Q5_K},
    {P(Q4_K_S), ROLE_DOWN, FIRST_8TH, BK_TYPE_Q5_K},
    {P(Q4_0), ROLE_DOWN, FIRST_8TH | IMPORTANCE, BK_TYPE_Q4_1},
    {P(Q5_0), ROLE_DOWN, FIRST_8TH | IMPORTANCE, BK_TYPE_Q5_1},

    {P(Q2_K) | P(IQ3_XS) | P(IQ3_XXS) | P(Q3_K_S) | P(Q3_K_M) | P(IQ4_NL) | P(Q4_K_S) | P(Q4_K_M) |
         P(IQ3_S) | P(IQ3_M) | P(IQ4_XS),
     ROLE_O, EXPERTS_8, BK_TYPE_Q5_K},
    {P(Q2_K), ROLE_O, 0, BK_TYPE_Q3_K},
    {P(IQ3_XXS), ROLE_O, 0, BK_TYPE_IQ3_S},
    {P(Q3_K_M) | P(IQ3_M), ROLE_O, 0, BK_TYPE_Q4_K},
    {P(Q3_K_L), ROLE_O, EXPERTS_8, BK_TYPE_Q3_K},
    {P(Q3_K_L), ROLE_O, 0, BK_TYPE_Q5_K},
    {P(IQ3_XS), ROLE_GATE, MIDDLE, BK_TYPE_IQ3_XXS},
    {P(IQ3_XS), ROLE_UP, MIDDLE, BK_TYPE_IQ3_XXS},
};

static unsigned facts_of(const bk_mixture *m, const bk_gguf_tensor *t) {
    int i = bk_tensor_layer(t), n = m->n_layers;
    unsigned facts = m->importance ? IMPORTANCE : NO_IMPORTANCE;
    bool middle = i >= n / 8 && i < 7 * n / 8;
    if (i < 2) facts |= FIRST_2;
    if (i < 4) facts |= FIRST_4;
    if (i < n / 16) facts |= FIRST_16TH;
    if (i < n / 8) facts |= FIRST_8TH;
    if (middle) facts |= MIDDLE;
    if (!middle || (i - n / 8) % 3 == 2) facts |= MORE_BITS;
    if (m->heads_per_kv >= 4) facts |= SHARED_4;
    if (m->heads_per_kv >= 4 || m->n_experts >= 4) facts |= SHARED_OR_EXPERTS;
    if (m->n_experts == 8) facts |= EXPERTS_8;
    if (t->ne[0] % bk_quant_find(m->preset->base)->block_len) facts |= MISFIT;
    if (t->ne[2] > 1) facts |= STACK;
    return facts;
}

bk_type bk_mixture_type(const bk_mixture *m, const bk_gguf_tensor *t) {
    uint64_t preset = 1ull << (m->preset - presets);
    role what = role_of(t, m->tied);
    bk_type type = m->preset->base;
    if (bk_quant_find(type)->bits == 0) return type;
    unsigned facts = facts_of(m, t);
    for (size_t i = 0; i < BK_ARRAY_LEN(rules); i++) {
        const struct rule *r = &rules[i];
        if (!(r->presets & preset) || (r->role != ROLE_ANY && r->role != what)) continue;
        if ((r->when & facts) != r->when) continue;
        type = r->type;
        break;
    }
    /* 80 layers whose heads share values: these are so small that more bits cost nothing. */
    bool few = what == ROLE_V && m->n_layers == 80 && m->heads_per_kv > 1;
    return few && (type == BK_TYPE_Q3_K || type == BK_TYPE_Q4_K) ? BK_TYPE_Q5_K : type;
}

bk_type bk_type_fitting(bk_type type, uint64_t k) {
    static const struct {
        bk_type from, to;
    } others[] = {{BK_TYPE_Q4_K, BK_TYPE_Q5_0},  {BK_TYPE_Q5_K, BK_TYPE_Q5_1},
                  {BK_TYPE_Q6_K, BK_TYPE_Q8_0},  {BK_TYPE_TQ1_0, BK_TYPE_Q4_0},
                  {BK_TYPE_TQ2_0, BK_TYPE_Q4_0}, {BK_TYPE_Q3_K, BK_TYPE_Q4_0},
                  {BK_TYPE_Q2_K, BK_TYPE_Q4_0}};
    if (k % bk_quant_find(type)->block_len == 0) return type;
    bk_type other = BK_TYPE_IQ4_NL;
    for (size_t i = 0; i < BK_ARRAY_LEN(others); i++)
        if (others[i].from == type) other = others[i].to;
    return k % bk_quant_find(other)->block_len ? BK_TYPE_F16 : other;
}

/* ---- Models ------------------------------------------------------------------------------------- */

/* "<architecture>.<suffix>"; 0 without. */
static int number(const bk_gguf *g, const char *suffix) {
    char key[128];
    bk_str arch = {0};
    uint32_t n = 0;
    if (bk_gguf_str(g, "general.architecture", &arch, NULL) != BK_OK) return 0;
    snprintf(key, sizeof key, BK_STR_FMT ".%s", BK_STR_ARG(arch), suffix);
    return bk_gguf_u32(g, key, 0, 1 << 20, &n, NULL) == BK_OK ? (int)n : 0;
}

bk_mixture bk_mixture_of(const bk_gguf *g, const bk_preset *preset, bool importance) {
    int heads = number(g, "attention.head_count"), kv = number(g, "attention.head_count_kv");
    return (bk_mixture){.preset = preset,
                        .n_layers = number(g, "block_count"),
                        .n_experts = number(g, "expert_count"),
                        .n_experts_used = number(g, "expert_used_count"),
                        .heads_per_kv = kv ? heads / kv : 1,
                        .tied = !bk_gguf_find_tensor(g, "output.weight"),
                        .importance = importance};
}
