/* assets DIR: writes every file of the chat page as it is built in to DIR/N, compressed ones to
 * DIR/N.gz too, and prints one line each: N, path, type, tag, tag of the compressed form or "-", with
 * tabs between. The last line is the page's policy. Exit status 1 when looking a path up fails. */
#include "server/assets.h"

#include <stdio.h>
#include <string.h>

static int write_file(const char *folder, size_t n, const char *suffix, const void *data,
                      size_t size) {
    char path[4096];
    if (snprintf(path, sizeof path, "%s/%zu%s", folder, n, suffix) >= (int)sizeof path) return 1;
    FILE *file = fopen(path, "wb");
    if (!file) return 1;
    size_t written = fwrite(data, 1, size, file);
    return fclose(file) != 0 || written != size;
}

/* Every path finds its own file, and nothing shorter, longer or else finds one. */
static int check_lookup(const bk_asset *a) {
    char longer[256];
    size_t len = strlen(a->path);
    if (len + 2 > sizeof longer) return 1;
    memcpy(longer, a->path, len);
    memcpy(longer + len, "x", 2);
    return bk_asset_find(a->path, len) != a || bk_asset_find(longer, len) != a ||
           bk_asset_find(longer, len + 1) || bk_asset_find(a->path, 0);
}

int main(int argc, char **argv) {
    if (argc != 2) {
        fprintf(stderr, "usage: assets DIR\n");
        return 2;
    }
    for (size_t i = 0; i < bk_n_assets; i++) {
        const bk_asset *a = &bk_assets[i];
        if (check_lookup(a)) {
            fprintf(stderr, "assets: looking up %s fails\n", a->path);
            return 1;
        }
        if (write_file(argv[1], i, "", a->data, a->size) ||
            (a->gz && write_file(argv[1], i, ".gz", a->gz, a->gz_size))) {
            fprintf(stderr, "assets: cannot write to %s\n", argv[1]);
            return 1;
        }
        printf("%zu\t%s\t%s\t%s\t%s\n", i, a->path, a->type, a->etag, a->gz ? a->gz_etag : "-");
    }
    printf("%s\n", BK_ASSETS_CSP);
    return 0;
}
