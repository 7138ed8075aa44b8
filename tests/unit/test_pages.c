/* Large memory from the system, slabs of it, and the CPU device's pages in such slabs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "base/rng.h"
#include "device/device.h"
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

/* More pages than one slab has, freed and had again in any order: each is zero at first, keeps what was
 * written to both ends, and lies on a cache line. */
static void many_pages_of_two_sizes(void **state) {
    (void)state;
    enum { PAGES = 300 };
    static const size_t sizes[] = {4, 20000};
    char *pages[PAGES] = {NULL};
    bk_device *device = NULL;
    assert_int_equal(bk_device_cpu_create(BK_CPU_REF, 1, &device, NULL), BK_OK);
    bk_rng rng;
    bk_rng_seed(&rng, 3, 3);
    for (int turn = 0; turn < 3000; turn++) {
        size_t i = bk_rng_u32(&rng) % PAGES, last = sizes[i % 2] - 1;
        char mark = (char)(i % 127 + 1);
        if (pages[i]) {
            assert_true(pages[i][0] == mark && pages[i][last] == mark);
            device->ops->page_free(device, pages[i]);
            pages[i] = NULL;
            continue;
        }
        pages[i] = device->ops->page_alloc(device, last + 1);
        assert_non_null(pages[i]);
        assert_int_equal((uintptr_t)pages[i] % BK_CACHE_LINE, 0);
        assert_true(all_zero(pages[i], last + 1));
        pages[i][0] = pages[i][last] = mark;
    }
    for (size_t i = 0; i < PAGES; i++)
        if (pages[i]) device->ops->page_free(device, pages[i]);
    bk_device_destroy(&device);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pages_are_aligned_and_zeroed),
        cmocka_unit_test(impossible_sizes_are_refused),
        cmocka_unit_test(slabs_hand_out_separate_memory),
        cmocka_unit_test(many_pages_of_two_sizes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
