/* prune_file IN OUT SCORE PATTERN RATIO N M REPAIR SPREAD TYPE [TEXT [TOKENS]]: bk_sparsify_gguf on a
 * file, for tests and tables; numbers as in bk_score_kind, bk_pattern and bk_spread, TYPE as in GGUF or
 * - for each matrix's own. Prints a line of JSON for each matrix. A failure is one line on standard error
 * and exit status 1. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "compress/sparsify_model.h"
#include "format/gguf_build.h"
#include "sys/file.h"

static void seen(const bk_sparsified *m, const bk_quant *type, void *user) {
    (void)user;
    printf("{\"name\":\"%s\",\"type\":\"%s\",\"weights\":%zu,\"zeros\":%zu,\"ratio\":%.6f,"
           "\"error\":%.8f}\n",
           m->name, type->name, m->n_matrices * m->rows * m->k, m->result.zeros, m->ratio,
           m->result.error);
}

int main(int argc, char **v) {
    bk_error err;
    bk_gguf *g = NULL, *out = NULL;
    bk_model *model = NULL;
    bk_map map = {0};
    if (argc < 11) return 2;
    bk_sparsify_options o = {.rule = {.score = (bk_score_kind)atoi(v[3]),
                                      .pattern = (bk_pattern)atoi(v[4]),
                                      .ratio = strtod(v[5], NULL),
                                      .n = atoi(v[6]),
                                      .m = atoi(v[7]),
                                      .repair = atoi(v[8])},
                             .spread = (bk_spread)atoi(v[9])};
    if (o.rule.pattern == BK_PATTERN_TILES) {
        o.rule.tile_rows = o.rule.n;
        o.rule.tile_cols = o.rule.m;
    }
    const bk_quant *type = strcmp(v[10], "-") ? bk_quant_find((uint32_t)atoi(v[10])) : NULL;
    bk_status st = bk_gguf_open(v[1], &g, &err);
    if (!st && argc > 11) st = bk_map_open(v[11], &map, &err);
    if (!st && argc > 11) st = bk_model_load(v[1], NULL, &model, &err);
    if (!st) {
        o.text = (bk_str){(const char *)map.data, map.size};
        o.max_tokens = argc > 12 ? strtoul(v[12], NULL, 10) : 0;
        st = bk_sparsify_gguf(g, model, &o, type, seen, &out, &err);
    }
    if (!st) st = bk_gguf_write(out, v[2], NULL, &err);
    bk_gguf_destroy(&out);
    bk_model_unref(&model);
    bk_gguf_destroy(&g);
    bk_map_close(&map);
    if (st) fprintf(stderr, "%s\n", err.text);
    return st || fflush(stdout) ? 1 : 0;
}
