/* Running another program to its end. */
#ifndef BRISK_CLI_SPAWN_H
#define BRISK_CLI_SPAWN_H

#include "base/base.h"

typedef struct spawn {
    const char *const *argv;          /* NULL-terminated; argv[0] is looked up in PATH */
    const char *output;               /* stdout and stderr go to this new file */
    const char *env_name, *env_value; /* one variable set for it; NULL: none */
    /* Called about ten times a second while it runs; may be NULL. */
    void (*tick)(void *user);
    void *user;
} spawn;

/* Its exit status (0..255), 128 + signal when one ended it, -1 when it could not be started (errno
 * says why), -2 when Ctrl-C ended it. */
int spawn_run(const spawn *s);

#endif
