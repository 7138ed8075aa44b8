#include "api/api.h"
#include "base/mem.h"

brisk_status bk_api_result(bk_status st, const bk_error *from, brisk_error *err) {
    if (st && err) {
        err->code = (brisk_status)st;
        memcpy(err->text, from->text, sizeof err->text);
    }
    return (brisk_status)st;
}

brisk_status bk_api_null(const char *what, brisk_error *err) {
    bk_error e;
    return bk_api_result(bk_fail(&e, BK_ERR_INVALID, "%s must not be NULL", what), &e, err);
}

bk_chat_message *bk_api_messages(const brisk_chat_message *messages, size_t n) {
    bk_chat_message *copy = bk_alloc(n ? n : 1, sizeof *copy);
    for (size_t i = 0; i < n && copy; i++) {
        copy[i] = (bk_chat_message){messages[i].role, messages[i].content};
    }
    return copy;
}

BK_API const char *brisk_version(void) { return BRISK_VERSION; }

BK_API const char *brisk_status_str(brisk_status status) {
    return bk_status_str((bk_status)status);
}

_Static_assert(sizeof(brisk_logit_bias) == sizeof(bk_logit_bias) &&
                   offsetof(brisk_logit_bias, bias) == offsetof(bk_logit_bias, bias),
               "biases agree");

bk_sampling bk_api_sampling(const brisk_sampling *s) {
    return (bk_sampling){.temperature = s->temperature,
                         .top_k = s->top_k,
                         .top_p = s->top_p,
                         .min_p = s->min_p,
                         .repeat_penalty = s->repeat_penalty,
                         .presence_penalty = s->presence_penalty,
                         .frequency_penalty = s->frequency_penalty,
                         .penalty_last_n = s->penalty_last_n,
                         .seed = s->seed,
                         .typical_p = s->typical_p,
                         .biases = (const bk_logit_bias *)(const void *)s->logit_bias,
                         .n_biases = s->logit_bias ? s->n_logit_bias : 0};
}
