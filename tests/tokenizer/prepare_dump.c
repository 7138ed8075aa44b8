/* A text as it is before it is cut into tokens, for comparison with Python's.
 *
 *     prepare_dump FORM|- fold|- FILE
 */
#include <stdio.h>
#include <stdlib.h>

#include "sys/file.h"
#include "text/normalize.h"

static void stop(const char *what) {
    fprintf(stderr, "prepare_dump: %s\n", what);
    exit(2);
}

int main(int argc, char **argv) {
    bk_error err;
    bk_map map;
    bk_prepared p;
    bk_text_rules rules = {0};
    if (argc != 4) stop("usage: prepare_dump FORM|- fold|- FILE");
    if (strcmp(argv[1], "-") != 0 && bk_normal_find(bk_str_from(argv[1]), &rules.form, &err))
        stop(err.text);
    rules.casefold = strcmp(argv[2], "fold") == 0;
    if (bk_map_open(argv[3], &map, &err)) stop(err.text);
    if (!bk_text_prepare(rules, (bk_str){(const char *)map.data, map.size}, &p)) stop("no memory");
    fwrite(p.text.data, 1, p.text.len, stdout);
    bk_prepared_free(&p);
    bk_map_close(&map);
    return 0;
}
