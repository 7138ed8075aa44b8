/* A request's body: any bytes. What is accepted must be in its range and give the template JSON that can
 * be read; what is refused must say why. */
#include <math.h>
#include <stdlib.h>

#include "server/request.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool good) {
    if (!good) abort();
}

static void check_request(const sv_request *r, sv_request_kind kind,
                          const sv_request_limits *limits) {
    const brisk_sampling *s = &r->sampling;
    check(s->temperature >= 0 && s->temperature <= 100 && s->top_k >= 0);
    check(s->top_p >= 0 && s->top_p <= 1 && s->min_p >= 0 && s->min_p <= 1);
    check(s->repeat_penalty > 0 && fabsf(s->presence_penalty) <= 100);
    check(r->max_tokens >= -1 && r->min_tokens >= 0 && r->logprobs >= -1 && r->logprobs <= 20);
    check(r->n >= 1 && r->n <= limits->max_choices);
    for (size_t i = 0; i < s->n_logit_bias; i++) {
        check(s->logit_bias[i].token < limits->n_vocab && !isnan(s->logit_bias[i].bias));
    }
    for (size_t i = 0; i < r->n_stop; i++) check(r->stop[i][0] != '\0');
    for (size_t i = 0; i < r->n_prompts; i++) {
        const sv_prompt *p = &r->prompts[i];
        check(p->text.data || p->n_tokens > 0);
        for (size_t k = 0; k < p->n_tokens; k++) {
            check(p->tokens[k] >= 0 && p->tokens[k] < limits->n_vocab);
        }
    }
    check((kind == SV_REQUEST_CHAT) == (r->messages != NULL));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const sv_request_limits limits = {.n_vocab = 1000, .max_choices = 16};
    sv_request_kind kind = size && data[0] == '1' ? SV_REQUEST_COMPLETION : SV_REQUEST_CHAT;
    size_t skip = size ? 1 : 0;
    sv_request r;
    sv_field_error e;
    if (sv_request_parse((bk_str){(const char *)data + skip, size - skip}, kind, &limits, &r, &e)) {
        bk_buf text = {0};
        json_t *again = NULL;
        check_request(&r, kind, &limits);
        if (kind == SV_REQUEST_CHAT) {
            check(sv_request_template(&r, &text));
            check(!bk_json_parse(bk_buf_view(&text), 200, false, &again, NULL));
        }
        json_decref(again);
        bk_buf_free(&text);
    } else {
        check(e.code && e.text[0] && strlen(e.text) < sizeof e.text);
    }
    sv_request_free(&r);
    return 0;
}
