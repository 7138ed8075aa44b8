/* Writes src/text/unicode_tables.c from the Unicode Character Database (Debian: unicode-data).
 *
 *     gen_unicode /usr/share/unicode > src/text/unicode_tables.c
 *
 * A development tool: the output is committed, so a build does not need the database. It reads
 * trusted files and stops at the first surprise. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define N_CODE_POINTS 0x110000u
#define BLOCK 128u
#define N_BLOCKS (N_CODE_POINTS / BLOCK)

/* The same values as in src/text/unicode.h. */
enum { OTHER = 0, LETTER = 1, NUMBER = 2, SPACE = 3, NFC_CARE = 4, KIND_SHIFT = 3, HAN = 0x80 };

/* General categories by bk_char_kind; M, P and S are taken whole, the first is what is none of these. */
static const char *const kinds[] = {"",  "Lu", "Ll", "Lt", "Lm", "Lo",
                                    "M", "Nd", "Nl", "N",  "P",  "S"};
enum { N_KINDS = sizeof kinds / sizeof *kinds, SPACE_KIND = N_KINDS };

typedef struct decomp {
    uint32_t cp, a, b; /* b is 0 for a singleton */
} decomp;

/* What a code point decomposes to, as UnicodeData.txt has it, by compatibility or canonically. */
enum { MAX_EXPANDED = 32, COMPAT_CHARS = 1 << 14 };
static char *mapping[N_CODE_POINTS]; /* or NULL */
static uint8_t is_compat[N_CODE_POINTS];
static uint32_t fold_one[N_CODE_POINTS], fold_many[256][4]; /* to; from and to, 0 behind the last */
static size_t n_fold_many;

static uint8_t flags[N_CODE_POINTS], ccc[N_CODE_POINTS], excluded[N_CODE_POINTS];
static decomp decomps[4096];
static unsigned pairs[4096]; /* indices of decomps that compose, by (a, b) */
static size_t n_decomps, n_pairs;

static void stop(const char *what, const char *name) {
    fprintf(stderr, "gen_unicode: %s: %s\n", what, name);
    exit(1);
}

static FILE *open_file(const char *dir, const char *name) {
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *f = fopen(path, "r");
    if (!f) stop("cannot open", path);
    return f;
}

static uint32_t hex(const char *s) {
    unsigned long v = strtoul(s, NULL, 16);
    if (v >= N_CODE_POINTS) stop("not a code point", s);
    return (uint32_t)v;
}

/* Splits a line at semicolons, in place. */
static int fields(char *line, char **field, int max) {
    int n = 0;
    line[strcspn(line, "\r\n")] = '\0';
    for (char *p = line; p && n < max; n++) {
        field[n] = p;
        p = strchr(p, ';');
        if (p) *p++ = '\0';
    }
    return n;
}

static unsigned kind_of(const char *category) {
    for (unsigned i = 1; i < N_KINDS; i++)
        if (strncmp(category, kinds[i], strlen(kinds[i])) == 0) return i;
    return 0;
}

static void add_decomp(uint32_t cp, const char *text) {
    if (!*text) return;
    is_compat[cp] = *text == '<';
    mapping[cp] = strdup(is_compat[cp] ? strchr(text, '>') + 1 : text);
    if (is_compat[cp]) return;
    const char *space = strchr(text, ' ');
    if (n_decomps == sizeof decomps / sizeof *decomps) stop("too many decompositions", text);
    decomps[n_decomps++] = (decomp){cp, hex(text), space ? hex(space + 1) : 0};
}

static void read_unicode_data(const char *dir) {
    FILE *f = open_file(dir, "UnicodeData.txt");
    char line[1024], *field[15];
    uint32_t first = 0;
    while (fgets(line, sizeof line, f)) {
        if (fields(line, field, 15) != 15) stop("UnicodeData.txt, not 15 fields", line);
        uint32_t cp = hex(field[0]);
        if (strstr(field[1], ", First>")) {
            first = cp;
            continue;
        }
        if (!strstr(field[1], ", Last>")) first = cp;
        int class = field[2][0] == 'L' ? LETTER : field[2][0] == 'N' ? NUMBER : OTHER;
        for (uint32_t c = first; c <= cp; c++) {
            flags[c] = (uint8_t)((unsigned)class | kind_of(field[2]) << KIND_SHIFT);
            ccc[c] = (uint8_t)atoi(field[3]);
            if (ccc[c]) flags[c] |= NFC_CARE;
        }
        add_decomp(cp, field[5]);
    }
    fclose(f);
}

/* Calls mark for every code point of a "first..last ; property ; value" file that has it. */
static void read_property(const char *dir, const char *name, const char *property,
                          void (*mark)(uint32_t)) {
    FILE *f = open_file(dir, name);
    char line[1024], *field[3], found[64];
    size_t n = 0;
    while (fgets(line, sizeof line, f)) {
        line[strcspn(line, "#")] = '\0';
        if (fields(line, field, 3) < 2) continue;
        if (sscanf(field[1], " %63s", found) != 1 || strcmp(found, property) != 0) continue;
        const char *dots = strstr(field[0], "..");
        uint32_t last = hex(dots ? dots + 2 : field[0]);
        for (uint32_t c = hex(field[0]); c <= last; c++) mark(c);
        n++;
    }
    fclose(f);
    if (!n) stop("property not found", property);
}

/* Full and common case folding. */
static void read_folding(const char *dir) {
    FILE *f = open_file(dir, "CaseFolding.txt");
    char line[1024], *field[4];
    while (fgets(line, sizeof line, f)) {
        line[strcspn(line, "#")] = '\0';
        if (fields(line, field, 4) < 3) continue;
        uint32_t cp = hex(field[0]), n = 0;
        if (field[1][1] == 'C') fold_one[cp] = hex(field[2]);
        if (field[1][1] != 'F') continue;
        if (n_fold_many == sizeof fold_many / sizeof *fold_many) stop("too many foldings", line);
        uint32_t *to = fold_many[n_fold_many++];
        to[n++] = cp;
        for (char *s = strtok(field[2], " "); s; s = strtok(NULL, " ")) {
            if (n == 4 || hex(s) > 0xFFFF) stop("an unexpected folding", s);
            to[n++] = hex(s);
        }
    }
    fclose(f);
}

static void mark_space(uint32_t cp) {
    if (flags[cp]) stop("white space that is something else too", "PropList.txt");
    flags[cp] |= SPACE | SPACE_KIND << KIND_SHIFT;
}

static void mark_han(uint32_t cp) { flags[cp] |= HAN; }

static void mark_nfc(uint32_t cp) { flags[cp] |= NFC_CARE; }

static void mark_excluded(uint32_t cp) { excluded[cp] = 1; }

static int by_pair(const void *x, const void *y) {
    const decomp *a = &decomps[*(const unsigned *)x], *b = &decomps[*(const unsigned *)y];
    if (a->a != b->a) return a->a < b->a ? -1 : 1;
    return a->b < b->b ? -1 : a->b > b->b;
}

static void find_pairs(void) {
    for (unsigned i = 0; i < n_decomps; i++)
        if (decomps[i].b && !excluded[decomps[i].cp]) pairs[n_pairs++] = i;
    qsort(pairs, n_pairs, sizeof *pairs, by_pair);
}

static void print_blocks(void) {
    static unsigned index[N_BLOCKS], kept[N_BLOCKS];
    unsigned n = 0;
    for (unsigned i = 0; i < N_BLOCKS; i++) {
        unsigned k = 0;
        while (k < n && memcmp(flags + kept[k] * BLOCK, flags + i * BLOCK, BLOCK) != 0) k++;
        if (k == n) kept[n++] = i;
        index[i] = k;
    }
    if (n > 256) stop("more than 256 blocks", "enlarge the index type");
    printf("const uint8_t bk_unicode_index[%u] = {", N_BLOCKS);
    for (unsigned i = 0; i < N_BLOCKS; i++) printf("%s%u,", i % 24 ? "" : "\n", index[i]);
    printf("\n};\n\nconst uint8_t bk_unicode_flags[%u] = {", n * BLOCK);
    for (unsigned i = 0; i < n * BLOCK; i++)
        printf("%s%u,", i % 32 ? "" : "\n", flags[kept[i / BLOCK] * BLOCK + i % BLOCK]);
    printf("\n};\n\n");
}

static void print_ccc(void) {
    size_t n = 0;
    printf("const bk_unicode_ccc_range bk_unicode_ccc[] = {");
    for (uint32_t c = 0; c < N_CODE_POINTS;) {
        uint32_t end = c;
        while (end < N_CODE_POINTS && ccc[end] == ccc[c]) end++;
        if (ccc[c])
            printf("%s{0x%X,0x%X,%u},", n++ % 5 ? "" : "\n", (unsigned)c, (unsigned)end - 1,
                   ccc[c]);
        c = end;
    }
    printf("\n};\nconst size_t bk_unicode_n_ccc = %zu;\n\n", n);
}

static void print_decomps(void) {
    printf("const bk_unicode_decomp bk_unicode_decomps[] = {");
    for (size_t i = 0; i < n_decomps; i++)
        printf("%s{0x%X,0x%X,0x%X},", i % 4 ? "" : "\n", (unsigned)decomps[i].cp,
               (unsigned)decomps[i].a, (unsigned)decomps[i].b);
    printf("\n};\nconst size_t bk_unicode_n_decomps = %zu;\n\n", n_decomps);
    printf("const uint16_t bk_unicode_pairs[] = {");
    for (size_t i = 0; i < n_pairs; i++) printf("%s%u,", i % 18 ? "" : "\n", pairs[i]);
    printf("\n};\nconst size_t bk_unicode_n_pairs = %zu;\n", n_pairs);
}

/* Decomposes as often as it goes; by compatibility too, where wanted. */
static size_t expand(uint32_t cp, int compat, uint32_t *out) {
    if (!mapping[cp] || (is_compat[cp] && !compat)) return out[0] = cp, (size_t)1;
    size_t n = 0;
    char *end, *s = mapping[cp];
    for (unsigned long c; c = strtoul(s, &end, 16), end != s; s = end) {
        if (n >= MAX_EXPANDED) stop("a long decomposition", mapping[cp]);
        n += expand((uint32_t)c, compat, out + n);
    }
    return n;
}

static void print_compat(void) {
    static uint32_t chars[COMPAT_CHARS];
    size_t n = 0, n_chars = 0;
    printf("\nconst bk_unicode_compat bk_unicode_compats[] = {");
    for (uint32_t cp = 0; cp < N_CODE_POINTS; cp++) {
        uint32_t full[2 * MAX_EXPANDED], canonical[2 * MAX_EXPANDED];
        size_t len = expand(cp, 1, full), k = expand(cp, 0, canonical);
        if (len == k && memcmp(full, canonical, k * sizeof *full) == 0) continue;
        printf("%s{0x%X,%zu,%zu},", n++ % 7 ? "" : "\n", (unsigned)cp, n_chars, len);
        for (size_t i = 0; i < len; i++) {
            if (n_chars == COMPAT_CHARS) stop("too many", "enlarge COMPAT_CHARS");
            chars[n_chars++] = full[i];
        }
    }
    printf("\n};\nconst size_t bk_unicode_n_compats = %zu;\n\n", n);
    printf("const uint32_t bk_unicode_compat_chars[] = {");
    for (size_t i = 0; i < n_chars; i++) printf("%s0x%X,", i % 14 ? "" : "\n", (unsigned)chars[i]);
    printf("\n};\n");
}

/* Runs of code points at a distance of one or two that all move by the same, none inside another. */
static void print_folding(void) {
    size_t n = 0;
    printf("\nconst bk_unicode_fold_range bk_unicode_folds[] = {");
    for (uint32_t cp = 0; cp < N_CODE_POINTS; cp++) {
        if (!fold_one[cp]) continue;
        uint32_t delta = fold_one[cp] - cp, step = 0, last = cp;
        for (uint32_t s = 1; s <= 2; s++) {
            uint32_t c = cp;
            while (fold_one[c + s] && fold_one[c + s] - (c + s) == delta &&
                   (s == 1 || !fold_one[c + 1]))
                c += s;
            if (c > last) last = c, step = s;
        }
        printf("%s{0x%X,0x%X,%u,%d},", n++ % 5 ? "" : "\n", (unsigned)cp, (unsigned)last,
               step ? step : 1, (int)(int32_t)delta);
        for (uint32_t c = cp; step && c <= last; c += step) fold_one[c] = 0;
    }
    printf("\n};\nconst size_t bk_unicode_n_folds = %zu;\n\n", n);
    printf("const bk_unicode_fold_string bk_unicode_fold_strings[] = {");
    for (size_t i = 0; i < n_fold_many; i++)
        printf("%s{0x%X,{0x%X,0x%X,0x%X}},", i % 5 ? "" : "\n", (unsigned)fold_many[i][0],
               (unsigned)fold_many[i][1], (unsigned)fold_many[i][2], (unsigned)fold_many[i][3]);
    printf("\n};\nconst size_t bk_unicode_n_fold_strings = %zu;\n", n_fold_many);
}

int main(int argc, char **argv) {
    if (argc != 2) stop("usage", "gen_unicode DIRECTORY > unicode_tables.c");
    read_unicode_data(argv[1]);
    read_property(argv[1], "PropList.txt", "White_Space", mark_space);
    read_property(argv[1], "Scripts.txt", "Han", mark_han);
    read_property(argv[1], "DerivedNormalizationProps.txt", "NFC_QC", mark_nfc);
    read_property(argv[1], "DerivedNormalizationProps.txt", "Full_Composition_Exclusion",
                  mark_excluded);
    read_folding(argv[1]);
    find_pairs();
    printf(
        "/* Generated by tools/gen_unicode.c from the Unicode Character Database; do not edit. */\n"
        "/* clang-format off */\n#include \"text/unicode.h\"\n\n");
    print_blocks();
    print_ccc();
    print_decomps();
    print_compat();
    print_folding();
    return 0;
}
