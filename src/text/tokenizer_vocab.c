/* The vocabulary: names into the bytes that they stand for, and a table of them. One pass, no allocation
 * per token: this is on the way to the first answer. */
#include "base/mem.h"
#include "text/tokenizer_internal.h"

enum {
    BLOCK = 32,       /* tokens that are entered together */
    MAX_PROBES = 1024 /* a file made to collide must not make loading quadratic */
};

/* GPT-2 writes byte b as character b where that is printable Latin-1 and numbers the other bytes
 * from character 256 on; byte_of is the way back, -1 for characters outside the alphabet. */
void bk_tok_make_alphabet(int16_t byte_of[BK_TOK_ALPHABET]) {
    int16_t next = 256;
    for (int i = 0; i < BK_TOK_ALPHABET; i++) byte_of[i] = -1;
    for (int16_t b = 0; b < 256; b++) {
        bool printable = (b >= 0x21 && b <= 0x7E) || (b >= 0xA1 && b != 0xAD);
        byte_of[printable ? b : next++] = b;
    }
}

/* U+2581 stands for a space. */
static void decode_spaces(bk_str text, char *out, size_t *n) {
    size_t len = 0;
    for (size_t i = 0; i < text.len; i++) {
        bool sign = text.data[i] == '\xE2' && text.len - i >= 3 && text.data[i + 1] == '\x96' &&
                    text.data[i + 2] == '\x81';
        out[len++] = sign ? ' ' : text.data[i];
        if (sign) i += 2;
    }
    *n = len;
}

/* "<0x0A>", a token of one byte. */
static bool decode_byte(bk_str text, char *out) {
    static const char digits[] = "0123456789ABCDEF";
    if (text.len != 6 || memcmp(text.data, "<0x", 3) != 0 || text.data[5] != '>') return false;
    const char *hi = memchr(digits, text.data[3], 16), *lo = memchr(digits, text.data[4], 16);
    if (!hi || !lo) return false;
    *out = (char)((hi - digits) << 4 | (lo - digits));
    return true;
}

bool bk_tok_decode_name(const int16_t *byte_of, bk_str text, char *out, size_t *n) {
    size_t len = 0;
    if (!byte_of) {
        decode_spaces(text, out, n);
        return true;
    }
    for (size_t i = 0; i < text.len; i++) {
        uint32_t c = (unsigned char)text.data[i];
        if (c >= 0x80) {
            uint32_t next = i + 1 < text.len ? (unsigned char)text.data[i + 1] : 0;
            if (c < 0xC2 || c > 0xC5 || (next & 0xC0) != 0x80) return false;
            c = (c & 0x1F) << 6 | (next & 0x3F);
            i++;
        }
        if (c >= BK_TOK_ALPHABET || byte_of[c] < 0) return false;
        out[len++] = (char)byte_of[c];
    }
    *n = len;
    return true;
}

/* Reads 1 to 8 bytes as one number. */
static uint64_t load_short(const char *s, size_t n) {
    uint64_t v = 0;
    if (n >= 4) {
        uint32_t lo, hi;
        memcpy(&lo, s, 4);
        memcpy(&hi, s + n - 4, 4);
        return (uint64_t)hi << 32 | lo;
    }
    v = (unsigned char)s[0];
    v |= (uint64_t)(unsigned char)s[n / 2] << 8;
    return v | (uint64_t)(unsigned char)s[n - 1] << 16;
}

uint32_t bk_tok_hash(bk_str name) {
    uint64_t h = name.len * 0x9E3779B97F4A7C15u;
    const char *s = name.data;
    size_t n = name.len;
    for (; n > 8; s += 8, n -= 8) {
        uint64_t v;
        memcpy(&v, s, 8);
        h = (h ^ v) * 0xBF58476D1CE4E5B9u;
        h ^= h >> 32;
    }
    if (n) h = (h ^ load_short(s, n)) * 0x94D049BB133111EBu;
    h = (h ^ h >> 29) * 0x9E3779B97F4A7C15u;
    return (uint32_t)(h >> 32);
}

int32_t bk_tok_lookup_hashed(const bk_tokenizer *t, bk_str bytes, uint32_t hash) {
    size_t i = hash & t->name_mask;
    for (int probe = 0; probe < MAX_PROBES; probe++, i = (i + 1) & t->name_mask) {
        const bk_name_slot *s = &t->names[i];
        if (s->id < 0) return -1;
        if (s->hash == hash && bk_str_eq(bk_tok_name(t, s->id), bytes)) return s->id;
    }
    return -1;
}

int32_t bk_tok_lookup(const bk_tokenizer *t, bk_str bytes) {
    return bk_tok_lookup_hashed(t, bytes, bk_tok_hash(bytes));
}

/* Enters a token under its bytes. A user-defined token gives way to a normal one of the same name. */
static bk_status add_name(bk_tokenizer *t, int32_t id, uint32_t hash, bk_error *err) {
    bk_str name = bk_tok_name(t, id);
    size_t i = hash & t->name_mask;
    for (int probe = 0; probe < MAX_PROBES; probe++, i = (i + 1) & t->name_mask) {
        bk_name_slot *s = &t->names[i];
        bool empty = s->id < 0;
        if (!empty && (s->hash != hash || !bk_str_eq(bk_tok_name(t, s->id), name))) continue;
        if (!empty && bk_tok_is_special(t, id)) return BK_OK;
        if (!empty && !bk_tok_is_special(t, s->id))
            return bk_fail(err, BK_ERR_FORMAT,
                           "tokenizer.ggml.tokens: tokens %d and %d are both \"" BK_STR_FMT
                           "\", wanted different ones; convert the model again",
                           (int)s->id, (int)id, BK_STR_ARG(name));
        if (!empty) t->info[s->id] &= (uint8_t)~BK_INFO_KEYED;
        *s = (bk_name_slot){hash, id};
        t->info[id] |= BK_INFO_KEYED;
        return BK_OK;
    }
    return bk_fail(err, BK_ERR_FORMAT,
                   "tokenizer.ggml.tokens: more than %d names fall on one place of the hash table; "
                   "the file looks made to be slow",
                   MAX_PROBES);
}

static bk_status alloc_vocab(bk_tokenizer *t, const bk_tokenizer_desc *desc, bk_error *err) {
    size_t n = desc->n_tokens, n_bytes = 0, n_slots = 16;
    if (n == 0 || n > INT32_MAX / 4)
        return bk_fail(err, BK_ERR_FORMAT, "tokenizer.ggml.tokens: %zu tokens, wanted 1 to %d", n,
                       INT32_MAX / 4);
    for (size_t i = 0; i < n; i++) {
        if (desc->tokens[i].len > UINT32_MAX - n_bytes)
            return bk_fail(err, BK_ERR_FORMAT,
                           "tokenizer.ggml.tokens: more than 4 GiB of names, wanted less");
        n_bytes += desc->tokens[i].len;
    }
    while (n_slots / 4 * 3 < n) n_slots *= 2;
    t->n_tokens = n;
    t->bytes = bk_alloc(bk_max_size(1, n_bytes), 1);
    t->begin = bk_alloc(n + 1, sizeof *t->begin);
    t->info = bk_alloc(n, 1);
    t->names = bk_alloc(n_slots, sizeof *t->names);
    if (!t->bytes || !t->begin || !t->info || !t->names)
        return bk_fail(err, BK_ERR_NOMEM, "no memory for a vocabulary of %zu tokens", n);
    t->name_mask = n_slots - 1;
    memset(t->names, 0xFF, n_slots * sizeof *t->names);
    memset(t->byte_id, 0xFF, sizeof t->byte_id);
    return BK_OK;
}

/* Copies one token behind those before it; true when text may yield it. Normal tokens are spelled in
 * the alphabet; those that are not, and special ones, stand for themselves and no text outside of
 * templates yields them. */
static bool add_token(bk_tokenizer *t, int32_t id, bk_str text, const int16_t *byte_of) {
    char *out = t->bytes + t->begin[id];
    size_t n = 0;
    int type = t->info[id] & BK_INFO_TYPE;
    bool normal = type == BK_TOKEN_NORMAL || type == BK_TOKEN_BYTE;
    bool keyed = bk_tok_decode_name(byte_of, text, out, &n) && n > 0 && type != BK_TOKEN_CONTROL &&
                 type != BK_TOKEN_UNKNOWN;
    if (type == BK_TOKEN_USER_DEFINED && byte_of)
        keyed = keyed && bk_str_eq((bk_str){out, n}, text);
    if (!keyed || (!normal && byte_of)) {
        n = text.len;
        if (n) memcpy(out, text.data, n);
    }
    bool byte = !byte_of && type == BK_TOKEN_BYTE && decode_byte(text, out);
    if (byte) n = 1;
    t->begin[id + 1] = t->begin[id] + (uint32_t)n;
    if (n == 1 && (byte || (byte_of && keyed && normal))) t->byte_id[(unsigned char)out[0]] = id;
    return keyed && type != BK_TOKEN_UNUSED && (type != BK_TOKEN_BYTE || byte_of);
}

static bk_status set_type(bk_tokenizer *t, const bk_tokenizer_desc *desc, size_t i, bk_error *err) {
    int type = desc->types ? desc->types[i] : BK_TOKEN_NORMAL;
    if (type < BK_TOKEN_NORMAL || type > BK_TOKEN_BYTE)
        return bk_fail(err, BK_ERR_FORMAT,
                       "tokenizer.ggml.token_type: token %zu has type %d, wanted 1 to 6", i, type);
    /* Some files have these as text that anybody may write. */
    if (type == BK_TOKEN_USER_DEFINED && bk_tok_known_end(desc->tokens[i])) type = BK_TOKEN_CONTROL;
    t->info[i] = (uint8_t)type;
    return BK_OK;
}

/* Some tokens at a time: their places in the table are on the way from memory while the others are
 * copied, which halves the time that a large vocabulary takes. */
static bk_status add_block(bk_tokenizer *t, const bk_tokenizer_desc *desc, size_t from, size_t to,
                           const int16_t *byte_of, bk_error *err) {
    uint32_t hash[BLOCK];
    bool keyed[BLOCK];
    bk_status st = BK_OK;
    for (size_t i = from; i < to; i++) {
        if ((st = set_type(t, desc, i, err))) return st;
        keyed[i - from] = add_token(t, (int32_t)i, desc->tokens[i], byte_of);
        if (!keyed[i - from]) continue;
        hash[i - from] = bk_tok_hash(bk_tok_name(t, (int32_t)i));
        __builtin_prefetch(&t->names[hash[i - from] & t->name_mask], 1);
    }
    for (size_t i = from; i < to && !st; i++)
        if (keyed[i - from]) st = add_name(t, (int32_t)i, hash[i - from], err);
    return st;
}

static bk_status check_bytes(const bk_tokenizer *t, bk_error *err) {
    if (t->model != BK_TOK_GPT2) return BK_OK;
    for (int b = 0; b < 256; b++)
        if (t->byte_id[b] >= 0) return BK_OK;
    return bk_fail(err, BK_ERR_FORMAT,
                   "tokenizer.ggml.tokens: no token is a single byte, wanted a byte-level "
                   "vocabulary");
}

bk_status bk_tok_build_vocab(bk_tokenizer *t, const bk_tokenizer_desc *desc, bk_error *err) {
    int16_t byte_of[BK_TOK_ALPHABET];
    bk_status st = alloc_vocab(t, desc, err);
    if (st) return st;
    bk_tok_make_alphabet(byte_of);
    t->begin[0] = 0;
    for (size_t i = 0; i < t->n_tokens && !st; i += BLOCK)
        st = add_block(t, desc, i, bk_min_size(i + BLOCK, t->n_tokens),
                       t->model == BK_TOK_GPT2 ? byte_of : NULL, err);
    if (st) return st;
    return check_bytes(t, err);
}
