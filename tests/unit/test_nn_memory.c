/* Memory and failures of the training device. */
#include "base/base.h"
#include "fail_alloc.h"
#include "nn_check.h"

static void failures(void **state) {
    (void)state;
    bk_nn *d = nn_device(bk_cpu_best(), 2);
    bk_error err;
    bk_vec v = nn_random(d, 64, 0, 1, 1);
    assert_int_equal(d->ops->finish(d, &err), BK_OK);
    d->ops->round_trip(d, bk_quant_find(BK_TYPE_Q8_0), v, 1, 48, v);
    d->ops->round_trip(d, bk_quant_find(BK_TYPE_Q8_0), v, 1, 56, v);
    assert_int_equal(d->ops->finish(d, &err), BK_ERR_UNSUPPORTED);
    assert_non_null(strstr(err.text, "48"));
    assert_int_equal(d->ops->finish(d, &err), BK_OK);
    assert_null(d->ops->mem_create(d, SIZE_MAX / 2));
    d->ops->mem_destroy(d, NULL);
    nn_free(d, v);
    bk_nn_destroy(&d);
    assert_int_equal(bk_nn_cpu_create(BK_CPU_REF, 0, &d, &err), BK_ERR_INVALID);
    assert_null(d);
    bk_nn_destroy(&d);
}

/* Memory begins with zeros. */
static void zeroed(void **state) {
    (void)state;
    bk_nn *d = nn_device(bk_cpu_best(), 1);
    static float x[100000];
    bk_vec v = {d->ops->mem_create(d, BK_ARRAY_LEN(x)), 0};
    assert_non_null(v.mem);
    x[99] = 1;
    nn_read(d, v, x, BK_ARRAY_LEN(x));
    for (size_t i = 0; i < BK_ARRAY_LEN(x); i++) assert_true(x[i] == 0);
    nn_free(d, v);
    bk_nn_destroy(&d);
}

#ifdef BRISK_TESTING
/* Every operation that needs memory of its own. */
static void operations(bk_nn *d, const bk_vec *v) {
    bk_nn_attention a = {.B = 2, .T = 8, .n_heads = 2, .n_kv_heads = 1, .head_size = 8};
    a.q = v[0], a.k = v[1], a.v = v[2], a.ldq = 16, a.ldkv = 8, a.y = v[3], a.lse = v[4];
    a.dy = v[5], a.dq = v[6], a.dk = v[7], a.dv = v[8];
    d->ops->attention(d, &a);
    d->ops->attention_bwd(d, &a);
    d->ops->rope(d, v[0], 16, 16, 8, 2, 8, 100, 1);
    d->ops->rms_norm_bwd(d, v[0], v[1], 16, 16, v[2], v[3], v[4], false, v[5]);
    d->ops->col_sum(d, v[0], 16, 16, 16, v[1]);
    d->ops->sum(d, v[0], 256);
    d->ops->round_trip(d, bk_quant_find(BK_TYPE_Q8_0), v[0], 4, 64, v[1]);
    bk_gemm g = {.m = 16, .n = 16, .k = 16, .a = v[0], .b = v[1], .c = v[2]};
    g.lda = g.ldb = g.ldc = 16;
    d->ops->gemm(d, &g);
    bk_nn_lstm l = {.T = 2, .B = 2, .H = 4, .w_hh = v[0], .gates = v[1], .h = v[2], .c = v[3]};
    l.dh = v[4], l.dstate = v[5];
    d->ops->lstm(d, &l);
    d->ops->lstm_bwd(d, &l);
    d->ops->zero(d, v[6], 16);
    d->ops->zero(d, v[8], 16 * 6);
    d->ops->distil(d, v[0], 4, 16, 16, v[6], v[7], 4, v[1], true, 1);
}

static int scenario(void) {
    enum { ARRAYS = 9, WORDS = 512 };
    bk_vec v[ARRAYS] = {{NULL, 0}};
    bk_nn *d;
    bk_error err;
    bk_status st = bk_nn_cpu_create(bk_cpu_best(), 2, &d, &err);
    bool all = st == BK_OK;
    for (int i = 0; st == BK_OK && i < ARRAYS; i++) {
        v[i].mem = d->ops->mem_create(d, WORDS);
        all = all && v[i].mem;
    }
    if (all) {
        operations(d, v);
        st = d->ops->finish(d, &err);
    }
    for (int i = 0; d && i < ARRAYS; i++) d->ops->mem_destroy(d, v[i].mem);
    bk_nn_destroy(&d);
    if (st != BK_OK && st != BK_ERR_NOMEM) return SWEEP_WRONG;
    return all && st == BK_OK ? SWEEP_ALL_OK : SWEEP_FAILED_WELL;
}

static void without_memory(void **state) {
    (void)state;
    assert_int_equal(sweep_once("nn", 0), SWEEP_ALL_OK);
    assert_in_range(sweep_all("nn", 1), 20, 1000);
}
#endif

int main(int argc, char **argv) {
#ifdef BRISK_TESTING
    if (argc == 3 && strcmp(argv[1], "sweep") == 0) return sweep_status(scenario());
#else
    (void)argc, (void)argv;
#endif
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(failures),
        cmocka_unit_test(zeroed),
#ifdef BRISK_TESTING
        cmocka_unit_test(without_memory),
#endif
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
