/* Any bytes as a list of questions: no crash, and what is accepted is complete. */
#include <stdlib.h>

#include "measure/choices.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    bk_choices c;
    bk_error err;
    if (bk_choices_parse((bk_str){(const char *)data, size}, &c, &err)) return c.n || c.questions;
    if (c.n == 0) abort();
    for (size_t i = 0; i < c.n; i++) {
        const bk_question *q = &c.questions[i];
        if (q->text.len == 0 || q->n_choices < 2 || q->answer >= q->n_choices) abort();
        for (size_t k = 0; k < q->n_choices; k++)
            if (q->choices[k].len == 0) abort();
    }
    bk_choices_free(&c);
    return 0;
}
