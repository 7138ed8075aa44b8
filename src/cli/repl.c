/* The interactive chat of `brisk run`. */
#include <string.h>

#include "base/mem.h"
#include "cli/line.h"
#include "cli/run.h"

typedef struct repl {
    run *r;
    conversation c;
    char *system; /* set in the chat */
    brisk_stats last;
    bool have_last;
    uint64_t seed; /* of the first answer */
    size_t answers;
} repl;

/* A new conversation: the system message alone. */
static void clear(repl *p) {
    while (p->c.n > 0) conversation_pop(&p->c);
    if (p->r->system) conversation_push(&p->c, "system", p->r->system, strlen(p->r->system));
    brisk_session_truncate(p->r->session, 0, NULL);
}

/* ---- Answers ------------------------------------------------------------------------------------ */

/* Puts what the user said into the session. False (and the session as before) when it does not fit. */
static bool feed(repl *p, const char *text, size_t len) {
    run *r = p->r;
    brisk_error err;
    brisk_status st;
    if (!r->chat) {
        st = brisk_session_append_text(r->session, text, len, &err);
    } else if (!conversation_push(&p->c, "user", text, len)) {
        cli_fail("no memory for the conversation");
        return false;
    } else {
        st = brisk_session_chat(r->session, p->c.messages, p->c.n, &err);
        if (st) conversation_pop(&p->c);
    }
    if (st == BRISK_ERR_LIMIT) {
        cli_fail("%s; /clear starts a new conversation", err.text);
    } else if (st) {
        cli_fail("%s", err.text);
    }
    return st == BRISK_OK;
}

static void answer(repl *p, const char *text, size_t len) {
    run *r = p->r;
    if (!feed(p, text, len)) return;
    r->sampling.seed = p->seed + p->answers++; /* asking twice need not give the same answer */
    bool good = run_answer(r, true, &p->last);
    if (r->answer.len > 0 && r->answer.data[r->answer.len - 1] != '\n') putchar('\n');
    fflush(stdout);
    if (!good) {
        if (r->chat) conversation_pop(&p->c);
        return;
    }
    if (r->chat) {
        conversation_push(&p->c, "assistant", r->answer.data ? r->answer.data : "", r->answer.len);
    }
    p->have_last = true;
    if (!r->quiet) run_print_figures(r, &p->last);
}

/* ---- Commands ----------------------------------------------------------------------------------- */

static bool need_template(const repl *p) {
    if (!p->r->chat) fprintf(stderr, "there is no chat template here, so there are no messages\n");
    return p->r->chat;
}

static void do_stats(repl *p, const char *rest) {
    (void)rest;
    const run *r = p->r;
    size_t n;
    char now[32], weights[32];
    brisk_session_tokens(r->session, &n);
    if (p->have_last) run_print_figures(r, &p->last);
    fprintf(stderr, "%zu of %d tokens of context used; %s resident, weights %s\n", n,
            brisk_session_context(r->session), cli_bytes(cli_resident(), now, sizeof now),
            cli_bytes(r->info.resident_bytes, weights, sizeof weights));
}

static void do_clear(repl *p, const char *rest) {
    (void)rest;
    clear(p);
    fprintf(stderr, "a new conversation\n");
}

static bool set_system(repl *p, const char *text) {
    char *copy = *text ? bk_strndup(text, strlen(text)) : NULL;
    if (*text && !copy) {
        cli_fail("no memory for the system message");
        return false;
    }
    bk_free(p->system);
    p->system = copy;
    p->r->system = copy;
    return true;
}

static void do_system(repl *p, const char *text) {
    if (!need_template(p) || !set_system(p, text)) return;
    clear(p);
    fprintf(stderr, "a new conversation with%s system message\n", p->system ? " this" : "out");
}

/* "/set NAME VALUE"; without either, what is set. */
static void do_set(repl *p, const char *rest) {
    char name[64];
    size_t len = strcspn(rest, " =");
    snprintf(name, sizeof name, "%.*s", (int)bk_min_size(len, sizeof name - 1), rest);
    const char *value = rest + len;
    value += strspn(value, " =");
    if (strcmp(name, "system") == 0) {
        do_system(p, value);
        return;
    }
    if (*name && (!*value || !run_set(p->r, name, value))) {
        if (!*value) cli_fail("/set %s needs a value", name);
        return;
    }
    if (strcmp(name, "seed") == 0) {
        run_pick_seed(p->r);
        p->seed = p->r->sampling.seed;
        p->answers = 0;
    }
    run_print_sampling(p->r, stderr);
}

static void do_save(repl *p, const char *path) {
    if (!need_template(p)) return;
    if (!*path) {
        cli_fail("/save needs the name of a file");
    } else if (conversation_save(&p->c, path)) {
        fprintf(stderr, "%zu messages are in %s\n", p->c.n, path);
    }
}

static void do_load(repl *p, const char *path) {
    if (!need_template(p)) return;
    if (!*path) {
        cli_fail("/load needs the name of a file");
        return;
    }
    if (!conversation_load(path, &p->c)) return;
    bool system = p->c.n > 0 && strcmp(p->c.messages[0].role, "system") == 0;
    set_system(p, system ? p->c.messages[0].content : "");
    fprintf(stderr, "%zu messages; the conversation goes on from there\n", p->c.n);
}

static void do_help(repl *p, const char *rest);

static const struct command {
    const char *name;
    void (*run)(repl *p, const char *rest); /* NULL: leaves */
    const char *usage, *about;              /* NULL: another name for the one before */
} commands[] = {
    {"/clear", do_clear, "/clear", "start a new conversation"},
    {"/set", do_set, "/set NAME VALUE", "an option of sampling: /set temp 0.3; alone: what is set"},
    {"/system", do_system, "/set system TEXT", "start a conversation with this system message"},
    {"/save", do_save, "/save FILE", "the conversation as JSON"},
    {"/load", do_load, "/load FILE", "go on with a conversation"},
    {"/stats", do_stats, "/stats", "figures and use of the context"},
    {"/help", do_help, "/help", "this"},
    {"/bye", NULL, "/bye", "leave, as Ctrl-D does"},
    {"/exit", NULL, NULL, NULL},
    {"/quit", NULL, NULL, NULL},
};

static void do_help(repl *p, const char *rest) {
    (void)p, (void)rest;
    for (size_t i = 0; i < BK_ARRAY_LEN(commands); i++) {
        if (!commands[i].usage) continue;
        fprintf(stderr, "  %-18s%s\n", commands[i].usage, commands[i].about);
    }
    fprintf(stderr, "  Ctrl-C            stops an answer; at an empty prompt, leaves\n"
                    "  a line that ends with \\ goes on in the next\n");
}

/* "/name rest"; false when the chat ends. */
static bool command(repl *p, const char *line) {
    bk_str name = {line, strcspn(line, " ")};
    const char *rest = line + name.len + strspn(line + name.len, " ");
    for (size_t i = 0; i < BK_ARRAY_LEN(commands); i++) {
        if (!bk_str_eq(name, bk_str_from(commands[i].name))) continue;
        if (!commands[i].run) return false;
        commands[i].run(p, rest);
        return true;
    }
    fprintf(stderr, "no such command; /help lists them (begin with a blank to say this)\n");
    return true;
}

/* ---- The loop ----------------------------------------------------------------------------------- */

/* One message, of several lines where they end with a backslash. */
static line_result read_message(line_reader *l, bk_buf *line, bk_buf *message) {
    bk_buf_clear(message);
    for (;;) {
        line_result got = line_read(l, message->len > 0 ? ". " : "> ", line);
        if (got != LINE_OK) {
            bk_buf_append(message, line->data ? line->data : "", line->len);
            return got;
        }
        bool more = line->len > 0 && line->data[line->len - 1] == '\\';
        bk_buf_append(message, line->data ? line->data : "", line->len - more);
        if (!more) return LINE_OK;
        bk_buf_putc(message, '\n');
    }
}

static bool blank(const bk_buf *text) {
    return text->len == 0 || strspn(text->data, " \t\n") == text->len;
}

static int loop(repl *p, line_reader *l) {
    bk_buf line = {0}, message = {0};
    bool on = true;
    while (on) {
        cli_interrupted = false;
        line_result got = read_message(l, &line, &message);
        if (got == LINE_END) break;
        if (got == LINE_INTERRUPTED) { /* throws the line away; with none, leaves */
            on = message.len > 0;
            continue;
        }
        if (message.failed) {
            cli_fail("the message is too long");
        } else if (blank(&message)) {
            continue;
        } else if (message.data[0] == '/' && message.data[1] >= 'a' && message.data[1] <= 'z') {
            on = command(p, message.data);
        } else {
            answer(p, message.data, message.len);
        }
        if (p->r->out_failed) break;
    }
    bk_buf_free(&line);
    bk_buf_free(&message);
    return p->r->out_failed ? EXIT_ERROR : 0;
}

int run_repl(run *r) {
    repl p = {.r = r, .seed = r->sampling.seed};
    line_reader *l = line_open();
    if (!l) return cli_fail("no memory for the chat");
    clear(&p);
    char name[160];
    bk_str_printable(name, sizeof name, r->info.name, strlen(r->info.name));
    fprintf(stderr, "%s %s, %s, %d thread%s. %s Ctrl-C stops an answer, Ctrl-D leaves, /help.\n",
            *name ? name : r->info.architecture, r->info.quantization, r->info.cpu_level,
            r->info.threads, r->info.threads == 1 ? "" : "s",
            r->chat ? "Chat:" : "Raw text, each line is continued:");
    int status = loop(&p, l);
    line_close(&l);
    conversation_free(&p.c);
    bk_free(p.system);
    return status;
}
