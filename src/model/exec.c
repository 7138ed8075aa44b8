/* Runs forward passes: checks the request, makes room in the sequences, lets the architecture
 * record its commands over the buffers held here, runs them on the device, then commits. All memory
 * is had at creation, but for pages. */
#include <string.h>

#include "base/mem.h"
#include "kernel/packed.h"
#include "model/arch.h"

struct bk_exec {
    bk_model *model;
    size_t max_rows, max_logits;
    bk_pass pass;
    int32_t *tokens, *logit_rows;
    float *logits; /* [max_logits][n_vocab], when those of the callers are not side by side */
    bk_row *rows;
    bk_seq_view *seqs;
    float *angles[BK_MAX_GROUPS];
};

/* Everything in one list, so that it can be checked and freed in a loop. One more float than 0 keeps a
 * buffer of no rows from being NULL. */
static size_t list_buffers(bk_exec *x, bk_buffer *b) {
    const bk_config *c = &x->model->config;
    size_t n = x->max_rows, count = 0, dims = (size_t)c->rope.dims;
    b[count++] = BK_BUFFER(x->tokens, n, 1);
    b[count++] = BK_BUFFER(x->logit_rows, x->max_logits + 1, 1);
    b[count++] = BK_BUFFER(x->logits, x->max_logits + 1, (size_t)c->n_vocab);
    size_t trimmed = x->model->head.kept ? x->max_logits + 1 : 0;
    b[count++] = BK_BUFFER(x->pass.kept, trimmed, x->model->head.n_kept);
    b[count++] = BK_BUFFER(x->pass.allowed, trimmed, x->model->head.words);
    b[count++] = BK_BUFFER(x->pass.groups, trimmed != 0, (size_t)c->n_vocab / BK_GROUP_ROWS + 1);
    for (int g = 0; dims && g < x->model->n_groups; g++)
        b[count++] = BK_BUFFER(x->angles[g], n, dims);
    return count + x->model->family->buffers(&x->pass, c, n, b + count);
}

static bool make_buffers(bk_exec *x) {
    const bk_config *c = &x->model->config;
    bk_pass *p = &x->pass;
    bk_buffer b[BK_MAX_BUFFERS];
    p->model = x->model;
    size_t count = list_buffers(x, b);
    for (size_t i = 0; i < count; i++) {
        size_t n, bytes;
        if (b[i].rows == 0) continue;
        if (!bk_mul_size(b[i].rows, b[i].cols, &n) || !bk_mul_size(n, 4, &bytes)) return false;
        *b[i].at = bk_alloc_aligned(bytes);
        if (!*b[i].at) return false;
    }
    p->routes.n_experts = c->n_experts;
    p->routes.n_used = c->n_experts_used;
    x->rows = bk_alloc(x->max_rows, sizeof *x->rows);
    x->seqs = bk_alloc(x->max_rows, sizeof *x->seqs);
    p->cap_cmds = x->model->family->cmds(c);
    p->cmds = bk_alloc(p->cap_cmds, sizeof *p->cmds);
    return x->rows && x->seqs && p->cmds;
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
    bk_buffer b[BK_MAX_BUFFERS];
    size_t count = list_buffers(x, b);
    for (size_t i = 0; i < count; i++) bk_free(*b[i].at);
    bk_free(x->rows);
    bk_free(x->seqs);
    bk_free(x->pass.cmds);
    bk_model_unref(&x->model);
    bk_free(x);
}

size_t bk_exec_bytes(const bk_exec *x) {
    bk_buffer b[BK_MAX_BUFFERS];
    size_t count = list_buffers((bk_exec *)(uintptr_t)x, b), sum = 0; /* it only looks */
    for (size_t i = 0; i < count; i++) sum += b[i].rows * b[i].cols * 4;
    return sum + x->max_rows * (sizeof *x->rows + sizeof *x->seqs);
}

float *bk_exec_logits(bk_exec *x) { return x->logits; }

/* ---- A pass ---------------------------------------------------------------------------------------- */

static bk_status check(const bk_exec *x, const bk_rows *rows, size_t n, bk_error *err) {
    size_t total = 0, logits = 0;
    for (size_t i = 0; i < n; i++) {
        if (rows[i].n == 0 || rows[i].n > x->max_rows - total)
            return bk_fail(err, BK_ERR_LIMIT, "a pass of more than %zu rows, or an empty part",
                           x->max_rows);
        if (rows[i].n_logits > rows[i].n || rows[i].n_logits > x->max_logits - logits)
            return bk_fail(err, BK_ERR_LIMIT, "logits of more than %zu rows", x->max_logits);
        if (rows[i].n_hidden > rows[i].n)
            return bk_fail(err, BK_ERR_INVALID, "states of %zu rows of %zu", rows[i].n_hidden,
                           rows[i].n);
        if (x->model->meta.fast && rows[i].exact != rows[0].exact)
            return bk_fail(err, BK_ERR_INVALID, "a pass of prompts and of chosen tokens");
        total += rows[i].n;
        logits += rows[i].n_logits;
        for (size_t t = 0; t < rows[i].n; t++)
            if (rows[i].tokens[t] < 0 || rows[i].tokens[t] >= x->model->config.n_vocab)
                return bk_fail(err, BK_ERR_INVALID, "token %d found, 0 to %d wanted",
                               rows[i].tokens[t], x->model->config.n_vocab - 1);
    }
    return n ? BK_OK : bk_fail(err, BK_ERR_INVALID, "an empty pass");
}

/* Lays out the rows of all sequences; their pages exist already. */
static void fill(bk_exec *x, const bk_rows *rows, size_t n) {
    const bk_model *m = x->model;
    bk_pass *p = &x->pass;
    size_t dims = (size_t)m->config.rope.dims;
    p->n_rows = p->n_logits = 0;
    p->whole = false;
    p->screened = bk_head_screens(m, rows, n, &p->screen);
    for (size_t i = 0; i < n; i++) {
        if (m->head.kept) bk_head_allow(p, p->allowed + p->n_logits * m->head.words, &rows[i]);
        size_t len = bk_kv_len(rows[i].kv);
        for (int g = 0; g < m->n_groups; g++)
            x->seqs[i].pages[g] = bk_kv_table(rows[i].kv, g, NULL);
        for (size_t t = 0; t < rows[i].n; t++) {
            size_t r = p->n_rows++;
            x->tokens[r] = rows[i].tokens[t];
            x->rows[r] = (bk_row){.pos = (uint32_t)(len + t),
                                  .seq = (uint32_t)i,
                                  .seq_rows = (uint32_t)rows[i].n};
            for (int g = 0; g < m->n_groups; g++)
                bk_rope_angles(&m->rope[g], (int)dims, len + t, rows[i].long_context,
                               x->angles[g] + r * dims);
            if (t + rows[i].n_logits >= rows[i].n) x->logit_rows[p->n_logits++] = (int32_t)r;
        }
    }
    p->fast = m->meta.fast && !rows[0].exact;
    p->tokens = x->tokens;
    p->logit_rows = x->logit_rows;
    p->rows = x->rows;
    p->seqs = x->seqs;
    for (int g = 0; g < m->n_groups; g++) p->angles[g] = x->angles[g];
    p->n_cmds = 0;
    if (m->head.kept) bk_head_list(p, p->allowed, p->groups);
}

/* The callers' memory where that is one run, as it is for a single sequence; else NULL. */
static float *side_by_side(const bk_rows *rows, size_t n, size_t n_vocab) {
    float *first = NULL, *next = NULL;
    for (size_t i = 0; i < n; i++) {
        if (rows[i].n_logits == 0) continue;
        if (next && rows[i].logits != next) return NULL;
        if (!first) first = rows[i].logits;
        next = rows[i].logits + rows[i].n_logits * n_vocab;
    }
    return first;
}

static void copy_logits(const bk_exec *x, const bk_rows *rows, size_t n, size_t n_vocab) {
    const float *from = x->logits;
    for (size_t i = 0; i < n; i++) {
        size_t count = rows[i].n_logits * n_vocab;
        if (count) memcpy(rows[i].logits, from, count * sizeof(float));
        from += count;
    }
}

/* The states that are wanted, from where the last layer left them. */
static void copy_hidden(const bk_exec *x, const bk_rows *rows, size_t n) {
    size_t end = 0, n_out = (size_t)x->model->config.n_out;
    for (size_t i = 0; i < n; i++) {
        end += rows[i].n;
        for (size_t k = 0; k < rows[i].n_hidden; k++)
            x->model->family->hidden(&x->pass, end - rows[i].n_hidden + k,
                                     rows[i].hidden + k * n_out);
    }
}

bk_status bk_exec_forward(bk_exec *x, const bk_rows *rows, size_t n, bk_error *err) {
    size_t n_vocab = (size_t)x->model->config.n_vocab;
    bk_status status = check(x, rows, n, err);
    if (status != BK_OK) return status;
    for (size_t i = 0; status == BK_OK && i < n; i++)
        status = bk_kv_reserve(rows[i].kv, rows[i].n, err);
    float *direct = side_by_side(rows, n, n_vocab);
    if (status == BK_OK) {
        fill(x, rows, n);
        x->pass.logits = direct ? direct : x->logits;
        x->model->family->record(&x->pass);
        bk_device *d = x->model->device;
        status = d->ops->run(d, x->pass.cmds, x->pass.n_cmds, err);
    }
    if (status != BK_OK) {
        /* Room that was made for this pass goes back. */
        for (size_t i = 0; i < n; i++) bk_kv_truncate(rows[i].kv, bk_kv_len(rows[i].kv), NULL);
        return status;
    }
    for (size_t i = 0; i < n; i++) bk_kv_commit(rows[i].kv, rows[i].n);
    if (x->model->head.coarse) bk_head_count(&x->pass);
    if (!direct) copy_logits(x, rows, n, n_vocab);
    copy_hidden(x, rows, n);
    return BK_OK;
}
