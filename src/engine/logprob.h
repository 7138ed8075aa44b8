#ifndef BRISK_ENGINE_LOGPROB_H
#define BRISK_ENGINE_LOGPROB_H
#include "base/error.h"
enum { BK_MAX_LOGPROBS = 20 };
typedef struct bk_token_logprob {
    int32_t token;
    float logprob;
} bk_token_logprob;
float bk_logprobs(const float *logits, size_t n_vocab, int32_t token, size_t n_top,
                  bk_token_logprob *top);
#endif
