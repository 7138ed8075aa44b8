/* Text before tokens. */
#include "api/api.h"
#include "base/mem.h"
#include "brisk_tools.h"
#include "text/stop_words.h"

enum { MAX_TEXT = 1 << 30 };

static bk_status too_long(size_t len, bk_error *err) {
    return bk_fail(err, BK_ERR_LIMIT, "no room for a text of %zu bytes after this, wanted 1 GiB",
                   len);
}

static bk_status prepare(bk_text_rules rules, const bk_stop_words *stop, bk_str text, bk_buf *out,
                         bk_error *err) {
    bk_prepared p;
    bool ok = bk_text_prepare(rules, text, &p);
    if (ok && stop) ok = bk_stop_words_apply(stop, p.text, out);
    if (ok && !stop) ok = bk_buf_append(out, p.text.data, p.text.len);
    ok = ok && bk_buf_reserve(out, 1); /* so that an empty text is one too */
    bk_prepared_free(&p);
    return ok ? BK_OK : too_long(text.len, err);
}

BK_API brisk_status brisk_text_prepare(const brisk_text_options *options, const char *text,
                                       size_t len, char **out, size_t *out_len, brisk_error *err) {
    if (!options) return bk_api_null("options", err);
    if (!out || (!text && len)) return bk_api_null(out ? "text" : "out", err);
    bk_text_rules rules = {.casefold = options->casefold};
    bk_stop_words *stop = NULL;
    bk_buf buf = {.limit = MAX_TEXT};
    bk_error e;
    bk_status st = BK_OK;
    *out = NULL;
    if (len > MAX_TEXT) st = too_long(len, &e);
    if (!st && options->normalize) {
        st = bk_normal_find(bk_str_from(options->normalize), &rules.form, &e);
        if (st) st = BK_ERR_INVALID;
    }
    if (!st && options->stop_words) st = bk_stop_words_open(options->stop_words, &stop, &e);
    if (!st) st = prepare(rules, stop, (bk_str){text ? text : "", len}, &buf, &e);
    bk_stop_words_destroy(&stop);
    if (st) {
        bk_buf_free(&buf);
        return bk_api_result(st, &e, err);
    }
    buf.data[buf.len] = '\0';
    *out = buf.data;
    if (out_len) *out_len = buf.len;
    return BRISK_OK;
}
