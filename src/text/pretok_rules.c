/* Which rule a name stands for, and the rules that are regular expressions. */
#include "text/pretok.h"

#include "base/mem.h"

/* ---- Rules -------------------------------------------------------------------------------------- */

#define FOLDED "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
#define WORD "[^\\r\\n\\p{L}\\p{N}]?\\p{L}+"
#define SPACES "\\s+(?!\\S)|\\s+"
#define LINES "\\s*[\\r\\n]+|" SPACES
#define SYMBOLS "| ?[^\\s\\p{L}\\p{N}]+"
#define GPT2 "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+" SYMBOLS "|\\s+(?!\\S)|\\s+"
#define UPPER "\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}"
#define LOWER "\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}"
/* Words that change from lower to upper case are cut there; and: what a letter must be besides. */
#define CASED(and, end)                                 \
    "[^\\r\\n\\p{L}\\p{N}]?[" UPPER and "]*[" LOWER and \
        "]+" end "|[^\\r\\n\\p{L}\\p{N}]?[" UPPER and "]+[" LOWER and "]*" end
#define O200K CASED("", FOLDED "?") "|\\p{N}{1,3}" SYMBOLS "[\\r\\n/]*|" LINES
#define CJK "[\\u4E00-\\u9FA5\\u3040-\\u309F\\u30A0-\\u30FF]+"
#define DEEPSEEK3                                            \
    "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|" \
    "[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+"
#define BLOOM " ?[^(\\s|.,!?\u2026\u3002\uFF0C\u3001\u0964\u06D4\u060C)]+"

/* Letters of DeepSeek's first models: those with an upper and a lower case. */
/* clang-format off */
static const char deepseek_words[] =
    "\\s?[A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-Ⴥ"
    "Ꭰ-Ᏽᏸ-ᏽᲐ-ᲺᲽ-Ჿᴀ-ᴫᵫ-ᵷᵹ-ᶚḀ-ἕἘ-Ἕἠ-ὅὈ-Ὅὐ-ὗὙὛὝὟ-ώᾀ-ᾴᾶ-ᾼιῂ-ῄῆ-ῌῐ-ΐῖ-Ίῠ"
    "-Ῥῲ-ῴῶ-ῼℂℇℊ-ℓℕℙ-ℝℤΩℨK-ℭℯ-ℴℹℼ-ℿⅅ-ⅉⅎↃↄⰀ-ⱻⱾ-ⳤⳫ-ⳮⳲⳳꙀ-ꙭꚀ-ꚛꜢ-ꝯꝱ-ꞇꞋ-ꞎ"
    "ꭰ-ꮿﬀ-ﬆﬓ-ﬗＡ-Ｚａ-ｚ𐐀-𐑏𐒰-𐓓𐓘-𐓻𐲀-𐲲𐳀-𐳲𑢠-𑣟𞤀-𞥃]+";
/* clang-format on */

/* Stages that are not run as expressions, which would take quadratic time: digits in threes, counted from
 * the right. */
static const char threes_numbers[] = "\\p{N}{1,3}(?=(?:\\p{N}{3})*(?!\\p{N}))";
static const char threes_words[] = "\\d{1,3}(?=(?:\\d{3})*\\b)";
static const char threes_cuts[] = "(?=(\\d{3})+(?!\\d))";

typedef struct rule {
    bk_pretok kind;
    const char *stages[BK_PRETOK_STAGES]; /* each cuts what the one before has left */
} rule;

/* clang-format off */
static const rule rules[] = {
    {BK_PRETOK_GPT2, {0}},
    {BK_PRETOK_SMOLLM, {0}},
    {BK_PRETOK_LLAMA3, {0}},
    {BK_PRETOK_QWEN2, {0}},
    {BK_PRETOK_QWEN35,
     {FOLDED "|[^\\r\\n\\p{L}\\p{N}]?[\\p{L}\\p{M}]+|\\p{N}| ?[^\\s\\p{L}\\p{M}\\p{N}]+[\\r\\n]*|" LINES}},
    {BK_PRETOK_JAIS2,
     {FOLDED "|" WORD "|\\p{N}{1,3}" SYMBOLS "[\\r\\n]*|\\s*[\\r\\n]+|\\s{512}(?!\\S)|\\s{256}(?!\\S)"
      "|\\s{128}(?!\\S)|\\s{64}(?!\\S)|\\s{32}(?!\\S)|\\s{16}(?!\\S)|\\s{8}(?!\\S)|\\s{4}(?!\\S)"
      "|\\s{1,2}(?!\\S)|\\s{1}"}},
    {BK_PRETOK_DEEPSEEK_LLM,
     {"[\\r\\n]", deepseek_words, "\\s?[!-/:-~\uFF01-\uFF0F\uFF1A-\uFF5E\u2018-\u201F\u3000-\u3002]+",
      "\\s+$", "[\\u4E00-\\u9FA5\\u0800-\\u4E00\\uAC00-\\uD7FF]+", "\\p{N}"}},
    {BK_PRETOK_DEEPSEEK_CODER,
     {"[\\r\\n]", "\\s?\\p{L}+", "\\s?\\p{P}+", "[\\u4E00-\\u9FA5\\u0800-\\u4E00\\uAC00-\\uD7FF]+",
      "\\p{N}"}},
    {BK_PRETOK_DEEPSEEK3,
     {"\\p{N}{1,3}", CJK, DEEPSEEK3 "[\\r\\n]*|" LINES}},
    {BK_PRETOK_SPARK25,
     {"\\p{N}{1,3}", CJK, DEEPSEEK3 "|[\\r\\n]|" SPACES, "\\p{N}"}},
    {BK_PRETOK_YOUTU,
     {"[\\uAC00-\\uD7A3\\u3131-\\u318E]+"
      "|[\uFF01\u2026\u201C\u201D\u2018\u2019\u2014\uFF1A\uFF1B\uFF0C\\u3001-\\u303F\\uFE30-\\uFE4F]+"
      "|[\\u3105-\\u312F]+|" CJK,
      CASED("", FOLDED "?") "|\\p{N}" SYMBOLS "[\\r\\n/]*|" LINES}},
    {BK_PRETOK_FALCON,
     {"[\\p{P}$+<=>^~|`]+", GPT2, "[0-9][0-9][0-9]"}},
    {BK_PRETOK_DEFAULT,
     {"[\\p{P}$+<=>^~|]+", GPT2, "\\p{N}+", "[0-9][0-9][0-9]"}},
    {BK_PRETOK_BLOOM, {BLOOM}},
    {BK_PRETOK_VIKING, {BLOOM, "\\p{N}"}},
    {BK_PRETOK_TEKKEN, {CASED("", "") "|\\p{N}" SYMBOLS "[\\r\\n/]*|" LINES}},
    {BK_PRETOK_CHAMELEON,
     {"<sentinel:[0-9]+>", "(IMGIMG)((A|B|C|D|E|F|G|H|I){1,4})Z", "([\\t\\n]|    |  )", "\\p{N}",
      "[\\p{P}!-/:-@\\[-`{-~]", GPT2}},
    {BK_PRETOK_O200K, {O200K}},
    {BK_PRETOK_TINY_AYA, {threes_words, O200K}},
    {BK_PRETOK_KIMI,
     {"[\\p{Han}]+|" CASED("&&[^\\p{Han}]", FOLDED "?") "|\\p{N}{1,3}" SYMBOLS "[\\r\\n]*|" LINES}},
    {BK_PRETOK_SUPERBPE, {"\\p{N}+", threes_cuts}},
    {BK_PRETOK_BAILING,
     {"'(?i:[sdmt]|ll|ve|re)|[^\\r\\n\\p{L}\\p{N}]?+\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]++[\\r\\n]*"
      "|\\s*[\\r\\n]|" SPACES}},
    {BK_PRETOK_SEED,
     {FOLDED "|" WORD "|\\p{N}{1}| ?[^\\s\\p{L}\\p{N}\\r\\n]+|" LINES}},
    {BK_PRETOK_UFAKZEKA, {WORD "|\\p{N}" SYMBOLS "[\\r\\n]*|" LINES}},
    {BK_PRETOK_AFMOE,
     {threes_numbers,
      "[\\u4E00-\\u9FFF\\u3400-\\u4DBF\\uF900-\\uFAFF\\u3040-\\u309F\\u30A0-\\u30FF\\uFF65-\\uFF9F"
      "\\u2F00-\\u2FDF\\u0E00-\\u0E7F\\u0E80-\\u0EFF\\u1780-\\u17FF\\u1000-\\u109F\\uAA60-\\uAA7F"
      "\\uA9E0-\\uA9FF\\uAC00-\\uD7AF\\u1100-\\u11FF]+",
      DEEPSEEK3 "[\\r\\n]*|" LINES}},
    {BK_PRETOK_LAGUNA,
     {"[^\\n]+|[\\n]+", FOLDED "|" WORD "|\\p{N}" SYMBOLS "[\\r\\n]*|" LINES}},
    {BK_PRETOK_EXAONE_MOE,
     {FOLDED "|[^\\r\\n\\p{L}\\p{N}]?(?:\\p{L}\\p{M}*(?: \\p{L}\\p{M}*)*)+|\\p{N}" SYMBOLS
      "[\\r\\n/]?|\\s*[\\r\\n]|" SPACES}},
    {BK_PRETOK_MINICPM5,
     {"\\p{N}{1,3}", FOLDED "|" WORD "|\\p{N}+" SYMBOLS "[\\r\\n]*|" LINES}},
};

/* Names as converters write them; the rule a name stands for is that of the model's own tokenizer,
 * and where only the name is known, that which llama.cpp takes it for. */
static const struct {
    const char *names; /* separated by blanks */
    bk_pretok kind;
    bool nfc, ignore_merges;
} known[] = {
    {"gpt-2 phi-2 gigachat exaone4 mellum jais trillion granite-docling a.x-4.0 modern-bert roberta-bpe "
     "jina-es jina-de jina-v1-en jina-v2-es jina-v2-de jina-v2-code", BK_PRETOK_GPT2, false, false},
    {"mpt olmo", BK_PRETOK_GPT2, true, false},
    {"smollm starcoder refact codeshell exaone minerva-7b mellum2", BK_PRETOK_SMOLLM, false, false},
    {"command-r", BK_PRETOK_SMOLLM, true, false},
    {"llama-bpe llama3 llama-v3 falcon3 falcon-h1 pixtral midm-2.0 lfm2 jina-v5-nano glm4 glm5",
     BK_PRETOK_LLAMA3, false, true},
    {"dbrx smaug-bpe chatglm-bpe", BK_PRETOK_LLAMA3, false, false},
    {"qwen2 deepseek-r1-qwen megrez stablelm2", BK_PRETOK_QWEN2, true, false},
    {"kormo f2llmv2 hunyuan solar-open grok-2", BK_PRETOK_QWEN2, false, false},
    {"qwen35", BK_PRETOK_QWEN35, false, false},
    {"jais-2", BK_PRETOK_JAIS2, false, false},
    {"deepseek-llm", BK_PRETOK_DEEPSEEK_LLM, false, false},
    {"deepseek-coder", BK_PRETOK_DEEPSEEK_CODER, false, false},
    {"deepseek-v3 hunyuan-dense hy_v4 joyai-llm", BK_PRETOK_DEEPSEEK3, false, false},
    {"spark2_5", BK_PRETOK_SPARK25, false, false},
    {"youtu", BK_PRETOK_YOUTU, false, true},
    {"falcon", BK_PRETOK_FALCON, false, false},
    {"default", BK_PRETOK_DEFAULT, false, false},
    {"bloom poro-chat gpt3-finnish", BK_PRETOK_BLOOM, false, false},
    {"viking", BK_PRETOK_VIKING, false, false},
    {"tekken", BK_PRETOK_TEKKEN, false, true},
    {"chameleon", BK_PRETOK_CHAMELEON, false, false},
    {"gpt-4o o200k llama4 kanana2 talkie minimax-m2", BK_PRETOK_O200K, false, false},
    {"granite-embed-multi-97m", BK_PRETOK_O200K, false, true},
    {"tiny_aya cohere2moe", BK_PRETOK_TINY_AYA, false, false},
    {"kimi-k2", BK_PRETOK_KIMI, false, false},
    {"superbpe", BK_PRETOK_SUPERBPE, false, false},
    {"bailingmoe bailingmoe2 llada-moe", BK_PRETOK_BAILING, false, false},
    {"seed-coder", BK_PRETOK_SEED, false, false},
    {"ufakzeka", BK_PRETOK_UFAKZEKA, false, false},
    {"afmoe", BK_PRETOK_AFMOE, false, false},
    {"laguna", BK_PRETOK_LAGUNA, false, false},
    {"exaone-moe", BK_PRETOK_EXAONE_MOE, false, false},
    {"minicpm5", BK_PRETOK_MINICPM5, false, true},
};
/* clang-format on */

static bool has_word(const char *words, bk_str word) {
    for (const char *at = words; *at;) {
        size_t n = strcspn(at, " ");
        if (bk_str_eq((bk_str){at, n}, word)) return true;
        at += n;
        at += strspn(at, " ");
    }
    return false;
}

bool bk_pretok_find(bk_str name, bk_pretok_rules *out) {
    if (name.len == 0) return false;
    for (size_t i = 0; i < BK_ARRAY_LEN(known); i++) {
        if (!has_word(known[i].names, name)) continue;
        *out = (bk_pretok_rules){.kind = known[i].kind,
                                 .nfc = known[i].nfc,
                                 .ignore_merges = known[i].ignore_merges};
        return true;
    }
    return false;
}

bk_status bk_pretok_compile(bk_pretok_rules *r, bk_error *err) {
    const rule *from = &rules[r->kind];
    for (size_t i = 0; i < BK_PRETOK_STAGES && from->stages[i]; i++) {
        bk_pretok_stage *to = &r->stages[r->n_stages++];
        const char *stage = from->stages[i];
        to->whole_words = stage == threes_words;
        to->cuts = stage == threes_cuts;
        to->threes = to->whole_words || to->cuts || stage == threes_numbers;
        if (to->threes) continue;
        bk_status st = bk_pattern_compile(bk_str_from(stage), &to->pattern, err);
        if (st) return st;
    }
    return BK_OK;
}

void bk_pretok_free(bk_pretok_rules *r) {
    for (size_t i = 0; i < r->n_stages; i++) bk_pattern_destroy(&r->stages[i].pattern);
    r->n_stages = 0;
}
