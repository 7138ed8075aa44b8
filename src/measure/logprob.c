#include "measure/logprob.h"

#include <math.h>

double bk_logprob_norm(const float *logits, size_t n) {
    float max = -INFINITY;
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        if (logits[i] > max) max = logits[i];
    if (isinf(max)) return (double)max;
    for (size_t i = 0; i < n; i++)
        if (logits[i] > -INFINITY) sum += (double)expf(logits[i] - max);
    return (double)max + log(sum);
}

float bk_logprob_of(float logit, double norm) {
    if (!(logit > -INFINITY)) return -INFINITY;
    if (isinf(norm)) return (double)logit >= norm ? 0 : -INFINITY;
    return fminf((float)((double)logit - norm), 0);
}

size_t bk_logprob_top(const float *logits, size_t n, double norm, size_t k, bk_logprob *out) {
    size_t found = 0;
    float floor = -INFINITY; /* of those found, once there are k */
    /* out holds logits until all are found. */
    for (size_t i = 0; k && i < n; i++) {
        if (!(logits[i] > floor)) continue;
        size_t at = found < k ? found++ : k - 1;
        for (; at > 0 && out[at - 1].logprob < logits[i]; at--) out[at] = out[at - 1];
        out[at] = (bk_logprob){(int32_t)i, logits[i]};
        if (found == k) floor = out[k - 1].logprob;
    }
    for (size_t i = 0; i < found; i++) out[i].logprob = bk_logprob_of(out[i].logprob, norm);
    return found;
}
