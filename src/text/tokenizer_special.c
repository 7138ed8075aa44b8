/* Special tokens: found by name, and in text. */
#include <stdlib.h>

#include "base/mem.h"
#include "text/tokenizer_internal.h"

static int compare_names(bk_str a, bk_str b) {
    size_t n = bk_min_size(a.len, b.len);
    int order = n ? memcmp(a.data, b.data, n) : 0;
    if (order) return order;
    return a.len < b.len ? -1 : a.len > b.len;
}

static int by_name(const void *a, const void *b, void *tokenizer) {
    const bk_tokenizer *t = tokenizer;
    return compare_names(bk_tok_name(t, *(const int32_t *)a), bk_tok_name(t, *(const int32_t *)b));
}

static bool is_control(const bk_tokenizer *t, int32_t id) {
    return (t->info[id] & BK_INFO_TYPE) == BK_TOKEN_CONTROL;
}

static bool wanted(const bk_tokenizer *t, size_t id) {
    return bk_tok_is_special(t, (int32_t)id) && bk_tok_name(t, (int32_t)id).len > 0;
}

bk_status bk_tok_build_special(bk_tokenizer *t, bk_error *err) {
    size_t n = 0;
    for (size_t i = 0; i < t->n_tokens; i++) n += wanted(t, i);
    t->special = bk_alloc(bk_max_size(1, n), sizeof *t->special);
    if (!t->special) return bk_fail(err, BK_ERR_NOMEM, "no memory for %zu special tokens", n);
    for (size_t i = 0; i < t->n_tokens; i++)
        if (wanted(t, i)) t->special[t->n_special++] = (int32_t)i;
    qsort_r(t->special, n, sizeof *t->special, by_name, t);
    for (size_t i = 0; i < n; i++) {
        bk_str name = bk_tok_name(t, t->special[i]);
        t->special_first[(unsigned char)name.data[0]] = true;
        if (!is_control(t, t->special[i])) t->user_first[(unsigned char)name.data[0]] = true;
        if (i > 0 && bk_str_eq(name, bk_tok_name(t, t->special[i - 1])))
            return bk_fail(err, BK_ERR_FORMAT,
                           "tokenizer.ggml.tokens: special tokens %d and %d are both \"" BK_STR_FMT
                           "\", wanted different ones; convert the model again",
                           (int)t->special[i - 1], (int)t->special[i], BK_STR_ARG(name));
    }
    return BK_OK;
}

/* First index in [lo, hi) whose name has a byte >= c at depth; all of them are longer than depth and
 * share what is before it. */
static size_t lower_bound(const bk_tokenizer *t, size_t lo, size_t hi, size_t depth, unsigned c) {
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if ((unsigned char)bk_tok_name(t, t->special[mid]).data[depth] < c) {
            lo = mid + 1;
        } else {
            hi = mid;
        }
    }
    return lo;
}

int32_t bk_tok_match_special(const bk_tokenizer *t, bk_str s, size_t max_control) {
    size_t lo = 0, hi = t->n_special;
    int32_t best = -1;
    for (size_t depth = 0; depth < s.len && lo < hi; depth++) {
        unsigned c = (unsigned char)s.data[depth];
        lo = lower_bound(t, lo, hi, depth, c);
        hi = lower_bound(t, lo, hi, depth, c + 1);
        /* A name that ends here sorts before those that go on. */
        if (lo < hi && bk_tok_name(t, t->special[lo]).len == depth + 1) {
            if (depth < max_control || !is_control(t, t->special[lo])) best = t->special[lo];
            lo++;
        }
    }
    return best;
}

int32_t bk_tokenizer_find(const bk_tokenizer *t, bk_str name) {
    int32_t id = name.len ? bk_tok_match_special(t, name, SIZE_MAX) : -1;
    return id >= 0 && bk_tok_name(t, id).len == name.len ? id : -1;
}

bool bk_tok_known_end(bk_str name) {
    static const char *const ends[] = {
        "<|endoftext|>",
        "<|end_of_text|>",
        "<|im_end|>",
        "<|eot_id|>",
        "<|eom_id|>",
        "<|end|>",
        "<end_of_turn>",
        "<|end_of_turn|>",
        "</s>",
        "<|eos|>",
        "<EOS>",
        "<|EOT|>",
        "<EOT>",
        "<|return|>",
        "<|call|>",
        "<|END_OF_TURN_TOKEN|>",
        "<｜end▁of▁sentence｜>",
        "<turn|>",
        "[EOT]",
        "[EOS]",
        "[e~[",
        "<end_of_utterance>",
        "<|flush|>",
    };
    for (size_t i = 0; i < BK_ARRAY_LEN(ends); i++)
        if (bk_str_eq(name, bk_str_from(ends[i]))) return true;
    return false;
}
