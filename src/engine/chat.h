/* A conversation to text and token ids, by the model's own chat template. */
#ifndef BRISK_ENGINE_CHAT_H
#define BRISK_ENGINE_CHAT_H

#include "model/model.h"

typedef struct bk_chat_message {
    const char *role, *content;
} bk_chat_message;

/* Renders; *out is zero-initialised by the caller and freed with bk_rendered_free, also after a
 * failure. UNSUPPORTED (no template), INVALID (text that is not UTF-8), FORMAT, LIMIT, NOMEM. */
bk_status bk_chat_render(const bk_model *m, const bk_chat_message *messages, size_t n,
                         bool add_generation_prompt, bk_rendered *out, bk_error *err);

/* The same for a request as JSON text (bk_template_render_request), with template t or the model's own
 * (NULL). */
bk_status bk_chat_render_request(const bk_model *m, const bk_template *t, bk_str request,
                                 bk_rendered *out, bk_error *err);

/* Appends the ids of a rendering. Only special tokens that lie wholly in the template's own text
 * count as such; the text between two of them is encoded in one go, so that merges across the
 * boundary of template and user text come out as in plain text. */
bk_status bk_chat_encode(const bk_tokenizer *t, const bk_rendered *r, bk_ids *out, bk_error *err);

#endif
