#include "measure/openblas.h"

#include <dlfcn.h>
#include <string.h>

enum { COL_MAJOR = 102, NO_TRANS = 111, TRANS = 112 }; /* of the C interface */

static bool find(void *library, const char *name, void *out) {
    void *symbol = dlsym(library, name);
    memcpy(out, &symbol, sizeof symbol); /* a function's address, which no cast makes of it */
    return symbol != NULL;
}

bool bk_openblas_open(const char *path, bk_openblas *out) {
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    return library && find(library, "cblas_sgemm", &out->sgemm) &&
           find(library, "openblas_set_num_threads", &out->set_threads) &&
           find(library, "openblas_get_num_threads", &out->get_threads) &&
           find(library, "openblas_get_config", &out->get_config);
}

void bk_openblas_multiply(const bk_openblas *b, const float *w, size_t m, size_t k, const float *x,
                          size_t n, float *out) {
    int rows = (int)m, cols = (int)n, inner = (int)k;
    b->sgemm(COL_MAJOR, TRANS, NO_TRANS, rows, cols, inner, 1, w, inner, x, inner, 0, out, rows);
}
