/* The kept limits of a machine from any bytes: what was accepted is within its arrays, and written and
 * read again it is the same. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "measure/limits.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool ok) {
    if (!ok) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    bk_limits l, again;
    bk_error err;
    bk_buf first = {0}, second = {0};
    bk_status status = bk_limits_read((bk_str){(const char *)data, size}, &l, &err);
    if (status != BK_OK) {
        require(err.code == status && strlen(err.text) > 10 && l.n_counts == 0);
        return 0;
    }
    require(l.n_counts >= 1 && l.n_counts <= BK_LIMITS_COUNTS);
    require(l.n_sizes >= 1 && l.n_sizes <= BK_LIMITS_SIZES);
    for (int t = 0; t < 4; t++) {
        require(bk_limits_int8(&l, t) > 0 && bk_limits_bf16(&l, t) >= 0);
        require(bk_limits_read_rate(&l, t, (size_t)1 << (10 * t)) > 0);
    }
    require(bk_limits_write(&l, &first));
    require(bk_limits_read(bk_buf_view(&first), &again, &err) == BK_OK);
    require(bk_limits_write(&again, &second) && strcmp(first.data, second.data) == 0);
    bk_buf_free(&first);
    bk_buf_free(&second);
    return 0;
}
