/* Tensors of a parsed file into a model by the table of roles. Everything is checked before a byte of
 * weights is read. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "format/gguf_sparse.h"
#include "kernel/packed.h"
#include "model/arch.h"
#include "model/sparse.h"
#include "sys/memory.h"

/* ---- Tensors ------------------------------------------------------------------------------------- */

/* What load_role finds out for all roles first, so that a wrong file fails before it is read. */
typedef struct binding {
    const bk_role *role;
    const bk_gguf_tensor *tensor;
    void **slot;
    const uint8_t *data; /* between bk_gguf_read and bk_gguf_release */
} binding;

typedef struct loader {
    const bk_gguf *g;
    bk_model *m;
    binding *bound;
    size_t n_bound;
    bool screen; /* a screened head, */
    double z;    /* with these bounds */
    bk_error *err;
    bk_sparse_choice sparse;
} loader;

/* Matrices that a tensor holds, one after another in its rows. */
static uint64_t parts_of(const bk_role *role) { return role->kind == BK_ROLE_GATES ? 4 : 1; }

static bk_status check_shape(loader *l, const bk_role *role, int layer, const char *name,
                             const bk_gguf_tensor *t) {
    const bk_config *c = &l->m->config;
    bool stack = role->kind == BK_ROLE_EXPERTS;
    bk_dim k = role->k == BK_DIM_INPUT && layer == 0 ? BK_DIM_EMBD : role->k;
    uint64_t want[3] = {bk_dim_size(c, k), parts_of(role) * bk_dim_size(c, role->rows),
                        stack ? (uint64_t)c->n_experts : 1};
    if (t->ne[0] != want[0] || t->ne[1] != want[1] || t->ne[2] != want[2] || t->ne[3] != 1)
        return bk_fail(
            l->err, BK_ERR_FORMAT,
            "tensor '%s': shape [%llu, %llu, %llu, %llu] found, [%llu, %llu, %llu] wanted", name,
            (unsigned long long)t->ne[0], (unsigned long long)t->ne[1],
            (unsigned long long)t->ne[2], (unsigned long long)t->ne[3], (unsigned long long)want[0],
            (unsigned long long)want[1], (unsigned long long)want[2]);
    if (stack && want[1] % 16)
        return bk_fail(l->err, BK_ERR_UNSUPPORTED,
                       "tensor '%s': experts of %llu rows found, a multiple of 16 wanted", name,
                       (unsigned long long)want[1]);
    return BK_OK;
}

static bk_status bind_role(loader *l, const bk_role *role, int layer) {
    char name[64];
    if (role->per_layer)
        snprintf(name, sizeof name, role->name, layer);
    else
        snprintf(name, sizeof name, "%s", role->name);
    const bk_gguf_tensor *t = bk_gguf_find_tensor(l->g, name);
    if (!t) {
        if (role->optional) return BK_OK;
        return bk_fail(l->err, BK_ERR_FORMAT, "tensor '%s' is missing", name);
    }
    bk_status status = check_shape(l, role, layer, name, t);
    if (status != BK_OK) return status;
    if (role->kind == BK_ROLE_VECTOR && t->type->bits)
        return bk_fail(l->err, BK_ERR_UNSUPPORTED,
                       "tensor '%s': type %s found, F32, F16 or BF16 "
                       "wanted for a vector",
                       name, t->type->name);
    char *base = role->per_layer ? (char *)&l->m->weights.layers[layer] : (char *)&l->m->weights;
    l->bound[l->n_bound++] = (binding){role, t, (void **)(void *)(base + role->offset), NULL};
    return BK_OK;
}

/* A tensor that nothing reads would make the output silently wrong (a bias, an adapter). */
static bk_status check_all_used(loader *l) {
    size_t n = bk_gguf_n_tensors(l->g);
    if (n == l->n_bound) return BK_OK;
    for (size_t i = 0; i < n; i++) {
        const bk_gguf_tensor *t = bk_gguf_tensor_at(l->g, i);
        bool used = false;
        for (size_t j = 0; j < l->n_bound && !used; j++) used = l->bound[j].tensor == t;
        if (!used)
            return bk_fail(l->err, BK_ERR_UNSUPPORTED,
                           "tensor '" BK_STR_FMT "' has no role in architecture '%s'",
                           BK_STR_ARG(t->name), l->m->arch->name);
    }
    return BK_OK;
}

static bk_status bind_all(loader *l) {
    int n_layers = l->m->config.n_layers;
    const bk_family *f = l->m->family;
    l->bound = bk_arena_alloc(&l->m->arena, f->n_roles * (size_t)n_layers, sizeof *l->bound);
    if (!l->bound) return bk_fail(l->err, BK_ERR_NOMEM, "no memory for %d layers", n_layers);
    for (size_t i = 0; i < f->n_roles; i++) {
        if (!bk_role_applies(&f->roles[i], &l->m->config)) continue;
        int n = f->roles[i].per_layer ? n_layers : 1;
        for (int layer = 0; layer < n; layer++) {
            bk_status status = bind_role(l, &f->roles[i], layer);
            if (status != BK_OK) return status;
        }
    }
    return check_all_used(l);
}

/* ---- Loading ------------------------------------------------------------------------------------- */

static bk_status load_vector(loader *l, const binding *b) {
    size_t n = (size_t)b->tensor->n_elements;
    float *v = bk_arena_alloc(&l->m->arena, bk_round_up(n, 16), sizeof *v);
    if (!v) return bk_fail(l->err, BK_ERR_NOMEM, "no memory for a vector of %zu", n);
    bk_quant_dequantize(b->tensor->type, b->data, v, n);
    *b->slot = v;
    l->m->meta.resident_bytes += n * sizeof *v;
    return BK_OK;
}

/* In slices of rows, each packed by all threads and its pages of the file given back, so that memory
 * never holds the weights twice. */
static bk_status load_matrix(loader *l, const binding *b, size_t part) {
    enum { SLICE_BYTES = 8 << 20 };
    bk_device *d = l->m->device;
    const bk_gguf_tensor *t = b->tensor;
    bk_weight *w = NULL;
    /* At most what the file holds. */
    size_t all = (size_t)(t->ne[1] * t->ne[2]), rows = all / (size_t)parts_of(b->role);
    bk_status status = d->ops->weight_create(d, t->type, rows, (size_t)t->ne[0], &w, l->err);
    if (status != BK_OK) {
        bk_error_prefix(l->err, "tensor '" BK_STR_FMT "'", BK_STR_ARG(t->name));
        return status;
    }
    b->slot[part] = w;
    l->m->meta.resident_bytes += bk_weight_bytes(w);
    size_t row_bytes = t->bytes / all, begin = part * rows * row_bytes;
    size_t slice = bk_round_up(SLICE_BYTES / row_bytes + 1, BK_LOAD_ROWS);
    for (size_t first = 0; first < rows; first += slice) {
        size_t n = bk_min_size(slice, rows - first);
        d->ops->weight_load(d, w, b->data + begin, first, n);
        bk_gguf_drop(l->g, t, begin + first * row_bytes, n * row_bytes);
    }
    return BK_OK;
}

/* Bytes of a tensor in the file. */
static uint64_t file_bytes(const bk_gguf_tensor *t) {
    const bk_sparse *s = bk_gguf_sparse_of(t);
    return s ? bk_sparse_bytes(s) : t->bytes;
}

/* Whether the tensor is the head: output.weight, or the embedding where there is none. */
static bool is_head(const loader *l, const binding *b) {
    const bk_weights *w = &l->m->weights;
    bool own = bk_gguf_find_tensor(l->g, "output.weight") != NULL;
    return b->slot == (void **)(own ? (uintptr_t)&w->head : (uintptr_t)&w->embed);
}

/* A matrix as the file has it, when it is sparse and stays so; *done is false otherwise. */
static bk_status load_sparse(loader *l, const binding *b, bool *done) {
    bk_device *d = l->m->device;
    const bk_sparse *s = bk_gguf_sparse_of(b->tensor);
    *done = false;
    if (!s || b->role->kind == BK_ROLE_VECTOR) return BK_OK;
    /* Heads that leave logits out want rows. */
    bool use = false, dense = is_head(l, b) && (l->screen || l->m->head.keep);
    bk_status status = BK_OK;
    if (b->role->kind == BK_ROLE_MATRIX && !dense)
        status = bk_sparse_choose(&l->sparse, d, s, &use, l->err);
    if (status == BK_OK && use)
        status = d->ops->weight_create_sparse(d, s, (bk_weight **)(void *)b->slot, l->err);
    if (status != BK_OK) {
        bk_error_prefix(l->err, "tensor '" BK_STR_FMT "'", BK_STR_ARG(b->tensor->name));
        return status;
    }
    bk_model_meta *meta = &l->m->meta;
    if (use) {
        meta->n_sparse++;
        meta->resident_bytes += bk_weight_bytes(*b->slot);
    } else {
        meta->n_filled++;
        if (meta->token_bytes) meta->token_bytes += b->tensor->bytes - bk_sparse_bytes(s);
    }
    *done = use;
    return BK_OK;
}

/* Of the embedding one row is read, unless it is the head as well; of experts those that are used. */
static uint64_t bytes_per_token(const loader *l, const binding *b) {
    const bk_config *c = &l->m->config;
    if (b->slot == (void **)(void *)&l->m->weights.embed &&
        bk_gguf_find_tensor(l->g, "output.weight"))
        return 0;
    uint64_t bytes = b->tensor->bytes;
    if (is_head(l, b) && l->m->head.keep)
        return bytes / (uint64_t)c->n_vocab * (uint64_t)l->m->head.n_kept;
    if (b->role->kind != BK_ROLE_EXPERTS) return file_bytes(b->tensor);
    return bytes / (uint64_t)c->n_experts * (uint64_t)c->n_experts_used;
}

static void count_meta(loader *l) {
    uint64_t per_type[64] = {0}, best = 0;
    bk_model_meta *meta = &l->m->meta;
    for (size_t i = 0; i < l->n_bound; i++) {
        const bk_gguf_tensor *t = l->bound[i].tensor;
        meta->n_params += t->n_elements;
        meta->tensor_bytes += file_bytes(t);
        if ((unsigned)t->type->type < 64) {
            uint64_t n = per_type[t->type->type] += t->n_elements;
            if (n > best) best = n, meta->quantization = t->type->name;
        }
        meta->token_bytes += bytes_per_token(l, &l->bound[i]);
    }
}

/* Memory for all weights: matrices as they are packed, which for some types is more than the file has. */
static uint64_t memory_needed(const loader *l) {
    uint64_t sum = 0;
    for (size_t i = 0; i < l->n_bound; i++) {
        const bk_gguf_tensor *t = l->bound[i].tensor;
        bk_packed p;
        if (l->bound[i].role->kind == BK_ROLE_VECTOR) {
            sum += t->n_elements * sizeof(float);
        } else if (bk_packed_init(&p, t->type, (size_t)(t->ne[1] * t->ne[2]), (size_t)t->ne[0])) {
            sum += bk_packed_bytes(&p);
            if (l->screen && is_head(l, &l->bound[i]))
                sum += t->n_elements / 32 * 19 + 2 * t->ne[1];
            if (l->m->head.keep && is_head(l, &l->bound[i]))
                sum += bk_packed_bytes(&p) / p.n_rows * (l->m->head.n_kept + BK_GROUP_ROWS);
        }
    }
    return sum;
}

static bk_status load_tensors(loader *l, const bk_model_options *o) {
    uint64_t done = 0;
    for (size_t i = 0; i < l->n_bound; i++) {
        binding *b = &l->bound[i];
        bool loaded;
        bk_status status = load_sparse(l, b, &loaded);
        if (status == BK_OK && !loaded) status = bk_gguf_read(l->g, b->tensor, &b->data, l->err);
        if (status != BK_OK) return status;
        done += file_bytes(b->tensor);
        if (loaded) continue;
        if (b->role->kind == BK_ROLE_VECTOR) status = load_vector(l, b);
        if (l->m->head.keep && is_head(l, b))
            status = bk_head_load(l->m, b->tensor->type, b->data, l->err);
        if (status == BK_OK && l->screen && is_head(l, b))
            status = bk_head_screen(l->m, b->tensor->type, b->data, l->z, l->err);
        size_t parts = b->role->kind == BK_ROLE_VECTOR ? 0 : (size_t)parts_of(b->role);
        for (size_t p = 0; status == BK_OK && p < parts; p++) status = load_matrix(l, b, p);
        bk_gguf_release(l->g, b->tensor, b->data);
        if (status != BK_OK) return status;
        if (o->progress)
            o->progress((double)done / (double)l->m->meta.tensor_bytes, o->progress_user);
    }
    return BK_OK;
}

/* "full", "screen" or "screen:Z". */
static bk_status read_head(loader *l, const bk_model_options *o) {
    const char *head = o->head ? o->head : "full";
    char *end = NULL;
    l->screen = strncmp(head, "screen", 6) == 0;
    if (l->screen && head[6] == ':') l->z = strtod(head + 7, &end);
    bool known = l->screen
                     ? !head[6] || (end && end != head + 7 && !*end && l->z >= 1 && l->z <= 100)
                     : strcmp(head, "full") == 0;
    if (known && !(l->screen && o->head_keep)) return BK_OK;
    return bk_fail(l->err, BK_ERR_INVALID,
                   "head '%.40s'%s: wanted full, screen, or screen:Z with Z from 1 to 100, and a "
                   "trimmed head has no screen",
                   head, o->head_keep ? " of a trimmed head" : "");
}

bk_status bk_load_weights(const bk_gguf *g, bk_model *m, const bk_model_options *options,
                          bk_error *err) {
    loader l = {.g = g, .m = m, .err = err};
    bk_status status = read_head(&l, options);
    if (status == BK_OK) status = bind_all(&l);
    if (status == BK_OK && options->head_keep) status = bk_head_choose(m, options->head_keep, err);
    if (status != BK_OK) return status;
    count_meta(&l);
    if (options->vocab_only) return BK_OK;
    status = bk_memory_check(bk_memory_root(), memory_needed(&l), err);
    if (status != BK_OK) return status;
    bk_cpu_level level;
    status = bk_cpu_level_choose(options->cpu_level, &level, err);
    if (status != BK_OK) return status;
    int threads = options->threads > 0 ? options->threads : bk_cpu_default_threads();
    status = bk_device_cpu_create(level, threads, &m->device, err);
    if (status != BK_OK) return status;
    m->meta.cpu_level = m->device->level;
    m->meta.threads = threads;
    l.sparse = (bk_sparse_choice){.use = options->sparse, .token_bytes = m->meta.token_bytes};
    status = load_tensors(&l, options);
    if (status != BK_OK) return status;
    if (!m->weights.head) m->weights.head = m->weights.embed;
    if (m->head.kept) status = bk_head_load_bias(m, err);
    if (status != BK_OK) return status;
    return m->config.rope.dims ? bk_rope_make(m, err) : BK_OK;
}

static bool holds(const bk_role *r, const void *fields, const bk_weight *w) {
    bk_weight *const *at = (bk_weight *const *)(const void *)((const char *)fields + r->offset);
    for (size_t p = 0; p < parts_of(r); p++)
        if (at[p] == w) return true;
    return false;
}

void bk_model_weight_name(const bk_model *m, const bk_weight *w, char name[BK_TENSOR_NAME]) {
    name[0] = '\0';
    for (size_t i = 0; i < m->family->n_roles; i++) {
        const bk_role *r = &m->family->roles[i];
        if (r->kind == BK_ROLE_VECTOR || !bk_role_applies(r, &m->config)) continue;
        int n = r->per_layer ? m->config.n_layers : 1;
        for (int layer = 0; layer < n; layer++) {
            const void *fields =
                r->per_layer ? (const void *)&m->weights.layers[layer] : (const void *)&m->weights;
            if (!holds(r, fields, w)) continue;
            snprintf(name, BK_TENSOR_NAME, r->name, layer); /* the first that has it: a tied head */
            return;
        }
    }
}

/* The matrices that a tensor holds, n of them; NULL: there is no such tensor. */
static bk_weight **matrices_named(bk_model *m, const char *tensor, size_t *n) {
    char name[BK_TENSOR_NAME];
    for (size_t i = 0; i < m->family->n_roles; i++) {
        const bk_role *r = &m->family->roles[i];
        if (r->kind == BK_ROLE_VECTOR || !bk_role_applies(r, &m->config)) continue;
        int layers = r->per_layer ? m->config.n_layers : 1;
        for (int layer = 0; layer < layers; layer++) {
            snprintf(name, sizeof name, r->name, layer);
            if (strcmp(name, tensor) != 0) continue;
            char *fields = r->per_layer ? (char *)&m->weights.layers[layer] : (char *)&m->weights;
            *n = (size_t)parts_of(r);
            return (bk_weight **)(void *)(fields + r->offset);
        }
    }
    return NULL;
}

bool bk_model_refill(bk_model *m, const char *tensor, const uint8_t *blocks, size_t row_bytes) {
    size_t n = 0;
    bk_weight **w = matrices_named(m, tensor, &n);
    for (size_t p = 0; p < n; p++) {
        if (!w[p]) return false;
        size_t rows = bk_weight_rows(w[p]);
        m->device->ops->weight_load(m->device, w[p], blocks + p * rows * row_bytes, 0, rows);
    }
    return n > 0;
}

void bk_free_weights(bk_model *m) {
    bk_device *d = m->device;
    if (!d || !m->weights.layers) return;
    d->ops->weight_destroy(d, m->head.kept);
    d->ops->weight_destroy(d, m->head.coarse);
    bk_free(m->head.radius);
    bk_free(m->head.share);
    m->head.radius = NULL;
    m->head.share = NULL;
    if (m->weights.head != m->weights.embed) d->ops->weight_destroy(d, m->weights.head);
    d->ops->weight_destroy(d, m->weights.embed);
    d->ops->weight_destroy(d, m->weights.project);
    for (size_t i = 0; i < m->family->n_roles; i++) {
        const bk_role *r = &m->family->roles[i];
        bool matrices = r->per_layer && r->kind != BK_ROLE_VECTOR && bk_role_applies(r, &m->config);
        for (int layer = 0; matrices && layer < m->config.n_layers; layer++) {
            char *base = (char *)&m->weights.layers[layer];
            bk_weight **w = (bk_weight **)(void *)(base + r->offset);
            for (size_t p = 0; p < parts_of(r); p++) d->ops->weight_destroy(d, w[p]);
        }
    }
}
