/* libcurl, loaded when the first request is made: with all that it brings along, it would otherwise double
 * the time that every other verb takes to start. For files named *_curl.c. */
#ifndef BRISK_CLI_LIBCURL_H
#define BRISK_CLI_LIBCURL_H

#include "base/base.h"

#if BRISK_HAVE_CURL
#define CURL_DISABLE_TYPECHECK
#include <curl/curl.h>

typedef struct libcurl {
    void *library;
    bool ready;
    __typeof__(curl_global_init) *global_init;
    __typeof__(curl_easy_init) *easy_init;
    __typeof__(curl_easy_cleanup) *easy_cleanup;
    __typeof__(curl_easy_reset) *easy_reset;
    __typeof__(curl_easy_setopt) *easy_setopt;
    __typeof__(curl_easy_perform) *easy_perform;
    __typeof__(curl_easy_getinfo) *easy_getinfo;
    __typeof__(curl_easy_strerror) *easy_strerror;
    __typeof__(curl_multi_init) *multi_init;
    __typeof__(curl_multi_cleanup) *multi_cleanup;
    __typeof__(curl_multi_setopt) *multi_setopt;
    __typeof__(curl_multi_add_handle) *multi_add_handle;
    __typeof__(curl_multi_remove_handle) *multi_remove_handle;
    __typeof__(curl_multi_socket_action) *multi_socket_action;
    __typeof__(curl_multi_info_read) *multi_info_read;
    __typeof__(curl_multi_assign) *multi_assign;
    __typeof__(curl_slist_append) *slist_append;
    __typeof__(curl_slist_free_all) *slist_free_all;
    __typeof__(curl_version) *version;
} libcurl;

/* NULL after writing why not. */
const libcurl *libcurl_load(char *why, size_t cap);

/* Adds "name: value"; false when memory is short or the value too long. */
bool libcurl_header(const libcurl *lib, struct curl_slist **list, const char *name,
                    const char *value);

/* The certificates that CURL_CA_BUNDLE or SSL_CERT_FILE names, where one does. */
void libcurl_certificates(const libcurl *lib, CURL *easy);

#endif
#endif
