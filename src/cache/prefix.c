#include "cache/prefix.h"

#include <string.h>

#include "base/mem.h"

typedef struct bk_prefix_node node;

/* Nodes in order of key: sorted, so that a node of many children is searched fast, and moved rarely. */
typedef struct slot {
    uint64_t key;
    node *node;
} slot;

typedef struct map {
    slot *slots;
    size_t n, cap;
} map;

typedef struct link {
    struct link *older, *newer;
} link;

/* Below the top, whose children are roots by salt; a root has an empty span and no sequence. */
struct bk_prefix_node {
    link link; /* first: lists are of nodes; roots are in none */
    node *parent;
    uint64_t key;    /* in the parent's map: the first token; the salt of a root */
    int32_t *tokens; /* [end - begin] */
    size_t begin, end;
    bk_kv *kv; /* of `end` positions; NULL where none could be had or it was given up */
    map children;
    unsigned hits;
    int pins;
    bool is_protected;
};

enum { PROTECTED_HITS = 2, PROTECTED_FIFTHS = 4 };

struct bk_prefix {
    bk_kv_pool *pool;
    node top;
    link lists[2]; /* rings from the oldest to the newest: the others, the protected */
    size_t list_tokens[2], nodes;
    uint64_t asked, matched, evicted;
};

/* ---- Maps ------------------------------------------------------------------------------------------ */

/* Where a key is, or belongs. */
static size_t map_at(const map *m, uint64_t key) {
    size_t lo = 0, hi = m->n;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (m->slots[mid].key < key)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

static node *map_get(const map *m, uint64_t key) {
    size_t i = map_at(m, key);
    return i < m->n && m->slots[i].key == key ? m->slots[i].node : NULL;
}

/* Room for one more. */
static bool map_reserve(map *m) {
    if (m->n < m->cap) return true;
    size_t cap = bk_max_size(2, 2 * m->cap);
    slot *slots = bk_realloc(m->slots, cap, sizeof *slots);
    if (!slots) return false;
    m->slots = slots;
    m->cap = cap;
    return true;
}

/* A new key, with room reserved, or another node for one that is there. */
static void map_put(map *m, uint64_t key, node *value) {
    size_t i = map_at(m, key);
    if (i == m->n || m->slots[i].key != key) {
        if (i < m->n) memmove(&m->slots[i + 1], &m->slots[i], (m->n - i) * sizeof *m->slots);
        m->n++;
    }
    m->slots[i] = (slot){key, value};
}

static void map_remove(map *m, uint64_t key) {
    size_t i = map_at(m, key);
    m->n--;
    if (i < m->n) memmove(&m->slots[i], &m->slots[i + 1], (m->n - i) * sizeof *m->slots);
}

/* ---- Lists ----------------------------------------------------------------------------------------- */

static void link_after(link *at, link *l) {
    l->older = at;
    l->newer = at->newer;
    at->newer->older = l;
    at->newer = l;
}

static void link_take(link *l) {
    l->older->newer = l->newer;
    l->newer->older = l->older;
}

static size_t span(const node *n) { return n->end - n->begin; }

/* Makes a listed node the newest of a list. */
static void move_to(bk_prefix *t, node *n, bool is_protected) {
    link_take(&n->link);
    t->list_tokens[n->is_protected] -= span(n);
    n->is_protected = is_protected;
    t->list_tokens[is_protected] += span(n);
    link_after(t->lists[is_protected].older, &n->link);
}

/* Everything up to the root is in use now. Parents come after their children: lists give up children
 * first. */
static void touch(bk_prefix *t, node *n, bool hit) {
    for (; n->parent != &t->top; n = n->parent) {
        if (hit && n->hits < PROTECTED_HITS) n->hits++;
        move_to(t, n, n->hits >= PROTECTED_HITS);
    }
}

/* ---- Nodes ----------------------------------------------------------------------------------------- */

static void node_destroy(node *n) {
    bk_kv_destroy(&n->kv);
    bk_free(n->tokens);
    bk_free(n->children.slots);
    bk_free(n);
}

/* Of tokens[begin, end), `tokens` pointing at the first of them; not yet in the tree. */
static node *node_create(const int32_t *tokens, size_t begin, size_t end) {
    node *n = bk_alloc_zero(1, sizeof *n);
    if (!n) return NULL;
    n->begin = begin;
    n->end = end;
    if (begin == end) return n;
    n->key = (uint32_t)tokens[0];
    n->tokens = bk_alloc(end - begin, sizeof *tokens);
    if (n->tokens) {
        memcpy(n->tokens, tokens, (end - begin) * sizeof *tokens);
        return n;
    }
    node_destroy(n);
    return NULL;
}

/* The first n positions of kv, to be kept; NULL when memory is short. kv can be cut to n. */
static bk_kv *kept(const bk_kv *kv, size_t n) {
    bk_kv *copy = NULL;
    if (bk_kv_fork(kv, &copy, NULL) != BK_OK) return NULL;
    if (bk_kv_truncate(copy, n, NULL) != BK_OK) bk_kv_destroy(&copy);
    if (copy) bk_kv_set_idle(copy, true);
    return copy;
}

static bk_status no_memory(bk_error *err, size_t n) {
    return bk_fail(err, BK_ERR_NOMEM, "no memory to keep a prefix of %zu tokens", n);
}

/* `n` becomes a child of `parent`, which has room. */
static void attach(bk_prefix *t, node *parent, node *n) {
    n->parent = parent;
    map_put(&parent->children, n->key, n);
    link_after(t->lists[0].older, &n->link);
    t->list_tokens[0] += span(n);
    t->nodes++;
}

/* A leaf goes, and its root when it was the last. */
static void remove_leaf(bk_prefix *t, node *n) {
    node *parent = n->parent;
    map_remove(&parent->children, n->key);
    link_take(&n->link);
    t->list_tokens[n->is_protected] -= span(n);
    t->nodes--;
    t->evicted += span(n);
    node_destroy(n);
    if (parent->parent != &t->top || parent->children.n) return;
    map_remove(&t->top.children, parent->key);
    node_destroy(parent);
}

/* ---- Finding --------------------------------------------------------------------------------------- */

/* Where tokens and tree part: the node whose span has position at - 1; the root when at is 0; NULL when
 * the salt is new. */
typedef struct place {
    node *node;
    size_t at;
} place;

static place locate(const bk_prefix *t, uint64_t salt, const int32_t *tokens, size_t n) {
    place p = {.node = map_get(&t->top.children, salt)};
    while (p.node && p.at == p.node->end && p.at < n) {
        node *child = map_get(&p.node->children, (uint32_t)tokens[p.at]);
        if (!child) break;
        const int32_t *own = child->tokens - child->begin;
        size_t most = bk_min_size(n, child->end);
        p.node = child;
        while (p.at < most && own[p.at] == tokens[p.at]) p.at++;
    }
    return p;
}

/* The longest part of the way to a place from which a sequence can go on, and the node that has it. */
static place usable(place p) {
    for (; p.at > 0; p.at = p.node->begin, p.node = p.node->parent)
        if (p.node->kv && bk_kv_keeps(p.node->kv, p.at)) break;
    return p;
}

/* What the tree has at a place in spite of the n tokens there. */
static int32_t other_token(place p, size_t n) {
    if (!p.node || p.at == n) return -1;
    if (p.at < p.node->end) return p.node->tokens[p.at - p.node->begin];
    const map *m = &p.node->children;
    return m->n == 1 ? (int32_t)(uint32_t)m->slots[0].key : -1;
}

size_t bk_prefix_peek(const bk_prefix *t, uint64_t salt, const int32_t *tokens, size_t n) {
    return usable(locate(t, salt, tokens, n)).at;
}

bk_status bk_prefix_find(bk_prefix *t, uint64_t salt, const int32_t *tokens, size_t n,
                         bk_prefix_match *out, bk_error *err) {
    place p = locate(t, salt, tokens, n), from = usable(p);
    bk_kv *kv = NULL;
    memset(out, 0, sizeof *out);
    if (from.at) {
        bk_status status = bk_kv_fork(from.node->kv, &kv, err);
        if (status == BK_OK) status = bk_kv_truncate(kv, from.at, err);
        if (status != BK_OK) {
            bk_kv_destroy(&kv);
            return status;
        }
        touch(t, from.node, true);
        from.node->pins++;
        out->pin.node = from.node;
    }
    out->kv = kv;
    out->matched = from.at;
    out->agreed = p.at;
    out->other = other_token(p, n);
    t->asked += n;
    t->matched += from.at;
    return BK_OK;
}

void bk_prefix_unpin(bk_prefix_pin *pin) {
    if (pin->node) pin->node->pins--;
    pin->node = NULL;
}

/* ---- Inserting ------------------------------------------------------------------------------------- */

/* Cuts a span in two; *upper gets the new node in front, which has room for one more child. Its
 * sequence is cut from the node's or, where that has dropped too much, from kv, if that can be. */
static bk_status split(bk_prefix *t, node *n, size_t at, const bk_kv *kv, node **upper,
                       bk_error *err) {
    const bk_kv *from = n->kv && bk_kv_keeps(n->kv, at) ? n->kv : bk_kv_keeps(kv, at) ? kv : NULL;
    node *u = node_create(n->tokens, n->begin, at);
    bool ok = u && map_reserve(&u->children);
    if (ok && from) ok = (u->kv = kept(from, at)) != NULL;
    if (!ok) {
        if (u) node_destroy(u);
        return no_memory(err, at);
    }
    u->parent = n->parent;
    map_put(&u->parent->children, u->key, u);
    memmove(n->tokens, n->tokens + (at - n->begin), (n->end - at) * sizeof *n->tokens);
    n->key = (uint32_t)n->tokens[0];
    n->begin = at;
    n->parent = u;
    map_put(&u->children, n->key, n);
    u->hits = n->hits;
    u->is_protected = n->is_protected;
    link_after(&n->link, &u->link);
    t->nodes++;
    *upper = u;
    return BK_OK;
}

/* The leaf grows to n tokens. */
static bk_status extend(bk_prefix *t, node *leaf, const int32_t *tokens, size_t n, const bk_kv *kv,
                        bk_error *err) {
    bk_kv *copy = kept(kv, n);
    int32_t *grown = copy ? bk_realloc(leaf->tokens, n - leaf->begin, sizeof *tokens) : NULL;
    if (!grown) {
        bk_kv_destroy(&copy);
        return no_memory(err, n);
    }
    memcpy(grown + span(leaf), tokens + leaf->end, (n - leaf->end) * sizeof *tokens);
    t->list_tokens[leaf->is_protected] += n - leaf->end;
    leaf->tokens = grown;
    leaf->end = n;
    bk_kv_destroy(&leaf->kv);
    leaf->kv = copy;
    return BK_OK;
}

/* A new leaf with what follows the place. */
static bk_status branch(bk_prefix *t, place p, const int32_t *tokens, size_t n, const bk_kv *kv,
                        node **out, bk_error *err) {
    node *leaf = node_create(tokens + p.at, p.at, n), *parent = p.node;
    if (leaf) leaf->kv = kept(kv, n);
    bk_status status = leaf && leaf->kv ? BK_OK : no_memory(err, n);
    if (status == BK_OK && p.at < parent->end)
        status = split(t, parent, p.at, kv, &parent, err);
    else if (status == BK_OK && !map_reserve(&parent->children))
        status = no_memory(err, n);
    if (status == BK_OK)
        attach(t, parent, *out = leaf);
    else if (leaf)
        node_destroy(leaf);
    return status;
}

/* All tokens are there already; what may be missing is a sequence to go on from. */
static bk_status complete(bk_prefix *t, place p, const bk_kv *kv, node **out, bk_error *err) {
    *out = p.node;
    if (p.node->kv && bk_kv_keeps(p.node->kv, p.at)) return BK_OK;
    if (p.at < p.node->end) return split(t, p.node, p.at, kv, out, err);
    p.node->kv = kept(kv, p.at);
    return p.node->kv ? BK_OK : no_memory(err, p.at);
}

static bk_status add(bk_prefix *t, place p, const int32_t *tokens, size_t n, const bk_kv *kv,
                     node **out, bk_error *err) {
    if (p.at == n) return complete(t, p, kv, out, err);
    *out = p.node;
    /* A span grows as long as a sequence can be cut to everywhere in it. */
    bool grows = p.at > 0 && p.at == p.node->end && p.node->children.n == 0 &&
                 bk_kv_keeps(kv, p.node->begin + 1);
    if (grows) return extend(t, p.node, tokens, n, kv, err);
    return branch(t, p, tokens, n, kv, out, err);
}

/* The root of a salt, made when it is new. */
static node *root_of(bk_prefix *t, uint64_t salt) {
    node *root = map_get(&t->top.children, salt);
    if (root) return root;
    root = map_reserve(&t->top.children) ? node_create(NULL, 0, 0) : NULL;
    if (!root) return NULL;
    root->key = salt;
    root->parent = &t->top;
    map_put(&t->top.children, salt, root);
    return root;
}

bk_status bk_prefix_insert(bk_prefix *t, uint64_t salt, const int32_t *tokens, size_t n, bk_kv *kv,
                           bk_prefix_pin *pin, bk_error *err) {
    if (n == 0 || bk_kv_len(kv) != n)
        return bk_fail(err, BK_ERR_INVALID, "a prefix of %zu tokens with the keys of %zu", n,
                       bk_kv_len(kv));
    node *root = root_of(t, salt), *at = NULL;
    if (!root) return no_memory(err, n);
    place p = locate(t, salt, tokens, n);
    if (p.node->kv) bk_kv_share(kv, p.node->kv, p.at);
    bk_status status = add(t, p, tokens, n, kv, &at, err);
    if (status != BK_OK) {
        if (root->children.n == 0) {
            map_remove(&t->top.children, salt);
            node_destroy(root);
        }
        return status;
    }
    touch(t, at, false);
    if (pin) {
        at->pins++;
        bk_prefix_unpin(pin);
        pin->node = at;
    }
    return BK_OK;
}

/* ---- Evicting -------------------------------------------------------------------------------------- */

/* The protected that were not used for longest lose it, so that others have room. */
static void demote(bk_prefix *t) {
    link *list = &t->lists[1];
    while (list->newer != list &&
           t->list_tokens[1] > (t->list_tokens[0] + t->list_tokens[1]) / 5 * PROTECTED_FIFTHS) {
        node *n = (node *)list->newer;
        n->hits = 0;
        move_to(t, n, false);
    }
}

/* Shortens a leaf by the pages that make up `bytes`, if it has more and can be cut. */
static bool shorten(bk_prefix *t, node *n, size_t bytes) {
    if (!n->kv || bk_kv_private_bytes(n->kv) <= bytes) return false;
    size_t pages = bk_div_up(n->end, BK_PAGE_TOKENS);
    size_t drop = bk_div_up(bytes, bk_div_up(bk_kv_bytes(n->kv), pages));
    if (drop >= pages) return false;
    size_t end = (pages - drop) * BK_PAGE_TOKENS;
    if (end <= n->begin || bk_kv_truncate(n->kv, end, NULL) != BK_OK) return false;
    t->list_tokens[n->is_protected] -= n->end - end;
    t->evicted += n->end - end;
    n->end = end;
    return true;
}

/* Gives up what a node has, as far as that is allowed and worth it; `all`: even if it frees nothing by
 * itself. Inside a path that is sequences that cannot be cut: their pages are not those of the nodes
 * that follow. */
static void give_up(bk_prefix *t, node *n, size_t bytes, bool all) {
    if (n->pins) return;
    size_t own = n->kv ? bk_kv_private_bytes(n->kv) : 0;
    if (n->children.n) {
        if (all && own && !bk_kv_keeps(n->kv, 1)) bk_kv_destroy(&n->kv);
        return;
    }
    if (n->kv && own == 0 && !all) return;
    if (!shorten(t, n, bytes)) remove_leaf(t, n);
}

size_t bk_prefix_evict(bk_prefix *t, size_t bytes) {
    size_t before = bk_kv_pool_bytes(t->pool);
    demote(t);
    for (int round = 0; round < 4; round++) {
        link *list = &t->lists[round % 2], *next;
        for (link *at = list->newer; at != list; at = next) {
            next = at->newer;
            size_t freed = before - bk_kv_pool_bytes(t->pool);
            if (freed >= bytes) return freed;
            give_up(t, (node *)at, bytes - freed, round >= 2);
        }
    }
    return before - bk_kv_pool_bytes(t->pool);
}

/* ---- Trees ----------------------------------------------------------------------------------------- */

bk_status bk_prefix_create(bk_kv_pool *pool, bk_prefix **out, bk_error *err) {
    bk_prefix *t = *out = bk_alloc_zero(1, sizeof *t);
    if (!t) return bk_fail(err, BK_ERR_NOMEM, "no memory for a prefix cache");
    t->pool = bk_kv_pool_ref(pool);
    for (int i = 0; i < 2; i++) t->lists[i].older = t->lists[i].newer = &t->lists[i];
    return BK_OK;
}

void bk_prefix_destroy(bk_prefix **out) {
    bk_prefix *t = *out;
    if (!t) return;
    *out = NULL;
    for (int i = 0; i < 2; i++) {
        for (link *at = t->lists[i].newer, *next; at != &t->lists[i]; at = next) {
            next = at->newer;
            node_destroy((node *)at);
        }
    }
    for (size_t i = 0; i < t->top.children.n; i++) node_destroy(t->top.children.slots[i].node);
    bk_free(t->top.children.slots);
    bk_kv_pool_unref(&t->pool);
    bk_free(t);
}

bk_prefix_stats bk_prefix_stats_of(const bk_prefix *t) {
    return (bk_prefix_stats){.nodes = t->nodes,
                             .tokens = t->list_tokens[0] + t->list_tokens[1],
                             .bytes = bk_kv_pool_idle_bytes(t->pool),
                             .asked = t->asked,
                             .matched = t->matched,
                             .evicted = t->evicted};
}
