#include "cli/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/mem.h"
#include "cli/cli.h"

extern char **environ;

/* The environment with one variable set; *text is what the caller frees beside it. */
static char **environment(const spawn *s, char **text) {
    size_t n = 0, len = strlen(s->env_name);
    while (environ[n]) n++;
    char **env = bk_alloc(n + 2, sizeof *env);
    *text = bk_alloc(len + strlen(s->env_value) + 2, 1);
    if (!env || !*text) {
        bk_free(env);
        bk_free(*text);
        *text = NULL;
        return NULL;
    }
    snprintf(*text, len + strlen(s->env_value) + 2, "%s=%s", s->env_name, s->env_value);
    size_t kept = 0;
    for (size_t i = 0; i < n; i++) {
        if (strncmp(environ[i], *text, len + 1) != 0) env[kept++] = environ[i];
    }
    env[kept++] = *text;
    env[kept] = NULL;
    return env;
}

static int start(const spawn *s, pid_t *pid) {
    posix_spawn_file_actions_t actions;
    int bad = posix_spawn_file_actions_init(&actions);
    if (bad) return bad;
    char *text = NULL, **env = s->env_name ? environment(s, &text) : environ;
    bad = env ? 0 : ENOMEM;
    if (!bad) bad = posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
    if (!bad) {
        bad = posix_spawn_file_actions_addopen(&actions, 1, s->output, O_WRONLY | O_CREAT | O_TRUNC,
                                               0600);
    }
    if (!bad) bad = posix_spawn_file_actions_adddup2(&actions, 1, 2);
    if (!bad) bad = posix_spawnp(pid, s->argv[0], &actions, NULL, (char *const *)s->argv, env);
    posix_spawn_file_actions_destroy(&actions);
    if (env != environ) bk_free(env);
    bk_free(text);
    return bad;
}

int spawn_run(const spawn *s) {
    pid_t pid;
    errno = start(s, &pid);
    if (errno) return -1;
    const struct timespec pause = {.tv_nsec = 100000000};
    bool stopped = false;
    for (;;) {
        int status;
        pid_t got = waitpid(pid, &status, WNOHANG);
        if (got == pid) {
            if (stopped) return -2;
            return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
        }
        if (got < 0 && errno != EINTR) return -1;
        if (cli_interrupted && !stopped) {
            stopped = true;
            kill(pid, SIGTERM);
        }
        if (s->tick) s->tick(s->user);
        nanosleep(&pause, NULL);
    }
}
