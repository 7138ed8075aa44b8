/* sys/cpu: levels out of CPUID registers, cores out of sysfs, quotas out of cgroup files. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fake_root.h"
#include "sys/cpu.h"
#include "sys/cpu_detect.h"

static void put_siblings(int cpu, const char *name, const char *list) {
    char path[128];
    snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%d/topology/%s", cpu, name);
    put(path, list);
}

static void assert_quota(double want) {
    double got = bk_cgroup_cpus(root);
    if (got < want - 1e-9 || got > want + 1e-9) fail_msg("quota %g, wanted %g", got, want);
}

/* ---- Levels --------------------------------------------------------------------------------- */

/* Registers of real CPUs, reduced to the bits that count. */
static const bk_cpuid HASWELL = {0x38001000, 0x00000020, 0, 0, 0x7};
static const bk_cpuid ICE_LAKE = {0x38001000, 0xC0030020, 0x800, 0, 0xE7};
static const bk_cpuid SKYLAKE_X = {0x38001000, 0xC0030020, 0, 0, 0xE7};
static const bk_cpuid ALDER_LAKE = {0x38001000, 0x00000020, 0, 0x10, 0x7};
static const bk_cpuid SAPPHIRE_RAPIDS = {0x38001000, 0xC0030020, 0x800, 0x10, 0xE7};

static void test_levels_of_known_cpus(void **state) {
    (void)state;
    bk_cpuid nothing = {0};
    assert_int_equal(bk_cpuid_level(&nothing), BK_CPU_REF);
    assert_int_equal(bk_cpuid_level(&HASWELL), BK_CPU_AVX2);
    assert_int_equal(bk_cpuid_level(&SKYLAKE_X), BK_CPU_AVX2);
    assert_int_equal(bk_cpuid_level(&ALDER_LAKE), BK_CPU_AVXVNNI);
    assert_int_equal(bk_cpuid_level(&ICE_LAKE), BK_CPU_AVX512);
    assert_int_equal(bk_cpuid_level(&SAPPHIRE_RAPIDS), BK_CPU_AVX512);
    assert_false(bk_cpuid_avxvnni_vex(&ICE_LAKE));
    assert_true(bk_cpuid_avxvnni_vex(&ALDER_LAKE));
    assert_true(bk_cpuid_avxvnni_vex(&SAPPHIRE_RAPIDS));
    bk_cpuid with_bf16 = SAPPHIRE_RAPIDS;
    assert_false(bk_cpuid_avx512_bf16(&with_bf16));
    with_bf16.leaf7_1_eax |= 0x20;
    assert_true(bk_cpuid_avx512_bf16(&with_bf16));
    with_bf16.leaf7_ecx &= ~0x40u;
    assert_false(bk_cpuid_avx512_vbmi2(&with_bf16));
    with_bf16.leaf7_ecx |= 0x40;
    assert_true(bk_cpuid_avx512_vbmi2(&with_bf16));
    with_bf16.xcr0 = 0x7;
    assert_false(bk_cpuid_avx512_vbmi2(&with_bf16));
    assert_false(bk_cpuid_avx512_bf16(&with_bf16));
}

/* A CPU that can, under a system that does not save the registers. */
static void test_levels_need_the_system(void **state) {
    (void)state;
    bk_cpuid id = SAPPHIRE_RAPIDS;
    id.xcr0 = 0x7;
    assert_int_equal(bk_cpuid_level(&id), BK_CPU_AVXVNNI);
    id.xcr0 = 0x3;
    assert_int_equal(bk_cpuid_level(&id), BK_CPU_REF);
    id = SAPPHIRE_RAPIDS;
    id.leaf1_ecx &= ~(1u << 27);
    assert_int_equal(bk_cpuid_level(&id), BK_CPU_REF);
    id = ICE_LAKE;
    id.leaf7_ebx &= ~(1u << 31);
    assert_int_equal(bk_cpuid_level(&id), BK_CPU_AVX2);
}

static void test_level_names(void **state) {
    (void)state;
    for (int i = 0; i < BK_CPU_LEVELS; i++) {
        bk_cpu_level level = BK_CPU_LEVELS;
        assert_true(bk_cpu_level_parse(bk_cpu_level_name((bk_cpu_level)i), &level));
        assert_int_equal(level, i);
    }
    bk_cpu_level level = BK_CPU_AVX2;
    assert_false(bk_cpu_level_parse("AVX2", &level));
    assert_false(bk_cpu_level_parse("avx", &level));
    assert_false(bk_cpu_level_parse("", &level));
    assert_false(bk_cpu_level_parse(NULL, &level));
    assert_int_equal(level, BK_CPU_AVX2);
    assert_string_equal(bk_cpu_level_name(BK_CPU_LEVELS), "unknown");
}

static void test_level_choice(void **state) {
    (void)state;
    bk_cpu_level level;
    bk_error err;
    setenv("BRISK_CPU", "ref", 1);
    assert_int_equal(bk_cpu_level_choose(NULL, &level, &err), BK_OK);
    assert_int_equal(level, BK_CPU_REF);
    assert_int_equal(bk_cpu_level_choose("avx512", &level, &err), BK_OK);
    assert_int_equal(level, bk_cpu_best()); /* whatever that is */
    setenv("BRISK_CPU", "", 1);
    assert_int_equal(bk_cpu_level_choose(NULL, &level, &err), BK_OK);
    assert_int_equal(level, bk_cpu_best());
    setenv("BRISK_CPU", "fast", 1);
    assert_int_equal(bk_cpu_level_choose(NULL, &level, &err), BK_ERR_INVALID);
    assert_non_null(strstr(err.text, "'fast'"));
    unsetenv("BRISK_CPU");
    assert_int_equal(bk_cpu_level_choose("AVX2", &level, &err), BK_ERR_INVALID);
}

static void test_this_machine(void **state) {
    (void)state;
    bk_cpu_level best = bk_cpu_best();
    assert_in_range(best, BK_CPU_REF, BK_CPU_AVX512);
    if (bk_cpu_has_avxvnni_vex()) assert_true(best >= BK_CPU_AVXVNNI);
#ifdef __x86_64__
    /* The compiler's own detection reads the same registers. */
    __builtin_cpu_init();
    bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    assert_int_equal(best >= BK_CPU_AVX2, avx2);
    bool avx512 = __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512vl") &&
                  __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq");
    assert_int_equal(best == BK_CPU_AVX512, avx512);
#endif
    int threads = bk_cpu_default_threads();
    assert_in_range(threads, 1, sysconf(_SC_NPROCESSORS_CONF));
    char name[64], small[4];
    bk_cpu_model_name(name, sizeof name);
    assert_true(strlen(name) < 49);
    assert_null(strstr(name, "  "));
    bk_cpu_model_name(small, sizeof small);
    assert_true(strlen(small) < sizeof small);
}

/* ---- Cores ---------------------------------------------------------------------------------- */

static void test_cores_smt(void **state) {
    (void)state;
    /* Four cores, eight threads; siblings as Intel numbers them: i and i + 4. */
    for (int i = 0; i < 8; i++) {
        char list[32];
        snprintf(list, sizeof list, "%d,%d\n", i % 4, i % 4 + 4);
        put_siblings(i, "core_cpus_list", list);
    }
    bool allowed[16] = {0};
    for (int i = 0; i < 8; i++) allowed[i] = true;
    assert_int_equal(bk_count_cores(root, allowed, 16), 4);
    /* taskset -c 4-7: the lowest sibling is not ours, the core still counts. */
    for (int i = 0; i < 4; i++) allowed[i] = false;
    assert_int_equal(bk_count_cores(root, allowed, 16), 4);
    /* taskset -c 2,6: both threads of one core. */
    memset(allowed, 0, sizeof allowed);
    allowed[2] = allowed[6] = true;
    assert_int_equal(bk_count_cores(root, allowed, 16), 1);
}

static void test_cores_old_name_and_ranges(void **state) {
    (void)state;
    put_siblings(0, "thread_siblings_list", "0-1\n");
    put_siblings(1, "thread_siblings_list", "0-1\n");
    put_siblings(2, "thread_siblings_list", "2-3\n");
    put_siblings(3, "thread_siblings_list", "2-3\n");
    bool allowed[4] = {true, true, true, true};
    assert_int_equal(bk_count_cores(root, allowed, 4), 2);
}

static void test_cores_without_topology(void **state) {
    (void)state;
    bool allowed[4] = {true, false, true, true};
    assert_int_equal(bk_count_cores(root, allowed, 4), 3);
    put_siblings(0, "core_cpus_list", "what?\n");
    put_siblings(2, "core_cpus_list", "99999999999999999999-,\n");
    put_siblings(3, "core_cpus_list", "3-\n");
    assert_int_equal(bk_count_cores(root, allowed, 4), 3);
}

/* ---- Control groups ------------------------------------------------------------------------- */

#define MOUNT_V2 "30 24 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n"
#define MOUNT_V1(top) \
    "32 31 0:29 " top " /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct\n"
#define MOUNT_OTHER                                    \
    "22 1 254:0 / / rw,relatime - ext4 /dev/root rw\n" \
    "33 31 0:30 / /sys/fs/cgroup/cpuset rw,relatime - cgroup cgroup rw,cpuset\n"

static void test_quota_none(void **state) {
    (void)state;
    assert_quota(0);
    put("/proc/self/cgroup", "0::/user.slice\n");
    assert_quota(0);
    put("/proc/self/mountinfo", MOUNT_OTHER);
    assert_quota(0);
    put("/proc/self/mountinfo", MOUNT_OTHER MOUNT_V2);
    assert_quota(0);
    put("/sys/fs/cgroup/user.slice/cpu.max", "max 100000\n");
    assert_quota(0);
}

static void test_quota_v2_walks_up(void **state) {
    (void)state;
    put("/proc/self/cgroup", "0::/a/b/c\n");
    put("/proc/self/mountinfo", MOUNT_OTHER MOUNT_V2);
    put("/sys/fs/cgroup/a/b/c/cpu.max", "max 100000\n");
    put("/sys/fs/cgroup/a/cpu.max", "250000 100000\n");
    assert_quota(2.5);
    put("/sys/fs/cgroup/a/b/cpu.max", "400000 100000\n");
    assert_quota(2.5);
    put("/sys/fs/cgroup/a/b/c/cpu.max", "30000 20000\n");
    assert_quota(1.5);
    /* Above the mount point nothing is read. */
    put("/sys/fs/cpu.max", "10000 100000\n");
    assert_quota(1.5);
}

/* A container with its own cgroup namespace: the group is "/", its quota at the mount point. */
static void test_quota_v2_container(void **state) {
    (void)state;
    put("/proc/self/cgroup", "0::/\n");
    put("/proc/self/mountinfo", MOUNT_V2);
    put("/sys/fs/cgroup/cpu.max", "100000 100000\n");
    assert_quota(1);
    put("/proc/self/cgroup", "0::/../../outside\n");
    assert_quota(1);
}

static void test_quota_v1(void **state) {
    (void)state;
    put("/proc/self/cgroup", "5:cpuset:/x\n4:cpu,cpuacct:/jobs/7\n1:name=systemd:/\n");
    put("/proc/self/mountinfo", MOUNT_OTHER MOUNT_V1("/"));
    put("/sys/fs/cgroup/cpu,cpuacct/jobs/7/cpu.cfs_quota_us", "-1\n");
    put("/sys/fs/cgroup/cpu,cpuacct/jobs/7/cpu.cfs_period_us", "100000\n");
    assert_quota(0);
    put("/sys/fs/cgroup/cpu,cpuacct/jobs/cpu.cfs_quota_us", "350000\n");
    assert_quota(0); /* no period: not a quota */
    put("/sys/fs/cgroup/cpu,cpuacct/jobs/cpu.cfs_period_us", "100000\n");
    assert_quota(3.5);
}

/* A container of the old kind sees the host's path of its group, which is the top of the mount. */
static void test_quota_v1_container(void **state) {
    (void)state;
    put("/proc/self/cgroup", "4:cpu,cpuacct:/docker/0123\n");
    put("/proc/self/mountinfo", MOUNT_V1("/docker/0123"));
    put("/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "200000\n");
    put("/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000\n");
    assert_quota(2);
    put("/proc/self/cgroup", "4:cpu,cpuacct:/docker/0123/inner\n");
    put("/sys/fs/cgroup/cpu,cpuacct/inner/cpu.cfs_quota_us", "50000\n");
    put("/sys/fs/cgroup/cpu,cpuacct/inner/cpu.cfs_period_us", "100000\n");
    assert_quota(0.5);
}

static void test_quota_both_versions(void **state) {
    (void)state;
    put("/proc/self/cgroup", "4:cpu,cpuacct:/\n0::/\n");
    put("/proc/self/mountinfo",
        MOUNT_V1("/") "41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n");
    put("/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "200000\n");
    put("/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000\n");
    assert_quota(2);
    put("/sys/fs/cgroup/unified/cpu.max", "120000 100000\n");
    assert_quota(1.2);
}

static void test_quota_damaged_texts(void **state) {
    (void)state;
    put("/proc/self/cgroup", "\n:\n0:\n0::\n:::\n0::/a\n");
    put("/proc/self/mountinfo",
        "- - -\n1 2 3 4 5 6 -\n1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18\n" MOUNT_V2);
    assert_quota(0);
    put("/proc/self/cgroup", "0::/a\n");
    static const char *const BAD[] = {"",         "\n",        "x",        "100000",
                                      "100000 0", "100000 -1", "-5 100000"};
    for (size_t i = 0; i < sizeof BAD / sizeof *BAD; i++) {
        put("/sys/fs/cgroup/a/cpu.max", BAD[i]);
        assert_quota(0);
    }
}

#define WITH_ROOT(f) cmocka_unit_test_setup_teardown(f, make_root, remove_root)

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_levels_of_known_cpus),
        cmocka_unit_test(test_levels_need_the_system),
        cmocka_unit_test(test_level_names),
        cmocka_unit_test(test_level_choice),
        cmocka_unit_test(test_this_machine),
        WITH_ROOT(test_cores_smt),
        WITH_ROOT(test_cores_old_name_and_ranges),
        WITH_ROOT(test_cores_without_topology),
        WITH_ROOT(test_quota_none),
        WITH_ROOT(test_quota_v2_walks_up),
        WITH_ROOT(test_quota_v2_container),
        WITH_ROOT(test_quota_v1),
        WITH_ROOT(test_quota_v1_container),
        WITH_ROOT(test_quota_both_versions),
        WITH_ROOT(test_quota_damaged_texts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
