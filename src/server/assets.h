/* The chat page's files, built into the program by tools/embed from src/server/web/. */
#ifndef BRISK_SERVER_ASSETS_H
#define BRISK_SERVER_ASSETS_H

#include <stddef.h>

/* Sent with every file of the page. It needs no more than its own server, no inline script and no
 * inline style, so text of a model that slips through sanitising can neither run nor call out. */
#define BK_ASSETS_CSP                                                                 \
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; " \
    "connect-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'; "  \
    "frame-ancestors 'none'"

/* One file. Tags are strong and quoted, ready for the header; the compressed form has one of its
 * own, since its bytes differ. gz is NULL where compression gains nothing. */
typedef struct bk_asset {
    const char *path; /* "/", "/style.css", "/js/main.js" */
    const char *type; /* Content-Type */
    const unsigned char *data;
    size_t size;
    const char *etag;
    const unsigned char *gz;
    size_t gz_size;
    const char *gz_etag;
} bk_asset;

extern const bk_asset bk_assets[];
extern const size_t bk_n_assets;

/* The file at a request's path, len bytes without query; NULL when the page has none there. */
const bk_asset *bk_asset_find(const char *path, size_t len);

#endif
