/* Runs forward passes: checks the request, makes room in the sequences, lets the architecture
 * record its commands over the buffers held here, runs them on the device, then commits. All memory
 * is had at creation, but for pages. */
#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "model/arch.h"

struct bk_exec {
    bk_model *model;
    size_t max_rows, max_logits;
    bk_pass pass;
    int32_t *tokens, *logit_rows;
    bk_row *rows;
    bk_seq_view *seqs;
    float *angles;
};

static float *floats(size_t rows, size_t cols) {
    size_t n, bytes;
    if (!bk_mul_size(rows, cols, &n) || !bk_mul_size(n, sizeof(float), &bytes)) return NULL;
    return bk_alloc_aligned(bytes);
}

static bool make_buffers(bk_exec *x) {
    const bk_config *c = &x->model->config;
    const bk_arch *a = x->model->arch;
    bk_pass *p = &x->pass;
    size_t n = x->max_rows, hs = (size_t)c->head_size, kv = (size_t)c->n_kv_heads * hs;
    x->tokens = bk_alloc(n, sizeof *x->tokens);
    x->logit_rows = bk_alloc(x->max_logits + 1, sizeof *x->logit_rows);
    x->rows = bk_alloc(n, sizeof *x->rows);
    x->seqs = bk_alloc(n, sizeof *x->seqs);
    x->angles = floats(n, (size_t)c->rope_dims);
    p->x = floats(n, (size_t)c->n_embd);
    p->q = floats(n, (size_t)c->n_heads * hs);
    p->k = floats(n, kv);
    p->v = floats(n, kv);
    p->attn = floats(n, (size_t)c->n_heads * hs);
    p->gate = floats(n, (size_t)c->n_ff);
    p->up = floats(n, (size_t)c->n_ff);
    p->logits = floats(x->max_logits + 1, (size_t)c->n_vocab);
    p->cap_cmds = a->cmds_per_layer * (size_t)c->n_layers + a->cmds_extra;
    p->cmds = bk_alloc(p->cap_cmds, sizeof *p->cmds);
    return x->tokens && x->logit_rows && x->rows && x->seqs && x->angles && p->x && p->q && p->k &&
           p->v && p->attn && p->gate && p->up && p->logits && p->cmds;
}

bk_status bk_exec_create(bk_model *m, size_t max_rows, size_t max_logits, bk_exec **out,
                         bk_error *err) {
    *out = NULL;
    if (!m->device)
        return bk_fail(err, BK_ERR_INVALID, "the model was opened for its vocabulary alone");
    if (max_rows < 1 || max_rows > 1 << 20 || max_logits > max_rows)
        return bk_fail(err, BK_ERR_INVALID, "%zu rows and %zu rows of logits a pass", max_rows,
                       max_logits);
    bk_exec *x = bk_alloc_zero(1, sizeof *x);
    if (!x) return bk_fail(err, BK_ERR_NOMEM, "no memory for a pass");
    x->model = bk_model_ref(m);
    x->max_rows = max_rows;
    x->max_logits = max_logits;
    if (!make_buffers(x)) {
        bk_exec_destroy(&x);
        return bk_fail(err, BK_ERR_NOMEM, "no memory for passes of %zu rows", max_rows);
    }
    *out = x;
    return BK_OK;
}

void bk_exec_destroy(bk_exec **exec) {
    bk_exec *x = *exec;
    if (!x) return;
    *exec = NULL;
    bk_pass *p = &x->pass;
    void *all[] = {x->tokens, x->logit_rows, x->rows, x->seqs, x->angles, p->x,      p->q,
                   p->k,      p->v,          p->attn, p->gate, p->up,     p->logits, p->cmds};
    for (size_t i = 0; i < BK_ARRAY_LEN(all); i++) bk_free(all[i]);
    bk_model_unref(&x->model);
    bk_free(x);
}

/* ---- A pass ---------------------------------------------------------------------------------------- */

static bk_status check(const bk_exec *x, const bk_rows *rows, size_t n, bk_error *err) {
    size_t total = 0, logits = 0;
    for (size_t i = 0; i < n; i++) {
        if (rows[i].n == 0 || rows[i].n > x->max_rows - total)
            return bk_fail(err, BK_ERR_LIMIT, "a pass of more than %zu rows, or an empty part",
                           x->max_rows);
        if (rows[i].n_logits > rows[i].n || rows[i].n_logits > x->max_logits - logits)
            return bk_fail(err, BK_ERR_LIMIT, "logits of more than %zu rows", x->max_logits);
        total += rows[i].n;
        logits += rows[i].n_logits;
        for (size_t t = 0; t < rows[i].n; t++)
            if (rows[i].tokens[t] < 0 || rows[i].tokens[t] >= x->model->config.n_vocab)
                return bk_fail(err, BK_ERR_INVALID, "token %d found, 0 to %d wanted",
                               rows[i].tokens[t], x->model->config.n_vocab - 1);
    }
    return n ? BK_OK : bk_fail(err, BK_ERR_INVALID, "an empty pass");
}

static void set_angles(const bk_exec *x, size_t row, size_t pos) {
    size_t dims = (size_t)x->model->config.rope_dims;
    float *a = x->angles + row * dims;
    for (size_t i = 0; i < dims / 2; i++) {
        double angle = (double)pos * x->model->rope_freqs[i];
        a[2 * i] = (float)cos(angle);
        a[2 * i + 1] = (float)sin(angle);
    }
}

/* Lays out the rows of all sequences; their pages exist already. */
static void fill(bk_exec *x, const bk_rows *rows, size_t n) {
    bk_pass *p = &x->pass;
    p->n_rows = p->n_logits = 0;
    for (size_t i = 0; i < n; i++) {
        size_t len = bk_kv_len(rows[i].kv);
        x->seqs[i] = (bk_seq_view){{bk_kv_table(rows[i].kv, 0, NULL)}};
        for (size_t t = 0; t < rows[i].n; t++) {
            size_t r = p->n_rows++;
            x->tokens[r] = rows[i].tokens[t];
            x->rows[r] = (bk_row){.pos = (uint32_t)(len + t),
                                  .seq = (uint32_t)i,
                                  .seq_rows = (uint32_t)rows[i].n};
            set_angles(x, r, len + t);
            if (t + rows[i].n_logits >= rows[i].n) x->logit_rows[p->n_logits++] = (int32_t)r;
        }
    }
    p->model = x->model;
    p->tokens = x->tokens;
    p->logit_rows = x->logit_rows;
    p->rows = x->rows;
    p->seqs = x->seqs;
    p->angles = x->angles;
    p->n_cmds = 0;
}

bk_status bk_exec_forward(bk_exec *x, const bk_rows *rows, size_t n, bk_error *err) {
    bk_status status = check(x, rows, n, err);
    if (status != BK_OK) return status;
    for (size_t i = 0; status == BK_OK && i < n; i++)
        status = bk_kv_reserve(rows[i].kv, rows[i].n, err);
    if (status == BK_OK) {
        fill(x, rows, n);
        x->model->arch->record(&x->pass);
        bk_device *d = x->model->device;
        status = d->ops->run(d, x->pass.cmds, x->pass.n_cmds, err);
    }
    if (status != BK_OK) {
        /* Room that was made for this pass goes back. */
        for (size_t i = 0; i < n; i++) bk_kv_truncate(rows[i].kv, bk_kv_len(rows[i].kv), NULL);
        return status;
    }
    size_t n_vocab = (size_t)x->model->config.n_vocab;
    const float *logits = x->pass.logits;
    for (size_t i = 0; i < n; i++) {
        bk_kv_commit(rows[i].kv, rows[i].n);
        size_t count = rows[i].n_logits * n_vocab;
        if (count) memcpy(rows[i].logits, logits, count * sizeof(float));
        logits += count;
    }
    return BK_OK;
}
