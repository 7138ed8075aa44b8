/* Renders chat templates for comparison with another implementation.
 *
 *     render < pairs > results
 *
 * A pair is two blocks, template and variables; a block is its length in bytes on a line of its own
 * and then the bytes. A result is one line "ok LENGTH SPANS" or "error CODE LENGTH", the bytes, and
 * for "ok" as many "BEGIN END" lines as there are spans of variable text. */
#include <stdio.h>
#include <stdlib.h>

#include "text/template.h"

static char *read_block(size_t *len) {
    if (scanf("%zu", len) != 1 || getchar() != '\n') return NULL;
    char *data = malloc(*len + 1);
    if (data && fread(data, 1, *len, stdin) == *len) return data;
    free(data);
    return NULL;
}

static void render(bk_str source, bk_str vars) {
    bk_template *t = NULL;
    bk_rendered r = {0};
    bk_error err = {0};
    bk_status status = bk_template_parse(source, &t, &err);
    if (status == BK_OK) status = bk_template_render(t, vars, &r, &err);
    if (status == BK_OK) {
        printf("ok %zu %zu\n", r.text.len, r.n_user);
        if (r.text.len) fwrite(r.text.data, 1, r.text.len, stdout);
        for (size_t i = 0; i < r.n_user; i++) printf("%zu %zu\n", r.user[i].begin, r.user[i].end);
    } else {
        printf("error %d %zu\n%s", (int)status, bk_str_from(err.text).len, err.text);
    }
    bk_rendered_free(&r);
    bk_template_destroy(&t);
}

int main(void) {
    char *source, *vars;
    size_t n_source, n_vars;
    while ((source = read_block(&n_source)) != NULL) {
        vars = read_block(&n_vars);
        if (!vars) return 1;
        render((bk_str){source, n_source}, (bk_str){vars, n_vars});
        free(source);
        free(vars);
    }
    return 0;
}
