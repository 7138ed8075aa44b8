/* Ids of many texts, for comparison with other tokenizers (compare_hf.py writes and reads these).
 *
 *     tok_dump VOCABULARY PRE TEXTS [ids|special|pieces]
 *
 * VOCABULARY: u32 n, n strings, n i32 types, u32 n, n merges; TEXTS: u32 n, n strings; a string is
 * u32 length and its bytes; little endian. One line of ids per text on standard output; "special" parses
 * special tokens, "pieces" prints the byte lengths of the normalised text's pieces instead. */
#include <stdio.h>
#include <stdlib.h>

#include "base/buf.h"
#include "base/mem.h"
#include "text/nfc.h"
#include "text/pretok.h"
#include "text/tokenizer.h"

typedef struct reader {
    const uint8_t *data;
    size_t left;
} reader;

static void stop(const char *what) {
    fprintf(stderr, "tok_dump: %s\n", what);
    exit(2);
}

static uint32_t read_u32(reader *r) {
    uint32_t v;
    if (r->left < 4) stop("file too short");
    memcpy(&v, r->data, 4);
    r->data += 4;
    r->left -= 4;
    return v;
}

static bk_str *read_strings(reader *r, size_t *n) {
    *n = read_u32(r);
    bk_str *s = bk_alloc(*n + 1, sizeof *s);
    if (!s) stop("no memory");
    for (size_t i = 0; i < *n; i++) {
        s[i].len = read_u32(r);
        if (s[i].len > r->left) stop("file too short");
        s[i].data = (const char *)r->data;
        r->data += s[i].len;
        r->left -= s[i].len;
    }
    return s;
}

static reader open_file(const char *path) {
    FILE *f = fopen(path, "rb");
    if (!f || fseek(f, 0, SEEK_END) != 0) stop("cannot open a file");
    long size = ftell(f);
    rewind(f);
    uint8_t *data = bk_alloc((size_t)size + 1, 1);
    if (!data || fread(data, 1, (size_t)size, f) != (size_t)size) stop("cannot read a file");
    fclose(f);
    return (reader){data, (size_t)size};
}

static bk_tokenizer *load(const char *path, const char *pre) {
    reader file = open_file(path), r = file;
    bk_tokenizer_desc d = {.model = BK_STR("gpt2"), .pre = bk_str_from(pre)};
    d.bos = d.eos = d.eot = d.unk = d.pad = -1;
    bk_str *tokens = read_strings(&r, &d.n_tokens);
    int32_t *types = bk_alloc(d.n_tokens + 1, sizeof *types);
    for (size_t i = 0; types && i < d.n_tokens; i++) types[i] = (int32_t)read_u32(&r);
    bk_str *merges = read_strings(&r, &d.n_merges);
    d.tokens = tokens;
    d.types = types;
    d.merges = merges;
    bk_tokenizer *t;
    bk_error err;
    if (bk_tokenizer_create(&d, &t, &err)) stop(err.text);
    bk_free(tokens);
    bk_free(types);
    bk_free(merges);
    bk_free((void *)file.data);
    return t;
}

static void print_ids(const bk_tokenizer *t, bk_str text, bool special) {
    bk_ids ids = {0};
    bk_error err;
    if (bk_tokenizer_encode(t, text, special, &ids, &err)) stop(err.text);
    for (size_t k = 0; k < ids.len; k++) printf("%s%d", k ? " " : "", (int)ids.data[k]);
    putchar('\n');
    bk_ids_free(&ids);
}

static void print_pieces(const bk_pretok_rules *rules, bk_str text) {
    bk_buf normal = {0};
    if (rules->nfc) {
        if (!bk_nfc_append(text, &normal)) stop("no memory");
        text = bk_buf_view(&normal);
    }
    for (size_t pos = 0, n; pos < text.len; pos += n) {
        n = bk_pretok_next(rules->kind, text.data + pos, text.len - pos);
        printf("%s%zu", pos ? " " : "", n);
    }
    putchar('\n');
    bk_buf_free(&normal);
}

int main(int argc, char **argv) {
    if (argc < 4) stop("usage: tok_dump VOCABULARY PRE TEXTS [ids|special|pieces]");
    const char *mode = argc > 4 ? argv[4] : "ids";
    bk_tokenizer *t = load(argv[1], argv[2]);
    const bk_pretok_rules *rules = bk_pretok_find(bk_str_from(argv[2]));
    reader file = open_file(argv[3]), r = file;
    size_t n;
    bk_str *texts = read_strings(&r, &n);
    for (size_t i = 0; i < n; i++) {
        if (strcmp(mode, "pieces") == 0) {
            print_pieces(rules, texts[i]);
        } else {
            print_ids(t, texts[i], strcmp(mode, "special") == 0);
        }
    }
    bk_free(texts);
    bk_free((void *)file.data);
    bk_tokenizer_destroy(&t);
    return 0;
}
