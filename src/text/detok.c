/* Streaming detokenizer. Invalid bytes become U+FFFD, one for each maximal part of a character that
 * cannot be completed (Unicode standard, section 3.9, "best practices"): what Python's and Rust's
 * lossy decoders write too, so the text is the same however the bytes were cut into tokens. */
#include "base/buf.h"
#include "text/tokenizer.h"

static const char REPLACEMENT[] = "\xEF\xBF\xBD";

/* Length of the character that a first byte begins; 0 for a byte that begins none. */
static size_t char_length(unsigned char c) {
    if (c < 0x80) return 1;
    if (c < 0xC2 || c > 0xF4) return 0;
    return c < 0xE0 ? 2 : c < 0xF0 ? 3 : 4;
}

/* Whether c may follow the n bytes held (n >= 1, fewer than the character's length). */
static bool continues(const char *held, size_t n, unsigned char c) {
    unsigned char first = (unsigned char)held[0], lo = 0x80, hi = 0xBF;
    if (n == 1) {
        if (first == 0xE0) lo = 0xA0; /* overlong */
        if (first == 0xED) hi = 0x9F; /* surrogates */
        if (first == 0xF0) lo = 0x90; /* overlong */
        if (first == 0xF4) hi = 0x8F; /* above U+10FFFF */
    }
    return c >= lo && c <= hi;
}

static bool push_byte(bk_detok *d, unsigned char c, bk_buf *out) {
    bool ok = true;
    if (d->n_held > 0 && !continues(d->held, d->n_held, c)) {
        d->n_held = 0;
        ok = bk_buf_append_str(out, REPLACEMENT);
    }
    if (d->n_held == 0 && char_length(c) == 0) return ok && bk_buf_append_str(out, REPLACEMENT);
    d->held[d->n_held++] = (char)c;
    if (d->n_held < char_length((unsigned char)d->held[0])) return ok;
    ok = ok && bk_buf_append(out, d->held, d->n_held);
    d->n_held = 0;
    return ok;
}

bool bk_detok_push(bk_detok *d, bk_str bytes, bk_buf *out) {
    for (size_t i = 0; i < bytes.len;) {
        size_t n = 0;
        while (d->n_held == 0 && i + n < bytes.len && (unsigned char)bytes.data[i + n] < 0x80) n++;
        if (n > 0) {
            if (!bk_buf_append(out, bytes.data + i, n)) return false;
            i += n;
        } else if (!push_byte(d, (unsigned char)bytes.data[i++], out)) {
            return false;
        }
    }
    return true;
}

bool bk_detok_finish(bk_detok *d, bk_buf *out) {
    bool held = d->n_held > 0;
    d->n_held = 0;
    return !held || bk_buf_append_str(out, REPLACEMENT);
}

bk_status bk_tokenizer_decode(const bk_tokenizer *t, const int32_t *ids, size_t n, bk_buf *out,
                              bk_error *err) {
    bk_detok d = {0};
    bool ok = true, first = bk_tokenizer_add_space(t);
    for (size_t i = 0; i < n && ok; i++) {
        bk_str bytes = bk_tokenizer_bytes(t, ids[i]);
        if (!bytes.data)
            return bk_fail(err, BK_ERR_INVALID, "token %d, wanted 0 to %zu", (int)ids[i],
                           bk_tokenizer_count(t) - 1);
        bool control = bk_tokenizer_type(t, ids[i]) == BK_TOKEN_CONTROL;
        if (first && !control && bytes.len > 0 && bytes.data[0] == ' ') bytes.data++, bytes.len--;
        first = control && bk_tokenizer_add_space(t);
        ok = bk_detok_push(&d, bytes, out);
    }
    if (ok && bk_detok_finish(&d, out)) return BK_OK;
    return bk_fail(err, BK_ERR_NOMEM, "no memory for the text of %zu tokens", n);
}
