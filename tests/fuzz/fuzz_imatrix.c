/* Importance matrices from any bytes, in both forms: what was accepted is found again by its name and has
 * means that are sums of squares. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "compress/imatrix.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool ok) {
    if (!ok) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    bk_imatrix m;
    bk_error err;
    bk_status status = bk_imatrix_parse(data, size, &m, &err);
    if (status != BK_OK) {
        require(err.code == status && strlen(err.text) > 10 && m.n == 0);
        return 0;
    }
    require(m.n >= 1);
    for (size_t i = 0; i < m.n; i++) {
        const bk_imatrix_entry *e = bk_imatrix_find(&m, bk_str_from(m.entries[i].name));
        require(e == &m.entries[i] && e->k >= 1 && e->n_matrices >= 1);
        float *means = bk_alloc(e->k, sizeof *means);
        require(means != NULL);
        for (size_t j = 0; j < e->n_matrices; j++)
            if (bk_imatrix_means(e, j, means)) require(means[0] >= 0);
        require(!bk_imatrix_means(e, e->n_matrices, means));
        bk_free(means);
    }
    bk_imatrix_free(&m);
    return 0;
}
