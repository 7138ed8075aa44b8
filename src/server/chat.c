/* POST /v1/chat/completions: from the body to requests to the engine. */
#include "server/chat.h"

#include "base/mem.h"
#include "server/params.h"

static void destroy(sv_answer *a) {
    chat *k = (chat *)a;
    for (size_t i = 0; k->choices && i < a->n_choices; i++) {
        chat_choice *c = &k->choices[i];
        answer_free(&c->split);
        for (size_t n = 0; n < c->n_calls; n++) {
            bk_buf_free(&c->calls[n].name);
            bk_buf_free(&c->calls[n].arguments);
        }
        bk_free(c->calls);
        bk_buf_free(&c->logprobs);
        bk_buf_free(&c->content);
        bk_buf_free(&c->reasoning);
    }
    bk_free(k->choices);
    bk_free(k->list);
    bk_buf_free(&k->out);
    json_decref(k->body);
    bk_free(k);
}

static const sv_answer_kind kind = {"chatcmpl-", "chat", chat_on_event, chat_on_finish, destroy};
