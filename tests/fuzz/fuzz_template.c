/* Fuzz target: chat templates. The input is a template, a line "====" and the variables as JSON
 * (none: a small conversation). */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "text/template.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool ok) {
    if (!ok) abort();
}

/* Escapes could spell any character. */
static bool ascii_without_escapes(bk_str s) {
    for (size_t i = 0; i < s.len; i++) {
        if ((unsigned char)s.data[i] >= 0x80 || s.data[i] == '\\') return false;
    }
    return true;
}

/* Spans are in order and within the text. When the template has nothing but ASCII, whatever else
 * stands in the result came from a variable and must be marked so. */
static void check(bk_str source, const bk_rendered *r) {
    bk_str text = bk_buf_view(&r->text);
    bool ascii = ascii_without_escapes(source);
    size_t at = 0;
    require(bk_utf8_valid_len(text.data, text.len) == text.len);
    for (size_t i = 0; i <= r->n_user; i++) {
        size_t begin = i < r->n_user ? r->user[i].begin : text.len;
        require(begin >= at && begin <= text.len);
        for (; ascii && at < begin; at++) require((unsigned char)text.data[at] < 0x80);
        if (i == r->n_user) break;
        at = r->user[i].end;
        require(at > begin && at <= text.len);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const char line[] = "\n====\n";
    bk_str source = {(const char *)data, size};
    bk_str vars = BK_STR("{\"messages\": [{\"role\": \"user\", \"content\": \"Gr\xC3\xBC\xC3\x9F"
                         "e\"}], "
                         "\"add_generation_prompt\": true, \"tools\": null, \"n\": 3}");
    const char *cut = size ? memmem(data, size, line, sizeof line - 1) : NULL;
    if (cut) {
        source.len = (size_t)(cut - source.data);
        vars = (bk_str){cut + sizeof line - 1, size - source.len - (sizeof line - 1)};
    }
    bk_template *t = NULL;
    bk_rendered r = {0};
    bk_error err = {0};
    if (bk_template_parse(source, &t, &err) == BK_OK) {
        if (bk_template_render(t, vars, &r, &err) == BK_OK) {
            check(source, &r);
        } else {
            require(err.text[0] && !r.text.data && !r.user);
        }
    } else {
        require(err.text[0] && !t);
    }
    bk_rendered_free(&r);
    bk_template_destroy(&t);
    return 0;
}
