/* Loss of counting on a text: the last tenth of its tokens, by what the rest has shown.
 *
 *     ngram_dump char|word|bpe SIZE TEXT
 *
 * Prints tokens, vocabulary, uniform and the orders' losses. */
#include <stdio.h>
#include <stdlib.h>

#include "measure/ngram.h"
#include "sys/file.h"
#include "text/vocab_train.h"

static void stop(const char *what) {
    fprintf(stderr, "ngram_dump: %s\n", what);
    exit(2);
}

int main(int argc, char **argv) {
    bk_error err;
    bk_map map;
    bk_vocab *v = NULL;
    bk_tokenizer *t = NULL;
    bk_ids ids = {0};
    bk_vocab_options o = {0};
    bk_ngram_loss loss;
    if (argc != 4) stop("usage: ngram_dump char|word|bpe SIZE TEXT");
    if (bk_vocab_kind_find(bk_str_from(argv[1]), &o.kind, &err)) stop(err.text);
    o.size = strtoul(argv[2], NULL, 10);
    if (bk_map_open(argv[3], &map, &err)) stop(err.text);
    bk_str text = {(const char *)map.data, map.size};
    if (bk_vocab_train(&o, text, &v, &err)) stop(err.text);
    if (bk_tokenizer_create(bk_vocab_desc(v), &t, &err)) stop(err.text);
    if (bk_tokenizer_encode(t, text, false, &ids, &err)) stop(err.text);
    size_t n_train = (size_t)((double)ids.len * 0.9);
    if (bk_ngram_floor(ids.data, ids.len, n_train, 0, 5, NULL, &loss, &err)) stop(err.text);
    printf("%zu %zu %.6f", ids.len, bk_tokenizer_count(t), loss.uniform);
    for (int i = 0; i < loss.n_orders; i++) printf(" %.6f", loss.order[i]);
    printf(" %d\n", loss.best);
    bk_ids_free(&ids);
    bk_tokenizer_destroy(&t);
    bk_vocab_destroy(&v);
    bk_map_close(&map);
    return 0;
}
