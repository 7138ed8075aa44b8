#include "engine/draft.h"

#include <string.h>

enum { FIRST_LENGTH = 3, MAX_LENGTH = 7, MATCH = 3 }; /* 8 rows cost little more than 4 */

size_t bk_draft_next(bk_draft *d, int32_t *out, size_t most) {
    if (!d->text || d->lost) return 0;
    if (d->length == 0) d->length = FIRST_LENGTH;
    size_t n = bk_min_size(bk_min_size(d->length, most), d->n - d->at);
    memcpy(out, d->text + d->at, n * sizeof *out);
    return n;
}

/* The first place in [begin, end] that follows these MATCH tokens; SIZE_MAX: none. */
static size_t find(const bk_draft *d, const int32_t *last, size_t begin, size_t end) {
    for (size_t i = bk_max_size(begin, MATCH); i <= end; i++)
        if (memcmp(d->text + i - MATCH, last, MATCH * sizeof *last) == 0) return i;
    return SIZE_MAX;
}

void bk_draft_follow(bk_draft *d, const int32_t *answer, size_t n) {
    if (!d->text) return;
    if (!d->lost && d->at < d->n && d->text[d->at] == answer[n - 1]) {
        d->at++;
        return;
    }
    d->lost = true;
    if (n < MATCH || d->n < MATCH) return;
    size_t place = find(d, answer + n - MATCH, d->at, d->n);
    if (place == SIZE_MAX) place = find(d, answer + n - MATCH, 0, d->at);
    if (place == SIZE_MAX) return;
    d->at = place;
    d->lost = false;
}

void bk_draft_learn(bk_draft *d, size_t tried, size_t right) {
    if (tried == 0) return;
    d->length = right == tried ? bk_min_size(2 * d->length + 1, MAX_LENGTH) : bk_max_size(right, 1);
}
