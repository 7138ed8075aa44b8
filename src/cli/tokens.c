#include "base/mem.h"
#include "cli/cli.h"

static bool grow(cli_tokens *t, size_t cap) {
    bk_free(t->ids);
    t->ids = bk_alloc(cap, sizeof *t->ids);
    t->cap = t->ids ? cap : 0;
    if (!t->ids) cli_fail("no memory for %zu token ids", cap);
    return t->ids;
}

bool cli_tokenize(const brisk_model *model, bk_str text, bool bos, bool special, cli_tokens *out) {
    brisk_error err;
    /* Mostly a text has no more tokens than bytes and the two that may be put in front; one that its
     * vocabulary wants normalised can have more. */
    if (text.len + 2 > out->cap && !grow(out, bk_max_size(4096, 2 * text.len))) return false;
    for (;;) {
        brisk_status st = brisk_tokenize(model, text.data ? text.data : "", text.len, bos, special,
                                         out->ids, out->cap, &out->n, &err);
        if (!st) return true;
        if (st != BRISK_ERR_LIMIT || out->n <= out->cap) break;
        if (!grow(out, out->n)) return false;
    }
    return cli_fail("%s", err.text), false;
}
