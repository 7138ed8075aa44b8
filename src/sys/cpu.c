/* CPU features by CPUID and XGETBV, their level names, and the default number of threads. */
#include "sys/cpu.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#if defined(__x86_64__) || defined(__i386__)
#include <cpuid.h>
#define HAVE_CPUID 1
#else
#define HAVE_CPUID 0
#endif

#include "base/mem.h"
#include "sys/cpu_detect.h"

/* Most CPUs that an affinity mask is read for; Linux itself stops at 8192. */
enum { MAX_CPUS = 1 << 16 };

enum {
    ECX1_FMA = 1u << 12,
    ECX1_OSXSAVE = 1u << 27,
    ECX1_AVX = 1u << 28,
    ECX1_F16C = 1u << 29,
    EBX7_AVX2 = 1u << 5,
    EBX7_AVX512F = 1u << 16,
    EBX7_AVX512DQ = 1u << 17,
    EBX7_AVX512BW = 1u << 30,
    ECX7_AVX512VBMI2 = 1u << 6,
    ECX7_AVX512VNNI = 1u << 11,
    EAX71_AVXVNNI = 1u << 4,
    EAX71_AVX512BF16 = 1u << 5,
};
static const uint32_t EBX7_AVX512VL = 1u << 31; /* does not fit an enum's int */

/* XCR0: XMM and YMM state; and with opmask and both parts of the ZMM state. */
enum { XCR0_AVX = 0x06, XCR0_AVX512 = 0xE6 };

static bool all_set(uint64_t value, uint64_t bits) { return (value & bits) == bits; }

static bool has_avx2(const bk_cpuid *id) {
    return all_set(id->leaf1_ecx, ECX1_FMA | ECX1_OSXSAVE | ECX1_AVX | ECX1_F16C) &&
           all_set(id->leaf7_ebx, EBX7_AVX2) && all_set(id->xcr0, XCR0_AVX);
}

static bool has_avx512_vnni(const bk_cpuid *id) {
    uint32_t ebx = EBX7_AVX512F | EBX7_AVX512DQ | EBX7_AVX512BW | EBX7_AVX512VL;
    return has_avx2(id) && all_set(id->leaf7_ebx, ebx) && all_set(id->leaf7_ecx, ECX7_AVX512VNNI) &&
           all_set(id->xcr0, XCR0_AVX512);
}

bool bk_cpuid_avxvnni_vex(const bk_cpuid *id) {
    return has_avx2(id) && all_set(id->leaf7_1_eax, EAX71_AVXVNNI);
}

bool bk_cpuid_avx512_vbmi2(const bk_cpuid *id) {
    return has_avx512_vnni(id) && all_set(id->leaf7_ecx, ECX7_AVX512VBMI2);
}

bool bk_cpuid_avx512_bf16(const bk_cpuid *id) {
    return has_avx512_vnni(id) && all_set(id->leaf7_1_eax, EAX71_AVX512BF16);
}

bk_cpu_level bk_cpuid_level(const bk_cpuid *id) {
    if (has_avx512_vnni(id)) return BK_CPU_AVX512;
    if (bk_cpuid_avxvnni_vex(id)) return BK_CPU_AVXVNNI;
    return has_avx2(id) ? BK_CPU_AVX2 : BK_CPU_REF;
}

#if HAVE_CPUID
static uint64_t read_xcr0(void) {
    uint32_t low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (uint64_t)high << 32 | low;
}

static bk_cpuid read_cpuid(void) {
    bk_cpuid id = {0};
    unsigned a, b, c, d;
    if (__get_cpuid(1, &a, &b, &c, &d)) id.leaf1_ecx = c;
    if (__get_cpuid_count(7, 0, &a, &b, &c, &d)) {
        id.leaf7_ebx = b;
        id.leaf7_ecx = c;
        unsigned last_subleaf = a;
        if (last_subleaf >= 1 && __get_cpuid_count(7, 1, &a, &b, &c, &d)) id.leaf7_1_eax = a;
    }
    if (all_set(id.leaf1_ecx, ECX1_OSXSAVE)) id.xcr0 = read_xcr0(); /* else the opcode faults */
    return id;
}

static size_t read_brand(char brand[49]) {
    unsigned r[12];
    for (unsigned i = 0; i < 3; i++) {
        unsigned *p = r + 4 * i;
        if (!__get_cpuid(0x80000002u + i, p, p + 1, p + 2, p + 3)) return 0;
    }
    memcpy(brand, r, 48);
    brand[48] = '\0';
    return strlen(brand);
}
#else
static bk_cpuid read_cpuid(void) { return (bk_cpuid){0}; }

static size_t read_brand(char brand[49]) {
    brand[0] = '\0';
    return 0;
}
#endif

bk_cpu_level bk_cpu_best(void) {
    bk_cpuid id = read_cpuid();
    return bk_cpuid_level(&id);
}

bool bk_cpu_has_avxvnni_vex(void) {
    bk_cpuid id = read_cpuid();
    return bk_cpuid_avxvnni_vex(&id);
}

bool bk_cpu_has_avx512_vbmi2(void) {
    bk_cpuid id = read_cpuid();
    return bk_cpuid_avx512_vbmi2(&id);
}

bool bk_cpu_has_avx512_bf16(void) {
    bk_cpuid id = read_cpuid();
    return bk_cpuid_avx512_bf16(&id);
}

const char *bk_cpu_features(char *out, size_t cap) {
    bk_cpuid id = read_cpuid();
    bool wide = all_set(id.xcr0, XCR0_AVX512);
    const struct feature {
        const char *name;
        bool there;
    } features[] = {
        {"AVX2", all_set(id.leaf7_ebx, EBX7_AVX2) && all_set(id.xcr0, XCR0_AVX)},
        {"FMA", all_set(id.leaf1_ecx, ECX1_FMA)},
        {"F16C", all_set(id.leaf1_ecx, ECX1_F16C)},
        {"AVX-VNNI", bk_cpuid_avxvnni_vex(&id)},
        {"AVX512-F", wide && all_set(id.leaf7_ebx, EBX7_AVX512F)},
        {"AVX512-BW", wide && all_set(id.leaf7_ebx, EBX7_AVX512BW)},
        {"AVX512-VNNI", wide && all_set(id.leaf7_ecx, ECX7_AVX512VNNI)},
        {"AVX512-BF16", bk_cpuid_avx512_bf16(&id)},
    };
    size_t n = 0;
    if (cap > 0) out[0] = '\0';
    for (size_t i = 0; i < BK_ARRAY_LEN(features); i++) {
        if (!features[i].there || n >= cap) continue;
        n += (size_t)snprintf(out + n, cap - n, "%s%s", n ? " " : "", features[i].name);
    }
    return out;
}

static const char *const LEVEL_NAMES[BK_CPU_LEVELS] = {
    [BK_CPU_REF] = "ref",
    [BK_CPU_AVX2] = "avx2",
    [BK_CPU_AVXVNNI] = "avxvnni",
    [BK_CPU_AVX512] = "avx512",
};

const char *bk_cpu_level_name(bk_cpu_level level) {
    return (unsigned)level < BK_CPU_LEVELS ? LEVEL_NAMES[level] : "unknown";
}

bool bk_cpu_level_parse(const char *name, bk_cpu_level *out) {
    for (int i = 0; name && i < BK_CPU_LEVELS; i++) {
        if (!strcmp(name, LEVEL_NAMES[i])) {
            *out = (bk_cpu_level)i;
            return true;
        }
    }
    return false;
}

bk_status bk_cpu_level_choose(const char *name, bk_cpu_level *out, bk_error *err) {
    bk_cpu_level best = bk_cpu_best();
    *out = best;
    if (!name) name = getenv("BRISK_CPU");
    if (name && *name && !bk_cpu_level_parse(name, out))
        return bk_fail(err, BK_ERR_INVALID,
                       "CPU level '%s' found; ref, avx2, avxvnni or avx512 wanted", name);
    if (*out > best) *out = best;
    return BK_OK;
}

const char *bk_cpu_model_name(char *out, size_t cap) {
    if (!cap) return "";
    char brand[49];
    size_t len = read_brand(brand), n = 0;
    /* Vendors pad with blanks in front, behind and between. */
    for (size_t i = 0; i < len && n + 1 < cap; i++) {
        bool blank = brand[i] == ' ';
        if (brand[i] < ' ' || brand[i] > '~' || (blank && (!n || out[n - 1] == ' '))) continue;
        out[n++] = brand[i];
    }
    if (n && out[n - 1] == ' ') n--;
    out[n] = '\0';
    return out;
}

int bk_cpu_cores(int *threads) {
    if (threads) *threads = 0;
    for (int n_cpus = 1024; n_cpus <= MAX_CPUS; n_cpus *= 2) {
        cpu_set_t *set = CPU_ALLOC((size_t)n_cpus);
        if (!set) return 0;
        size_t bytes = CPU_ALLOC_SIZE((size_t)n_cpus);
        bool known = !sched_getaffinity(0, bytes, set);
        bool *allowed = known ? bk_alloc_zero((size_t)n_cpus, sizeof *allowed) : NULL;
        for (int i = 0; allowed && i < n_cpus; i++) allowed[i] = CPU_ISSET_S((size_t)i, bytes, set);
        if (known && threads) *threads = CPU_COUNT_S(bytes, set);
        CPU_FREE(set);
        if (known) {
            int cores = allowed ? bk_count_cores("", allowed, n_cpus) : 0;
            bk_free(allowed);
            return cores;
        }
    }
    return 0;
}

double bk_cpu_quota(void) { return bk_cgroup_cpus(""); }

int bk_cpu_default_threads(void) {
    int threads = bk_cpu_cores(NULL);
    if (threads < 1) threads = (int)sysconf(_SC_NPROCESSORS_ONLN);
    double quota = bk_cpu_quota();
    if (quota > 0 && quota < threads) threads = (int)quota;
    return bk_max_int(threads, 1);
}
