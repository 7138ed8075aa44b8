/* A head that computes less than all logits, in one of two ways.
 *
 * Screened, it estimates all with a copy of fewer bits, and computes those that the estimates' bound does
 * not rule out (device.h, bk_screen). Preview and rerank as in SVD-softmax (Shim et al. 2017), with
 * quantised rows for the preview.
 *
 * Trimmed, it has the rows of some tokens alone, to which each
 * sequence adds those of its own tokens out of the whole head, which stays as it is; what is left out
 * counts as -infinity. Published with figures by VocabTrim and VocabTailor (arXiv 2508.15229);
 * docs/head.md has ours. */
#ifndef BRISK_MODEL_HEAD_H
#define BRISK_MODEL_HEAD_H

#include "device/device.h"

struct bk_model;

typedef struct bk_head {
    bk_weight *kept;  /* [n_kept][n_out] rows of the head, ascending; NULL: nothing is left out */
    float *kept_bias; /* [n_kept] or NULL */
    size_t n_kept;
    const uint32_t *keep; /* [words] a bit for each token, as in bk_sampler_pick */
    uint32_t *rank;       /* [words] kept tokens before those of a word */
    size_t words;         /* ceil(n_vocab / 32) */

    bk_weight *coarse; /* all rows with fewer bits; NULL: no screen */
    uint16_t *radius;  /* [n_vocab] bk_screen's, */
    uint8_t *share;    /* [n_vocab][n_out / 32] */
    float factor;
    /* Rows of logits that were screened, rows of the head computed for these, and rows of logits that
     * wanted all. */
    _Atomic uint64_t screened, computed, whole;
} bk_head;

static inline bool bk_bit(const uint32_t *bits, size_t i) { return bits[i / 32] >> i % 32 & 1; }
static inline void bk_set_bit(uint32_t *bits, size_t i) { bits[i / 32] |= (uint32_t)1 << i % 32; }

/* Which tokens m->head keeps: "N", "FILE" or "N:FILE". FILE has token ids; all of them, or the N that
 * stand there most often. Where there is room after these come tokens in the order of their ids, which
 * in vocabularies made by merging is that of frequency. Control tokens, bytes, characters of ASCII and
 * the chat template's tokens are always kept, and count in N. INVALID, NOT_FOUND, IO, NOMEM. */
bk_status bk_head_choose(struct bk_model *m, const char *spec, bk_error *err);

/* The kept rows of the head's tensor, `rows` being row 0 as in the file; the bias of all tokens is NULL
 * or loaded. NOMEM. */
bk_status bk_head_load(struct bk_model *m, const bk_quant *type, const uint8_t *rows,
                       bk_error *err);
/* The copy for a screen, of the head's tensor, and its bounds. z 0: bounds that hold; else they are z
 * standard deviations of what rounding at random would do. UNSUPPORTED, NOMEM. */
bk_status bk_head_screen(struct bk_model *m, const bk_quant *type, const uint8_t *rows, double z,
                         bk_error *err);
bk_status bk_head_load_bias(struct bk_model *m, bk_error *err);

#endif
