/* Text before learning, for comparison with other programs (compare_vocab.py).
 *
 *     vocab_dump make KIND SIZE TEXT OUT.gguf [end] [bytes] [fold] [nfc|nfd|nfkc|nfkd] [min=N]
 *     vocab_dump prepare TEXT [fold] [nfc|nfd|nfkc|nfkd]
 *     vocab_dump floor KIND SIZE TEXT
 *
 * make writes a vocabulary made of a file as a GGUF file without tensors; prepare writes the text as it
 * is before it is cut; floor prints the loss of counting on the last tenth: tokens, vocabulary, uniform,
 * then orders 0 to 5. KIND and SIZE as in text/vocab_train.h. */
#include <stdio.h>
#include <stdlib.h>

#include "format/gguf_build.h"
#include "measure/ngram.h"
#include "model/model.h"
#include "text/vocab_train.h"

static void stop(const char *what) {
    fprintf(stderr, "vocab_dump: %s\n", what);
    exit(2);
}

static void check(bk_status st, const bk_error *err) {
    if (st) stop(err->text);
}

static bk_map map_text(const char *path) {
    bk_map map;
    bk_error err;
    check(bk_map_open(path, &map, &err), &err);
    return map;
}

static void read_words(char **word, bk_vocab_options *o) {
    bk_error err;
    for (; *word; word++) {
        o->end_of_text |= strcmp(*word, "end") == 0;
        o->bytes |= strcmp(*word, "bytes") == 0;
        o->prepare.casefold |= strcmp(*word, "fold") == 0;
        if (strncmp(*word, "min=", 4) == 0) o->min_count = strtoul(*word + 4, NULL, 10);
        bk_normal_find(bk_str_from(*word), &o->prepare.form, &err);
    }
}

static bk_vocab *train(char **arg, bk_vocab_options *o, bk_str text) {
    bk_vocab *v;
    bk_error err;
    check(bk_vocab_kind_find(bk_str_from(arg[0]), &o->kind, &err), &err);
    o->size = strtoul(arg[1], NULL, 10);
    check(bk_vocab_train(o, text, &v, &err), &err);
    return v;
}

static void make(char **arg) {
    bk_error err;
    bk_gguf *g;
    bk_vocab_options o = {0};
    bk_map map = map_text(arg[2]);
    read_words(arg + 4, &o);
    bk_vocab *v = train(arg, &o, (bk_str){(const char *)map.data, map.size});
    bk_gguf_builder *b = bk_gguf_builder_create();
    bk_gguf_builder_str(b, "general.architecture", BK_STR("llama"));
    bk_vocab_write(bk_vocab_desc(v), b);
    check(bk_gguf_builder_finish(&b, &g, &err), &err);
    check(bk_gguf_write(g, arg[3], NULL, &err), &err);
    bk_gguf_destroy(&g);
    bk_vocab_destroy(&v);
    bk_map_close(&map);
}

static void prepare(char **arg) {
    bk_prepared p;
    bk_vocab_options o = {0};
    bk_map map = map_text(arg[0]);
    read_words(arg + 1, &o);
    if (!bk_text_prepare(o.prepare, (bk_str){(const char *)map.data, map.size}, &p))
        stop("no memory");
    fwrite(p.text.data, 1, p.text.len, stdout);
    bk_prepared_free(&p);
    bk_map_close(&map);
}

static void print_floor(char **arg) {
    bk_error err;
    bk_ids ids = {0};
    bk_tokenizer *t;
    bk_ngram_loss loss;
    bk_vocab_options o = {0};
    bk_map map = map_text(arg[2]);
    bk_str text = {(const char *)map.data, map.size};
    bk_vocab *v = train(arg, &o, text);
    check(bk_tokenizer_create(bk_vocab_desc(v), &t, &err), &err);
    check(bk_tokenizer_encode(t, text, false, &ids, &err), &err);
    size_t n_train = ids.len - ids.len / 10;
    check(bk_ngram_floor(ids.data, ids.len, n_train, 0, 5, NULL, &loss, &err), &err);
    printf("%zu %zu %.6f", ids.len, bk_tokenizer_count(t), loss.uniform);
    for (int i = 0; i < loss.n_orders; i++) printf(" %.6f", loss.order[i]);
    putchar('\n');
    bk_ids_free(&ids);
    bk_tokenizer_destroy(&t);
    bk_vocab_destroy(&v);
    bk_map_close(&map);
}

int main(int argc, char **argv) {
    const char *verb = argc > 1 ? argv[1] : "";
    if (argc >= 6 && strcmp(verb, "make") == 0) {
        make(argv + 2);
    } else if (argc >= 3 && strcmp(verb, "prepare") == 0) {
        prepare(argv + 2);
    } else if (argc == 5 && strcmp(verb, "floor") == 0) {
        print_floor(argv + 2);
    } else {
        stop("usage: vocab_dump make|prepare|floor ..., see its source");
    }
    return 0;
}
