#include "engine/stop.h"

bk_status bk_stop_init(bk_stop *s, const char *const *texts, size_t n, bk_error *err) {
    *s = (bk_stop){.texts = texts, .n = n};
    for (size_t i = 0; i < n; i++) {
        size_t len = texts[i] ? strlen(texts[i]) : 0;
        if (len == 0) return bk_fail(err, BK_ERR_INVALID, "stop text %zu is empty", i + 1);
        if (bk_utf8_valid_len(texts[i], len) != len) {
            return bk_fail(err, BK_ERR_INVALID, "stop text %zu is not UTF-8", i + 1);
        }
    }
    return BK_OK;
}

void bk_stop_free(bk_stop *s) { bk_buf_free(&s->held); }

/* Whether z, or as much of it as s has room for, stands at the beginning of s. */
static bool starts_here(bk_str s, const char *z, size_t len, bool *whole) {
    size_t n = bk_min_size(s.len, len);
    *whole = n == len;
    return memcmp(s.data, z, n) == 0;
}

/* Of several stop texts the one that is complete first counts, as if bytes came one at a time. */
size_t bk_stop_push(bk_stop *s, bk_str text) {
    bk_buf_append(&s->held, text.data, text.len);
    bk_str held = bk_buf_view(&s->held);
    size_t pass = held.len, found = 0, found_end = SIZE_MAX;
    for (size_t at = 0; at < held.len && s->n > 0; at++) {
        for (size_t i = 0; i < s->n; i++) {
            bool whole;
            size_t len = strlen(s->texts[i]);
            bk_str rest = {held.data + at, held.len - at};
            if (!starts_here(rest, s->texts[i], len, &whole)) continue;
            if (!whole) {
                pass = bk_min_size(pass, at);
            } else if (at + len < found_end) {
                s->found = true;
                found = at;
                found_end = at + len;
                s->which = i;
            }
        }
    }
    return s->found ? found : pass;
}

void bk_stop_drop(bk_stop *s, size_t n) {
    if (n == 0) return;
    memmove(s->held.data, s->held.data + n, s->held.len - n);
    s->held.len -= n;
    s->held.data[s->held.len] = '\0';
}
