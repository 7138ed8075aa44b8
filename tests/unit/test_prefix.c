/* The tree of known prompts: what it matches, shares, keeps and gives back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/rng.h"
#include "cache/prefix.h"
#include "device/device.h"
#include "fail_alloc.h"

enum { PAGE = BK_PAGE_TOKENS, MOST = 1024, WINDOW = 100, SALT = 7 };

static bk_device *device;
static bk_error err;

static const bk_kv_shape plain = {
    .n_groups = 1, .group = {{.n_layers = 2}}, .n_kv_heads = 1, .head_size = 2, .max_tokens = MOST};
static const bk_kv_shape windowed = {.n_groups = 2,
                                     .group = {{.n_layers = 1}, {.n_layers = 2, .window = WINDOW}},
                                     .n_kv_heads = 2,
                                     .head_size = 1,
                                     .max_tokens = MOST};
static const bk_kv_shape recurrent = {
    .n_groups = 1, .group = {{.n_layers = 2, .window = 2}}, .state = 32, .max_tokens = MOST};

static bk_kv_shape shape;
static bk_kv_pool *pool;
static bk_prefix *tree;

static void use(const bk_kv_shape *s) {
    shape = *s;
    assert_int_equal(bk_device_cpu_create(BK_CPU_REF, 1, &device, &err), BK_OK);
    assert_int_equal(bk_kv_pool_create(device, &shape, 0, &pool, &err), BK_OK);
    assert_int_equal(bk_prefix_create(pool, &tree, &err), BK_OK);
}

/* Whoever tests has given its sequences back. */
static void end_use(void) {
    assert_int_equal(bk_kv_pool_bytes(pool), bk_kv_pool_idle_bytes(pool));
    bk_prefix_destroy(&tree);
    assert_null(tree);
    assert_int_equal(bk_kv_pool_bytes(pool), 0);
    assert_int_equal(bk_kv_pool_idle_bytes(pool), 0);
    bk_kv_pool_unref(&pool);
    bk_device_destroy(&device);
}

static size_t page_bytes(int group) {
    return (size_t)shape.group[group].n_layers *
           bk_page_layer_bytes(shape.kv_type, shape.n_kv_heads, shape.head_size);
}

/* ---- Sequences whose contents follow from their tokens -------------------------------------------- */

/* As in a model, what stands at a position depends on all tokens up to it. */
static uint32_t mix(uint32_t h, int32_t token) { return (h ^ (uint32_t)token) * 16777619u + 12345; }

static void mark_at(bk_kv *kv, int group, size_t pos, uint16_t mark) {
    void *page = bk_kv_table(kv, group, NULL)[pos / PAGE];
    device->ops->page_write(device, page, pos % PAGE * 2, &mark, 2);
}

/* Computes tokens[bk_kv_len(kv), n). */
static bk_status compute(bk_kv *kv, const int32_t *tokens, size_t n) {
    size_t len = bk_kv_len(kv);
    bk_status status = bk_kv_reserve(kv, n - len, &err);
    if (status != BK_OK) return status;
    uint32_t h = 0;
    for (size_t i = 0; i < n; i++) {
        h = mix(h, tokens[i]);
        for (int g = 0; i >= len && g < shape.n_groups; g++)
            mark_at(kv, g, i, (uint16_t)((h >> 16) + (uint32_t)g));
    }
    bk_kv_commit(kv, n - len);
    return BK_OK;
}

/* Whether kv holds what computing tokens[0, n) gives, as far as position n can see it. */
static bool holds(const bk_kv *kv, const int32_t *tokens, size_t n) {
    if (bk_kv_len(kv) != n) return false;
    uint32_t h = 0;
    for (size_t i = 0; i < n; i++) {
        h = mix(h, tokens[i]);
        for (int g = 0; g < shape.n_groups; g++) {
            size_t window = (size_t)shape.group[g].window;
            if (window && i + window < n + 1) continue;
            void *page = bk_kv_table(kv, g, NULL)[i / PAGE];
            uint16_t mark;
            if (!page) return false;
            device->ops->page_read(device, page, i % PAGE * 2, &mark, 2);
            if (mark != (uint16_t)((h >> 16) + (uint32_t)g)) return false;
        }
    }
    return true;
}

static bk_kv *computed(const int32_t *tokens, size_t n) {
    bk_kv *kv = NULL;
    assert_int_equal(bk_kv_create(pool, &kv, &err), BK_OK);
    assert_int_equal(compute(kv, tokens, n), BK_OK);
    return kv;
}

/* first, first + 1, ... */
static void count_up(int32_t *tokens, size_t n, int32_t first) {
    for (size_t i = 0; i < n; i++) tokens[i] = first + (int32_t)i;
}

/* Computes, inserts and gives back. */
static void learn(uint64_t salt, const int32_t *tokens, size_t n) {
    bk_kv *kv = computed(tokens, n);
    assert_int_equal(bk_prefix_insert(tree, salt, tokens, n, kv, NULL, &err), BK_OK);
    assert_true(holds(kv, tokens, n));
    bk_kv_destroy(&kv);
}

/* Matches, checks, gives back; returns how many tokens matched. */
static size_t matched(uint64_t salt, const int32_t *tokens, size_t n) {
    bk_prefix_match m;
    size_t peeked = bk_prefix_peek(tree, salt, tokens, n);
    assert_int_equal(bk_prefix_find(tree, salt, tokens, n, &m, &err), BK_OK);
    assert_int_equal(m.matched, peeked);
    assert_true(m.agreed >= m.matched);
    assert_true(m.matched ? holds(m.kv, tokens, m.matched) && m.pin.node : !m.kv && !m.pin.node);
    bk_prefix_unpin(&m.pin);
    assert_null(m.pin.node);
    bk_kv_destroy(&m.kv);
    return m.matched;
}

/* ---- Finding and inserting ------------------------------------------------------------------------- */

static void an_empty_tree_matches_nothing(void **state) {
    (void)state;
    int32_t tokens[10] = {1, 2, 3};
    use(&plain);
    assert_int_equal(matched(SALT, tokens, 10), 0);
    assert_int_equal(matched(SALT, tokens, 0), 0);
    assert_int_equal(bk_prefix_evict(tree, 1000), 0);
    assert_int_equal(bk_prefix_stats_of(tree).nodes, 0);
    bk_kv *kv = computed(tokens, 4);
    assert_int_equal(bk_prefix_insert(tree, SALT, tokens, 5, kv, NULL, &err), BK_ERR_INVALID);
    assert_int_equal(bk_prefix_insert(tree, SALT, tokens, 0, kv, NULL, &err), BK_ERR_INVALID);
    assert_int_equal(bk_prefix_stats_of(tree).nodes, 0);
    bk_kv_destroy(&kv);
    end_use();
}

static void the_longest_prefix_is_found(void **state) {
    (void)state;
    int32_t a[400], b[400], q[400];
    use(&plain);
    count_up(a, 400, 1000);
    memcpy(b, a, sizeof b);
    count_up(b + 150, 250, 50); /* leaves in mid-span and mid-page */
    learn(SALT, a, 300);
    assert_int_equal(bk_prefix_stats_of(tree).nodes, 1);
    const size_t lengths[] = {1, 63, 64, 65, 299, 300};
    for (size_t i = 0; i < BK_ARRAY_LEN(lengths); i++)
        assert_int_equal(matched(SALT, a, lengths[i]), lengths[i]);
    assert_int_equal(matched(SALT, a, 400), 300);
    assert_int_equal(matched(SALT, b, 400), 150);
    assert_int_equal(bk_prefix_stats_of(tree).nodes, 1); /* finding does not split */
    learn(SALT, b, 350);
    assert_int_equal(bk_prefix_stats_of(tree).nodes, 3);
    assert_int_equal(bk_prefix_stats_of(tree).tokens, 150 + 150 + 200);
    assert_int_equal(matched(SALT, b, 400), 350);
    assert_int_equal(matched(SALT, a, 400), 300);
    memcpy(q, a, sizeof q);
    q[0] = -5;
    assert_int_equal(matched(SALT, q, 400), 0);
    memcpy(q, b, sizeof q);
    q[200] = -5;
    assert_int_equal(matched(SALT, q, 400), 200);
    bk_prefix_stats s = bk_prefix_stats_of(tree);
    assert_int_equal(s.asked, 1 + 63 + 64 + 65 + 299 + 300 + 6 * 400);
    assert_int_equal(s.matched, 1 + 63 + 64 + 65 + 299 + 300 + 300 + 150 + 350 + 300 + 200);
    end_use();
}

/* A prompt that is shorter than what is known, inserted: nothing new. */
static void known_prompts_add_nothing(void **state) {
    (void)state;
    int32_t a[300];
    use(&plain);
    count_up(a, 300, 0);
    learn(SALT, a, 300);
    size_t bytes = bk_kv_pool_bytes(pool);
    learn(SALT, a, 300);
    learn(SALT, a, 100);
    assert_int_equal(bk_prefix_stats_of(tree).nodes, 1);
    assert_int_equal(bk_kv_pool_bytes(pool), bytes);
    assert_int_equal(bk_prefix_stats_of(tree).bytes, bytes);
    end_use();
}

static void a_miss_tells_where_and_why(void **state) {
    (void)state;
    int32_t a[300], b[300], q[300];
    bk_prefix_match m;
    use(&plain);
    count_up(a, 300, 500);
    memcpy(b, a, sizeof b);
    b[200] = 9;
    learn(SALT, a, 250);
    memcpy(q, a, sizeof q);
    q[120] = 77;
    assert_int_equal(bk_prefix_find(tree, SALT, q, 300, &m, &err), BK_OK);
    assert_int_equal(m.agreed, 120);
    assert_int_equal(m.other, 620);
    bk_prefix_unpin(&m.pin);
    bk_kv_destroy(&m.kv);
    learn(SALT, b, 250);
    const struct {
        int32_t at_200;
        size_t n, agreed;
        int32_t other;
    } cases[] = {{77, 300, 200, -1}, {9, 201, 201, -1}, {700, 300, 250, -1}};
    for (size_t i = 0; i < BK_ARRAY_LEN(cases); i++) {
        memcpy(q, a, sizeof q);
        q[200] = cases[i].at_200;
        assert_int_equal(bk_prefix_find(tree, SALT, q, cases[i].n, &m, &err), BK_OK);
        assert_int_equal(m.agreed, cases[i].agreed);
        assert_int_equal(m.matched, cases[i].agreed);
        assert_int_equal(m.other, cases[i].other);
        bk_prefix_unpin(&m.pin);
        bk_kv_destroy(&m.kv);
    }
    /* Where a path ends, the one token that goes on is what the tree has. */
    bk_prefix_evict(tree, 1); /* b behind the fork */
    assert_int_equal(matched(SALT, b, 300), 200);
    assert_int_equal(bk_prefix_find(tree, SALT, b, 300, &m, &err), BK_OK);
    assert_int_equal(m.other, 700);
    bk_prefix_unpin(&m.pin);
    bk_kv_destroy(&m.kv);
    end_use();
}

static void salts_are_apart(void **state) {
    (void)state;
    int32_t a[100];
    use(&plain);
    count_up(a, 100, 0);
    for (uint64_t salt = 0; salt < 40; salt++) {
        assert_int_equal(matched(salt * 0x123456789ABCDEFu, a, 100), 0);
        learn(salt * 0x123456789ABCDEFu, a, 60 + salt);
    }
    for (uint64_t salt = 0; salt < 40; salt++)
        assert_int_equal(matched(salt * 0x123456789ABCDEFu, a, 100), 60 + salt);
    assert_int_equal(bk_prefix_stats_of(tree).nodes, 40);
    assert_true(bk_prefix_evict(tree, SIZE_MAX) > 0);
    assert_int_equal(bk_prefix_stats_of(tree).nodes, 0);
    assert_int_equal(matched(0, a, 100), 0);
    end_use();
}

/* Thousands of users with one system prompt: the node after it has thousands of children. */
static void many_children(void **state) {
    (void)state;
    int32_t a[130];
    use(&plain);
    count_up(a, 130, 0);
    for (int32_t i = 0; i < 3000; i++) {
        bk_prefix_match m;
        a[129] = i * 7919 % 3001 - 1500;
        assert_int_equal(bk_prefix_find(tree, SALT, a, 129, &m, &err), BK_OK);
        assert_int_equal(m.matched, i ? 129 : 0);
        if (!m.kv) assert_int_equal(bk_kv_create(pool, &m.kv, &err), BK_OK);
        assert_int_equal(compute(m.kv, a, 130), BK_OK);
        assert_int_equal(bk_prefix_insert(tree, SALT, a, 130, m.kv, &m.pin, &err), BK_OK);
        bk_prefix_unpin(&m.pin);
        bk_kv_destroy(&m.kv);
    }
    assert_int_equal(bk_prefix_stats_of(tree).nodes, 3001);
    for (int32_t i = 0; i < 3000; i++) {
        a[129] = i * 7919 % 3001 - 1500;
        assert_int_equal(bk_prefix_peek(tree, SALT, a, 130), 130);
    }
    a[129] = 5000;
    assert_int_equal(bk_prefix_peek(tree, SALT, a, 130), 129);
    /* Two pages in common and one of one's own. */
    assert_int_equal(bk_kv_pool_bytes(pool), 3002 * page_bytes(0));
    end_use();
}

/* ---- Sharing --------------------------------------------------------------------------------------- */

/* Two requests that computed the same prompt at the same time hold it once afterwards, while they
 * still run. */
static void what_was_computed_twice_is_held_once(void **state) {
    (void)state;
    int32_t a[200], b[200];
    use(&plain);
    count_up(a, 200, 0);
    memcpy(b, a, sizeof b);
    b[150] = -1;
    bk_kv *one = computed(a, 200), *two = computed(b, 200);
    assert_int_equal(bk_kv_pool_bytes(pool), 8 * page_bytes(0));
    assert_int_equal(bk_prefix_insert(tree, SALT, a, 200, one, NULL, &err), BK_OK);
    assert_int_equal(bk_prefix_insert(tree, SALT, b, 200, two, NULL, &err), BK_OK);
    assert_int_equal(bk_kv_pool_bytes(pool), 6 * page_bytes(0));
    assert_int_equal(bk_prefix_stats_of(tree).bytes, 0);
    assert_true(holds(one, a, 200) && holds(two, b, 200));
    bk_kv_destroy(&one);
    bk_kv_destroy(&two);
    assert_int_equal(bk_kv_pool_bytes(pool), 6 * page_bytes(0));
    assert_int_equal(bk_prefix_stats_of(tree).bytes, 6 * page_bytes(0));
    end_use();
}

static void a_match_that_goes_on_changes_no_other(void **state) {
    (void)state;
    int32_t a[200], b[200];
    bk_prefix_match m, other;
    use(&plain);
    count_up(a, 200, 0);
    count_up(b, 200, 0);
    count_up(b + 100, 100, 5000);
    learn(SALT, a, 150);
    assert_int_equal(bk_prefix_find(tree, SALT, b, 200, &m, &err), BK_OK);
    assert_int_equal(bk_prefix_find(tree, SALT, a, 200, &other, &err), BK_OK);
    assert_int_equal(m.matched, 100);
    assert_int_equal(compute(m.kv, b, 200), BK_OK);
    assert_true(holds(m.kv, b, 200));
    assert_true(holds(other.kv, a, 150));
    assert_int_equal(compute(other.kv, a, 200), BK_OK);
    assert_true(holds(other.kv, a, 200) && holds(m.kv, b, 200));
    assert_int_equal(matched(SALT, a, 200), 150);
    bk_prefix_unpin(&m.pin);
    bk_prefix_unpin(&other.pin);
    bk_kv_destroy(&m.kv);
    bk_kv_destroy(&other.kv);
    end_use();
}

/* A prompt that is inserted as it grows is one node, where the model can be cut anywhere. */
static void a_growing_prompt_is_one_node(void **state) {
    (void)state;
    int32_t a[500];
    bk_prefix_pin pin = {0};
    use(&plain);
    count_up(a, 500, 0);
    bk_kv *kv = computed(a, 0);
    for (size_t n = 50; n <= 500; n += 50) {
        assert_int_equal(compute(kv, a, n), BK_OK);
        assert_int_equal(bk_prefix_insert(tree, SALT, a, n, kv, &pin, &err), BK_OK);
        assert_int_equal(bk_prefix_stats_of(tree).nodes, 1);
        assert_int_equal(matched(SALT, a, 500), n);
    }
    assert_int_equal(bk_kv_pool_bytes(pool), 8 * page_bytes(0));
    bk_prefix_unpin(&pin);
    bk_kv_destroy(&kv);
    end_use();
}

/* ---- Models that cannot be cut anywhere ------------------------------------------------------------ */

static void windows_restart_from_nodes(void **state) {
    (void)state;
    int32_t a[700], b[700];
    bk_prefix_pin pin = {0};
    use(&windowed);
    count_up(a, 700, 0);
    bk_kv *kv = computed(a, 0);
    for (size_t n = 200; n <= 600; n += 200) {
        assert_int_equal(compute(kv, a, n), BK_OK);
        assert_int_equal(bk_prefix_insert(tree, SALT, a, n, kv, &pin, &err), BK_OK);
    }
    assert_int_equal(bk_prefix_stats_of(tree).nodes, 3);
    bk_kv_destroy(&kv);
    assert_int_equal(matched(SALT, a, 700), 600);
    /* 600 sees from 501 on, its pages begin at 448: it can be cut down to 448 + 99. */
    assert_int_equal(matched(SALT, a, 547), 547);
    assert_int_equal(matched(SALT, a, 546), 400);
    /* 400 sees from 301 on; pages from 256 on. */
    assert_int_equal(matched(SALT, a, 355), 355);
    assert_int_equal(matched(SALT, a, 354), 200);
    /* A branch in mid-span: what agrees is more than what can be used, until it is computed. */
    memcpy(b, a, sizeof b);
    b[300] = -1;
    bk_prefix_match m;
    assert_int_equal(bk_prefix_find(tree, SALT, b, 700, &m, &err), BK_OK);
    assert_int_equal(m.matched, 200);
    assert_int_equal(m.agreed, 300);
    assert_int_equal(m.other, 300);
    assert_int_equal(compute(m.kv, b, 340), BK_OK);
    assert_int_equal(bk_prefix_insert(tree, SALT, b, 340, m.kv, &m.pin, &err), BK_OK);
    assert_int_equal(matched(SALT, b, 700), 340);
    assert_int_equal(matched(SALT, a, 320), 300); /* the fork in the path has its own */
    assert_int_equal(matched(SALT, a, 700), 600);
    bk_prefix_unpin(&m.pin);
    bk_prefix_unpin(&pin);
    bk_kv_destroy(&m.kv);
    /* In mid-span of a known path, a place to go on from. */
    assert_int_equal(matched(SALT, a, 500), 400);
    learn(SALT, a, 500);
    assert_int_equal(matched(SALT, a, 500), 500);
    end_use();
}

/* Under pressure the windows inside a path that runs are given up; its end stays. */
static void windows_inside_a_path_can_go(void **state) {
    (void)state;
    int32_t a[700];
    bk_prefix_pin pin = {0};
    use(&windowed);
    count_up(a, 700, 0);
    bk_kv *kv = computed(a, 0);
    for (size_t n = 200; n <= 600; n += 200) {
        assert_int_equal(compute(kv, a, n), BK_OK);
        assert_int_equal(bk_prefix_insert(tree, SALT, a, n, kv, &pin, &err), BK_OK);
    }
    /* 200: pages 1..3, 400: 4..6, of the window; their last pages of the other group were copied. */
    size_t freed = bk_prefix_evict(tree, SIZE_MAX);
    assert_int_equal(freed, 6 * page_bytes(1) + 2 * page_bytes(0));
    assert_int_equal(matched(SALT, a, 700), 600);
    assert_int_equal(matched(SALT, a, 400), 0);
    bk_prefix_unpin(&pin);
    bk_kv_destroy(&kv);
    /* A node without a sequence gets one again. */
    learn(SALT, a, 400);
    assert_int_equal(matched(SALT, a, 400), 400);
    assert_int_equal(bk_prefix_stats_of(tree).nodes, 3);
    bk_prefix_evict(tree, SIZE_MAX);
    assert_int_equal(bk_prefix_stats_of(tree).nodes, 0);
    end_use();
}

/* A recurrent layer's position needs the one before: what is left of a span's last pages serves. */
static void states_restart_where_pages_are_left(void **state) {
    (void)state;
    int32_t a[300], b[300];
    use(&recurrent);
    count_up(a, 300, 0);
    memcpy(b, a, sizeof b);
    b[120] = -1;
    bk_kv *kv = computed(a, 100);
    assert_int_equal(bk_prefix_insert(tree, SALT, a, 100, kv, NULL, &err), BK_OK);
    assert_int_equal(compute(kv, a, 200), BK_OK);
    assert_int_equal(bk_prefix_insert(tree, SALT, a, 200, kv, NULL, &err), BK_OK);
    bk_kv_destroy(&kv);
    assert_int_equal(matched(SALT, a, 300), 200);
    assert_int_equal(matched(SALT, a, 129), 129);
    assert_int_equal(matched(SALT, a, 128), 100); /* the page of position 127 is gone */
    assert_int_equal(matched(SALT, a, 65), 65);
    assert_int_equal(matched(SALT, a, 64), 0);
    learn(SALT, b, 250);
    assert_int_equal(matched(SALT, b, 300), 250);
    assert_int_equal(matched(SALT, a, 150), 150);
    assert_int_equal(matched(SALT, a, 125), 100); /* the fork at 120 has no state */
    assert_int_equal(matched(SALT, a, 300), 200);
    end_use();
}

/* ---- Evicting -------------------------------------------------------------------------------------- */

/* Four prompts of two pages each after a common one of two pages. */
static void four_leaves(int32_t tokens[4][256]) {
    for (int32_t i = 0; i < 4; i++) {
        count_up(tokens[i], 256, 0);
        count_up(tokens[i] + 128, 128, 1000 * (i + 1));
        learn(SALT, tokens[i], 256);
    }
    assert_int_equal(bk_prefix_stats_of(tree).nodes, 5);
    assert_int_equal(bk_kv_pool_bytes(pool), 10 * page_bytes(0));
}

static void the_least_recently_used_goes_first(void **state) {
    (void)state;
    static int32_t t[4][256];
    use(&plain);
    four_leaves(t);
    assert_int_equal(matched(SALT, t[0], 256), 256); /* now 1 is the oldest */
    assert_int_equal(bk_prefix_evict(tree, 0), 0);
    assert_int_equal(bk_prefix_evict(tree, 2 * page_bytes(0)), 2 * page_bytes(0));
    assert_int_equal(bk_prefix_peek(tree, SALT, t[1], 256), 128);
    const size_t others[] = {0, 2, 3};
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(bk_prefix_peek(tree, SALT, t[others[i]], 256), 256);
    /* Not more than is wanted: the oldest is shortened. */
    assert_int_equal(bk_prefix_evict(tree, 1), page_bytes(0));
    assert_int_equal(bk_prefix_peek(tree, SALT, t[2], 256), 192);
    assert_int_equal(matched(SALT, t[2], 256), 192);
    assert_int_equal(bk_prefix_evict(tree, 1), page_bytes(0));
    assert_int_equal(bk_prefix_peek(tree, SALT, t[3], 256), 192);
    assert_int_equal(bk_prefix_stats_of(tree).evicted, 128 + 64 + 64);
    /* Parents follow their children. */
    assert_int_equal(bk_prefix_evict(tree, SIZE_MAX), 6 * page_bytes(0));
    assert_int_equal(bk_prefix_stats_of(tree).nodes, 0);
    assert_int_equal(bk_prefix_stats_of(tree).tokens, 0);
    end_use();
}

static void what_was_found_twice_is_protected(void **state) {
    (void)state;
    static int32_t t[4][256];
    use(&plain);
    four_leaves(t);
    for (int i = 0; i < 2; i++) assert_int_equal(matched(SALT, t[0], 256), 256);
    for (int i = 1; i < 4; i++) assert_int_equal(matched(SALT, t[i], 256), 256);
    assert_int_equal(bk_prefix_evict(tree, 6 * page_bytes(0)), 6 * page_bytes(0));
    assert_int_equal(bk_prefix_peek(tree, SALT, t[0], 256), 256);
    for (int i = 1; i < 4; i++) assert_int_equal(bk_prefix_peek(tree, SALT, t[i], 256), 128);
    /* What was popular once does not keep the others out for ever. */
    for (int i = 1; i < 3; i++) learn(SALT, t[i], 256);
    for (int i = 0; i < 4; i++) assert_true(matched(SALT, t[i % 3], 256) == 256);
    for (int i = 0; i < 4; i++) assert_true(matched(SALT, t[i % 3], 256) == 256);
    learn(SALT, t[3], 256);
    assert_int_equal(bk_prefix_evict(tree, 2 * page_bytes(0)), 2 * page_bytes(0));
    assert_int_equal(bk_prefix_peek(tree, SALT, t[3], 256), 128); /* at 4/5 nothing is demoted */
    assert_int_equal(bk_prefix_evict(tree, 2 * page_bytes(0)), 2 * page_bytes(0));
    assert_int_equal(bk_prefix_peek(tree, SALT, t[2], 256), 256);
    assert_int_equal(bk_prefix_peek(tree, SALT, t[1], 256), 128); /* the oldest of the protected */
    end_use();
}

static void the_pinned_stay(void **state) {
    (void)state;
    static int32_t t[4][256];
    bk_prefix_match m;
    use(&plain);
    four_leaves(t);
    assert_int_equal(bk_prefix_find(tree, SALT, t[0], 256, &m, &err), BK_OK);
    bk_kv_destroy(&m.kv);
    assert_int_equal(bk_prefix_evict(tree, SIZE_MAX), 6 * page_bytes(0));
    assert_int_equal(bk_prefix_peek(tree, SALT, t[0], 256), 256);
    bk_prefix_unpin(&m.pin);
    assert_int_equal(bk_prefix_evict(tree, SIZE_MAX), 4 * page_bytes(0));
    end_use();
}

/* Pages that a running sequence holds are not freed by forgetting them: others go instead. */
static void pages_in_use_go_last(void **state) {
    (void)state;
    static int32_t t[4][256];
    bk_prefix_match m;
    use(&plain);
    four_leaves(t);
    assert_int_equal(bk_prefix_find(tree, SALT, t[0], 256, &m, &err), BK_OK);
    bk_prefix_unpin(&m.pin);
    assert_int_equal(bk_prefix_stats_of(tree).bytes, 6 * page_bytes(0));
    for (int i = 1; i < 4; i++) matched(SALT, t[i], 256); /* 0 is the oldest */
    assert_int_equal(bk_prefix_evict(tree, 4 * page_bytes(0)), 4 * page_bytes(0));
    assert_int_equal(bk_prefix_peek(tree, SALT, t[0], 256), 256);
    assert_int_equal(bk_prefix_evict(tree, SIZE_MAX), 2 * page_bytes(0));
    assert_int_equal(bk_prefix_stats_of(tree).nodes, 0);
    assert_true(holds(m.kv, t[0], 256));
    bk_kv_destroy(&m.kv);
    end_use();
}

/* ---- Random operations against a list -------------------------------------------------------------- */

enum { RUNNING = 5, LENGTH = 420, KNOWN = 4000 };

typedef struct request {
    bk_kv *kv;
    int32_t tokens[LENGTH];
    size_t n, inserted; /* tokens it has in all, of them in the tree */
    uint64_t salt;
    bk_prefix_pin pin;
} request;

static request runs[RUNNING];
static struct known {
    int32_t tokens[LENGTH];
    size_t n;
    uint64_t salt;
} known[KNOWN];
static size_t n_known;
static bk_rng rng;

static size_t draw(size_t n) { return bk_rng_u32(&rng) % n; }

static size_t common(const int32_t *a, size_t n, const int32_t *b, size_t m) {
    size_t i = 0;
    while (i < n && i < m && a[i] == b[i]) i++;
    return i;
}

/* The longest prefix that was ever inserted; *whole: that was inserted as it is. */
static size_t best_known(uint64_t salt, const int32_t *tokens, size_t n, size_t *whole) {
    size_t best = 0;
    *whole = 0;
    for (size_t i = 0; i < n_known; i++) {
        if (known[i].salt != salt) continue;
        size_t c = common(tokens, n, known[i].tokens, known[i].n);
        best = bk_max_size(best, c);
        if (c == known[i].n) *whole = bk_max_size(*whole, c);
    }
    return best;
}

/* Mostly what another had, up to some place; then few different tokens. */
static void random_tokens(request *r) {
    r->n = 1 + draw(LENGTH);
    r->salt = draw(2);
    size_t kept = 0;
    if (n_known && draw(8)) {
        const struct known *k = &known[draw(n_known)];
        kept = bk_min_size(draw(2) ? k->n : 1 + draw(k->n), r->n);
        memcpy(r->tokens, k->tokens, kept * sizeof *r->tokens);
        r->salt = draw(10) ? k->salt : r->salt;
    }
    for (size_t i = kept; i < r->n; i++) r->tokens[i] = (int32_t)draw(3) - 1;
}

static void start(request *r, bool evicted) {
    bk_prefix_match m;
    memset(r, 0, sizeof *r);
    random_tokens(r);
    size_t whole, best = best_known(r->salt, r->tokens, r->n, &whole);
    size_t peeked = bk_prefix_peek(tree, r->salt, r->tokens, r->n);
    assert_int_equal(bk_prefix_find(tree, r->salt, r->tokens, r->n, &m, &err), BK_OK);
    assert_int_equal(m.matched, peeked);
    assert_true(m.matched <= m.agreed && m.agreed <= best);
    if (!evicted) assert_int_equal(m.agreed, best);
    if (!evicted) assert_true(m.matched >= whole);
    if (shape.n_groups == 1) assert_int_equal(m.matched, m.agreed);
    if (m.agreed < r->n && m.other != -1) assert_true(m.other != r->tokens[m.agreed]);
    if (m.kv) assert_true(holds(m.kv, r->tokens, m.matched));
    r->kv = m.kv ? m.kv : computed(NULL, 0);
    r->pin = m.pin;
    r->inserted = m.matched;
}

/* A chunk, and mostly an insertion; the end frees the request. */
static void step(request *r) {
    size_t len = bk_kv_len(r->kv), to = bk_min_size(r->n, len + 1 + draw(120));
    assert_int_equal(compute(r->kv, r->tokens, to), BK_OK);
    if (draw(8) && n_known < KNOWN) {
        assert_int_equal(bk_prefix_insert(tree, r->salt, r->tokens, to, r->kv, &r->pin, &err),
                         BK_OK);
        r->inserted = to;
        struct known *k = &known[n_known++];
        memcpy(k->tokens, r->tokens, sizeof k->tokens);
        k->n = to;
        k->salt = r->salt;
    }
    assert_true(holds(r->kv, r->tokens, to));
    if (to < r->n && draw(12)) return;
    bk_prefix_unpin(&r->pin);
    bk_kv_destroy(&r->kv);
}

/* What runs is intact, and what it has inserted is still there. */
static void check_runs(void) {
    for (size_t i = 0; i < RUNNING; i++) {
        const request *r = &runs[i];
        if (!r->kv) continue;
        assert_true(holds(r->kv, r->tokens, bk_kv_len(r->kv)));
        if (r->inserted)
            assert_int_equal(bk_prefix_peek(tree, r->salt, r->tokens, r->inserted), r->inserted);
    }
}

static void random_use(const bk_kv_shape *s, uint64_t seed, bool evict) {
    use(s);
    bk_rng_seed(&rng, seed, 1);
    n_known = 0;
    for (int i = 0; i < 1500; i++) {
        request *r = &runs[draw(RUNNING)];
        if (r->kv)
            step(r);
        else
            start(r, evict);
        if (!evict || draw(10)) continue;
        size_t before = bk_kv_pool_bytes(pool), idle = bk_prefix_stats_of(tree).bytes;
        size_t wanted = draw(10) ? draw(20 * page_bytes(0)) : SIZE_MAX;
        size_t freed = bk_prefix_evict(tree, wanted);
        assert_int_equal(before - bk_kv_pool_bytes(pool), freed);
        assert_int_equal(idle - bk_prefix_stats_of(tree).bytes, freed);
        check_runs();
    }
    check_runs();
    for (size_t i = 0; i < RUNNING; i++) {
        bk_prefix_unpin(&runs[i].pin);
        bk_kv_destroy(&runs[i].kv);
    }
    assert_int_equal(bk_prefix_stats_of(tree).bytes, bk_kv_pool_bytes(pool));
    if (evict) {
        bk_prefix_evict(tree, SIZE_MAX);
        assert_int_equal(bk_prefix_stats_of(tree).nodes, 0);
        assert_int_equal(bk_prefix_stats_of(tree).tokens, 0);
        assert_int_equal(bk_kv_pool_bytes(pool), 0);
    }
    end_use();
}

static void random_operations(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= 4; seed++) {
        random_use(&plain, seed, false);
        random_use(&plain, seed, true);
        random_use(&windowed, seed, false);
        random_use(&windowed, seed, true);
    }
}

/* ---- Memory runs out ------------------------------------------------------------------------------- */

/* One request of a fixed story; *wrong when a failure left something else than before. */
static bool told(const int32_t *tokens, size_t n, bool *wrong) {
    bk_prefix_match m;
    bk_prefix_stats s = bk_prefix_stats_of(tree);
    size_t known_before = bk_prefix_peek(tree, SALT, tokens, n);
    bool ok = bk_prefix_find(tree, SALT, tokens, n, &m, &err) == BK_OK;
    if (ok && !m.kv) ok = bk_kv_create(pool, &m.kv, &err) == BK_OK;
    if (ok && m.matched && !holds(m.kv, tokens, m.matched)) *wrong = true;
    ok = ok && compute(m.kv, tokens, n) == BK_OK;
    if (ok && bk_prefix_insert(tree, SALT, tokens, n, m.kv, &m.pin, &err) != BK_OK) {
        bk_prefix_stats now = bk_prefix_stats_of(tree);
        ok = false;
        if (now.nodes != s.nodes || now.tokens != s.tokens || !holds(m.kv, tokens, n) ||
            bk_prefix_peek(tree, SALT, tokens, n) != known_before)
            *wrong = true;
    }
    if (ok && bk_prefix_peek(tree, SALT, tokens, n) != n) *wrong = true;
    bk_prefix_unpin(&m.pin);
    bk_kv_destroy(&m.kv);
    return ok;
}

static int scenario(void) {
    static int32_t a[400], b[400];
    bool wrong = false, ok = false;
    shape = windowed;
    count_up(a, 400, 0);
    memcpy(b, a, sizeof b);
    count_up(b + 150, 250, 5000);
    if (bk_device_cpu_create(BK_CPU_REF, 1, &device, &err) == BK_OK &&
        bk_kv_pool_create(device, &shape, 0, &pool, &err) == BK_OK &&
        bk_prefix_create(pool, &tree, &err) == BK_OK) {
        ok = told(a, 90, &wrong) && told(a, 180, &wrong) && told(a, 400, &wrong) &&
             told(b, 400, &wrong);
        bk_prefix_evict(tree, page_bytes(0));
        bk_prefix_evict(tree, SIZE_MAX);
        if (bk_prefix_stats_of(tree).nodes || bk_kv_pool_bytes(pool)) wrong = true;
    }
    if (!ok && err.code != BK_ERR_NOMEM) wrong = true;
    bk_prefix_destroy(&tree);
    bk_kv_pool_unref(&pool);
    bk_device_destroy(&device);
    return wrong ? SWEEP_WRONG : ok ? SWEEP_ALL_OK : SWEEP_FAILED_WELL;
}

#ifdef BRISK_TESTING
static void memory_may_run_out_anywhere(void **state) {
    (void)state;
    assert_true(sweep_all("prefix", 1) > 40);
}
#else
static void the_scenario_of_failures_succeeds_without(void **state) {
    (void)state;
    assert_int_equal(sweep_once("prefix", 0), SWEEP_ALL_OK);
}
#endif

int main(int argc, char **argv) {
    if (argc == 3 && strcmp(argv[1], "sweep") == 0) return sweep_status(scenario());
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_tree_matches_nothing),
        cmocka_unit_test(the_longest_prefix_is_found),
        cmocka_unit_test(known_prompts_add_nothing),
        cmocka_unit_test(a_miss_tells_where_and_why),
        cmocka_unit_test(salts_are_apart),
        cmocka_unit_test(many_children),
        cmocka_unit_test(what_was_computed_twice_is_held_once),
        cmocka_unit_test(a_match_that_goes_on_changes_no_other),
        cmocka_unit_test(a_growing_prompt_is_one_node),
        cmocka_unit_test(windows_restart_from_nodes),
        cmocka_unit_test(windows_inside_a_path_can_go),
        cmocka_unit_test(states_restart_where_pages_are_left),
        cmocka_unit_test(the_least_recently_used_goes_first),
        cmocka_unit_test(what_was_found_twice_is_protected),
        cmocka_unit_test(the_pinned_stay),
        cmocka_unit_test(pages_in_use_go_last),
        cmocka_unit_test(random_operations),
#ifdef BRISK_TESTING
        cmocka_unit_test(memory_may_run_out_anywhere),
#else
        cmocka_unit_test(the_scenario_of_failures_succeeds_without),
#endif
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
