/* Tables: what is read, what is refused and with which words; the split. */
#include "train/csv.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "train/examples.h"

static bk_csv parse(const char *text, const char *label) {
    bk_csv c = {.rows = 0};
    bk_error err;
    if (bk_csv_parse(bk_str_from(text), label, &c, &err)) fail_msg("%s: %s", text, err.text);
    return c;
}

static void test_plain(void **state) {
    (void)state;
    bk_csv c = parse("1,2.5,-3e1,b\n0, 4 ,5,a\n7,8,9,b\n", NULL);
    const float x[] = {1, 2.5f, -30, 0, 4, 5, 7, 8, 9};
    assert_int_equal(c.rows, 3);
    assert_int_equal(c.cols, 3);
    assert_memory_equal(c.x, x, sizeof x);
    assert_int_equal(c.n_classes, 2);
    assert_string_equal(c.classes[0], "a");
    assert_string_equal(c.classes[1], "b");
    assert_true(c.y[0] == 1 && c.y[1] == 0 && c.y[2] == 1);
    bk_csv_free(&c);
}

static void test_header_and_quotes(void **state) {
    (void)state;
    /* With a mark of UTF-8, lines of CR LF, a quoted comma, quote and line break, no end of line. */
    const char *text = "\xEF\xBB\xBFwidth,\"kind, of \"\"it\"\"\",height\r\n"
                       "1,\"x,\ny\",2\r\n\"3\",\xC3\xA9t\xC3\xA9,4";
    bk_csv c = parse(text, "kind, of \"it\"");
    assert_int_equal(c.rows, 2);
    assert_int_equal(c.cols, 2);
    assert_true(c.x[0] == 1 && c.x[1] == 2 && c.x[2] == 3 && c.x[3] == 4);
    assert_string_equal(c.classes[c.y[0]], "x,\ny");
    assert_string_equal(c.classes[c.y[1]], "\xC3\xA9t\xC3\xA9");
    bk_csv_free(&c);
}

static void test_order_of_classes(void **state) {
    (void)state;
    bk_csv c = parse("1,10\n1,9\n1,-1\n1,10\n", NULL);
    assert_int_equal(c.n_classes, 3);
    assert_string_equal(c.classes[0], "-1");
    assert_string_equal(c.classes[1], "9");
    assert_string_equal(c.classes[2], "10");
    assert_int_equal(c.y[3], 2);
    bk_csv_free(&c);
}

static void refused(const char *text, const char *label, const char *why) {
    bk_csv c = {.rows = 0};
    bk_error err;
    bk_status st = bk_csv_parse(bk_str_from(text), label, &c, &err);
    if (st != BK_ERR_FORMAT) fail_msg("%s: accepted", text);
    if (!strstr(err.text, why)) fail_msg("%s: '%s', wanted '%s'", text, err.text, why);
    assert_null(c.x);
}

static void test_refused(void **state) {
    (void)state;
    refused("", NULL, "empty");
    refused(" \n\r\n", NULL, "empty");
    refused("a,b,c\n", NULL, "no example");
    refused("1\n2\n", NULL, "one field found");
    refused("1,a\n2,a\n", NULL, "one class found, 'a'");
    refused("1,2,a\n1,b\n", NULL, "fields in line 2: 2, in line 1: 3");
    refused("1,2,a\n1,2,3,b\n", NULL, "fields in line 2: 4, in line 1: 3");
    refused("1,2,a\n1,x2,b\n", NULL, "line 2, column 2: 'x2' found, a number wanted");
    refused("1,2,a\n\n1,2,b\n", NULL, "fields in line 2: 1, in line 1: 3");
    refused("1,2,a\n1,,b\n", NULL, "line 2, column 2: '' found");
    refused("1,2,a\n1,2,\n", NULL, "line 2, column 3: '' found, a class");
    refused("1,nan,a\n", NULL, "'nan' found");
    refused("1,2,a\n1,inf,a\n", NULL, "'inf' found");
    refused("1,0x10,a\n", NULL, "'0x10' found");
    refused("1,1e99,a\n", NULL, "'1e99' found");
    refused("1,1.2.3,a\n", NULL, "'1.2.3' found");
    refused("1,\"2,a\n", NULL, "a closing quote wanted");
    refused("1,\"2\"x,a\n", NULL, "a comma after the closing quote");
    refused("1,2\"3,a\n", NULL, "without quotes");
    refused("x,y,z\n1,2,a\n1,2,b\n", "w", "no column is named 'w'");
}

static void test_zero_byte_and_long_field(void **state) {
    (void)state;
    bk_csv c;
    bk_error err;
    static char text[6000];
    assert_int_equal(bk_csv_parse((bk_str){"1,2\0,a\n", 7}, NULL, &c, &err), BK_ERR_FORMAT);
    assert_int_equal(bk_csv_parse((bk_str){"1,2,a\0b\n", 8}, NULL, &c, &err), BK_ERR_FORMAT);
    memset(text, '1', sizeof text - 1);
    assert_int_equal(bk_csv_parse(bk_str_from(text), NULL, &c, &err), BK_ERR_FORMAT);
    assert_non_null(strstr(err.text, "a shorter field"));
    bk_buf many = {0};
    for (int i = 0; i <= BK_CSV_CLASSES; i++) bk_buf_printf(&many, "1,%d\n", i);
    assert_int_equal(bk_csv_parse(bk_buf_view(&many), NULL, &c, &err), BK_ERR_FORMAT);
    assert_non_null(strstr(err.text, "more than 4096 classes"));
    bk_buf_free(&many);
}

/* ---- Split --------------------------------------------------------------------------------------- */

/* 40 examples of "a", 25 of "b", 1 of "c"; the number tells the line. */
static const char *table_file(char path[64]) {
    snprintf(path, 64, "/tmp/brisk-csv-XXXXXX");
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    FILE *f = fdopen(fd, "w");
    for (int i = 0; i < 66; i++) fprintf(f, "%d,7,%c\n", i, i < 40 ? 'a' : i < 65 ? 'b' : 'c');
    fclose(f);
    return path;
}

static void test_split(void **state) {
    (void)state;
    char path[64];
    bk_error err;
    bk_examples e, again, other;
    table_file(path);
    assert_int_equal(bk_examples_open(path, 0.2f, 5, &e, &err), BK_OK);
    assert_int_equal(bk_examples_open(path, 0.2f, 5, &again, &err), BK_OK);
    assert_int_equal(bk_examples_open(path, 0.2f, 6, &other, &err), BK_OK);
    assert_int_equal(e.n_valid, 13);
    assert_int_equal(e.n_train, 53);
    bool seen[66] = {false};
    int held[3] = {0};
    for (size_t i = 0; i < 66; i++) {
        assert_false(seen[e.order[i]]);
        seen[e.order[i]] = true;
        if (i >= e.n_train) held[e.table.y[e.order[i]]]++;
    }
    assert_true(held[0] == 8 && held[1] == 5 && held[2] == 0);
    assert_memory_equal(e.order, again.order, 66 * sizeof *e.order);
    assert_memory_not_equal(e.order, other.order, 66 * sizeof *e.order);
    assert_true(e.hash == other.hash);

    float mean[2], factor[2];
    bk_examples_measure(&e, mean, factor);
    assert_true(mean[1] == 7 && factor[1] == 0);
    bk_examples_scale(e.table.x, e.table.rows, 2, mean, factor);
    double sum = 0, squares = 0;
    for (size_t i = 0; i < e.n_train; i++) {
        double x = e.table.x[2 * e.order[i]];
        sum += x, squares += x * x;
    }
    assert_true(fabs(sum) < 1e-4 && fabs(squares / 53 - 1) < 1e-5);

    const bk_str names[] = {BK_STR("c"), BK_STR("b"), BK_STR("z"), BK_STR("a")};
    assert_int_equal(bk_examples_rename(&e, names, 4, &err), BK_OK);
    assert_true(e.table.y[0] == 3 && e.table.y[40] == 1 && e.table.y[65] == 0);
    assert_int_equal(bk_examples_rename(&again, names, 3, &err), BK_ERR_FORMAT);
    assert_non_null(strstr(err.text, "class 'a'"));
    bk_examples_free(&e);
    bk_examples_free(&again);
    bk_examples_free(&other);
    remove(path);
    assert_int_equal(bk_examples_open(path, 0.2f, 5, &e, &err), BK_ERR_NOT_FOUND);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plain),
        cmocka_unit_test(test_header_and_quotes),
        cmocka_unit_test(test_order_of_classes),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_zero_byte_and_long_field),
        cmocka_unit_test(test_split),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
