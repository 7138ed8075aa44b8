/* From a parsed file to a model: configuration by the architecture's table of keys, weights by its
 * table of roles. Everything is checked before a byte of weights is read. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "model/arch.h"
#include "sys/file.h"

static const bk_arch *const archs[] = {&bk_arch_llama};

const bk_arch *bk_arch_find(bk_str name, const char **known) {
    if (known) *known = "llama";
    for (size_t i = 0; i < BK_ARRAY_LEN(archs); i++)
        if (bk_str_eq(name, bk_str_from(archs[i]->name))) return archs[i];
    return NULL;
}

/* ---- Configuration ------------------------------------------------------------------------------- */

static bk_status load_key(const bk_gguf *g, const char *arch, const bk_key *k, bk_config *c,
                          bk_error *err) {
    char key[128];
    uint32_t u = 0;
    float f = 0;
    bk_status status;
    snprintf(key, sizeof key, "%s.%s", arch, k->suffix);
    if (k->kind == BK_KEY_INT)
        status = bk_gguf_u32(g, key, (uint32_t)k->min, (uint32_t)k->max, &u, err);
    else
        status = bk_gguf_f32(g, key, (float)k->min, (float)k->max, &f, err);
    if (status == BK_ERR_NOT_FOUND) {
        if (k->required)
            return bk_fail(err, BK_ERR_FORMAT, "key '%s' is missing; a number from %g to %g wanted",
                           key, k->min, k->max);
        u = (uint32_t)k->fallback;
        f = (float)k->fallback;
    } else if (status != BK_OK) {
        return status;
    }
    if (k->kind == BK_KEY_INT)
        *(int *)(void *)((char *)c + k->offset) = (int)u;
    else
        *(float *)(void *)((char *)c + k->offset) = f;
    return BK_OK;
}

bk_status bk_load_config(const bk_gguf *g, bk_model *m, bk_error *err) {
    bk_str name;
    const char *known;
    bk_status status = bk_gguf_str(g, "general.architecture", &name, err);
    if (status == BK_ERR_NOT_FOUND)
        return bk_fail(err, BK_ERR_FORMAT, "key 'general.architecture' is missing");
    if (status != BK_OK) return status;
    m->arch = bk_arch_find(name, &known);
    if (!m->arch)
        return bk_fail(err, BK_ERR_UNSUPPORTED,
                       "key 'general.architecture': '" BK_STR_FMT "' found; supported: %s",
                       BK_STR_ARG(name), known);
    for (size_t i = 0; i < m->arch->n_keys; i++) {
        status = load_key(g, m->arch->name, &m->arch->keys[i], &m->config, err);
        if (status != BK_OK) return status;
    }
    return m->arch->finish(g, &m->config, &m->attn, err);
}

/* ---- Tensors ------------------------------------------------------------------------------------- */

static uint64_t dim(const bk_config *c, bk_dim d) {
    switch (d) {
    case BK_DIM_EMBD: return (uint64_t)c->n_embd;
    case BK_DIM_Q: return (uint64_t)c->n_heads * (uint64_t)c->head_size;
    case BK_DIM_KV: return (uint64_t)c->n_kv_heads * (uint64_t)c->head_size;
    case BK_DIM_FF: return (uint64_t)c->n_ff;
    case BK_DIM_VOCAB: return (uint64_t)c->n_vocab;
    case BK_DIM_ROPE_HALF: return (uint64_t)c->rope_dims / 2;
    case BK_DIM_NONE: break;
    }
    return 1;
}

/* What load_role finds out for all roles first, so that a wrong file fails before it is read. */
typedef struct binding {
    const bk_role *role;
    const bk_gguf_tensor *tensor;
    void **slot;
} binding;

typedef struct loader {
    const bk_gguf *g;
    bk_model *m;
    binding *bound;
    size_t n_bound;
    bk_error *err;
} loader;

static bk_status bind_role(loader *l, const bk_role *role, int layer) {
    const bk_config *c = &l->m->config;
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
    uint64_t k = dim(c, role->k), rows = dim(c, role->rows);
    if (t->ne[0] != k || t->ne[1] != rows || t->ne[2] != 1 || t->ne[3] != 1)
        return bk_fail(l->err, BK_ERR_FORMAT,
                       "tensor '%s': shape [%llu, %llu, %llu, %llu] found, [%llu, %llu] wanted",
                       name, (unsigned long long)t->ne[0], (unsigned long long)t->ne[1],
                       (unsigned long long)t->ne[2], (unsigned long long)t->ne[3],
                       (unsigned long long)k, (unsigned long long)rows);
    if (!role->matrix && t->type->bits)
        return bk_fail(l->err, BK_ERR_UNSUPPORTED,
                       "tensor '%s': type %s found, F32, F16 or BF16 "
                       "wanted for a vector",
                       name, t->type->name);
    char *base = role->per_layer ? (char *)&l->m->weights.layers[layer] : (char *)&l->m->weights;
    l->bound[l->n_bound++] = (binding){role, t, (void **)(void *)(base + role->offset)};
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
    const bk_arch *a = l->m->arch;
    int n_layers = l->m->config.n_layers;
    l->bound = bk_arena_alloc(&l->m->arena, a->n_roles * (size_t)n_layers, sizeof *l->bound);
    l->m->weights.layers = bk_arena_alloc(&l->m->arena, (size_t)n_layers, sizeof(bk_layer));
    if (!l->bound || !l->m->weights.layers)
        return bk_fail(l->err, BK_ERR_NOMEM, "no memory for %d layers", n_layers);
    for (size_t i = 0; i < a->n_roles; i++) {
        int n = a->roles[i].per_layer ? n_layers : 1;
        for (int layer = 0; layer < n; layer++) {
            bk_status status = bind_role(l, &a->roles[i], layer);
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
    b->tensor->type->dequantize(b->tensor->data, v, n);
    *b->slot = v;
    l->m->meta.resident_bytes += n * sizeof *v;
    return BK_OK;
}

static bk_status create_matrix(loader *l, const binding *b, bk_weight_source *source) {
    bk_device *d = l->m->device;
    bk_weight *w = NULL;
    bk_status status = d->ops->weight_create(d, b->tensor->type, (size_t)b->tensor->ne[1],
                                             (size_t)b->tensor->ne[0], &w, l->err);
    if (status != BK_OK) {
        bk_error_prefix(l->err, "tensor '" BK_STR_FMT "'", BK_STR_ARG(b->tensor->name));
        return status;
    }
    *b->slot = w;
    *source = (bk_weight_source){b->tensor->data, w};
    l->m->meta.resident_bytes += bk_weight_bytes(w);
    return BK_OK;
}

static void count_meta(loader *l) {
    uint64_t per_type[64] = {0}, best = 0;
    bk_model_meta *meta = &l->m->meta;
    for (size_t i = 0; i < l->n_bound; i++) {
        const bk_gguf_tensor *t = l->bound[i].tensor;
        meta->n_params += t->n_elements;
        meta->tensor_bytes += t->bytes;
        if ((unsigned)t->type->type < 64) {
            uint64_t n = per_type[t->type->type] += t->n_elements;
            if (n > best) best = n, meta->quantization = t->type->name;
        }
        /* Of the embedding one row is read, unless it is the head as well. */
        if (l->bound[i].slot != (void **)(void *)&l->m->weights.embed)
            meta->token_bytes += t->bytes;
        else if (!bk_gguf_find_tensor(l->g, "output.weight"))
            meta->token_bytes += t->bytes;
    }
}

/* Matrices in batches: each is packed by all threads and its pages of the file given back, so that
 * memory never holds the weights twice. */
static bk_status load_matrices(loader *l, const bk_model_options *o, const bk_map *map) {
    enum { BATCH = 8 };
    bk_weight_source sources[BATCH];
    size_t n = 0, first = 0;
    for (size_t i = 0; i < l->n_bound; i++) {
        const binding *b = &l->bound[i];
        bk_status status = b->role->matrix ? create_matrix(l, b, &sources[n]) : load_vector(l, b);
        if (status != BK_OK) return status;
        if (b->role->matrix && ++n < BATCH && i + 1 < l->n_bound) continue;
        if (n == 0 && i + 1 < l->n_bound) continue;
        status = bk_map_check_unchanged(map, l->err);
        if (status != BK_OK) return status;
        l->m->device->ops->weights_load(l->m->device, sources, n);
        for (size_t j = first; j <= i; j++) {
            const bk_gguf_tensor *t = l->bound[j].tensor;
            bk_map_drop(map, (size_t)(t->data - map->data), t->bytes);
        }
        if (o->progress) o->progress((double)(i + 1) / (double)l->n_bound, o->progress_user);
        n = 0;
        first = i + 1;
    }
    return BK_OK;
}

static bk_status make_rope_freqs(bk_model *m, bk_error *err) {
    size_t half = (size_t)m->config.rope_dims / 2;
    m->rope_freqs = bk_arena_alloc(&m->arena, half, sizeof *m->rope_freqs);
    if (!m->rope_freqs) return bk_fail(err, BK_ERR_NOMEM, "no memory for rope frequencies");
    for (size_t i = 0; i < half; i++) {
        double f = pow(m->config.rope_base, -2.0 * (double)i / m->config.rope_dims);
        if (m->weights.rope_factors) {
            float factor = m->weights.rope_factors[i];
            if (!(factor > 0) || !isfinite(factor))
                return bk_fail(err, BK_ERR_FORMAT,
                               "tensor 'rope_freqs.weight': factor %zu is %g, above 0 wanted", i,
                               (double)factor);
            f /= factor;
        }
        m->rope_freqs[i] = f / m->config.rope_scale;
    }
    return BK_OK;
}

bk_status bk_load_weights(const bk_gguf *g, bk_model *m, const bk_model_options *options,
                          const bk_map *map, bk_error *err) {
    loader l = {.g = g, .m = m, .err = err};
    bk_status status = bind_all(&l);
    if (status != BK_OK) return status;
    count_meta(&l);
    if (options->vocab_only) return BK_OK;
    bk_cpu_level level = bk_cpu_best();
    const char *wanted = options->cpu_level ? options->cpu_level : getenv("BRISK_CPU");
    if (wanted && *wanted && !bk_cpu_level_parse(wanted, &level))
        return bk_fail(err, BK_ERR_INVALID,
                       "CPU level '%s' found; ref, avx2, avxvnni or avx512 wanted", wanted);
    int threads = options->threads > 0 ? options->threads : bk_cpu_default_threads();
    status = bk_device_cpu_create(level, threads, &m->device, err);
    if (status != BK_OK) return status;
    m->meta.cpu_level = m->device->level;
    m->meta.threads = threads;
    status = load_matrices(&l, options, map);
    if (status != BK_OK) return status;
    if (!m->weights.head) m->weights.head = m->weights.embed;
    return make_rope_freqs(m, err);
}

void bk_free_weights(bk_model *m) {
    bk_device *d = m->device;
    if (!d || !m->weights.layers) return;
    if (m->weights.head != m->weights.embed) d->ops->weight_destroy(d, m->weights.head);
    d->ops->weight_destroy(d, m->weights.embed);
    for (size_t i = 0; i < m->arch->n_roles; i++) {
        const bk_role *r = &m->arch->roles[i];
        for (int layer = 0; r->per_layer && r->matrix && layer < m->config.n_layers; layer++) {
            char *base = (char *)&m->weights.layers[layer];
            d->ops->weight_destroy(d, *(bk_weight **)(void *)(base + r->offset));
        }
    }
}
