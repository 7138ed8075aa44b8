/* Making every allocation of a scenario fail in turn. BRISK_FAIL_ALLOC is read once a process, so
 * each turn is a process of its own: the test runs itself again with "sweep NAME". Only in builds
 * with BRISK_TESTING. */
#ifndef BRISK_TESTS_FAIL_ALLOC_H
#define BRISK_TESTS_FAIL_ALLOC_H

#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/mem.h"

extern char **environ;

/* What a scenario returns: nothing failed; a call failed and all was well; something was wrong. */
enum { SWEEP_ALL_OK = 10, SWEEP_FAILED_WELL = 11, SWEEP_WRONG = 12 };

/* The exit status of a turn. Not every failure makes a call fail: some memory can be done without. */
static inline int sweep_status(int result) {
    const char *nth = getenv("BRISK_FAIL_ALLOC");
    bool reached = nth && bk_alloc_count() >= strtoull(nth, NULL, 10);
    return result == SWEEP_ALL_OK && reached ? SWEEP_FAILED_WELL : result;
}

/* Exit status of this program run as "sweep NAME" with the nth allocation (0: none) failing; -1
 * when it died of a signal. The program's main ends with sweep_status(result of the scenario). */
static inline int sweep_once(const char *name, unsigned nth) {
    char fail[64], exe[] = "/proc/self/exe", sweep[] = "sweep", scenario[64];
    char *argv[] = {exe, sweep, scenario, NULL}, *env[512];
    size_t n = 0;
    for (char **e = environ; *e && n < 510; e++)
        if (strncmp(*e, "BRISK_FAIL_ALLOC=", 17) != 0) env[n++] = *e;
    snprintf(fail, sizeof fail, "BRISK_FAIL_ALLOC=%u", nth);
    snprintf(scenario, sizeof scenario, "%s", name);
    if (nth) env[n++] = fail;
    env[n] = NULL;
    pid_t pid;
    int status;
    if (posix_spawn(&pid, exe, NULL, NULL, argv, env) != 0) return -1;
    if (waitpid(pid, &status, 0) != pid || !WIFEXITED(status)) return -1;
    return WEXITSTATUS(status);
}

/* Every `step`-th allocation from the first on, until the scenario reaches none that fails. Returns
 * the number of turns, or 0 and the culprit on stderr. */
static inline unsigned sweep_all(const char *name, unsigned step) {
    unsigned turns = 0;
    for (unsigned nth = 1; nth < 100000; nth += step, turns++) {
        int status = sweep_once(name, nth);
        if (status == SWEEP_ALL_OK) return turns;
        if (status == SWEEP_FAILED_WELL) continue;
        fprintf(stderr, "%s: exit status %d with BRISK_FAIL_ALLOC=%u\n", name, status, nth);
        return 0;
    }
    return 0;
}

#endif
