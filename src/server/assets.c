#include "server/assets.h"

#include <string.h>

const bk_asset *bk_asset_find(const char *path, size_t len) {
    for (size_t i = 0; i < bk_n_assets; i++) {
        const bk_asset *a = &bk_assets[i];
        if (strlen(a->path) == len && !memcmp(a->path, path, len)) return a;
    }
    return NULL;
}
