/* What this CPU can do, and how many threads this process should use. */
#ifndef BRISK_SYS_CPU_H
#define BRISK_SYS_CPU_H

#include "base/error.h"

typedef enum bk_cpu_level {
    BK_CPU_REF,     /* portable C */
    BK_CPU_AVX2,    /* AVX2, FMA, F16C */
    BK_CPU_AVXVNNI, /* and VNNI on 256 bits: AVX-VNNI, or AVX512-VNNI with VL */
    BK_CPU_AVX512,  /* AVX512 F, BW, DQ, VL and VNNI */
    BK_CPU_LEVELS
} bk_cpu_level;

/* Highest level that CPU and operating system (XCR0) support. */
bk_cpu_level bk_cpu_best(void);

/* The 256-bit VNNI instructions exist in two encodings: AVX-VNNI (VEX) and AVX512-VNNI + VL (EVEX). */
bool bk_cpu_has_avxvnni_vex(void);

/* Dots of bf16 pairs in 512 bits, beside the level avx512. */
bool bk_cpu_has_avx512_bf16(void);

const char *bk_cpu_level_name(bk_cpu_level level); /* "ref", "avx2", "avxvnni", "avx512" */
/* False when the name is unknown. */
bool bk_cpu_level_parse(const char *name, bk_cpu_level *out);

/* The level of that name; when name is NULL the one that $BRISK_CPU names, else the best. What the CPU
 * lacks becomes the best that it has. INVALID when there is no level of that name. */
bk_status bk_cpu_level_choose(const char *name, bk_cpu_level *out, bk_error *err);

/* Expanding bytes by a mask (VBMI2), beside the level avx512. */
bool bk_cpu_has_avx512_vbmi2(void);

/* The CPU's marketing name, "" when unknown. */
const char *bk_cpu_model_name(char *out, size_t cap);

/* What of the instruction sets that kernels use, and some that they could, the CPU has and the system
 * supports: "AVX2 FMA F16C AVX-VNNI AVX512-VNNI". */
const char *bk_cpu_features(char *out, size_t cap);

/* Physical cores that this process may run on; *threads (may be NULL) gets how many hardware threads.
 * 0 when unknown. */
int bk_cpu_cores(int *threads);

/* CPUs that the cgroup's quota allows; 0 when there is none. */
double bk_cpu_quota(void);

/* min(physical cores in the affinity mask, the cgroup's CPU quota rounded down), at least 1. */
int bk_cpu_default_threads(void);

#endif
