/* quantize TYPE: floats on standard input (little-endian) to the type's blocks on standard output, as
 * bk_quant's `quantize` makes them. */
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "quant/quant.h"

enum { AT_ONCE = 4096 };

int main(int argc, char **argv) {
    static float x[AT_ONCE];
    static uint8_t blocks[AT_ONCE * 4];
    const bk_quant *type = NULL;
    for (uint32_t i = 0; argc == 2 && i < 64 && !type; i++) {
        const bk_quant *q = bk_quant_find(i);
        if (q && strcasecmp(q->name, argv[1]) == 0) type = q;
    }
    if (!type || !type->quantize) {
        fprintf(stderr, "usage: quantize TYPE, one that can be quantised to\n");
        return 2;
    }
    for (size_t n; (n = fread(x, sizeof *x, AT_ONCE, stdin)) > 0;) {
        n -= n % type->block_len;
        type->quantize(x, blocks, n);
        fwrite(blocks, type->block_bytes, n / type->block_len, stdout);
    }
    return ferror(stdin) || fflush(stdout) ? 1 : 0;
}
