/* The interactive chat of `brisk run`. */
#include <string.h>

#include "base/mem.h"
#include "cli/line.h"
#include "cli/run.h"

typedef struct repl {
    run *r;
    brisk_chat_message *messages; /* contents owned, roles not */
    size_t n, cap;
    char *system; /* set by /system */
    brisk_stats last;
    bool have_last;
    uint64_t seed; /* of the first answer */
    size_t answers;
} repl;

/* ---- The conversation --------------------------------------------------------------------------- */

static bool push(repl *p, const char *role, const char *text, size_t len) {
    if (p->n == p->cap) {
        size_t cap = p->cap ? 2 * p->cap : 16;
        brisk_chat_message *m = bk_realloc(p->messages, cap, sizeof *m);
        if (!m) return false;
        p->messages = m;
        p->cap = cap;
    }
    char *copy = bk_strndup(text, len);
    if (!copy) return false;
    p->messages[p->n++] = (brisk_chat_message){role, copy};
    return true;
}

static void pop(repl *p) { bk_free((void *)(uintptr_t)p->messages[--p->n].content); }

static void clear(repl *p) {
    while (p->n > 0) pop(p);
    if (p->r->system) push(p, "system", p->r->system, strlen(p->r->system));
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
    } else if (!push(p, "user", text, len)) {
        cli_fail("no memory for the conversation");
        return false;
    } else {
        st = brisk_session_chat(r->session, p->messages, p->n, &err);
        if (st) pop(p);
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
        if (r->chat) pop(p);
        return;
    }
    if (r->chat) push(p, "assistant", r->answer.data ? r->answer.data : "", r->answer.len);
    p->have_last = true;
    if (!r->quiet) run_print_figures(r, &p->last);
}

/* ---- Commands ----------------------------------------------------------------------------------- */

static void print_stats(const repl *p) {
    const run *r = p->r;
    size_t n;
    char now[32], weights[32];
    brisk_session_tokens(r->session, &n);
    if (p->have_last) run_print_figures(r, &p->last);
    fprintf(stderr, "%zu of %d tokens of context used; %s resident, weights %s\n", n,
            brisk_session_context(r->session), cli_bytes(cli_resident(), now, sizeof now),
            cli_bytes(r->info.resident_bytes, weights, sizeof weights));
}

static void set_system(repl *p, const char *text) {
    if (!p->r->chat) {
        fprintf(stderr, "there is no chat template here, so no system message\n");
        return;
    }
    bk_free(p->system);
    p->system = *text ? bk_strndup(text, strlen(text)) : NULL;
    p->r->system = p->system;
    clear(p);
    fprintf(stderr, "a new conversation with%s system message\n", p->system ? " this" : "out");
}

/* "/name rest"; false when the chat ends. */
static bool command(repl *p, const char *line) {
    size_t len = strcspn(line, " ");
    bk_str name = {line, len};
    const char *rest = line + len + strspn(line + len, " ");
    if (bk_str_eq(name, BK_STR("/bye")) || bk_str_eq(name, BK_STR("/exit")) ||
        bk_str_eq(name, BK_STR("/quit"))) {
        return false;
    }
    if (bk_str_eq(name, BK_STR("/clear"))) {
        clear(p);
        fprintf(stderr, "a new conversation\n");
    } else if (bk_str_eq(name, BK_STR("/stats"))) {
        print_stats(p);
    } else if (bk_str_eq(name, BK_STR("/system"))) {
        set_system(p, rest);
    } else if (bk_str_eq(name, BK_STR("/help"))) {
        fprintf(stderr, "  /clear         start a new conversation\n"
                        "  /system TEXT   start one with this system message\n"
                        "  /stats         figures and use of the context\n"
                        "  /bye           leave, as Ctrl-D does\n"
                        "  Ctrl-C         stops an answer; at an empty prompt, leaves\n"
                        "  a line that ends with \\ goes on in the next\n");
    } else {
        fprintf(stderr, "no such command; /help lists them (begin with a blank to say this)\n");
    }
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
    while (p.n > 0) pop(&p);
    bk_free(p.messages);
    bk_free(p.system);
    return status;
}
