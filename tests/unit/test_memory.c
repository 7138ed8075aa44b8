/* sys/memory: what the machine and the control groups give, and the refusal of what does not fit. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "fake_root.h"
#include "model/model.h"
#include "sys/memory.h"

#define MEMINFO "MemTotal:       8000000 kB\nMemFree: 1 kB\nMemAvailable:    3000000 kB\n"
#define MOUNT_V2 "30 24 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"
#define MOUNT_V1 "35 31 0:29 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"

static bk_memory look(void) {
    bk_memory m;
    bk_memory_read(root, &m);
    return m;
}

static void test_meminfo(void **state) {
    (void)state;
    assert_int_equal(look().total, 0);
    put("/proc/meminfo", MEMINFO);
    bk_memory m = look();
    assert_true(m.total == 8000000ull * 1024 && m.available == 3000000ull * 1024);
    assert_int_equal(m.cgroup_limit, 0);
    put("/proc/meminfo", "MemTotal: x\n");
    assert_int_equal(look().total, 0);
}

static void test_groups(void **state) {
    (void)state;
    put("/proc/meminfo", MEMINFO);
    put("/proc/self/cgroup", "0::/a/b\n");
    put("/proc/self/mountinfo", MOUNT_V2);
    put("/sys/fs/cgroup/a/b/memory.max", "max\n");
    assert_int_equal(look().cgroup_limit, 0);
    put("/sys/fs/cgroup/a/memory.max", "500000000\n"); /* of the group above */
    assert_int_equal(look().cgroup_limit, 500000000);
    put("/sys/fs/cgroup/a/b/memory.max", "400000000\n");
    assert_int_equal(look().cgroup_limit, 400000000);
    put("/sys/fs/cgroup/a/b/memory.max", "lots\n");
    assert_int_equal(look().cgroup_limit, 500000000);

    put("/proc/self/cgroup", "7:memory:/c\n3:cpu:/a\n");
    put("/proc/self/mountinfo", MOUNT_V1);
    put("/sys/fs/cgroup/memory/c/memory.limit_in_bytes", "9223372036854771712\n");
    assert_int_equal(look().cgroup_limit, 0); /* v1's way to say none */
    put("/sys/fs/cgroup/memory/c/memory.limit_in_bytes", "300000000\n");
    assert_int_equal(look().cgroup_limit, 300000000);
}

static void refuse(uint64_t needed, const char *first, const char *second, const char *third) {
    bk_error err;
    assert_int_equal(bk_memory_check(root, needed, &err), BK_ERR_LIMIT);
    if (!strstr(err.text, first) || !strstr(err.text, second) || !strstr(err.text, third)) {
        fail_msg("%s", err.text);
    }
}

static void test_check(void **state) {
    (void)state;
    bk_error err;
    assert_int_equal(bk_memory_check("/no/such/root", UINT64_MAX, &err), BK_OK); /* unknown */
    put("/proc/meminfo", MEMINFO);
    put("/proc/self/cgroup", "0::/a/b\n");
    put("/proc/self/mountinfo", MOUNT_V2);
    put("/sys/fs/cgroup/a/memory.max", "max\n");
    put("/sys/fs/cgroup/a/b/memory.max", "400000000\n");
    assert_int_equal(bk_memory_check(root, 400000000, &err), BK_OK);
    refuse(400000001, "need 400.0 MB", "control group is 400.0 MB", "raise the container's limit");
    put("/sys/fs/cgroup/a/b/memory.max", "max\n");
    assert_int_equal(bk_memory_check(root, 8192000000, &err),
                     BK_OK); /* more than is available now */
    refuse(8200000000, "need 8200.0 MB", "this machine is 8192.0 MB", "smaller model");
}

/* The machine itself has room for something, and says so. */
static void test_here(void **state) {
    (void)state;
    bk_memory m;
    bk_memory_read("", &m);
    assert_true(m.total > 1 << 20 && m.available > 0 && m.available <= m.total);
    assert_int_equal(bk_memory_check("", 1 << 20, NULL), BK_OK);
    assert_int_equal(bk_memory_check("", UINT64_MAX, NULL), BK_ERR_LIMIT);
}

#ifdef BRISK_TESTING
/* Loading asks before it reads weights; the tokenizer alone may always be had. */
static void test_load(void **state) {
    (void)state;
    const char *path = "tests/data/tiny_chat.gguf";
    bk_model *m;
    bk_error err;
    put("/proc/meminfo", MEMINFO);
    put("/proc/self/cgroup", "0::/a\n");
    put("/proc/self/mountinfo", MOUNT_V2);
    put("/sys/fs/cgroup/a/memory.max", "1000\n");
    setenv("BRISK_TEST_ROOT", root, 1);
    assert_int_equal(bk_model_load(path, NULL, &m, &err), BK_ERR_LIMIT);
    assert_null(m);
    assert_non_null(strstr(err.text, path));
    assert_non_null(strstr(err.text, "control group is 0.0 MB"));
    assert_int_equal(bk_model_load(path, &(bk_model_options){.vocab_only = true}, &m, &err), BK_OK);
    bk_model_unref(&m);
    put("/sys/fs/cgroup/a/memory.max", "100000000\n");
    assert_int_equal(bk_model_load(path, NULL, &m, &err), BK_OK);
    bk_model_unref(&m);
    unsetenv("BRISK_TEST_ROOT");
}
#endif

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_meminfo, make_root, remove_root),
        cmocka_unit_test_setup_teardown(test_groups, make_root, remove_root),
        cmocka_unit_test_setup_teardown(test_check, make_root, remove_root),
        cmocka_unit_test(test_here),
#ifdef BRISK_TESTING
        cmocka_unit_test_setup_teardown(test_load, make_root, remove_root),
#endif
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
