/* What stands behind sys/cpu.h, split so that tests can feed it the registers and files of other
 * machines. */
#ifndef BRISK_SYS_CPU_DETECT_H
#define BRISK_SYS_CPU_DETECT_H

#include "sys/cpu.h"

/* The registers that decide, as CPUID and XGETBV give them; zero where a leaf does not exist. */
typedef struct bk_cpuid {
    uint32_t leaf1_ecx, leaf7_ebx, leaf7_ecx, leaf7_1_eax;
    uint64_t xcr0; /* state that the operating system saves */
} bk_cpuid;

bk_cpu_level bk_cpuid_level(const bk_cpuid *id);
bool bk_cpuid_avxvnni_vex(const bk_cpuid *id);
bool bk_cpuid_avx512_bf16(const bk_cpuid *id);
bool bk_cpuid_avx512_vbmi2(const bk_cpuid *id);

/* Cores among the CPUs 0..n_cpus-1 for which allowed[cpu] is true: threads of one core (SMT) count
 * once. Reads ROOT/sys/devices/system/cpu/cpuN/topology; root is "" on the machine itself. A CPU
 * without a topology file is a core of its own. */
int bk_count_cores(const char *root, const bool *allowed, int n_cpus);

/* The smallest CPU quota of this process's control groups and of all groups above them, in CPUs
 * (1.5: 150 ms of CPU time per 100 ms); 0 when there is none. Knows cgroup v2 (cpu.max), v1
 * (cpu.cfs_quota_us) and both at once. Reads ROOT/proc/self/cgroup and mountinfo to find them. */
double bk_cgroup_cpus(const char *root);

#endif
