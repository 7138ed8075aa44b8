#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/libcurl.h"

static libcurl lib;

static bool load_symbols(void) {
#define SYMBOL(name) \
    { "curl_" #name, &lib.name }
    const struct symbol {
        const char *name;
        void *slot;
    } symbols[] = {
        SYMBOL(global_init),
        SYMBOL(easy_init),
        SYMBOL(easy_cleanup),
        SYMBOL(easy_reset),
        SYMBOL(easy_setopt),
        SYMBOL(easy_perform),
        SYMBOL(easy_getinfo),
        SYMBOL(easy_strerror),
        SYMBOL(multi_init),
        SYMBOL(multi_cleanup),
        SYMBOL(multi_setopt),
        SYMBOL(multi_add_handle),
        SYMBOL(multi_remove_handle),
        SYMBOL(multi_socket_action),
        SYMBOL(multi_info_read),
        SYMBOL(multi_assign),
        SYMBOL(slist_append),
        SYMBOL(slist_free_all),
        SYMBOL(version),
    };
    for (size_t i = 0; i < BK_ARRAY_LEN(symbols); i++) {
        void *found = dlsym(lib.library, symbols[i].name);
        if (!found) return false;
        memcpy(symbols[i].slot, &found, sizeof found);
    }
    return true;
}

const libcurl *libcurl_load(char *why, size_t cap) {
    static const char *const names[] = {"libcurl.so.4", "libcurl-gnutls.so.4"};
    if (lib.ready) return &lib;
    for (size_t i = 0; i < BK_ARRAY_LEN(names) && !lib.library; i++) {
        lib.library = dlopen(names[i], RTLD_NOW | RTLD_LOCAL);
    }
    if (!lib.library) {
        snprintf(why, cap, "libcurl is not there (%.150s): install libcurl4", dlerror());
        return NULL;
    }
    lib.ready = load_symbols() && lib.global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK;
    if (!lib.ready) snprintf(why, cap, "libcurl cannot be used: it lacks a function, or memory");
    return lib.ready ? &lib : NULL;
}

bool libcurl_header(const libcurl *l, struct curl_slist **list, const char *name,
                    const char *value) {
    char line[4096];
    int n = snprintf(line, sizeof line, "%s: %s", name, value);
    struct curl_slist *longer =
        n > 0 && (size_t)n < sizeof line ? l->slist_append(*list, line) : NULL;
    if (longer) *list = longer;
    return longer != NULL;
}

void libcurl_certificates(const libcurl *l, CURL *easy) {
    const char *file = getenv("CURL_CA_BUNDLE");
    if (!file || !*file) file = getenv("SSL_CERT_FILE");
    if (file && *file) l->easy_setopt(easy, CURLOPT_CAINFO, file);
}
