/* A compiled pattern: a list of instructions with relative jumps, so that a piece of it can be moved and
 * copied, and the sets of characters they refer to. */
#ifndef BRISK_TEXT_PATTERN_INTERNAL_H
#define BRISK_TEXT_PATTERN_INTERNAL_H

#include "text/pattern.h"

enum { BK_PATTERN_MAX_CODE = 4096, BK_PATTERN_MAX_SETS = 256, BK_PATTERN_MAX_DEPTH = 16 };

typedef enum bk_pattern_op {
    BK_PAT_RUN, /* min..max characters of a set, as many as possible; then fewer unless possessive */
    BK_PAT_SPLIT, /* go on behind it; if that fails, at jump */
    BK_PAT_JUMP,
    BK_PAT_AHEAD, /* what follows up to jump must match (or not) here; go on at jump */
    BK_PAT_EDGE,  /* \b */
    BK_PAT_BEGIN, /* ^ */
    BK_PAT_END,   /* $ */
    BK_PAT_ACCEPT
} bk_pattern_op;

#define BK_PATTERN_MANY UINT32_MAX

typedef struct bk_pattern_inst {
    uint8_t op;
    bool negated;    /* AHEAD, EDGE */
    bool possessive; /* RUN */
    uint16_t set;    /* RUN */
    uint32_t min, max;
    int32_t jump; /* relative to this instruction */
} bk_pattern_inst;

typedef struct bk_pattern_range {
    uint32_t first, last;
} bk_pattern_range;

typedef struct bk_pattern_set {
    uint32_t ascii[4]; /* the answer for code points below 128 */
    uint32_t kinds;    /* of bk_unicode_kind */
    uint32_t first_range, n_ranges;
    bool negated;
    int and_set; /* -1: none */
} bk_pattern_set;

struct bk_pattern {
    bk_pattern_inst *code;
    size_t n_code, cap_code;
    bk_pattern_set *sets;
    size_t n_sets, cap_sets;
    bk_pattern_range *ranges;
    size_t n_ranges, cap_ranges;
};

/* cp is 0xFFFFFFFF for a byte that is not UTF-8: neither letter, number nor space. */
bool bk_pattern_set_has(const bk_pattern *p, const bk_pattern_set *s, uint32_t cp);

#endif
