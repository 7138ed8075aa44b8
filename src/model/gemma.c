/* Architectures `gemma` (Gemma Team 2024, arXiv 2403.08295), `gemma2` (arXiv 2408.00118) and `gemma3`
 * (2025, arXiv 2503.19786): scaled embedding and GELU gate; from the second on norms around both
 * blocks, and layers that see a window with some that see all in between. Gemma 2 caps scores and
 * logits; Gemma 3 norms heads and rotates its local layers with a base of their own. */
#include <math.h>

#include "model/arch.h"

/* The largest of the later two families divides scores by the root of width / heads, the others by that of
 * the head's size (model cards; GGUF has no key for it). */
static void scale_scores(bk_config *c, int layers_of_27b) {
    if (c->n_layers == layers_of_27b)
        c->score_scale = 1.0f / sqrtf((float)c->n_embd / (float)c->n_heads);
}

static void finish_gemma(bk_config *c) {
    c->gelu = true;
    c->embed_scale = sqrtf((float)c->n_embd);
}

static void finish_gemma2(bk_config *c) {
    finish_gemma(c);
    scale_scores(c, 46);
    if (c->window == 0) c->window = 4096;
    if (c->score_cap == 0) c->score_cap = 50;
    if (c->logit_cap == 0) c->logit_cap = 30;
    c->window_every = 2;
}

static void finish_gemma3(bk_config *c) {
    finish_gemma(c);
    scale_scores(c, 62);
    if (c->rope.base_local == 0) c->rope.base_local = 10000;
    c->window_every = 6;
}

const bk_arch bk_arch_gemma = {.name = "gemma", .features = BK_HALVES, .finish = finish_gemma};
const bk_arch bk_arch_gemma2 = {.name = "gemma2",
                                .features = BK_HALVES | BK_POST_NORMS,
                                .finish = finish_gemma2};
const bk_arch bk_arch_gemma3 = {.name = "gemma3",
                                .features = BK_HALVES | BK_POST_NORMS | BK_QK_NORM,
                                .finish = finish_gemma3};
