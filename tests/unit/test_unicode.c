#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/rng.h"
#include "text/normalize.h"
#include "text/unicode.h"

static void test_classes(void **state) {
    (void)state;
    static const struct {
        uint32_t cp;
        bk_char_class class;
    } cases[] = {
        {'a', BK_CHAR_LETTER},       {'_', BK_CHAR_OTHER},      {'0', BK_CHAR_NUMBER},
        {' ', BK_CHAR_SPACE},        {'\v', BK_CHAR_SPACE},     {0x1C, BK_CHAR_OTHER},
        {0x85, BK_CHAR_SPACE},       {0xA0, BK_CHAR_SPACE},     {0xAA, BK_CHAR_LETTER},
        {0xB2, BK_CHAR_NUMBER},      {0x301, BK_CHAR_OTHER},    {0x378, BK_CHAR_OTHER},
        {0x660, BK_CHAR_NUMBER},     {0x180E, BK_CHAR_OTHER},   {0x200B, BK_CHAR_OTHER},
        {0x2028, BK_CHAR_SPACE},     {0x2160, BK_CHAR_NUMBER},  {0x3000, BK_CHAR_SPACE},
        {0x3007, BK_CHAR_NUMBER},    {0x4E00, BK_CHAR_LETTER},  {0xAC01, BK_CHAR_LETTER},
        {0xD800, BK_CHAR_OTHER},     {0xE000, BK_CHAR_OTHER},   {0x1D7D8, BK_CHAR_NUMBER},
        {0x1F600, BK_CHAR_OTHER},    {0x20000, BK_CHAR_LETTER}, {0x323AF, BK_CHAR_LETTER},
        {0x323B0, BK_CHAR_OTHER},    {0x10FFFF, BK_CHAR_OTHER}, {0x110000, BK_CHAR_OTHER},
        {UINT32_MAX, BK_CHAR_OTHER},
    };
    for (size_t i = 0; i < BK_ARRAY_LEN(cases); i++)
        assert_int_equal(bk_unicode_class(cases[i].cp), cases[i].class);
}

/* Totals of UnicodeData.txt 15.0, ranges counted out, and of White_Space in PropList.txt. */
static void test_totals(void **state) {
    (void)state;
    size_t count[4] = {0};
    for (uint32_t cp = 0; cp <= 0x10FFFF; cp++) count[bk_unicode_class(cp)]++;
    assert_int_equal(count[BK_CHAR_LETTER], 136104);
    assert_int_equal(count[BK_CHAR_NUMBER], 1831);
    assert_int_equal(count[BK_CHAR_SPACE], 25);
}

static void check_nfc(const char *in, const char *want) {
    bk_buf out = {0};
    assert_true(bk_normal_append(BK_NFC, bk_str_from(in), &out));
    assert_string_equal(bk_buf_view(&out).data, want);
    if (strcmp(in, want) != 0) assert_true(bk_normal_needed(BK_NFC, bk_str_from(in)));
    bk_buf_free(&out);
}

static void test_nfc_examples(void **state) {
    (void)state;
    check_nfc("", "");
    check_nfc("plain text, né 中文", "plain text, né 中文");
    check_nfc("e\u0301", "é");
    check_nfc("xe\u0301y", "xéy");
    check_nfc("A\u030A\u212B\u2126", "ÅÅΩ");
    check_nfc("\u0301e", "\u0301e");
    check_nfc("q\u0307\u0323", "q\u0323\u0307"); /* reordered, nothing to join */
    check_nfc("\u1E0B\u0323", "\u1E0D\u0307");   /* taken apart, joined otherwise */
    check_nfc("a\u0315\u0300\u05AE\u0300b", "\u00E0\u05AE\u0300\u0315b");
    check_nfc("\u1100\u1161\u11A8", "\uAC01");
    check_nfc("\uAC00\u11A8", "\uAC01");
    check_nfc("\uAC01\u11A8", "\uAC01\u11A8");
    check_nfc("\u0958", "\u0915\u093C"); /* excluded from composition */
    check_nfc("\u0344", "\u0308\u0301");
    check_nfc("\U0001D15E", "\U0001D157\U0001D165");
    check_nfc("\u1F82", "\u1F82");
    check_nfc("\u03B1\u0313\u0300\u0345", "\u1F82");
    check_nfc("\u09C7\u09BE", "\u09CB"); /* two starters that join */
}

static void test_nfc_invalid_bytes(void **state) {
    (void)state;
    check_nfc("e\xFF\u0301", "e\xFF\u0301");
    check_nfc("\xCC", "\xCC");
    check_nfc("e\u0301\xCC", "é\xCC");
    check_nfc("\xED\xA0\x80\u0301", "\xED\xA0\x80\u0301");
}

/* Every decomposition comes back unless it is excluded; nothing else composes. */
static void test_compose_inverts(void **state) {
    (void)state;
    size_t n = 0;
    for (size_t i = 0; i < bk_unicode_n_pairs; i++) {
        const bk_unicode_decomp *d = &bk_unicode_decomps[bk_unicode_pairs[i]];
        assert_int_equal(bk_unicode_compose(d->a, d->b), d->cp);
        assert_int_equal(bk_unicode_combining(d->cp), 0);
        n++;
    }
    assert_true(n > 900);
    for (uint32_t s = 0xAC00; s <= 0xD7A3; s++) {
        uint32_t parts[BK_UNICODE_MAX_DECOMP];
        size_t k = bk_unicode_decompose(s, parts);
        uint32_t lv = bk_unicode_compose(parts[0], parts[1]);
        assert_int_equal(k == 3 ? bk_unicode_compose(lv, parts[2]) : lv, s);
    }
    assert_int_equal(bk_unicode_compose('a', 'b'), 0);
    assert_int_equal(bk_unicode_compose(0xAC00, 0x11A7), 0);
}

/* Normalising twice changes nothing, and what needs no care is not touched. */
static void test_nfc_is_idempotent(void **state) {
    (void)state;
    static const uint32_t marks[] = {0x300,  0x301,  0x323,  0x327,   0x345, 0x5AE,  0x93C,
                                     0x1161, 0x11A8, 0x3099, 0x1D165, 0xDCF, 0x102E, 0x9BE};
    bk_rng rng;
    bk_rng_seed(&rng, 11, 3);
    bk_buf text = {0}, once = {0}, twice = {0};
    for (int round = 0; round < 4000; round++) {
        bk_buf_clear(&text), bk_buf_clear(&once), bk_buf_clear(&twice);
        for (int i = 0; i < 12; i++) {
            uint32_t r = bk_rng_u32(&rng), cp = marks[r / 8 % BK_ARRAY_LEN(marks)];
            if (r % 8 == 0) cp = 0x41 + r / 8 % 0x3000;
            if (r % 8 == 1) cp = bk_unicode_decomps[r / 8 % bk_unicode_n_decomps].cp;
            char utf8[4];
            bk_buf_append(&text, utf8, bk_utf8_encode(cp, utf8));
        }
        assert_true(bk_normal_append(BK_NFC, bk_buf_view(&text), &once));
        assert_true(bk_normal_append(BK_NFC, bk_buf_view(&once), &twice));
        assert_true(bk_str_eq(bk_buf_view(&once), bk_buf_view(&twice)));
        if (!bk_normal_needed(BK_NFC, bk_buf_view(&text)))
            assert_true(bk_str_eq(bk_buf_view(&text), bk_buf_view(&once)));
    }
    bk_buf_free(&text), bk_buf_free(&once), bk_buf_free(&twice);
}

/* A million marks in the worst order are sorted, not shuffled one by one. */
static void test_nfc_long_run(void **state) {
    (void)state;
    size_t n = 500000;
    bk_buf in = {0}, out = {0};
    bk_buf_putc(&in, 'q');
    for (size_t i = 0; i < n; i++) bk_buf_append_str(&in, "\u0301\u0323");
    assert_true(bk_normal_append(BK_NFC, bk_buf_view(&in), &out));
    assert_int_equal(out.len, in.len);
    assert_memory_equal(out.data, "q\u0323\u0323", 5);
    assert_memory_equal(out.data + out.len - 4, "\u0301\u0301", 4);
    assert_memory_equal(out.data + 2 * n - 1, "\u0323\u0301", 4);
    bk_buf_free(&in);
    bk_buf_free(&out);
}

static void check_prepared(bk_normal_form form, bool casefold, const char *in, const char *want) {
    bk_prepared p;
    assert_true(bk_text_prepare((bk_text_rules){form, casefold}, bk_str_from(in), &p));
    assert_int_equal(p.text.len, strlen(want));
    assert_memory_equal(p.text.data, want, p.text.len);
    bk_prepared_free(&p);
}

/* All of Unicode is compared with Python's in tests/tokenizer/compare_vocab.py. */
static void test_other_forms(void **state) {
    (void)state;
    check_prepared(BK_NFD, false, "é한\u212B", "e\u0301\u1112\u1161\u11ABA\u030A");
    check_prepared(BK_NFD, false, "ﬁ ½", "ﬁ ½");
    check_prepared(BK_NFKD, false, "ﬁ ½ ｱﾞé", "fi 1\u20442 ア\u3099e\u0301");
    check_prepared(BK_NFKC, false, "ﬁ ｶﾞe\u0301", "fi ガé");
    check_prepared(BK_NFKC, false, "\u1E9B\u0323", "\u1E69");
    check_prepared(BK_NFKC, false, "①\xFF\u00A0", "1\xFF ");
    check_prepared(BK_NFKD, false, "\uFDFA", "صلى الله عليه وسلم");
    check_prepared(BK_NORMAL_NONE, false, "e\u0301ﬁ", "e\u0301ﬁ");
    assert_false(bk_normal_needed(BK_NFKC, BK_STR("plain, né 中文")));
    assert_true(bk_normal_needed(BK_NFD, BK_STR("né")));
}

static void test_casefold(void **state) {
    (void)state;
    check_prepared(BK_NORMAL_NONE, true, "Straße İΣς ÀÉ", "strasse i\u0307σσ àé");
    check_prepared(BK_NORMAL_NONE, true, "ᎠꭰꚀ\U00010400", "ᎠᎠꚁ\U00010428");
    check_prepared(BK_NORMAL_NONE, true, "A\xFF\xC3Z", "a\xFF\xC3z");
    check_prepared(BK_NFC, true, "\u01F0 \u01C4", "\u01F0 \u01C6"); /* folds to two, joins again */
    check_prepared(BK_NFKC, true, "\u212A", "k");
    check_prepared(BK_NFKC, true, "", "");
}

static void test_names_of_forms(void **state) {
    (void)state;
    bk_normal_form form = BK_NORMAL_NONE;
    bk_error err = {0};
    for (bk_normal_form f = BK_NFC; f <= BK_NFKD; f++) {
        assert_int_equal(bk_normal_find(bk_str_from(bk_normal_name(f)), &form, &err), BK_OK);
        assert_int_equal(form, f);
    }
    assert_null(bk_normal_name(BK_NORMAL_NONE));
    assert_int_equal(bk_normal_find(BK_STR("NFC"), &form, &err), BK_ERR_NOT_FOUND);
    assert_non_null(strstr(err.text, "\"nfkd\""));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_classes),         cmocka_unit_test(test_totals),
        cmocka_unit_test(test_nfc_examples),    cmocka_unit_test(test_nfc_invalid_bytes),
        cmocka_unit_test(test_compose_inverts), cmocka_unit_test(test_nfc_is_idempotent),
        cmocka_unit_test(test_nfc_long_run),    cmocka_unit_test(test_other_forms),
        cmocka_unit_test(test_casefold),        cmocka_unit_test(test_names_of_forms),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
