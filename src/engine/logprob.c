#include "engine/logprob.h"
#include <math.h>
float bk_logprobs(const float *l, size_t n, int32_t token, size_t k, bk_token_logprob *top) {
    double s = 0, m = -1e30;
    for (size_t i = 0; i < n; i++)
        if (l[i] > m) m = l[i];
    for (size_t i = 0; i < n; i++) s += exp(l[i] - m);
    for (size_t j = 0; j < k; j++) {
        size_t b = 0;
        double bv = -1e30;
        for (size_t i = 0; i < n; i++) {
            int used = 0;
            for (size_t q = 0; q < j; q++) used |= top[q].token == (int)i;
            if (!used && l[i] > bv) {
                bv = l[i];
                b = i;
            }
        }
        top[j].token = (int)b;
        top[j].logprob = (float)(bv - m - log(s));
    }
    return (float)(l[token] - m - log(s));
}
