/* quantize TYPE: floats on standard input (little-endian) to the type's blocks on standard output, as
 * bk_quant's `quantize` makes them.
 * quantize TYPE COLUMNS [FILE]: as `search` makes them, in rows of COLUMNS weights; FILE has as many
 * floats, the importance of each column. */
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "quant/quant.h"

enum { AT_ONCE = 4096, ROW_MAX = 1 << 20 };

static const bk_quant *find(const char *name) {
    for (uint32_t i = 0; i < 64; i++) {
        const bk_quant *q = bk_quant_find(i);
        if (q && strcasecmp(q->name, name) == 0) return q;
    }
    return NULL;
}

static bool read_importance(const char *path, float *importance, size_t n) {
    FILE *f = fopen(path, "rb");
    bool whole = f && fread(importance, sizeof *importance, n, f) == n;
    if (f) fclose(f);
    return whole;
}

int main(int argc, char **argv) {
    static float x[ROW_MAX], importance[ROW_MAX];
    static uint8_t blocks[ROW_MAX * 4];
    const bk_quant *type = argc >= 2 && argc <= 4 ? find(argv[1]) : NULL;
    size_t columns = argc > 2 ? strtoul(argv[2], NULL, 10) : AT_ONCE;
    bool usable = type && columns > 0 && columns <= ROW_MAX && columns % type->block_len == 0 &&
                  (argc > 2 ? type->search != NULL : type->quantize != NULL);
    if (!usable || (argc > 3 && !read_importance(argv[3], importance, columns))) {
        fprintf(stderr,
                "usage: quantize TYPE [COLUMNS [FILE]]: a type that can be quantised to, whole "
                "blocks of columns, a file with a float for each\n");
        return 2;
    }
    for (size_t n; (n = fread(x, sizeof *x, columns, stdin)) > 0;) {
        n -= n % type->block_len;
        if (argc > 2)
            type->search(x, argc > 3 ? importance : NULL, blocks, n);
        else
            type->quantize(x, blocks, n);
        fwrite(blocks, type->block_bytes, n / type->block_len, stdout);
    }
    return ferror(stdin) || fflush(stdout) ? 1 : 0;
}
