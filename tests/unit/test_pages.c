/* Large memory from the system and slabs of it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "sys/pages.h"

#define MB ((size_t)1 << 20)

static bool all_zero(const void *p, size_t n) {
    const char *at = p;
    for (size_t i = 0; i < n; i++)
        if (at[i]) return false;
    return true;
}

static void pages_are_aligned_and_zeroed(void **state) {
    (void)state;
    const size_t sizes[] = {0, 1, 4095, 2 * MB - 1, 2 * MB, 2 * MB + 1, 5 * MB};
    for (size_t i = 0; i < BK_ARRAY_LEN(sizes); i++) {
        char *p = bk_pages_alloc(sizes[i]);
        assert_non_null(p);
        assert_int_equal((uintptr_t)p % (2 * MB), 0);
        assert_true(all_zero(p, sizes[i]));
        memset(p, 0x5a, sizes[i]);
        bk_pages_free(p, sizes[i]);
    }
    bk_pages_free(NULL, 123);
}

static void impossible_sizes_are_refused(void **state) {
    (void)state;
    const size_t sizes[] = {SIZE_MAX, SIZE_MAX - 2 * MB, SIZE_MAX / 2, SIZE_MAX / 4};
    bk_slabs slabs = {0};
    for (size_t i = 0; i < BK_ARRAY_LEN(sizes); i++) {
        assert_null(bk_pages_alloc(sizes[i]));
        assert_null(bk_slabs_alloc(&slabs, sizes[i]));
        assert_null(slabs.last);
    }
    /* A refusal leaves what there was. */
    char *p = bk_slabs_alloc(&slabs, 10);
    assert_non_null(p);
    assert_null(bk_slabs_alloc(&slabs, SIZE_MAX / 4));
    assert_ptr_equal((char *)bk_slabs_alloc(&slabs, 10), p + 64);
    bk_slabs_free(&slabs);
}

static void slabs_hand_out_separate_memory(void **state) {
    (void)state;
    enum { N = 300 };
    bk_slabs slabs = {0};
    char *at[N];
    size_t size[N];
    for (size_t i = 0; i < N; i++) {
        /* Every 100th is larger than a slab. */
        size[i] = i % 100 == 99 ? 70 * MB : i * 397 % 200000;
        at[i] = bk_slabs_alloc(&slabs, size[i]);
        assert_non_null(at[i]);
        assert_int_equal((uintptr_t)at[i] % 64, 0);
        size_t touched = bk_min_size(size[i], 4096);
        assert_true(all_zero(at[i], touched));
        memset(at[i], (int)(i % 251), touched);
    }
    for (size_t i = 0; i < N; i++) {
        for (size_t k = 0; k < bk_min_size(size[i], 4096); k++)
            assert_int_equal((unsigned char)at[i][k], i % 251);
        for (size_t j = 0; j < i; j++)
            assert_true(at[i] + size[i] <= at[j] || at[j] + size[j] <= at[i]);
    }
    bk_slabs_free(&slabs);
    assert_null(slabs.last);
    bk_slabs_free(&slabs);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pages_are_aligned_and_zeroed),
        cmocka_unit_test(impossible_sizes_are_refused),
        cmocka_unit_test(slabs_hand_out_separate_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
