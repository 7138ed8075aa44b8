/* states MODEL TOKEN...: the states after the last norm, one row a token, as floats (little-endian) on
 * standard output. */
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "model/model.h"

static bk_status states(bk_model *m, const int32_t *tokens, size_t n, float *out, bk_error *err) {
    bk_exec *x = NULL;
    bk_kv *kv = NULL;
    bk_status status = bk_exec_create(m, n, 0, &x, err);
    if (status == BK_OK) status = bk_model_new_kv(m, &kv, err);
    bk_rows rows = {.kv = kv,
                    .tokens = tokens,
                    .n = n,
                    .n_hidden = n,
                    .hidden = out,
                    .long_context = bk_config_long_context(bk_model_config(m), n)};
    if (status == BK_OK) status = bk_exec_forward(x, &rows, 1, err);
    bk_kv_destroy(&kv);
    bk_exec_destroy(&x);
    return status;
}

int main(int argc, char **argv) {
    bk_model *m = NULL;
    bk_error err = {0};
    size_t n = argc > 2 ? (size_t)argc - 2 : 0;
    if (n == 0) {
        fprintf(stderr, "usage: states MODEL TOKEN...\n");
        return 2;
    }
    int32_t *tokens = bk_alloc(n, sizeof *tokens);
    for (size_t i = 0; tokens && i < n; i++) tokens[i] = (int32_t)strtol(argv[i + 2], NULL, 10);
    bk_status status = bk_model_load(argv[1], NULL, &m, &err);
    size_t embd = m ? (size_t)bk_model_config(m)->n_out : 1;
    float *out = bk_alloc(n * embd, sizeof *out);
    if (!tokens || !out) status = bk_fail(&err, BK_ERR_NOMEM, "no memory for %zu tokens", n);
    if (status == BK_OK) status = states(m, tokens, n, out, &err);
    if (status == BK_OK)
        fwrite(out, sizeof *out, n * embd, stdout);
    else
        fprintf(stderr, "states: %s\n", err.text);
    bk_free(tokens);
    bk_free(out);
    bk_model_unref(&m);
    return status != BK_OK || fflush(stdout) ? 1 : 0;
}
