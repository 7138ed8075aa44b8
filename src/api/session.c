#include "api/api.h"
#include "base/mem.h"
#include "engine/generate.h"

BK_API void brisk_session_options_default(brisk_session_options *options) {
    *options = (brisk_session_options){0};
}

BK_API brisk_status brisk_session_create(brisk_model *model, const brisk_session_options *options,
                                         brisk_session **session, brisk_error *err) {
    if (!session) return bk_api_null("session", err);
    *session = NULL;
    if (!model) return bk_api_null("model", err);
    bk_session_options o = {0};
    if (options)
        o = (bk_session_options){.context = options->context, .batch = options->batch_size};
    bk_error e;
    bk_session *s = NULL;
    bk_status st = bk_session_create(bk_api_model(model), &o, &s, &e);
    *session = (brisk_session *)s;
    return bk_api_result(st, &e, err);
}

BK_API void brisk_session_destroy(brisk_session **session) {
    if (!session || !*session) return;
    bk_session *s = bk_api_session(*session);
    *session = NULL;
    bk_session_destroy(&s);
}

BK_API brisk_status brisk_session_truncate(brisk_session *session, size_t n, brisk_error *err) {
    if (!session) return bk_api_null("session", err);
    bk_error e;
    return bk_api_result(bk_session_truncate(bk_api_session(session), n, &e), &e, err);
}

BK_API brisk_status brisk_session_fork(const brisk_session *session, brisk_session **copy,
                                       brisk_error *err) {
    if (!copy) return bk_api_null("copy", err);
    *copy = NULL;
    if (!session) return bk_api_null("session", err);
    bk_error e;
    bk_session *s = NULL;
    bk_status st = bk_session_fork(bk_api_csession(session), &s, &e);
    *copy = (brisk_session *)s;
    return bk_api_result(st, &e, err);
}

BK_API const brisk_token *brisk_session_tokens(const brisk_session *session, size_t *n) {
    size_t count;
    const brisk_token *tokens = bk_session_tokens(bk_api_csession(session), &count);
    if (n) *n = count;
    return tokens;
}

BK_API int brisk_session_context(const brisk_session *session) {
    return (int)bk_session_context(bk_api_csession(session));
}

BK_API uint64_t brisk_session_memory(const brisk_session *session) {
    return bk_session_kv_bytes(bk_api_csession(session));
}

BK_API brisk_status brisk_session_append(brisk_session *session, const brisk_token *tokens,
                                         size_t n, brisk_error *err) {
    if (!session) return bk_api_null("session", err);
    if (!tokens && n > 0) return bk_api_null("tokens", err);
    bk_error e;
    return bk_api_result(bk_session_append(bk_api_session(session), tokens, n, &e), &e, err);
}

BK_API brisk_status brisk_session_append_text(brisk_session *session, const char *text, size_t len,
                                              brisk_error *err) {
    if (!session) return bk_api_null("session", err);
    if (!text && len > 0) return bk_api_null("text", err);
    bk_session *s = bk_api_session(session);
    const bk_tokenizer *t = bk_model_tokenizer(bk_session_model(s));
    bk_ids ids = {0};
    bk_error e;
    bk_status st = BK_OK;
    size_t held;
    bk_session_tokens(s, &held);
    if (held == 0 && bk_tokenizer_add_bos(t) && bk_tokenizer_bos(t) >= 0 &&
        !bk_ids_push(&ids, bk_tokenizer_bos(t))) {
        st = bk_fail(&e, BK_ERR_NOMEM, "no memory for token ids");
    }
    if (!st && len > 0) st = bk_tokenizer_encode(t, (bk_str){text, len}, false, &ids, &e);
    if (!st) st = bk_session_append(s, ids.data, ids.len, &e);
    bk_ids_free(&ids);
    return bk_api_result(st, &e, err);
}

BK_API brisk_status brisk_session_chat(brisk_session *session, const brisk_chat_message *messages,
                                       size_t n_messages, brisk_error *err) {
    if (!session) return bk_api_null("session", err);
    if (!messages && n_messages > 0) return bk_api_null("messages", err);
    bk_session *s = bk_api_session(session);
    bk_rendered r = {0};
    bk_ids ids = {0};
    bk_error e;
    bk_chat_message *m = bk_api_messages(messages, n_messages);
    bk_status st = m ? bk_chat_render(bk_session_model(s), m, n_messages, true, &r, &e)
                     : bk_fail(&e, BK_ERR_NOMEM, "no memory for the messages");
    bk_free(m);
    if (!st) st = bk_chat_encode(bk_model_tokenizer(bk_session_model(s)), &r, &ids, &e);
    if (!st) st = bk_session_set(s, ids.data, ids.len, &e);
    bk_ids_free(&ids);
    bk_rendered_free(&r);
    return bk_api_result(st, &e, err);
}

BK_API brisk_status brisk_session_eval(brisk_session *session, const float **logits,
                                       const volatile bool *cancel, brisk_error *err) {
    if (!session) return bk_api_null("session", err);
    bk_error e;
    return bk_api_result(bk_session_eval(bk_api_session(session), logits, cancel, &e), &e, err);
}

BK_API brisk_status brisk_session_eval_rows(brisk_session *session, const brisk_token *tokens,
                                            size_t n, brisk_logits_fn row, void *user,
                                            brisk_error *err) {
    if (!session) return bk_api_null("session", err);
    if (!tokens && n > 0) return bk_api_null("tokens", err);
    bk_error e;
    bk_status st = bk_session_eval_rows(bk_api_session(session), tokens, n, row, user, &e);
    return bk_api_result(st, &e, err);
}

/* ---- Generate ----------------------------------------------------------------------------------- */

_Static_assert((int)BRISK_FINISH_CANCELLED == (int)BK_FINISH_CANCELLED, "finishes agree");

BK_API void brisk_sampling_default(brisk_sampling *sampling) {
    *sampling = (brisk_sampling){.temperature = 0.8f,
                                 .top_k = 40,
                                 .top_p = 0.95f,
                                 .min_p = 0.05f,
                                 .repeat_penalty = 1.0f,
                                 .penalty_last_n = 64,
                                 .typical_p = 1.0f};
}

BK_API void brisk_generate_options_default(brisk_generate_options *options) {
    *options = (brisk_generate_options){.max_tokens = -1};
    brisk_sampling_default(&options->sampling);
}

static bk_generate_options convert(const brisk_generate_options *o, brisk_text_fn on_text,
                                   void *user) {
    return (bk_generate_options){.sampling = bk_api_sampling(&o->sampling),
                                 .max_tokens = o->max_tokens,
                                 .ignore_end = o->ignore_end,
                                 .stop = o->stop,
                                 .n_stop = o->stop ? o->n_stop : 0,
                                 .cancel = o->cancel,
                                 .on_text = on_text,
                                 .user = user};
}

BK_API brisk_status brisk_generate(brisk_session *session, const brisk_generate_options *options,
                                   brisk_text_fn on_text, void *user, brisk_stats *stats,
                                   brisk_error *err) {
    if (!session) return bk_api_null("session", err);
    brisk_generate_options defaults;
    if (!options) {
        brisk_generate_options_default(&defaults);
        options = &defaults;
    }
    bk_generate_options o = convert(options, on_text, user);
    bk_stats from;
    bk_error e;
    bk_status st = bk_generate(bk_api_session(session), &o, &from, &e);
    if (stats) {
        *stats = (brisk_stats){.prompt_tokens = from.prompt_tokens,
                               .cached_tokens = from.cached_tokens,
                               .generated_tokens = from.generated_tokens,
                               .prompt_ms = from.prompt_ms,
                               .first_token_ms = from.first_token_ms,
                               .decode_ms = from.decode_ms,
                               .finish = (brisk_finish)from.finish};
    }
    return bk_api_result(st, &e, err);
}
