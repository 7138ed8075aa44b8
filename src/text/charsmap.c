#include "text/charsmap.h"

#include "base/mem.h"

static const char SPACE_SIGN[] = "\xE2\x96\x81"; /* U+2581 */

bk_status bk_charsmap_create(bk_str blob, bk_charsmap *out, bk_error *err) {
    static const char key[] = "tokenizer.ggml.precompiled_charsmap";
    uint32_t size = 0;
    *out = (bk_charsmap){0};
    if (blob.len == 0) return BK_OK;
    for (size_t i = 0; i < 4 && i < blob.len; i++) {
        size |= (uint32_t)(unsigned char)blob.data[i] << (8 * i);
    }
    if (blob.len < 8 || size == 0 || size % 4 != 0 || size > blob.len - 5) {
        return bk_fail(err, BK_ERR_FORMAT, "%s: an array of %u bytes in %zu, wanted less than all",
                       key, size, blob.len);
    }
    if (blob.data[blob.len - 1] != '\0') {
        return bk_fail(err, BK_ERR_FORMAT, "%s: the last replacement has no end, wanted a NUL",
                       key);
    }
    out->units = bk_alloc(blob.len - 4, 1);
    if (!out->units) return bk_fail(err, BK_ERR_NOMEM, "no memory for a character map");
    memcpy(out->units, blob.data + 4, blob.len - 4);
    out->n_units = size / 4;
    out->texts = (char *)out->units + size;
    out->n_texts = blob.len - 4 - size;
    return BK_OK;
}

void bk_charsmap_free(bk_charsmap *map) {
    bk_free(map->units);
    *map = (bk_charsmap){0};
}

/* A unit's fields: bits 0-7 and 31 its label, bit 8 whether a key ends here, bit 9 the offset's scale,
 * bits 10-30 the offset; of a leaf, bits 0-30 are the value. */
static uint32_t offset_of(uint32_t unit) { return (unit >> 10) << ((unit & 1u << 9) >> 6); }

/* Bytes of the longest key that s begins with, 0 for none; *at is its replacement's place. */
static size_t longest_key(const bk_charsmap *map, bk_str s, uint32_t *at) {
    size_t found = 0;
    if (!map->units) return 0;
    uint32_t node = offset_of(map->units[0]);
    for (size_t i = 0; i < s.len && s.data[i] != '\0'; i++) {
        unsigned char c = (unsigned char)s.data[i];
        node ^= c;
        if (node >= map->n_units || (map->units[node] & (1u << 31 | 0xFF)) != c) break;
        uint32_t unit = map->units[node];
        node ^= offset_of(unit);
        if (node >= map->n_units) break;
        if (unit >> 8 & 1) {
            *at = map->units[node] & ~(1u << 31);
            found = *at < map->n_texts ? i + 1 : found;
        }
    }
    return found;
}

/* The replacement of what s begins with, and how many bytes that is: one character where the table
 * has nothing. */
static bk_str next_part(const bk_charsmap *map, bk_str s, size_t *used) {
    uint32_t at, cp;
    *used = longest_key(map, s, &at);
    if (*used) return bk_str_from(map->texts + at); /* the last byte of texts is a NUL */
    *used = bk_utf8_decode(s.data, s.len, &cp);
    if (bk_str_starts(s, bk_str_from(SPACE_SIGN))) return bk_str_from(SPACE_SIGN);
    return (bk_str){s.data, *used};
}

/* Appends a part without the spaces that squeezing takes away. */
static bool put_part(bk_str part, bool squeeze, bool *after_space, bk_buf *out) {
    while (*after_space && part.len > 0 && part.data[0] == ' ') part.data++, part.len--;
    if (part.len == 0) return true;
    *after_space = squeeze && part.data[part.len - 1] == ' ';
    if (bk_str_eq(part, bk_str_from(SPACE_SIGN))) return bk_buf_putc(out, ' ');
    return bk_buf_append(out, part.data, part.len);
}

/* How many bytes from the beginning of s nothing applies to. */
static size_t plain_run(const bk_charsmap *map, bool squeeze, bk_str s) {
    if (map->units || squeeze) return 0;
    const char *sign = s.len ? memchr(s.data, SPACE_SIGN[0], s.len) : NULL;
    return sign ? (size_t)(sign - s.data) : s.len;
}

bool bk_charsmap_apply(const bk_charsmap *map, bk_str text, bk_charsmap_rules rules, bk_buf *out) {
    size_t begin = out->len, body = begin + rules.prefix, used;
    bool ok = !rules.prefix || bk_buf_putc(out, ' '), after_space = rules.squeeze && rules.first;
    for (size_t pos = 0; pos < text.len && ok; pos += used) {
        bk_str rest = {text.data + pos, text.len - pos};
        used = plain_run(map, rules.squeeze, rest);
        if (used > 0) {
            ok = bk_buf_append(out, rest.data, used);
        } else {
            bk_str part = next_part(map, rest, &used);
            ok = put_part(part, rules.squeeze, &after_space, out);
        }
    }
    bool trim = rules.squeeze && rules.last;
    while (trim && out->len > body && out->data[out->len - 1] == ' ') out->len--;
    if (out->len == body) out->len = begin;
    return ok;
}
