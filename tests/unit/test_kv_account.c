/* What sequences cost: pages shared, private, idle and still to come; the pool's limit. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/rng.h"
#include "cache/kv.h"
#include "device/device.h"

enum { PAGE = BK_PAGE_TOKENS, MOST = 1024, WINDOW = 100 };

static const bk_kv_shape shapes[2] = {{.n_groups = 1,
                                       .group = {{.n_layers = 2}},
                                       .n_kv_heads = 1,
                                       .head_size = 2,
                                       .max_tokens = MOST},
                                      {.n_groups = 2,
                                       .group = {{.n_layers = 1},
                                                 {.n_layers = 2, .window = WINDOW}},
                                       .n_kv_heads = 2,
                                       .head_size = 1,
                                       .max_tokens = MOST}};
static const bk_kv_shape *shape;

static bk_device *device;
static bk_kv_pool *pool;
static bk_error err;

static void use(const bk_kv_shape *s) {
    shape = s;
    assert_int_equal(bk_device_cpu_create(BK_CPU_REF, 1, &device, &err), BK_OK);
    assert_int_equal(bk_kv_pool_create(device, shape, 0, &pool, &err), BK_OK);
}

static void end_use(void) {
    assert_int_equal(bk_kv_pool_bytes(pool), 0);
    assert_int_equal(bk_kv_pool_idle_bytes(pool), 0);
    bk_kv_pool_unref(&pool);
    bk_device_destroy(&device);
}

static size_t page_bytes(int group) {
    return (size_t)shape->group[group].n_layers *
           bk_page_layer_bytes(shape->kv_type, shape->n_kv_heads, shape->head_size);
}

/* Appends n positions that hold mark, mark + 1, ... */
static void append(bk_kv *kv, size_t n, uint16_t mark) {
    assert_int_equal(bk_kv_reserve(kv, n, &err), BK_OK);
    for (size_t i = 0; i < n; i++, mark++)
        for (int g = 0; g < shape->n_groups; g++) {
            size_t pos = bk_kv_len(kv) + i;
            void *page = bk_kv_table(kv, g, NULL)[pos / PAGE];
            device->ops->page_write(device, page, pos % PAGE * 2, &mark, 2);
        }
    bk_kv_commit(kv, n);
}

/* Whether positions [begin, begin + n) hold mark, mark + 1, ..., as far as the window keeps them. */
static bool holds(const bk_kv *kv, size_t begin, size_t n, uint16_t mark) {
    for (size_t pos = begin; pos < begin + n; pos++, mark++)
        for (int g = 0; g < shape->n_groups; g++) {
            uint16_t found;
            void *page = bk_kv_table(kv, g, NULL)[pos / PAGE];
            if (shape->group[g].window && pos + WINDOW < bk_kv_len(kv) + 1) continue;
            if (!page) return false;
            device->ops->page_read(device, page, pos % PAGE * 2, &found, 2);
            if (found != mark) return false;
        }
    return true;
}

static bk_kv *sequence(size_t n, uint16_t mark) {
    bk_kv *kv = NULL;
    assert_int_equal(bk_kv_create(pool, &kv, &err), BK_OK);
    append(kv, n, mark);
    return kv;
}

static bk_kv *fork_of(const bk_kv *kv) {
    bk_kv *fork = NULL;
    assert_int_equal(bk_kv_fork(kv, &fork, &err), BK_OK);
    return fork;
}

/* Two that computed the same apart hold it once; what each writes afterwards is its own. */
static void equal_pages_can_be_shared(void **state) {
    (void)state;
    for (int w = 0; w < 2; w++) {
        use(&shapes[w]);
        bk_kv *a = sequence(200, 1), *b = sequence(150, 1);
        append(b, 150, 700);
        size_t held = bk_kv_pool_bytes(pool), own = bk_kv_private_bytes(b);
        assert_int_equal(own, bk_kv_bytes(b));
        bk_kv_share(b, a, 150); /* two whole pages; b's window has left them */
        assert_int_equal(held - bk_kv_pool_bytes(pool), 2 * page_bytes(0));
        assert_int_equal(own - bk_kv_private_bytes(b), 2 * page_bytes(0));
        bk_kv_share(b, a, 150);
        bk_kv_share(b, b, 300);
        assert_int_equal(held - bk_kv_pool_bytes(pool), 2 * page_bytes(0));
        assert_true(holds(b, 0, 150, 1) && holds(b, 150, 150, 700));
        assert_int_equal(bk_kv_truncate(a, w ? 164 : 100, &err), BK_OK);
        append(a, 30, 90); /* into a page that is shared where there is no window */
        assert_true(holds(a, 0, w ? 164 : 100, 1) && holds(a, w ? 164 : 100, 30, 90));
        assert_true(holds(b, 0, 150, 1) && holds(b, 150, 150, 700));
        bk_kv_destroy(&a);
        assert_true(holds(b, 0, 150, 1));
        bk_kv_destroy(&b);
        end_use();
    }
}

/* What the pool could have back if nothing were kept for later. */
static void idle_pages_are_counted(void **state) {
    (void)state;
    use(&shapes[0]);
    size_t page = page_bytes(0);
    bk_kv *a = sequence(200, 1), *b = fork_of(a);
    bk_kv_set_idle(b, true);
    assert_int_equal(bk_kv_pool_idle_bytes(pool), 0);
    append(a, 1, 9); /* its own last page */
    assert_int_equal(bk_kv_pool_idle_bytes(pool), page);
    bk_kv *c = fork_of(b);
    assert_int_equal(bk_kv_pool_idle_bytes(pool), 0); /* a fork is not idle */
    bk_kv_set_idle(c, true);
    bk_kv_set_idle(c, true);
    assert_int_equal(bk_kv_pool_idle_bytes(pool), page);
    bk_kv_destroy(&a);
    assert_int_equal(bk_kv_pool_idle_bytes(pool), 4 * page);
    assert_int_equal(bk_kv_truncate(b, 100, &err), BK_OK);
    assert_int_equal(bk_kv_pool_idle_bytes(pool), 4 * page);
    bk_kv_set_idle(b, false);
    assert_int_equal(bk_kv_pool_idle_bytes(pool), 2 * page);
    bk_kv_destroy(&c);
    assert_int_equal(bk_kv_pool_idle_bytes(pool), 0);
    bk_kv_set_idle(b, true);
    assert_int_equal(bk_kv_pool_idle_bytes(pool), 2 * page);
    assert_int_equal(bk_kv_reserve(b, 50, &err), BK_OK);
    assert_int_equal(bk_kv_pool_idle_bytes(pool), 3 * page);
    bk_kv_destroy(&b);
    end_use();
}

/* ---- Before it is taken ----------------------------------------------------------------------------- */

/* What a step will take is known before, to the byte, whatever has been forked and cut. */
static void the_cost_of_a_step_is_known(void **state) {
    (void)state;
    enum { SEQUENCES = 4 };
    for (int w = 0; w < 2; w++) {
        use(&shapes[w]);
        bk_kv *kv[SEQUENCES];
        bk_rng rng;
        bk_rng_seed(&rng, 5, 1);
        for (int i = 0; i < SEQUENCES; i++) kv[i] = sequence(0, 0);
        for (int i = 0; i < 5000; i++) {
            bk_kv **one = &kv[bk_rng_u32(&rng) % SEQUENCES], **other = &kv[bk_rng_u32(&rng) % 2];
            size_t n = bk_rng_u32(&rng) % 150, before = bk_kv_pool_bytes(pool);
            size_t wanted = bk_kv_reserve_bytes(*one, n);
            if (bk_kv_reserve(*one, n, &err) == BK_OK)
                assert_int_equal(bk_kv_pool_bytes(pool) - before, wanted);
            else
                assert_int_equal(wanted, 0); /* the context is full */
            if (bk_rng_u32(&rng) % 4 && err.code == BK_OK) bk_kv_commit(*one, n);
            size_t cut = bk_rng_u32(&rng) % (bk_kv_len(*one) + 1);
            if (err.code != BK_OK || (bk_rng_u32(&rng) % 4 == 0 && bk_kv_keeps(*one, cut)))
                assert_int_equal(bk_kv_truncate(*one, err.code ? 0 : cut, &err), BK_OK);
            err.code = BK_OK;
            if (*one == *other || bk_rng_u32(&rng) % 4) continue;
            bk_kv_destroy(one);
            *one = fork_of(*other);
        }
        for (int i = 0; i < SEQUENCES; i++) bk_kv_destroy(&kv[i]);
        end_use();
    }
}

/* What a request may come to hold: never less, and sometimes just as much. */
static void the_cost_of_a_request_is_known(void **state) {
    (void)state;
    for (int w = 0; w < 2; w++) {
        use(&shapes[w]);
        assert_int_equal(bk_kv_pool_bytes_for(pool, 0, 1), 0);
        const size_t chunks[] = {1, 7, 64, 100, 1000};
        for (size_t c = 0; c < 5; c++) {
            size_t most = 0, wanted = bk_kv_pool_bytes_for(pool, 1000, chunks[c]);
            for (size_t first = 1; first <= 64; first++) {
                bk_kv *kv = sequence(0, 0);
                size_t n = bk_min_size(first, chunks[c]);
                for (; n; n = bk_min_size(chunks[c], 1000 - bk_kv_len(kv))) {
                    assert_int_equal(bk_kv_reserve(kv, n, &err), BK_OK);
                    most = bk_max_size(most, bk_kv_bytes(kv));
                    bk_kv_commit(kv, n);
                    if (bk_kv_len(kv) == 64)
                        assert_true(bk_kv_bytes(kv) <= bk_kv_pool_bytes_for(pool, 64, chunks[c]));
                }
                bk_kv_destroy(&kv);
            }
            assert_true(most <= wanted);
            /* The first group at its end and the second at its worst may not meet. */
            assert_true(most + (w ? page_bytes(0) + page_bytes(1) : 0) >= wanted);
        }
        end_use();
    }
}

static void the_limit_can_be_moved(void **state) {
    (void)state;
    use(&shapes[0]);
    bk_kv *kv = sequence(200, 1);
    assert_int_equal(bk_kv_pool_limit(pool), 0);
    bk_kv_pool_set_limit(pool, 3 * page_bytes(0)); /* below what is held */
    assert_int_equal(bk_kv_pool_limit(pool), 3 * page_bytes(0));
    assert_int_equal(bk_kv_reserve(kv, 50, &err), BK_OK); /* has room in its page */
    assert_int_equal(bk_kv_reserve(kv, 60, &err), BK_ERR_LIMIT);
    assert_true(holds(kv, 0, 200, 1));
    bk_kv_pool_set_limit(pool, 5 * page_bytes(0));
    assert_int_equal(bk_kv_reserve(kv, 60, &err), BK_OK);
    assert_int_equal(bk_kv_reserve(kv, 150, &err), BK_ERR_LIMIT);
    bk_kv_pool_set_limit(pool, 0);
    assert_int_equal(bk_kv_reserve(kv, 150, &err), BK_OK);
    bk_kv_destroy(&kv);
    end_use();
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equal_pages_can_be_shared),
        cmocka_unit_test(idle_pages_are_counted),
        cmocka_unit_test(the_cost_of_a_step_is_known),
        cmocka_unit_test(the_cost_of_a_request_is_known),
        cmocka_unit_test(the_limit_can_be_moved),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
