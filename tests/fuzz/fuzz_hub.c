/* The hub's answer about a repository, and which of its files are chosen: any bytes, any tag. */
#include <stdlib.h>

#include "cli/hub.c"
#include "cli/names.c"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The first line is the tag, the rest the answer. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    char why[HUB_WHY_CAP];
    hub_listing l;
    const uint8_t *newline = size ? memchr(data, '\n', size) : NULL;
    bk_str tag = {(const char *)data, newline ? (size_t)(newline - data) : 0};
    size_t rest = newline ? tag.len + 1 : 0;
    if (hub_parse((bk_str){(const char *)data + rest, size - rest}, &l, why)) {
        size_t n = hub_choose(&l, tag, why);
        if (n > l.n) abort();
        for (size_t i = 0; i < n; i++) {
            if (!name_is_inside(l.files[i].path)) abort();
        }
    }
    hub_free(&l);
    return 0;
}
