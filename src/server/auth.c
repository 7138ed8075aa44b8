#include "server/auth.h"

#include <string.h>
#include <sys/random.h>

#include "base/mem.h"

typedef struct digest {
    uint64_t half[2];
} digest;

struct sv_auth {
    uint64_t salt[2]; /* of this process */
    digest *keys;
    size_t n_keys;
    const char *host, *cors;
    bool loopback;
};

/* ---- SipHash-2-4 with 128 bits (Aumasson, Bernstein 2012) --------------------------------------- */

static uint64_t rotate(uint64_t x, int by) { return x << by | x >> (64 - by); }

static void sip_round(uint64_t v[4]) {
    v[0] += v[1], v[1] = rotate(v[1], 13) ^ v[0], v[0] = rotate(v[0], 32);
    v[2] += v[3], v[3] = rotate(v[3], 16) ^ v[2];
    v[0] += v[3], v[3] = rotate(v[3], 21) ^ v[0];
    v[2] += v[1], v[1] = rotate(v[1], 17) ^ v[2], v[2] = rotate(v[2], 32);
}

static void sip_word(uint64_t v[4], uint64_t m) {
    v[3] ^= m;
    sip_round(v), sip_round(v);
    v[0] ^= m;
}

static digest sip(const uint64_t key[2], bk_str text) {
    uint64_t v[4] = {key[0] ^ 0x736f6d6570736575u, key[1] ^ 0x646f72616e646f6du ^ 0xee,
                     key[0] ^ 0x6c7967656e657261u, key[1] ^ 0x7465646279746573u};
    uint64_t word = 0;
    for (size_t i = 0; i < text.len; i++) {
        word |= (uint64_t)(unsigned char)text.data[i] << (i % 8 * 8);
        if (i % 8 != 7) continue;
        sip_word(v, word);
        word = 0;
    }
    sip_word(v, word | (uint64_t)(text.len & 0xff) << 56);
    digest d;
    v[2] ^= 0xee;
    for (int i = 0; i < 4; i++) sip_round(v);
    d.half[0] = v[0] ^ v[1] ^ v[2] ^ v[3];
    v[1] ^= 0xdd;
    for (int i = 0; i < 4; i++) sip_round(v);
    d.half[1] = v[0] ^ v[1] ^ v[2] ^ v[3];
    return d;
}

/* ---- Keys --------------------------------------------------------------------------------------- */

sv_auth *sv_auth_create(const sv_auth_options *o) {
    sv_auth *a = bk_alloc_zero(1, sizeof *a);
    digest *keys = o->n_keys ? bk_alloc(o->n_keys, sizeof *keys) : NULL;
    uint64_t salt[2];
    if (!a || (o->n_keys && !keys) || getrandom(salt, sizeof salt, 0) != sizeof salt) {
        bk_free(a);
        bk_free(keys);
        return NULL;
    }
    for (size_t i = 0; i < o->n_keys; i++) keys[i] = sip(salt, bk_str_from(o->keys[i]));
    *a = (sv_auth){.salt = {salt[0], salt[1]},
                   .keys = keys,
                   .n_keys = o->n_keys,
                   .host = o->host,
                   .cors = o->cors_origins,
                   .loopback = sv_is_loopback(o->host)};
    return a;
}

void sv_auth_destroy(sv_auth **a) {
    if (!*a) return;
    bk_free((*a)->keys);
    bk_free(*a);
    *a = NULL;
}

static bk_str presented(const sv_head *h) {
    static const char bearer[] = "bearer ";
    bk_str s = h->authorization;
    if (s.len >= sizeof bearer - 1 && sv_same_word((bk_str){s.data, sizeof bearer - 1}, bearer)) {
        s.data += sizeof bearer - 1;
        s.len -= sizeof bearer - 1;
        while (s.len > 0 && s.data[0] == ' ') s.data++, s.len--;
        return s;
    }
    return h->api_key;
}

bool sv_auth_key(const sv_auth *a, const sv_head *h, uint64_t *tenant) {
    digest d = sip(a->salt, presented(h));
    uint64_t found = 0;
    for (size_t i = 0; i < a->n_keys; i++) {
        uint64_t x = (d.half[0] ^ a->keys[i].half[0]) | (d.half[1] ^ a->keys[i].half[1]);
        found |= ~(x | (0 - x)) >> 63; /* 1 when x is 0 */
    }
    *tenant = a->n_keys > 0 ? d.half[0] : 0;
    return a->n_keys == 0 || found;
}

uint64_t sv_auth_salt(const sv_auth *a, uint64_t tenant, bk_str salt) {
    const uint64_t key[2] = {a->salt[0] ^ tenant, a->salt[1]};
    return sip(key, salt).half[0];
}

/* ---- Hosts and origins -------------------------------------------------------------------------- */

static bool is_loopback_name(bk_str name) {
    if (sv_same_word(name, "localhost") || sv_same_word(name, "::1") || sv_same_word(name, "[::1]"))
        return true;
    if (!bk_str_starts(name, BK_STR("127."))) return false;
    for (size_t i = 0; i < name.len; i++) {
        char c = name.data[i];
        if (c != '.' && (c < '0' || c > '9')) return false; /* 127.example.com is a name */
    }
    return true;
}

bool sv_is_loopback(const char *host) { return is_loopback_name(bk_str_from(host)); }

/* Without ":port". */
static bk_str name_of(bk_str host) {
    size_t n = host.len;
    while (n > 0 && host.data[n - 1] >= '0' && host.data[n - 1] <= '9') n--;
    if (n > 0 && host.data[n - 1] == ':' && !(n > 1 && host.data[n - 2] == ':')) host.len = n - 1;
    return host;
}

bool sv_auth_host(const sv_auth *a, const sv_head *h) {
    if (!a->loopback || !h->host.data) return true;
    bk_str name = name_of(h->host);
    return is_loopback_name(name) || sv_same_word(name, a->host);
}

sv_origin sv_auth_origin(const sv_auth *a, const sv_head *h) {
    if (!h->origin.data) return SV_ORIGIN_NONE;
    char given[256];
    if (h->origin.len >= sizeof given) return SV_ORIGIN_FOREIGN;
    memcpy(given, h->origin.data, h->origin.len);
    given[h->origin.len] = '\0';
    const char *authority = strstr(given, "://");
    if (authority && h->host.data && sv_same_word(h->host, authority + 3)) return SV_ORIGIN_SAME;
    if (a->cors && (strcmp(a->cors, "*") == 0 || sv_list_has(bk_str_from(a->cors), given)))
        return SV_ORIGIN_ALLOWED;
    return SV_ORIGIN_FOREIGN;
}
