#include "engine/reply.h"

bk_status bk_reply_init(bk_reply *r, const bk_tokenizer *t, const char *const *stop, size_t n_stop,
                        bk_error *err) {
    *r = (bk_reply){.tokenizer = t};
    bk_status st = bk_stop_init(&r->stop, stop, n_stop, err);
    if (st) return st;
    if (!bk_buf_reserve(&r->text, 4096) || !bk_buf_reserve(&r->stop.held, 4096)) {
        return bk_fail(err, BK_ERR_NOMEM, "no memory for the answer's text");
    }
    return BK_OK;
}

void bk_reply_free(bk_reply *r) {
    bk_stop_free(&r->stop);
    bk_buf_free(&r->text);
}

static bk_str held(bk_reply *r, size_t n) {
    r->passed = n;
    return (bk_str){bk_buf_view(&r->stop.held).data, n};
}

bk_str bk_reply_push(bk_reply *r, int32_t token) {
    bk_stop_drop(&r->stop, r->passed);
    bk_buf_clear(&r->text);
    if (bk_tokenizer_type(r->tokenizer, token) != BK_TOKEN_CONTROL) {
        bk_detok_push(&r->detok, bk_tokenizer_bytes(r->tokenizer, token), &r->text);
    }
    return held(r, bk_stop_push(&r->stop, bk_buf_view(&r->text)));
}

bk_str bk_reply_finish(bk_reply *r) {
    bk_stop_drop(&r->stop, r->passed);
    if (r->stop.found) return held(r, 0);
    bk_buf_clear(&r->text);
    bk_detok_finish(&r->detok, &r->text);
    bk_stop_push(&r->stop, bk_buf_view(&r->text));
    return held(r, r->stop.held.len);
}
