/* Models put together in memory: keys and tensors read back, from the model and from the file that it
 * is written to; what is made only when it is read; writing that fails; split models. */
#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/mem.h"
#include "format/gguf_build.h"

static char folder[] = "/tmp/brisk-build-XXXXXX";

static const char *in_folder(const char *name) {
    static char path[2][512];
    static int turn;
    turn = !turn;
    snprintf(path[turn], sizeof path[turn], "%s/%s", folder, name);
    return path[turn];
}

static int setup(void **state) {
    (void)state;
    return mkdtemp(folder) ? 0 : 1;
}

static size_t n_files(void) {
    size_t n = 0;
    DIR *d = opendir(folder);
    for (struct dirent *e; (e = readdir(d));) n += e->d_name[0] != '.';
    closedir(d);
    return n;
}

static int teardown(void **state) {
    (void)state;
    DIR *d = opendir(folder);
    for (struct dirent *e; (e = readdir(d));)
        if (e->d_name[0] != '.') unlink(in_folder(e->d_name));
    closedir(d);
    return rmdir(folder);
}

/* ---- A model -------------------------------------------------------------------------------- */

static const float norm[3] = {1, 2, 3};
static uint8_t blocks[2 * 18];

/* Counts up from what source points to. */
static bk_status count_up(const void *source, uint8_t *out, bk_error *err) {
    (void)err;
    for (int i = 0; i < 16; i++) out[i] = (uint8_t)(*(const uint8_t *)source + i);
    return BK_OK;
}

static bk_status refuse(const void *source, uint8_t *out, bk_error *err) {
    (void)source, (void)out;
    return bk_fail(err, BK_ERR_FORMAT, "tensor 'bad': refused");
}

static bk_gguf_builder *builder(void) {
    static const uint8_t first = 100;
    bk_str names[] = {BK_STR("a"), BK_STR(""), BK_STR("ccc")};
    bk_gguf_builder *b = bk_gguf_builder_create();
    assert_non_null(b);
    bk_gguf_builder_str(b, "general.name", BK_STR("old"));
    bk_gguf_builder_u32(b, "t.u32", 4000000000u);
    bk_gguf_builder_f32(b, "t.f32", 1.5f);
    bk_gguf_builder_bool(b, "t.bool", true);
    bk_gguf_builder_strs(b, "t.names", names, 3);
    bk_gguf_builder_strs(b, "t.none", NULL, 0);
    bk_gguf_builder_i32s(b, "t.ids", (int32_t[]){3, -4}, 2);
    bk_gguf_builder_f32s(b, "t.scores", (float[]){0.5f, -1}, 2);
    bk_gguf_builder_u8s(b, "t.bytes", (uint8_t[]){9, 8, 7}, 3);
    bk_gguf_builder_u32(b, "t.gone", 1);
    bk_gguf_builder_str(b, "general.name", BK_STR("new"));
    bk_gguf_builder_remove(b, "t.gone");
    bk_gguf_builder_remove(b, "t.was.never.there");
    for (size_t i = 0; i < sizeof blocks; i++) blocks[i] = (uint8_t)(7 * i);
    bk_gguf_builder_tensor(b, "norm", BK_TYPE_F32, 1, (uint64_t[]){3}, (const uint8_t *)norm);
    bk_gguf_builder_tensor(b, "blk.0.w", BK_TYPE_Q4_0, 2, (uint64_t[]){32, 2}, blocks);
    bk_gguf_builder_lazy(b, "made", BK_TYPE_F16, 3, (uint64_t[]){2, 2, 2}, count_up, &first);
    return b;
}

static bk_gguf *finish(bk_gguf_builder *b) {
    bk_gguf *g;
    bk_error e = {0};
    assert_int_equal(bk_gguf_builder_finish(&b, &g, &e), BK_OK);
    assert_null(b);
    return g;
}

static void check_tensor(const bk_gguf *g, const char *name, const void *bytes, size_t n,
                         int n_dims) {
    const bk_gguf_tensor *t = bk_gguf_find_tensor(g, name);
    const uint8_t *data;
    bk_error e;
    assert_non_null(t);
    assert_int_equal(t->n_dims, n_dims);
    assert_int_equal(t->bytes, n);
    assert_int_equal(bk_gguf_read(g, t, &data, &e), BK_OK);
    assert_memory_equal(data, bytes, n);
    bk_gguf_release(g, t, data);
}

static void check_model(const bk_gguf *g) {
    bk_error e;
    bk_str text, *names;
    int32_t *ids;
    float f, *scores;
    uint32_t u;
    bool flag;
    size_t n;
    uint8_t made[16];
    assert_int_equal(bk_gguf_n_kv(g), 9);
    assert_int_equal(bk_gguf_str(g, "general.name", &text, &e), BK_OK);
    assert_true(bk_str_eq(text, BK_STR("new")));
    assert_int_equal(bk_gguf_u32(g, "t.u32", 0, UINT32_MAX, &u, &e), BK_OK);
    assert_int_equal(u, 4000000000u);
    assert_int_equal(bk_gguf_f32(g, "t.f32", 0, 2, &f, &e), BK_OK);
    assert_true(f == 1.5f);
    assert_int_equal(bk_gguf_bool(g, "t.bool", &flag, &e), BK_OK);
    assert_true(flag);
    assert_int_equal(bk_gguf_str_array(g, "t.names", &names, &n, &e), BK_OK);
    assert_true(n == 3 && names[1].len == 0 && bk_str_eq(names[2], BK_STR("ccc")));
    bk_free(names);
    assert_int_equal(bk_gguf_i32_array(g, "t.ids", &ids, &n, &e), BK_OK);
    assert_true(n == 2 && ids[0] == 3 && ids[1] == -4);
    bk_free(ids);
    assert_int_equal(bk_gguf_f32_array(g, "t.scores", &scores, &n, &e), BK_OK);
    assert_true(n == 2 && scores[0] == 0.5f && scores[1] == -1);
    bk_free(scores);
    const bk_gguf_kv *kv = bk_gguf_find(g, "t.bytes");
    assert_true(kv && kv->elem_type == BK_GGUF_U8 && kv->n == 3 && kv->data[2] == 7);
    assert_int_equal(bk_gguf_find(g, "t.none")->n, 0);
    assert_null(bk_gguf_find(g, "t.gone"));
    assert_int_equal(bk_gguf_n_tensors(g), 3);
    for (int i = 0; i < 16; i++) made[i] = (uint8_t)(100 + i);
    check_tensor(g, "norm", norm, sizeof norm, 1);
    check_tensor(g, "blk.0.w", blocks, sizeof blocks, 2);
    check_tensor(g, "made", made, sizeof made, 3);
}

static void built_and_written(void **state) {
    (void)state;
    bk_error e = {0};
    bk_gguf *g = finish(builder()), *back;
    check_model(g);
    assert_int_equal(bk_gguf_file_bytes(g), 0);
    assert_int_equal(bk_gguf_write(g, in_folder("a.gguf"), NULL, &e), BK_OK);
    bk_gguf_destroy(&g);
    assert_int_equal(bk_gguf_open(in_folder("a.gguf"), &back, &e), BK_OK);
    check_model(back);
    assert_int_equal((uintptr_t)bk_gguf_tensor_at(back, 1)->data % 32, 0);
    assert_int_equal(bk_gguf_file_bytes(back) % 32, 0);
    bk_gguf_destroy(&back);
    assert_int_equal(n_files(), 1);
}

/* Keys of another model first, then changes: what a quantiser does. */
static void made_from_another(void **state) {
    (void)state;
    bk_error e = {0};
    bk_gguf *old = finish(builder());
    bk_gguf_builder *b = bk_gguf_builder_create();
    bk_gguf_builder_keys_of(b, old);
    bk_gguf_builder_u32(b, "t.u32", 5);
    for (size_t i = 0; i < bk_gguf_n_tensors(old); i++) {
        const bk_gguf_tensor *t = bk_gguf_tensor_at(old, i);
        char name[64];
        snprintf(name, sizeof name, "%.*s", (int)t->name.len, t->name.data);
        if (t->data)
            bk_gguf_builder_tensor(b, name, t->type->type, t->n_dims, t->ne, t->data);
        else
            bk_gguf_builder_lazy(b, name, t->type->type, t->n_dims, t->ne, t->fill, t->source);
    }
    bk_gguf *g = finish(b);
    uint32_t u = 0;
    assert_int_equal(bk_gguf_u32(g, "t.u32", 0, 10, &u, &e), BK_OK);
    assert_int_equal(u, 5);
    assert_int_equal(bk_gguf_n_kv(g), 9);
    bk_gguf_builder *again = bk_gguf_builder_create();
    bk_gguf_builder_keys_of(again, g);
    bk_gguf_builder_u32(again, "t.u32", 4000000000u);
    bk_gguf_destroy(&old);
    bk_gguf_builder_destroy(&again);
    bk_gguf_destroy(&g);
}

static void wrong_tensors(void **state) {
    (void)state;
    static const struct {
        uint32_t type;
        int n_dims;
        uint64_t ne[4];
        bk_status status;
        const char *text;
    } bad[] = {
        {BK_TYPE_F32, 0, {1}, BK_ERR_INVALID, "'x'"},
        {BK_TYPE_F32, 5, {1}, BK_ERR_INVALID, "'x'"},
        {BK_TYPE_F32, 2, {4, 0}, BK_ERR_INVALID, "'x'"},
        {BK_TYPE_Q4_0, 1, {33}, BK_ERR_INVALID, "Q4_0"},
        {BK_TYPE_F32, 2, {UINT64_MAX, UINT64_MAX}, BK_ERR_INVALID, "'x'"},
        {BK_TYPE_F32, 2, {1ull << 62, 2}, BK_ERR_INVALID, "'x'"},
        {99, 1, {32}, BK_ERR_UNSUPPORTED, "99"},
        {BK_TYPE_F32, 1, {3}, BK_ERR_FORMAT, "twice"},
    };
    for (size_t i = 0; i < BK_ARRAY_LEN(bad); i++) {
        bk_gguf_builder *b = bk_gguf_builder_create();
        bk_gguf *g;
        bk_error e = {0};
        bool twice = bad[i].status == BK_ERR_FORMAT;
        for (int k = 0; k <= twice; k++)
            bk_gguf_builder_tensor(b, "x", (bk_type)bad[i].type, bad[i].n_dims, bad[i].ne,
                                   (const uint8_t *)norm);
        bk_gguf_builder_u32(b, "later", 1); /* does nothing, harms nothing */
        assert_int_equal(bk_gguf_builder_finish(&b, &g, &e), bad[i].status);
        assert_null(b);
        assert_null(g);
        assert_non_null(strstr(e.text, bad[i].text));
    }
    bk_gguf_builder *none = NULL;
    bk_gguf *g;
    bk_gguf_builder_u32(none, "x", 1);
    bk_gguf_builder_tensor(none, "x", BK_TYPE_F32, 1, (uint64_t[]){3}, (const uint8_t *)norm);
    assert_int_equal(bk_gguf_builder_finish(&none, &g, NULL), BK_ERR_NOMEM);
}

/* ---- Writing that fails --------------------------------------------------------------------- */

static void write_text(const char *path, const char *text) {
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static void check_text(const char *path, const char *text) {
    char found[16] = "";
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    assert_non_null(fgets(found, sizeof found, f));
    fclose(f);
    assert_string_equal(found, text);
}

static void old_file_stays(void **state) {
    (void)state;
    bk_error e = {0};
    bk_gguf_builder *b = builder();
    static const volatile bool cancel = true;
    bk_gguf_write_options o = {.cancel = &cancel};
    const char *path = in_folder("kept.gguf");
    size_t before;
    write_text(path, "old");
    before = n_files();
    bk_gguf_builder_lazy(b, "bad", BK_TYPE_F32, 1, (uint64_t[]){1}, refuse, NULL);
    bk_gguf *g = finish(b);
    assert_int_equal(bk_gguf_write(g, path, NULL, &e), BK_ERR_FORMAT);
    assert_non_null(strstr(e.text, "refused"));
    check_text(path, "old");
    assert_int_equal(bk_gguf_write(g, path, &o, &e), BK_ERR_CANCELLED);
    check_text(path, "old");
    assert_int_equal(n_files(), before);
    assert_int_equal(bk_gguf_write(g, in_folder("no/folder.gguf"), NULL, &e), BK_ERR_NOT_FOUND);
    assert_int_equal(bk_gguf_write(g, "/dev/full", NULL, &e), BK_ERR_INVALID);
    bk_gguf_destroy(&g);
}

/* ---- Split models --------------------------------------------------------------------------- */

typedef struct part {
    const char *file;
    uint32_t no, count, n_tensors;
    const char *tensor; /* NULL: none */
} part;

static void write_part(const part *p) {
    bk_error e = {0};
    bk_gguf_builder *b = bk_gguf_builder_create();
    bk_gguf_builder_u32(b, "split.no", p->no);
    bk_gguf_builder_u32(b, "split.count", p->count);
    bk_gguf_builder_u32(b, "split.tensors.count", p->n_tensors);
    bk_gguf_builder_u32(b, "of.part", p->no);
    if (p->tensor)
        bk_gguf_builder_tensor(b, p->tensor, BK_TYPE_F32, 1, (uint64_t[]){3},
                               (const uint8_t *)norm);
    bk_gguf *g = finish(b);
    assert_int_equal(bk_gguf_write(g, in_folder(p->file), NULL, &e), BK_OK);
    bk_gguf_destroy(&g);
}

static void split_whole(void **state) {
    (void)state;
    static const part parts[] = {{"m-00001-of-00003.gguf", 0, 3, 2, NULL},
                                 {"m-00002-of-00003.gguf", 1, 3, 2, "a"},
                                 {"m-00003-of-00003.gguf", 2, 3, 2, "b"}};
    bk_error e = {0};
    bk_gguf *g, *back;
    uint32_t u = 9;
    for (size_t i = 0; i < 3; i++) write_part(&parts[i]);
    assert_int_equal(bk_gguf_open(in_folder(parts[0].file), &g, &e), BK_OK);
    assert_int_equal(bk_gguf_n_tensors(g), 2);
    assert_int_equal(bk_gguf_n_kv(g), 1);
    assert_int_equal(bk_gguf_u32(g, "of.part", 0, 9, &u, &e), BK_OK);
    assert_int_equal(u, 0);
    check_tensor(g, "a", norm, sizeof norm, 1);
    check_tensor(g, "b", norm, sizeof norm, 1);
    assert_int_equal(bk_gguf_write(g, in_folder("whole.gguf"), NULL, &e), BK_OK);
    assert_int_equal(bk_gguf_open(in_folder("whole.gguf"), &back, &e), BK_OK);
    assert_int_equal(bk_gguf_n_tensors(back), 2);
    bk_gguf_destroy(&back);
    bk_gguf_destroy(&g);
    assert_int_equal(bk_gguf_open(in_folder(parts[1].file), &g, &e), BK_ERR_FORMAT);
    assert_non_null(strstr(e.text, "open the first one, m-00001-of-00003.gguf"));
}

static void split_wrong(void **state) {
    (void)state;
    static const struct {
        part first, second; /* second.file NULL: not there */
        bk_status status;
        const char *text;
    } bad[] = {
        {{"n-00001-of-00002.gguf", 0, 2, 2, "a"}, {0}, BK_ERR_NOT_FOUND, "n-00002-of-00002.gguf"},
        {{"n-00001-of-00002.gguf", 0, 2, 2, "a"},
         {"n-00002-of-00002.gguf", 1, 3, 2, "b"},
         BK_ERR_FORMAT,
         "'split.count': found 3, wanted 2"},
        {{"n-00001-of-00002.gguf", 0, 2, 2, "a"},
         {"n-00002-of-00002.gguf", 0, 2, 2, "b"},
         BK_ERR_FORMAT,
         "'split.no': found 0, wanted 1"},
        {{"n-00001-of-00002.gguf", 0, 2, 3, "a"},
         {"n-00002-of-00002.gguf", 1, 2, 3, "b"},
         BK_ERR_FORMAT,
         "'split.tensors.count': found 3"},
        {{"n-00001-of-00002.gguf", 0, 2, 2, "a"},
         {"n-00002-of-00002.gguf", 1, 2, 2, "a"},
         BK_ERR_FORMAT,
         "'a' stands twice"},
        {{"n-00001-of-00002.gguf", 0, 3, 2, "a"}, {0}, BK_ERR_FORMAT, "-00001-of-00003.gguf"},
        {{"renamed.gguf", 0, 2, 2, "a"}, {0}, BK_ERR_FORMAT, "give all parts their names back"},
        {{"n-00001-of-00002.gguf", 2, 2, 2, "a"}, {0}, BK_ERR_FORMAT, "'split.no': found 2"},
        {{"n-00001-of-00002.gguf", 0, 100000, 2, "a"}, {0}, BK_ERR_FORMAT, "'split.count'"},
    };
    for (size_t i = 0; i < BK_ARRAY_LEN(bad); i++) {
        bk_gguf *g;
        bk_error e = {0};
        unlink(in_folder("n-00002-of-00002.gguf"));
        write_part(&bad[i].first);
        if (bad[i].second.file) write_part(&bad[i].second);
        assert_int_equal(bk_gguf_open(in_folder(bad[i].first.file), &g, &e), bad[i].status);
        assert_null(g);
        if (!strstr(e.text, bad[i].text)) fail_msg("'%s' without '%s'", e.text, bad[i].text);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(built_and_written), cmocka_unit_test(made_from_another),
        cmocka_unit_test(wrong_tensors),     cmocka_unit_test(old_file_stays),
        cmocka_unit_test(split_whole),       cmocka_unit_test(split_wrong),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
