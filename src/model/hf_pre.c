/* Which pre-tokenizer a byte-level tokenizer.json describes. GGUF files carry a name for it and readers
 * their own implementation, so the description is brought into one line of text and looked up. What is
 * not in the list would be split wrongly without a sign, hence an error that --pre overrides. */
#include <string.h>

#include "model/hf_internal.h"

/* Contractions and the alternatives that most expressions end with. */
#define CONTRACTIONS "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
#define TAIL " ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define SLASH_TAIL " ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define UPPER "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]"
#define LOWER "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]"
#define BEFORE "[^\\r\\n\\p{L}\\p{N}]?"

#define BYTES "B\n"    /* ByteLevel with GPT-2's expression */
#define ALPHABET "b\n" /* ByteLevel without */

static const struct {
    const char *steps; /* as signature() writes them */
    /* 1: with that normalisation, or with tokens that are taken whole though merges would not build them;
     * 0: without; -1: either. */
    int nfc, ignore_merges;
    const char *name;
} known[] = {
    {BYTES, 0, -1, "gpt-2"},
    {BYTES, 1, -1, "olmo"},
    {"D1\n" BYTES, 0, -1, "smollm"},
    {"D1\n" BYTES, 1, -1, "command-r"},
    {"S" CONTRACTIONS "|" BEFORE "\\p{L}+|\\p{N}{1,3}|" TAIL "\n" ALPHABET, -1, 1, "llama-bpe"},
    {"S" CONTRACTIONS "|" BEFORE "\\p{L}+|\\p{N}{1,3}|" TAIL "\n" ALPHABET, -1, 0, "smaug-bpe"},
    {"S" CONTRACTIONS "|" BEFORE "\\p{L}+|\\p{N}|" TAIL "\n" ALPHABET, 1, -1, "qwen2"},
    {"S" CONTRACTIONS "|" BEFORE "\\p{L}+|\\p{N}|" TAIL "\n" ALPHABET, 0, -1, "hunyuan"},
    {"S" CONTRACTIONS "|" BEFORE "[\\p{L}\\p{M}]+|\\p{N}| ?[^\\s\\p{L}\\p{M}\\p{N}]+[\\r\\n]*|"
     "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+\n" ALPHABET,
     -1, -1, "qwen35"},
    {"S" BEFORE UPPER "*" LOWER "+" CONTRACTIONS "?|" BEFORE UPPER "+" LOWER "*" CONTRACTIONS
     "?|\\p{N}{1,3}|" SLASH_TAIL "\n" ALPHABET,
     -1, -1, "gpt-4o"},
    {"S" BEFORE UPPER "*" LOWER "+|" BEFORE UPPER "+" LOWER "*|\\p{N}|" SLASH_TAIL "\n" ALPHABET,
     -1, 1, "tekken"},
    {"S\\p{N}{1,3}\nS[一-龥぀-ゟ゠-ヿ]+\n"
     "S[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?"
     "[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\r\n]*|\\s*[\r\n]+|\\s+(?!\\S)|\\s+\n" ALPHABET,
     -1, -1, "deepseek-v3"},
};

/* One step a line: S and its expression for a Split that keeps what it finds apart, D and 0 or 1 for
 * digits, B or b for bytes; ? for anything else. */
static void signature(const json_t *pre, int depth, bk_buf *out) {
    bk_str type = bk_json_text(json_object_get(pre, "type"));
    if (bk_str_eq(type, BK_STR("Sequence")) && depth < 4) {
        const json_t *list = json_object_get(pre, "pretokenizers");
        for (size_t i = 0; i < json_array_size(list); i++)
            signature(json_array_get(list, i), depth + 1, out);
    } else if (bk_str_eq(type, BK_STR("Split"))) {
        bk_str regex = bk_json_text(json_object_get(json_object_get(pre, "pattern"), "Regex"));
        bk_str behaviour = bk_json_text(json_object_get(pre, "behavior"));
        bool plain = regex.data && bk_str_eq(behaviour, BK_STR("Isolated")) &&
                     !json_is_true(json_object_get(pre, "invert"));
        bk_buf_putc(out, plain ? 'S' : '?');
        bk_buf_append(out, regex.data, regex.len);
    } else if (bk_str_eq(type, BK_STR("Digits"))) {
        bk_buf_append_str(out,
                          json_is_true(json_object_get(pre, "individual_digits")) ? "D1" : "D0");
    } else if (bk_str_eq(type, BK_STR("ByteLevel"))) {
        bool prefix = json_is_true(json_object_get(pre, "add_prefix_space"));
        bool regex = !json_is_false(json_object_get(pre, "use_regex"));
        bk_buf_append_str(out, prefix ? "?" : regex ? "B" : "b");
    } else {
        bk_buf_putc(out, '?');
        bk_buf_append(out, type.data, type.len);
    }
    if (!bk_str_eq(type, BK_STR("Sequence"))) bk_buf_putc(out, '\n');
}

static bool has_nfc(const json_t *normalizer, int depth) {
    const json_t *list = json_object_get(normalizer, "normalizers");
    if (bk_str_eq(bk_json_text(json_object_get(normalizer, "type")), BK_STR("NFC"))) return true;
    for (size_t i = 0; depth < 4 && i < json_array_size(list); i++)
        if (has_nfc(json_array_get(list, i), depth + 1)) return true;
    return false;
}

bk_status bk_hf_find_pre(const bk_hf *h, const char **out) {
    bk_buf steps = {.limit = 1 << 20};
    int nfc = has_nfc(json_object_get(h->tokenizer, "normalizer"), 0);
    int ignore =
        json_is_true(json_object_get(json_object_get(h->tokenizer, "model"), "ignore_merges"));
    *out = h->options && h->options->pre ? h->options->pre : NULL;
    if (*out) return BK_OK;
    signature(json_object_get(h->tokenizer, "pre_tokenizer"), 0, &steps);
    for (size_t i = 0; i < BK_ARRAY_LEN(known) && !*out; i++)
        if ((known[i].nfc < 0 || known[i].nfc == nfc) &&
            (known[i].ignore_merges < 0 || known[i].ignore_merges == ignore) &&
            bk_str_eq(bk_buf_view(&steps), bk_str_from(known[i].steps)))
            *out = known[i].name;
    bk_status status = BK_OK;
    if (steps.failed) {
        status = bk_fail(h->err, BK_ERR_NOMEM, "no memory for a pre-tokenizer's description");
    } else if (!*out) {
        for (size_t i = 0; i < steps.len; i++)
            if (steps.data[i] == '\n') steps.data[i] = i + 1 < steps.len ? ' ' : '\0';
        status = bk_fail(h->err, BK_ERR_UNSUPPORTED,
                         "tokenizer.json: the pre-tokenizer '%.160s' is not known; name what it "
                         "equals with --pre (gpt-2, llama-bpe, qwen2, ...)",
                         steps.data ? steps.data : "");
    }
    bk_buf_free(&steps);
    return status;
}
