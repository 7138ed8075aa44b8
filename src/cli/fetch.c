#include "cli/fetch.h"

#include <strings.h>

#include "cli/cli.h"

bool fetch_is_url(const char *text) {
    return strncasecmp(text, "https://", 8) == 0 || strncasecmp(text, "http://", 7) == 0;
}

#if !BRISK_HAVE_CURL

static int no_curl(void) {
    return cli_fail("this brisk was built without libcurl and cannot fetch: install "
                    "libcurl4-openssl-dev and build it again");
}

int fetch_url(const char *url, char *path, size_t cap, const fetch_options *o) {
    (void)url, (void)path, (void)cap, (void)o;
    return no_curl();
}

int fetch_hub(const char *repo, char *path, size_t cap, const fetch_options *o) {
    (void)repo, (void)path, (void)cap, (void)o;
    return no_curl();
}

#endif
