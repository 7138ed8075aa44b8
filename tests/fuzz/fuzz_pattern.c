/* Fuzz target: patterns of pre-tokenizers. The first line is the pattern, the rest a text. */
#include <stdint.h>
#include <stdlib.h>

#include "text/pattern.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool ok) {
    if (!ok) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const uint8_t *end = size ? memchr(data, '\n', size) : NULL;
    if (!end || size > 4096) return 0;
    bk_str source = {(const char *)data, (size_t)(end - data)};
    bk_str text = {(const char *)end + 1, size - source.len - 1};
    bk_pattern *p = NULL;
    bk_pattern_work w = {0};
    bk_error err = {0};
    if (bk_pattern_compile(source, &p, &err)) {
        require(!p && err.text[0] != '\0');
        return 0;
    }
    bk_span m;
    size_t pos = 0;
    for (int n = 0; n < 16 && bk_pattern_find(p, &w, text, pos, &m); n++) {
        require(m.begin >= pos && m.end > m.begin && m.end <= text.len);
        pos = m.end;
    }
    bk_pattern_work_free(&w);
    bk_pattern_destroy(&p);
    return 0;
}
