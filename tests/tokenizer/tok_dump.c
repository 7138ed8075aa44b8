/* Ids of many texts, for comparison with other tokenizers (tokfile.py writes and reads these).
 *
 *     tok_dump MODEL PRE TEXTS [ids|special|pieces|text]
 *
 * MODEL: a GGUF file; PRE: a pre-tokenizer in place of its own, or -; TEXTS: u32 n, n strings; a string is
 * u32 length and its bytes; little endian. One line of ids per text on standard output; "special" parses
 * special tokens, "pieces" prints the byte lengths of the normalised text's pieces instead, "text" what
 * the ids are decoded to, in hexadecimal. */
#include <stdio.h>
#include <stdlib.h>

#include "base/buf.h"
#include "base/mem.h"
#include "model/model.h"
#include "text/normalize.h"
#include "text/pretok.h"

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

static bk_model *load(const char *path, const char *pre) {
    bk_model_options o = {.tokenizer_only = true, .pre = strcmp(pre, "-") == 0 ? NULL : pre};
    bk_model *m = NULL;
    bk_error err;
    if (bk_model_load(path, &o, &m, &err)) stop(err.text);
    return m;
}

static void print_ids(const bk_tokenizer *t, bk_str text, bool special) {
    bk_ids ids = {0};
    bk_error err;
    if (bk_tokenizer_encode(t, text, special, &ids, &err)) stop(err.text);
    for (size_t k = 0; k < ids.len; k++) printf("%s%d", k ? " " : "", (int)ids.data[k]);
    putchar('\n');
    bk_ids_free(&ids);
}

static void print_text(const bk_tokenizer *t, bk_str text) {
    bk_ids ids = {0};
    bk_buf out = {0};
    bk_error err;
    if (bk_tokenizer_encode(t, text, false, &ids, &err)) stop(err.text);
    if (bk_tokenizer_decode(t, ids.data, ids.len, &out, &err)) stop(err.text);
    for (size_t k = 0; k < out.len; k++) printf("%02x", (unsigned char)out.data[k]);
    putchar('\n');
    bk_ids_free(&ids);
    bk_buf_free(&out);
}

static void print_pieces(const bk_pretok_rules *rules, bk_cut *cut, bk_str text) {
    bk_buf normal = {0};
    bk_str piece;
    if (rules->nfc) {
        if (!bk_normal_append(BK_NFC, text, &normal)) stop("no memory");
        text = bk_buf_view(&normal);
    }
    bk_cut_begin(cut, rules, text);
    for (size_t n = 0; bk_cut_next(cut, &piece); n++) printf("%s%zu", n ? " " : "", piece.len);
    putchar('\n');
    bk_buf_free(&normal);
}

int main(int argc, char **argv) {
    if (argc < 4) stop("usage: tok_dump MODEL PRE TEXTS [ids|special|pieces|text]");
    const char *mode = argc > 4 ? argv[4] : "ids";
    bk_pretok_rules rules = {0};
    bk_cut cut = {0};
    bk_model *m = NULL;
    bk_error err;
    if (strcmp(mode, "pieces") == 0) {
        if (!bk_pretok_find(bk_str_from(argv[2]), &rules)) stop("unknown pre-tokenizer");
        if (bk_pretok_compile(&rules, &err)) stop(err.text);
    } else {
        m = load(argv[1], argv[2]);
    }
    reader file = open_file(argv[3]), r = file;
    size_t n;
    bk_str *texts = read_strings(&r, &n);
    for (size_t i = 0; i < n; i++) {
        if (!m) {
            print_pieces(&rules, &cut, texts[i]);
        } else if (strcmp(mode, "text") == 0) {
            print_text(bk_model_tokenizer(m), texts[i]);
        } else {
            print_ids(bk_model_tokenizer(m), texts[i], strcmp(mode, "special") == 0);
        }
    }
    bk_free(texts);
    bk_free((void *)file.data);
    bk_cut_free(&cut);
    bk_pretok_free(&rules);
    bk_model_unref(&m);
    return 0;
}
