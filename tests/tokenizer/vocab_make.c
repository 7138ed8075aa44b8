/* A vocabulary made of a text, as a GGUF file without tensors, for comparison with other programs.
 *
 *     vocab_make KIND SIZE TEXT OUT.gguf [end] [bytes] [fold] [nfc|nfd|nfkc|nfkd]
 *
 * KIND and SIZE as in text/vocab_train.h. */
#include <stdio.h>
#include <stdlib.h>

#include "format/gguf_build.h"
#include "model/model.h"
#include "text/vocab_train.h"

static void stop(const char *what) {
    fprintf(stderr, "vocab_make: %s\n", what);
    exit(2);
}

static bool given(int argc, char **argv, const char *word) {
    for (int i = 5; i < argc; i++)
        if (strcmp(argv[i], word) == 0) return true;
    return false;
}

int main(int argc, char **argv) {
    bk_error err;
    bk_map map;
    bk_gguf *g = NULL;
    bk_vocab *v = NULL;
    bk_vocab_options o = {0};
    if (argc < 5) stop("usage: vocab_make KIND SIZE TEXT OUT.gguf [end] [bytes] [fold] [FORM]");
    if (bk_vocab_kind_find(bk_str_from(argv[1]), &o.kind, &err)) stop(err.text);
    o.size = strtoul(argv[2], NULL, 10);
    o.end_of_text = given(argc, argv, "end");
    o.bytes = given(argc, argv, "bytes");
    o.prepare.casefold = given(argc, argv, "fold");
    for (bk_normal_form f = BK_NFC; f <= BK_NFKD; f++)
        if (given(argc, argv, bk_normal_name(f))) o.prepare.form = f;
    if (bk_map_open(argv[3], &map, &err)) stop(err.text);
    bk_str text = {(const char *)map.data, map.size};
    if (bk_vocab_train(&o, text, &v, &err)) stop(err.text);
    bk_gguf_builder *b = bk_gguf_builder_create();
    bk_gguf_builder_str(b, "general.architecture", BK_STR("llama"));
    bk_vocab_write(bk_vocab_desc(v), b);
    if (bk_gguf_builder_finish(&b, &g, &err)) stop(err.text);
    if (bk_gguf_write(g, argv[4], NULL, &err)) stop(err.text);
    bk_gguf_destroy(&g);
    bk_vocab_destroy(&v);
    bk_map_close(&map);
    return 0;
}
