/* What sequences remember: pages, sharing, windows, limits, and positions as data from outside. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/rng.h"
#include "cache/kv.h"
#include "device/device.h"
#include "fail_alloc.h"

enum { PAGE = BK_PAGE_TOKENS, MOST = 1024, WINDOW = 100 };

static bk_device *device;
static bk_error err;

static int open_device(void **state) {
    (void)state;
    return bk_device_cpu_create(BK_CPU_REF, 1, &device, NULL);
}

static int close_device(void **state) {
    (void)state;
    bk_device_destroy(&device);
    return 0;
}

/* ---- Pools and sequences with known contents ------------------------------------------------------ */

static const bk_kv_shape plain = {
    .n_groups = 1, .group = {{.n_layers = 2}}, .n_kv_heads = 1, .head_size = 2, .max_tokens = MOST};
static const bk_kv_shape windowed = {.n_groups = 2,
                                     .group = {{.n_layers = 1}, {.n_layers = 2, .window = WINDOW}},
                                     .n_kv_heads = 2,
                                     .head_size = 1,
                                     .max_tokens = MOST};

/* A recurrent layer's position needs the one before. */
static const bk_kv_shape recurrent = {
    .n_groups = 1, .group = {{.n_layers = 3, .window = 2}}, .state = 32, .max_tokens = MOST};

static bk_kv_pool *pool_of(bk_kv_shape shape, size_t limit) {
    bk_kv_pool *p = NULL;
    assert_int_equal(bk_kv_pool_create(device, &shape, limit, &p, &err), BK_OK);
    return p;
}

static bk_kv *create(bk_kv_pool *pool) {
    bk_kv *kv = NULL;
    assert_int_equal(bk_kv_create(pool, &kv, &err), BK_OK);
    assert_int_equal(bk_kv_len(kv), 0);
    assert_int_equal(bk_kv_bytes(kv), 0);
    return kv;
}

static size_t page_bytes(const bk_kv_shape *s, int group) {
    size_t layer = s->state ? PAGE * s->state * sizeof(float)
                            : bk_page_layer_bytes(s->kv_type, s->n_kv_heads, s->head_size);
    return (size_t)s->group[group].n_layers * layer;
}

/* A page has two bytes per position and more, whatever the shape here: the mark of a position is
 * kept there, per group. */
static void set_mark(bk_kv *kv, int group, size_t pos, uint16_t mark) {
    void *page = bk_kv_table(kv, group, NULL)[pos / PAGE];
    device->ops->page_write(device, page, pos % PAGE * 2, &mark, 2);
}

static uint16_t get_mark(const bk_kv *kv, int group, size_t pos) {
    uint16_t mark;
    void *page = bk_kv_table(kv, group, NULL)[pos / PAGE];
    device->ops->page_read(device, page, pos % PAGE * 2, &mark, 2);
    return mark;
}

/* A sequence and what must be in it. */
typedef struct model {
    bk_kv *kv;
    uint16_t marks[MOST];
    size_t len;
} model;

static const bk_kv_shape *shape = &plain;

static bk_status append(model *m, size_t n, uint16_t first_mark) {
    bk_status status = bk_kv_reserve(m->kv, n, &err);
    if (status != BK_OK) return status;
    for (size_t i = 0; i < n; i++) {
        m->marks[m->len + i] = (uint16_t)(first_mark + i);
        for (int g = 0; g < shape->n_groups; g++)
            set_mark(m->kv, g, m->len + i, (uint16_t)(first_mark + i + (size_t)g));
    }
    bk_kv_commit(m->kv, n);
    m->len += n;
    return BK_OK;
}

/* Oldest position that the next one of a group sees. */
static size_t oldest_needed(int group, size_t len) {
    size_t window = (size_t)shape->group[group].window;
    return window && len + 1 > window ? len + 1 - window : 0;
}

/* Oldest that is still there: a cut by BK_KV_BACK is always possible. */
static size_t oldest_kept(int group, size_t len) {
    return oldest_needed(group, len - bk_min_size(len, BK_KV_BACK));
}

static bool holds(const model *m) {
    if (bk_kv_len(m->kv) != m->len) return false;
    for (int g = 0; g < shape->n_groups; g++) {
        size_t n;
        bk_kv_table(m->kv, g, &n);
        if (n < bk_div_up(m->len, PAGE)) return false;
        for (size_t pos = oldest_needed(g, m->len); pos < m->len; pos++) {
            if (!bk_kv_table(m->kv, g, NULL)[pos / PAGE]) return false;
            if (get_mark(m->kv, g, pos) != (uint16_t)(m->marks[pos] + g)) return false;
        }
    }
    return true;
}

static void forked(const model *from, model *to) {
    *to = *from;
    assert_int_equal(bk_kv_fork(from->kv, &to->kv, &err), BK_OK);
}

/* ---- Appending ----------------------------------------------------------------------------------- */

static void wrong_shapes_are_refused(void **state) {
    (void)state;
    bk_kv_shape wrong[5] = {plain, plain, plain, plain, plain};
    wrong[0].n_groups = 0;
    wrong[1].n_groups = 3;
    wrong[2].n_kv_heads = 0;
    wrong[3].head_size = 0;
    wrong[4].max_tokens = 0;
    for (size_t i = 0; i < BK_ARRAY_LEN(wrong); i++) {
        bk_kv_pool *p = (bk_kv_pool *)&wrong;
        assert_int_equal(bk_kv_pool_create(device, &wrong[i], 0, &p, &err), BK_ERR_INVALID);
        assert_null(p);
    }
}

static void pages_appear_as_positions_do(void **state) {
    (void)state;
    shape = &plain;
    bk_kv_pool *pool = pool_of(plain, 0);
    model m = {.kv = create(pool)};
    const size_t steps[] = {1, 62, 1, 1, 63, 200, 64, 1};
    for (size_t i = 0; i < BK_ARRAY_LEN(steps); i++) {
        assert_int_equal(append(&m, steps[i], (uint16_t)(1000 * i)), BK_OK);
        size_t n;
        bk_kv_table(m.kv, 0, &n);
        assert_int_equal(n, bk_div_up(m.len, PAGE));
        assert_int_equal(bk_kv_bytes(m.kv), n * page_bytes(&plain, 0));
        assert_int_equal(bk_kv_pool_bytes(pool), n * page_bytes(&plain, 0));
        assert_true(holds(&m));
    }
    assert_int_equal(bk_kv_reserve(m.kv, 0, &err), BK_OK);
    bk_kv_destroy(&m.kv);
    assert_null(m.kv);
    bk_kv_destroy(&m.kv);
    assert_int_equal(bk_kv_pool_bytes(pool), 0);
    bk_kv_pool_unref(&pool);
    assert_null(pool);
}

static void fresh_pages_are_zero(void **state) {
    (void)state;
    bk_kv_pool *pool = pool_of(plain, 0);
    bk_kv *kv = create(pool);
    assert_int_equal(bk_kv_reserve(kv, 70, &err), BK_OK);
    for (size_t i = 0; i < page_bytes(&plain, 0); i++)
        assert_int_equal(((uint8_t *)bk_kv_table(kv, 0, NULL)[1])[i], 0);
    bk_kv_destroy(&kv);
    bk_kv_pool_unref(&pool);
}

static void the_context_is_a_limit(void **state) {
    (void)state;
    shape = &plain;
    bk_kv_pool *pool = pool_of(plain, 0);
    model m = {.kv = create(pool)};
    assert_int_equal(append(&m, 1000, 7), BK_OK);
    const size_t more[] = {25, 1 << 20, SIZE_MAX, SIZE_MAX - 999};
    size_t bytes = bk_kv_bytes(m.kv);
    for (size_t i = 0; i < BK_ARRAY_LEN(more); i++) {
        assert_int_equal(bk_kv_reserve(m.kv, more[i], &err), BK_ERR_LIMIT);
        assert_non_null(strstr(err.text, "1000"));
        assert_non_null(strstr(err.text, "1024"));
        assert_true(holds(&m));
        assert_int_equal(bk_kv_bytes(m.kv), bytes);
    }
    assert_int_equal(append(&m, 24, 3), BK_OK);
    assert_true(holds(&m));
    assert_int_equal(bk_kv_reserve(m.kv, 1, NULL), BK_ERR_LIMIT);
    bk_kv_destroy(&m.kv);
    bk_kv_pool_unref(&pool);
}

/* The pool's limit holds over all sequences; a refused one is as it was and goes on when there is
 * room again. */
static void the_pool_is_a_limit(void **state) {
    (void)state;
    shape = &windowed;
    size_t both = page_bytes(shape, 0) + page_bytes(shape, 1);
    bk_kv_pool *pool = pool_of(windowed, 3 * both + page_bytes(shape, 0));
    model a = {.kv = create(pool)}, b = {.kv = create(pool)};
    assert_int_equal(append(&a, 100, 1), BK_OK);
    assert_int_equal(append(&b, 10, 500), BK_OK);
    size_t held = bk_kv_pool_bytes(pool);
    assert_int_equal(held, 3 * both);
    /* One page of the first group fits, that of the second does not: neither is kept. */
    assert_int_equal(bk_kv_reserve(b.kv, 60, &err), BK_ERR_LIMIT);
    assert_int_equal(err.code, BK_ERR_LIMIT);
    assert_int_equal(bk_kv_pool_bytes(pool), held);
    assert_int_equal(bk_kv_bytes(b.kv), both);
    assert_int_equal(bk_kv_reserve(b.kv, 600, &err), BK_ERR_LIMIT);
    assert_int_equal(bk_kv_pool_bytes(pool), held);
    assert_true(holds(&a));
    assert_true(holds(&b));
    bk_kv_destroy(&a.kv);
    assert_int_equal(append(&b, 60, 900), BK_OK);
    assert_true(holds(&b));
    bk_kv_destroy(&b.kv);
    assert_int_equal(bk_kv_pool_bytes(pool), 0);
    bk_kv_pool_unref(&pool);
}

/* ---- Cutting ------------------------------------------------------------------------------------- */

static void truncating(void **state) {
    (void)state;
    shape = &plain;
    bk_kv_pool *pool = pool_of(plain, 0);
    model m = {.kv = create(pool)};
    assert_int_equal(append(&m, 300, 10), BK_OK);
    const size_t to[] = {300, 299, 257, 256, 255, 129, 128, 64, 63, 1, 0, 0};
    for (size_t i = 0; i < BK_ARRAY_LEN(to); i++) {
        assert_int_equal(bk_kv_truncate(m.kv, to[i], &err), BK_OK);
        m.len = to[i];
        assert_true(holds(&m));
        assert_int_equal(bk_kv_pool_bytes(pool), bk_div_up(to[i], PAGE) * page_bytes(shape, 0));
        assert_int_equal(bk_kv_truncate(m.kv, to[i] + 1, &err), BK_ERR_INVALID);
        assert_true(holds(&m));
        assert_int_equal(append(&m, 3, (uint16_t)(400 * i)), BK_OK);
        assert_true(holds(&m));
        assert_int_equal(bk_kv_truncate(m.kv, to[i], &err), BK_OK);
        m.len = to[i];
    }
    bk_kv_destroy(&m.kv);
    bk_kv_pool_unref(&pool);
}

/* ---- Sharing ------------------------------------------------------------------------------------- */

static void forks_share_until_written(void **state) {
    (void)state;
    shape = &plain;
    size_t page = page_bytes(shape, 0);
    bk_kv_pool *pool = pool_of(plain, 0);
    model a = {.kv = create(pool)}, b, c;
    assert_int_equal(append(&a, 100, 1), BK_OK);
    forked(&a, &b);
    forked(&b, &c);
    assert_int_equal(bk_kv_pool_bytes(pool), 2 * page);
    assert_int_equal(bk_kv_bytes(b.kv), 2 * page);
    assert_true(holds(&b));

    assert_int_equal(append(&b, 1, 5000), BK_OK); /* copies the second page */
    assert_int_equal(bk_kv_pool_bytes(pool), 3 * page);
    assert_ptr_equal(bk_kv_table(a.kv, 0, NULL)[0], bk_kv_table(b.kv, 0, NULL)[0]);
    assert_ptr_not_equal(bk_kv_table(a.kv, 0, NULL)[1], bk_kv_table(b.kv, 0, NULL)[1]);
    assert_int_equal(append(&a, 40, 6000), BK_OK); /* copies too: c still shares it */
    assert_int_equal(bk_kv_pool_bytes(pool), 5 * page);
    assert_int_equal(append(&c, 2, 7000), BK_OK); /* alone with it now */
    assert_int_equal(bk_kv_pool_bytes(pool), 5 * page);
    assert_true(holds(&a) && holds(&b) && holds(&c));

    bk_kv_destroy(&a.kv);
    assert_true(holds(&b) && holds(&c));
    bk_kv_destroy(&c.kv);
    assert_int_equal(bk_kv_pool_bytes(pool), 2 * page);
    bk_kv_destroy(&b.kv);
    assert_int_equal(bk_kv_pool_bytes(pool), 0);
    bk_kv_pool_unref(&pool);
}

static void a_fork_at_a_page_boundary_copies_nothing(void **state) {
    (void)state;
    shape = &plain;
    bk_kv_pool *pool = pool_of(plain, 0);
    model a = {.kv = create(pool)}, b;
    assert_int_equal(append(&a, 2 * PAGE, 1), BK_OK);
    forked(&a, &b);
    assert_int_equal(append(&b, 1, 900), BK_OK);
    assert_int_equal(bk_kv_pool_bytes(pool), 3 * page_bytes(shape, 0));
    /* Cut into a shared page, then written. */
    assert_int_equal(bk_kv_truncate(b.kv, 70, &err), BK_OK);
    b.len = 70;
    assert_int_equal(append(&b, 10, 800), BK_OK);
    assert_true(holds(&a) && holds(&b));
    bk_kv_destroy(&a.kv);
    bk_kv_destroy(&b.kv);
    assert_int_equal(bk_kv_pool_bytes(pool), 0);
    bk_kv_pool_unref(&pool);
}

/* Pages that were reserved and never counted in are nobody's yet: a fork must not share them. */
static void a_fork_leaves_reserved_pages(void **state) {
    (void)state;
    shape = &plain;
    bk_kv_pool *pool = pool_of(plain, 0);
    model a = {.kv = create(pool)}, b;
    assert_int_equal(append(&a, 10, 1), BK_OK);
    assert_int_equal(bk_kv_reserve(a.kv, 200, &err), BK_OK);
    forked(&a, &b);
    assert_int_equal(append(&a, 200, 3000), BK_OK);
    assert_int_equal(append(&b, 200, 6000), BK_OK);
    assert_true(holds(&a) && holds(&b));
    bk_kv_destroy(&a.kv);
    bk_kv_destroy(&b.kv);
    assert_int_equal(bk_kv_pool_bytes(pool), 0);
    bk_kv_pool_unref(&pool);
}

/* ---- Windows ------------------------------------------------------------------------------------- */

static void windows_give_pages_back(void **state) {
    (void)state;
    shape = &windowed;
    bk_kv_pool *pool = pool_of(windowed, 0);
    model m = {.kv = create(pool)};
    for (size_t i = 0; i < 500; i++) {
        assert_int_equal(append(&m, 1, (uint16_t)(i * 3)), BK_OK);
        assert_true(holds(&m));
        size_t full = bk_div_up(m.len, PAGE), left = oldest_kept(1, m.len) / PAGE;
        assert_int_equal(bk_kv_pool_bytes(pool),
                         full * page_bytes(shape, 0) + (full - left) * page_bytes(shape, 1));
        assert_int_equal(bk_kv_bytes(m.kv), bk_kv_pool_bytes(pool));
        for (size_t p = 0; p < left; p++) assert_null(bk_kv_table(m.kv, 1, NULL)[p]);
    }
    bk_kv_destroy(&m.kv);
    assert_int_equal(bk_kv_pool_bytes(pool), 0);
    bk_kv_pool_unref(&pool);
}

static void a_window_limits_truncation(void **state) {
    (void)state;
    shape = &windowed;
    bk_kv_pool *pool = pool_of(windowed, 0);
    model m = {.kv = create(pool)};
    assert_int_equal(append(&m, 300, 1), BK_OK);
    /* Dropped: pages below 300 - BK_KV_BACK + 1 - 100 = 185, that is two. Length n needs from n - 99 on. */
    for (size_t n = 299; n > 0; n--) {
        bool possible = n >= 2 * PAGE + WINDOW - 1;
        model cut;
        forked(&m, &cut);
        assert_int_equal(bk_kv_keeps(cut.kv, n), possible);
        assert_int_equal(bk_kv_truncate(cut.kv, n, &err), possible ? BK_OK : BK_ERR_LIMIT);
        if (possible) cut.len = n;
        assert_true(holds(&cut));
        bk_kv_destroy(&cut.kv);
    }
    assert_int_equal(bk_kv_truncate(m.kv, 0, &err), BK_OK);
    m.len = 0;
    assert_int_equal(append(&m, 130, 9000), BK_OK);
    assert_true(holds(&m));
    bk_kv_destroy(&m.kv);
    assert_int_equal(bk_kv_pool_bytes(pool), 0);
    bk_kv_pool_unref(&pool);
}

/* Wherever a sequence stands, whatever its window, and however often. */
static void wrong_guesses_can_always_be_cut(void **state) {
    (void)state;
    const bk_kv_shape *shapes[] = {&windowed, &recurrent};
    for (size_t s = 0; s < BK_ARRAY_LEN(shapes); s++) {
        shape = shapes[s];
        bk_kv_pool *pool = pool_of(*shape, 0);
        model m = {.kv = create(pool)};
        while (m.len + BK_KV_BACK + 1 < MOST) {
            assert_int_equal(append(&m, BK_KV_BACK + 1, (uint16_t)(m.len * 5)), BK_OK);
            assert_int_equal(bk_kv_truncate(m.kv, m.len -= BK_KV_BACK, &err), BK_OK);
            assert_true(holds(&m));
        }
        bk_kv_destroy(&m.kv);
        assert_int_equal(bk_kv_pool_bytes(pool), 0);
        bk_kv_pool_unref(&pool);
    }
}

/* ---- Export and import ----------------------------------------------------------------------------- */

static bk_buf exported(const model *m, size_t begin, size_t end) {
    bk_buf out = {0};
    assert_int_equal(bk_kv_export(m->kv, begin, end, &out, &err), BK_OK);
    return out;
}

static void imports(model *to, const bk_buf *data, const model *from) {
    assert_int_equal(bk_kv_import(to->kv, data->data, data->len, &err), BK_OK);
    memcpy(to->marks, from->marks, sizeof to->marks);
    to->len = bk_kv_len(to->kv);
    assert_true(holds(to));
}

static void positions_travel(void **state) {
    (void)state;
    const bk_kv_shape *shapes[] = {&plain, &windowed, &recurrent};
    const size_t lengths[] = {0, 1, 63, 64, 65, 128, 200, 400, 1024};
    for (size_t s = 0; s < BK_ARRAY_LEN(shapes); s++) {
        shape = shapes[s];
        bk_kv_pool *pool = pool_of(*shape, 0);
        for (size_t i = 0; i < BK_ARRAY_LEN(lengths); i++) {
            model a = {.kv = create(pool)}, b = {.kv = create(pool)};
            assert_int_equal(append(&a, lengths[i], 17), BK_OK);
            bk_buf data = exported(&a, 0, a.len);
            imports(&b, &data, &a);
            assert_int_equal(b.len, a.len);
            assert_int_equal(bk_kv_bytes(b.kv), bk_kv_bytes(a.kv));
            if (a.len + 70 <= MOST) assert_int_equal(append(&b, 70, 999), BK_OK);
            assert_true(holds(&b));
            assert_true(holds(&a));
            bk_buf_free(&data);
            bk_kv_destroy(&a.kv);
            bk_kv_destroy(&b.kv);
        }
        assert_int_equal(bk_kv_pool_bytes(pool), 0);
        bk_kv_pool_unref(&pool);
    }
}

/* Piece by piece, each exported when its positions were the newest: what a prefix cache does. */
static void positions_travel_in_pieces(void **state) {
    (void)state;
    shape = &windowed;
    bk_kv_pool *pool = pool_of(windowed, 0);
    model a = {.kv = create(pool)}, b = {.kv = create(pool)};
    const size_t steps[] = {64, 128, 64, 256, 64, 37};
    for (size_t i = 0; i < BK_ARRAY_LEN(steps); i++) {
        size_t begin = a.len;
        assert_int_equal(append(&a, steps[i], (uint16_t)(i * 777)), BK_OK);
        bk_buf data = exported(&a, begin, a.len);
        imports(&b, &data, &a);
        assert_int_equal(bk_kv_bytes(b.kv), bk_kv_bytes(a.kv));
        bk_buf_free(&data);
    }
    bk_kv_destroy(&b.kv);

    /* An early piece from when it was new, then a late one with pages that have left by then. */
    model c = {.kv = create(pool)}, d = {.kv = create(pool)};
    assert_int_equal(append(&c, 64, 1), BK_OK);
    bk_buf early = exported(&c, 0, 64);
    assert_int_equal(append(&c, 400, 4000), BK_OK);
    bk_buf late = exported(&c, 64, c.len);
    imports(&d, &early, &c);
    imports(&d, &late, &c);
    assert_int_equal(bk_kv_bytes(d.kv), bk_kv_bytes(c.kv));
    bk_buf_free(&early);
    bk_buf_free(&late);
    bk_kv_destroy(&a.kv);
    bk_kv_destroy(&c.kv);
    bk_kv_destroy(&d.kv);
    assert_int_equal(bk_kv_pool_bytes(pool), 0);
    bk_kv_pool_unref(&pool);
}

static void impossible_exports_are_refused(void **state) {
    (void)state;
    shape = &windowed;
    bk_kv_pool *pool = pool_of(windowed, 0);
    model a = {.kv = create(pool)};
    assert_int_equal(append(&a, 300, 1), BK_OK);
    const size_t ranges[][2] = {{64, 0}, {0, 301}, {1, 100}, {320, 320}, {0, SIZE_MAX}};
    bk_buf out = {0};
    for (size_t i = 0; i < BK_ARRAY_LEN(ranges); i++)
        assert_int_equal(bk_kv_export(a.kv, ranges[i][0], ranges[i][1], &out, &err),
                         BK_ERR_INVALID);
    /* Positions that a sequence of that length needs have left the window. */
    assert_int_equal(bk_kv_export(a.kv, 0, 128, &out, &err), BK_ERR_LIMIT);
    assert_int_equal(out.len, 0);
    out.limit = 100;
    assert_int_equal(bk_kv_export(a.kv, 0, 300, &out, &err), BK_ERR_NOMEM);
    bk_buf_free(&out);
    bk_kv_destroy(&a.kv);
    bk_kv_pool_unref(&pool);
}

/* Data that a sequence of 64 positions is given; it must stay as it was. */
static void refused(model *m, const void *data, size_t len) {
    size_t bytes = bk_kv_bytes(m->kv);
    /* A copy of exactly this length, so that the address sanitizer sees a read past it. */
    char *copy = malloc(len ? len : 1);
    if (len) memcpy(copy, data, len);
    err = (bk_error){0};
    bk_status status = bk_kv_import(m->kv, copy, len, &err);
    free(copy);
    assert_true(status == BK_ERR_FORMAT || status == BK_ERR_LIMIT);
    assert_int_equal(err.code, status);
    assert_true(holds(m));
    assert_int_equal(bk_kv_bytes(m->kv), bytes);
}

static void damaged_positions_are_refused(void **state) {
    (void)state;
    const bk_kv_shape *shapes[] = {&plain, &windowed, &recurrent};
    for (size_t s = 0; s < BK_ARRAY_LEN(shapes); s++) {
        shape = shapes[s];
        bk_kv_pool *pool = pool_of(*shape, 0);
        model a = {.kv = create(pool)}, b;
        assert_int_equal(append(&a, 64, 1), BK_OK);
        forked(&a, &b);
        assert_int_equal(append(&b, 300, 500), BK_OK);
        bk_buf good = exported(&b, 64, b.len);
        for (size_t len = 0; len < good.len; len += len < 200 ? 1 : 13) refused(&a, good.data, len);
        refused(&a, good.data, good.len - 1);
        bk_buf_putc(&good, 'x');
        refused(&a, good.data, good.len);
        good.len--;
        /* The header and the mark of the first page. */
        const uint8_t flips[] = {0x01, 0x10, 0x80, 0xff};
        for (size_t at = 0; at < 57; at++) {
            for (size_t f = 0; f < sizeof flips; f++) {
                /* Another end in the same page is as good as this one. */
                if (at == 40 && flips[f] < PAGE) continue;
                good.data[at] = (char)((uint8_t)good.data[at] ^ flips[f]);
                refused(&a, good.data, good.len);
                good.data[at] = (char)((uint8_t)good.data[at] ^ flips[f]);
            }
        }
        /* After all of it the good data still fits. */
        imports(&a, &good, &b);
        bk_buf_free(&good);
        bk_kv_destroy(&a.kv);
        bk_kv_destroy(&b.kv);
        assert_int_equal(bk_kv_pool_bytes(pool), 0);
        bk_kv_pool_unref(&pool);
    }
}

/* A page that the window still sees is said to have left it: writing there would crash. */
static void a_needed_page_may_not_be_missing(void **state) {
    (void)state;
    shape = &windowed;
    bk_kv_pool *pool = pool_of(windowed, 0);
    model a = {.kv = create(pool)}, b = {.kv = create(pool)};
    assert_int_equal(append(&a, 130, 1), BK_OK);
    bk_buf good = exported(&a, 0, 130);
    const size_t header = 56, full = 3 * (1 + page_bytes(shape, 0)), one = 1 + page_bytes(shape, 1);
    assert_int_equal(good.len, header + full + 3 * one);
    for (size_t page = 0; page < 3; page++) {
        /* Cut the page out and set its mark to absent; in either group. */
        for (int g = 0; g < 2; g++) {
            size_t at = header + (g ? full + page * one : page * (1 + page_bytes(shape, 0)));
            size_t gone = page_bytes(shape, g), after = at + 1 + gone;
            bk_buf bad = {0};
            bk_buf_append(&bad, good.data, at);
            bk_buf_putc(&bad, 0);
            bk_buf_append(&bad, good.data + after, good.len - after);
            refused(&b, bad.data, bad.len);
            bk_buf_free(&bad);
        }
    }
    imports(&b, &good, &a);
    bk_buf_free(&good);
    bk_kv_destroy(&a.kv);
    bk_kv_destroy(&b.kv);
    bk_kv_pool_unref(&pool);
}

static void positions_of_another_model_are_refused(void **state) {
    (void)state;
    shape = &plain;
    bk_kv_pool *pool = pool_of(plain, 0);
    model a = {.kv = create(pool)};
    assert_int_equal(append(&a, 64, 1), BK_OK);
    bk_buf data = exported(&a, 0, 64);
    bk_kv_shape other[6] = {plain, plain, plain, plain, windowed, plain};
    other[0].head_size = 32;
    other[1].n_kv_heads = 2;
    other[2].group[0].n_layers = 1;
    other[3].state = 32;
    other[5].kv_type = BK_KV_Q8_0;
    for (size_t i = 0; i < BK_ARRAY_LEN(other); i++) {
        shape = &other[i];
        bk_kv_pool *p = pool_of(other[i], 0);
        model m = {.kv = create(p)};
        refused(&m, data.data, data.len);
        bk_kv_destroy(&m.kv);
        bk_kv_pool_unref(&p);
    }
    /* No room: more than the context of the one that imports, or than its pool's limit. */
    shape = &plain;
    bk_kv_shape small = plain;
    small.max_tokens = 63;
    for (int i = 0; i < 2; i++) {
        bk_kv_pool *p = i ? pool_of(plain, 10) : pool_of(small, 0);
        model m = {.kv = create(p)};
        refused(&m, data.data, data.len);
        bk_kv_destroy(&m.kv);
        bk_kv_pool_unref(&p);
    }
    bk_buf_free(&data);
    bk_kv_destroy(&a.kv);
    bk_kv_pool_unref(&pool);
}

/* ---- Everything at random --------------------------------------------------------------------------- */

enum { SEQUENCES = 6 };

static void random_append(model *m, bk_rng *rng) {
    size_t n = 1 + bk_rng_u32(rng) % (bk_rng_u32(rng) % 4 ? 20 : 200);
    bk_status status = append(m, n, (uint16_t)bk_rng_u32(rng));
    assert_true(status == BK_OK || status == BK_ERR_LIMIT);
}

static void random_fork(model *all, size_t i, bk_rng *rng) {
    size_t to = bk_rng_u32(rng) % SEQUENCES;
    if (to == i) return;
    bk_kv_destroy(&all[to].kv);
    forked(&all[i], &all[to]);
}

static void random_truncate(model *m, bk_rng *rng) {
    size_t n = m->len - bk_rng_u32(rng) % bk_min_size(m->len + 1, 150);
    bk_status status = bk_kv_truncate(m->kv, n, &err);
    assert_true(status == BK_OK || status == BK_ERR_LIMIT);
    if (status == BK_OK) m->len = n;
}

static void random_transfer(bk_kv_pool *pool, const model *from, model *to) {
    bk_buf data = exported(from, 0, from->len);
    bk_kv_destroy(&to->kv);
    *to = (model){.kv = create(pool)};
    bk_status status = bk_kv_import(to->kv, data.data, data.len, &err);
    assert_true(status == BK_OK || status == BK_ERR_LIMIT);
    if (status == BK_OK) {
        memcpy(to->marks, from->marks, sizeof to->marks);
        to->len = from->len;
    }
    bk_buf_free(&data);
}

static void random_operations(void **state) {
    (void)state;
    for (int round = 0; round < 2; round++) {
        shape = round ? &windowed : &plain;
        bk_kv_pool *pool = pool_of(*shape, 60 * page_bytes(shape, 0));
        static model all[SEQUENCES];
        bk_rng rng;
        bk_rng_seed(&rng, 42, (uint64_t)round);
        for (size_t i = 0; i < SEQUENCES; i++) all[i] = (model){.kv = create(pool)};
        for (int step = 0; step < 3000; step++) {
            size_t i = bk_rng_u32(&rng) % SEQUENCES, op = bk_rng_u32(&rng) % 16;
            if (op < 9)
                random_append(&all[i], &rng);
            else if (op < 11)
                random_fork(all, i, &rng);
            else if (op < 14)
                random_truncate(&all[i], &rng);
            else if (op < 15)
                random_transfer(pool, &all[i], &all[(i + 1) % SEQUENCES]);
            else if (bk_kv_truncate(all[i].kv, 0, &err) == BK_OK)
                all[i].len = 0;
            for (size_t k = 0; k < SEQUENCES; k++) assert_true(holds(&all[k]));
        }
        for (size_t i = 0; i < SEQUENCES; i++) bk_kv_destroy(&all[i].kv);
        assert_int_equal(bk_kv_pool_bytes(pool), 0);
        bk_kv_pool_unref(&pool);
    }
}

/* ---- Memory running out ------------------------------------------------------------------------------ */

/* Appends, forks, writes to the fork, exports and imports; true when nothing failed. What failed must
 * have failed for want of memory and have changed nothing. */
static bool scenario_steps(bk_kv_pool *pool, model *m, bool *wrong) {
    bk_buf data = {0};
    bool ok = append(&m[0], 70, 1) == BK_OK && append(&m[0], 130, 100) == BK_OK;
    if (ok) {
        m[1] = m[0];
        m[1].kv = NULL;
        ok = bk_kv_fork(m[0].kv, &m[1].kv, &err) == BK_OK && append(&m[1], 100, 9) == BK_OK &&
             append(&m[0], 1, 5) == BK_OK;
    }
    ok = ok && bk_kv_export(m[1].kv, 0, m[1].len, &data, &err) == BK_OK &&
         bk_kv_create(pool, &m[2].kv, &err) == BK_OK;
    if (ok && bk_kv_import(m[2].kv, data.data, data.len, &err) == BK_OK) {
        memcpy(m[2].marks, m[1].marks, sizeof m[2].marks);
        m[2].len = m[1].len;
    } else {
        ok = false;
    }
    bk_buf_free(&data);
    for (int i = 0; i < 3; i++)
        if (m[i].kv && !holds(&m[i])) *wrong = true;
    return ok;
}

static int scenario(void) {
    static model m[3];
    bk_kv_pool *pool = NULL;
    bool wrong = false, ok = false;
    shape = &windowed;
    device = NULL;
    if (bk_device_cpu_create(BK_CPU_REF, 1, &device, &err) == BK_OK &&
        bk_kv_pool_create(device, shape, 0, &pool, &err) == BK_OK &&
        bk_kv_create(pool, &m[0].kv, &err) == BK_OK)
        ok = scenario_steps(pool, m, &wrong);
    if (!ok && err.code != BK_ERR_NOMEM) wrong = true;
    for (int i = 0; i < 3; i++) bk_kv_destroy(&m[i].kv);
    if (pool && bk_kv_pool_bytes(pool) != 0) wrong = true;
    bk_kv_pool_unref(&pool);
    bk_device_destroy(&device);
    return wrong ? SWEEP_WRONG : ok ? SWEEP_ALL_OK : SWEEP_FAILED_WELL;
}

#ifdef BRISK_TESTING
static void memory_may_run_out_anywhere(void **state) {
    (void)state;
    assert_true(sweep_all("kv", 1) > 20);
}
#else
static void the_scenario_of_failures_succeeds_without(void **state) {
    (void)state;
    assert_int_equal(sweep_once("kv", 0), SWEEP_ALL_OK);
}
#endif

int main(int argc, char **argv) {
    if (argc == 3 && strcmp(argv[1], "sweep") == 0) return sweep_status(scenario());
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(wrong_shapes_are_refused),
        cmocka_unit_test(pages_appear_as_positions_do),
        cmocka_unit_test(fresh_pages_are_zero),
        cmocka_unit_test(the_context_is_a_limit),
        cmocka_unit_test(the_pool_is_a_limit),
        cmocka_unit_test(truncating),
        cmocka_unit_test(wrong_guesses_can_always_be_cut),
        cmocka_unit_test(forks_share_until_written),
        cmocka_unit_test(a_fork_at_a_page_boundary_copies_nothing),
        cmocka_unit_test(a_fork_leaves_reserved_pages),
        cmocka_unit_test(windows_give_pages_back),
        cmocka_unit_test(a_window_limits_truncation),
        cmocka_unit_test(positions_travel),
        cmocka_unit_test(positions_travel_in_pieces),
        cmocka_unit_test(impossible_exports_are_refused),
        cmocka_unit_test(damaged_positions_are_refused),
        cmocka_unit_test(a_needed_page_may_not_be_missing),
        cmocka_unit_test(positions_of_another_model_are_refused),
        cmocka_unit_test(random_operations),
#ifdef BRISK_TESTING
        cmocka_unit_test(memory_may_run_out_anywhere),
#else
        cmocka_unit_test(the_scenario_of_failures_succeeds_without),
#endif
    };
    return cmocka_run_group_tests(tests, open_device, close_device);
}
