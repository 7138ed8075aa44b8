/* What sequences cost: pages shared, private and idle. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

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

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equal_pages_can_be_shared),
        cmocka_unit_test(idle_pages_are_counted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
