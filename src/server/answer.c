#include "server/answer.h"

enum {
    MAX_HELD = 16 << 20,
    MAX_NAME = 256,
    MAX_FAILURES = 64,  /* each may have had the rest of the answer looked at once */
    NAME_WITHIN = 4096, /* bytes of a call in which its name is looked for before it is complete */
};

enum state { START, THINK, AFTER_THINK, CONTENT, CALL, AFTER_CALL };
enum body { BODY_UNKNOWN, BODY_OBJECT, BODY_ARGS, BODY_XML };

/* What a step comes to. */
typedef enum step { WAIT, AGAIN } step;

/* ---- Marks ---------------------------------------------------------------------------------- */

static const char xml_begin[] = "<function=", xml_end[] = "</function>";
static const char mark_args[] = "[ARGS]", mark_id[] = "[CALL_ID]";

/* By form; each list ends with NULL. */
static const char *const opens[][3] = {
    [SV_CALL_FORM_NONE] = {NULL},
    [SV_CALL_FORM_HERMES] = {"<tool_call>"},
    [SV_CALL_FORM_XML] = {"<tool_call>", xml_begin},
    [SV_CALL_FORM_LLAMA3] = {"<|python_tag|>"},
    [SV_CALL_FORM_MISTRAL] = {"[TOOL_CALLS]"},
};
/* Marks that are not at the beginning. */
static const char *const others[][3] = {
    [SV_CALL_FORM_NONE] = {NULL},
    [SV_CALL_FORM_HERMES] = {"</tool_call>"},
    [SV_CALL_FORM_XML] = {"</tool_call>"},
    [SV_CALL_FORM_LLAMA3] = {NULL},
    [SV_CALL_FORM_MISTRAL] = {mark_args, mark_id},
};

static const struct {
    const char *open, *close;
} thoughts[] = {
    {"<think>", "</think>"},
    {"[THINK]", "[/THINK]"},
    {"<seed:think>", "</seed:think>"},
};

sv_answer_format sv_answer_format_of(bk_str t) {
    sv_answer_format f = {.calls = sv_call_form_of(t)};
    for (size_t i = 0; i < BK_ARRAY_LEN(thoughts) && t.len > 0 && !f.think_open; i++) {
        if (!memmem(t.data, t.len, thoughts[i].close, strlen(thoughts[i].close))) continue;
        f.think_open = thoughts[i].open;
        f.think_close = thoughts[i].close;
    }
    return f;
}

static bool is_space(char c) { return c == ' ' || c == '\n' || c == '\t' || c == '\r'; }

bool sv_answer_prompt_opens_thought(const sv_answer_format *f, bk_str p) {
    while (p.len > 0 && is_space(p.data[p.len - 1])) p.len--;
    size_t len = f->think_open ? strlen(f->think_open) : 0;
    return len > 0 && p.len >= len && memcmp(p.data + p.len - len, f->think_open, len) == 0;
}

typedef enum match { MATCH_NONE, MATCH_PART, MATCH_WHOLE } match;

/* Whether the mark stands at `at`, or as much of it as there is room for. */
static match match_at(bk_str t, size_t at, const char *mark) {
    size_t len = strlen(mark), n = bk_min_size(t.len - at, len);
    if (memcmp(t.data + at, mark, n) != 0) return MATCH_NONE;
    return n == len ? MATCH_WHOLE : MATCH_PART;
}

/* The first place from `from` on where the mark stands or may begin; t.len when there is none. */
static match find_mark(bk_str t, size_t from, const char *mark, size_t *at) {
    for (*at = from; *at < t.len; (*at)++) {
        const char *p = memchr(t.data + *at, mark[0], t.len - *at);
        if (!p) break;
        *at = (size_t)(p - t.data);
        match m = match_at(t, *at, mark);
        if (m != MATCH_NONE) return m;
    }
    *at = t.len;
    return MATCH_NONE;
}

/* ---- Pieces --------------------------------------------------------------------------------- */

static void put(sv_answer *a, sv_answer_kind kind, bk_str text) {
    sv_answer_piece p = {.kind = kind, .text = text};
    if (kind == SV_ANSWER_ARGUMENTS) p.index = a->n_calls - 1;
    if (text.len > 0) a->sink(&p, a->user);
}

static void put_call(sv_answer *a, bk_str name) {
    char id[SV_CALL_ID_CAP];
    sv_call_id(a->o.calls, id);
    sv_answer_piece p = {.kind = SV_ANSWER_CALL, .index = a->n_calls++, .id = id, .name = name};
    a->sink(&p, a->user);
}

static void drop(sv_answer *a, size_t n) {
    if (n == 0) return;
    memmove(a->held.data, a->held.data + n, a->held.len - n);
    a->held.len -= n;
    a->held.data[a->held.len] = '\0';
}

static size_t skip_space(bk_str t, size_t at) {
    while (at < t.len && is_space(t.data[at])) at++;
    return at;
}

static size_t without_space(bk_str t, size_t end) {
    while (end > 0 && is_space(t.data[end - 1])) end--;
    return end;
}

/* Drops white space at the beginning where that is wanted; false when nothing else is there. */
static bool trimmed(sv_answer *a) {
    if (a->trim) drop(a, skip_space(bk_buf_view(&a->held), 0));
    if (a->held.len == 0) return false;
    a->trim = false;
    return true;
}

static step enter(sv_answer *a, enum state s, bool trim) {
    a->state = (int)s;
    a->trim = trim;
    return AGAIN;
}

static step enter_call(sv_answer *a, size_t prelude, bool bare) {
    bool list = a->c.list && a->state == AFTER_CALL;
    memset(&a->c, 0, sizeof a->c);
    a->c.prelude = prelude;
    a->c.bare = bare;
    a->c.list = list;
    return enter(a, CALL, false);
}

/* ---- Reasoning and content ------------------------------------------------------------------ */

/* The beginning of an answer: reasoning and calls without a mark stand nowhere else. */
static step at_start(sv_answer *a, bool final) {
    if (a->trim) drop(a, skip_space(bk_buf_view(&a->held), 0));
    bk_str t = bk_buf_view(&a->held);
    size_t at = skip_space(t, 0);
    bool may_think = a->o.think_open && a->state == START;
    if (!may_think && a->o.calls != SV_CALL_FORM_LLAMA3) return enter(a, CONTENT, a->trim);
    if (at == t.len) return final ? enter(a, CONTENT, a->trim) : WAIT;
    match m = may_think ? match_at(t, at, a->o.think_open) : MATCH_NONE;
    if (m == MATCH_WHOLE) {
        drop(a, at + strlen(a->o.think_open));
        return enter(a, THINK, true);
    }
    if (m == MATCH_PART && !final) return WAIT;
    if (a->o.calls == SV_CALL_FORM_LLAMA3 && t.data[at] == '{') return enter_call(a, at, true);
    return enter(a, CONTENT, a->trim);
}

static step in_thought(sv_answer *a, bool final) {
    size_t at;
    if (!trimmed(a)) return WAIT;
    bk_str t = bk_buf_view(&a->held);
    match m = find_mark(t, 0, a->o.think_close, &at);
    if (final && m == MATCH_PART) at = t.len;
    size_t end = without_space(t, at);
    put(a, SV_ANSWER_REASONING, (bk_str){t.data, end});
    drop(a, m == MATCH_WHOLE ? at + strlen(a->o.think_close) : end);
    return m == MATCH_WHOLE ? enter(a, AFTER_THINK, true) : WAIT;
}

/* The first mark that opens a call, or may become one. */
static match find_open(const sv_answer *a, bk_str t, size_t *at, size_t *len) {
    match best = MATCH_NONE;
    *at = t.len;
    for (size_t i = 0; opens[a->o.calls][i]; i++) {
        size_t here;
        match m = find_mark(t, 0, opens[a->o.calls][i], &here);
        if (here >= *at) continue;
        best = m;
        *at = here;
        /* What this mark opens begins with it. */
        *len = opens[a->o.calls][i] == xml_begin ? 0 : strlen(opens[a->o.calls][i]);
    }
    return best;
}

static step in_content(sv_answer *a, bool final) {
    if (!trimmed(a)) return WAIT;
    bk_str t = bk_buf_view(&a->held);
    size_t at = t.len, mark_len = 0;
    match m = a->o.calls ? find_open(a, t, &at, &mark_len) : MATCH_NONE;
    size_t end = at;
    if (a->o.calls) end = without_space(t, at);
    if (final && m != MATCH_WHOLE) end = t.len;
    put(a, SV_ANSWER_CONTENT, (bk_str){t.data, end});
    drop(a, end);
    return m == MATCH_WHOLE ? enter_call(a, at - end + mark_len, false) : WAIT;
}

/* ---- Calls ---------------------------------------------------------------------------------- */

/* It was none. What made it look like one is content; the rest is read as if nothing had been. */
static step not_a_call(sv_answer *a) {
    size_t n = a->c.prelude ? a->c.prelude : 1;
    put(a, SV_ANSWER_CONTENT, (bk_str){a->held.data, n});
    drop(a, n);
    if (++a->failures >= MAX_FAILURES) a->o.calls = SV_CALL_FORM_NONE;
    return enter(a, CONTENT, false);
}

/* NAME[ARGS]{, NAME[CALL_ID]ID[ARGS]{ or NAME{ at `at`. */
static sv_call_found named_body(sv_answer *a, bk_str t, size_t at) {
    size_t end = at, args;
    while (end < t.len && end - at <= MAX_NAME && !is_space(t.data[end]) &&
           !strchr("{[\"<", t.data[end])) {
        end++;
    }
    if (end - at > MAX_NAME) return SV_CALL_BAD;
    if (end == t.len) return SV_CALL_MORE;
    args = skip_space(t, end);
    match id = match_at(t, args, mark_id);
    if (id == MATCH_PART) return SV_CALL_MORE;
    if (id == MATCH_WHOLE) {
        match m = find_mark(t, args, mark_args, &args);
        if (args - end > MAX_NAME) return SV_CALL_BAD;
        if (m != MATCH_WHOLE) return SV_CALL_MORE;
    }
    match m = match_at(t, args, mark_args);
    if (m == MATCH_PART) return SV_CALL_MORE;
    if (m == MATCH_WHOLE) args = skip_space(t, args + strlen(mark_args));
    if (args == t.len) return SV_CALL_MORE;
    if (t.data[args] != '{' || end == at) return SV_CALL_BAD;
    a->c.name = (bk_span){at, end};
    a->c.args.begin = args;
    a->c.body = BODY_ARGS;
    return SV_CALL_END;
}

/* What follows the mark: END when c.body has been found. */
static sv_call_found find_body(sv_answer *a, bk_str t) {
    size_t at = skip_space(t, a->c.prelude);
    bool xml = a->o.calls == SV_CALL_FORM_XML || a->o.calls == SV_CALL_FORM_HERMES;
    bool mistral = a->o.calls == SV_CALL_FORM_MISTRAL;
    if (at == t.len) return SV_CALL_MORE;
    if (mistral && !a->c.list && t.data[at] == '[') {
        a->c.list = true;
        a->c.prelude = at + 1;
        return find_body(a, t);
    }
    if (t.data[at] == '{') {
        a->c.object.begin = at;
        a->c.body = BODY_OBJECT;
        return SV_CALL_END;
    }
    match m = xml ? match_at(t, at, xml_begin) : MATCH_NONE;
    if (m == MATCH_WHOLE) {
        a->c.xml = a->c.object.at = at;
        a->c.body = BODY_XML;
    }
    if (m != MATCH_NONE) return m == MATCH_WHOLE ? SV_CALL_END : SV_CALL_MORE;
    return mistral && !a->c.list ? named_body(a, t, at) : SV_CALL_BAD;
}

static bk_str slice(bk_str t, size_t begin, size_t end) {
    return (bk_str){t.data + begin, end - begin};
}

/* What the scan has let pass of the object: decisions rest on that alone, so that they are the same
 * however the text was cut. At most as much of it as is searched for the name. */
static bk_str object_begin(const sv_answer *a, bk_str t) {
    const sv_call_scan *s = &a->c.object;
    return slice(t, s->begin, bk_min_size(s->at, s->begin + NAME_WITHIN));
}

/* The name, decoded; *owner is freed with json_decref. False when it is not there yet. */
static bool find_name(bk_str object, json_t **owner, bk_str *name) {
    sv_call_member m;
    *owner = NULL;
    *name = (bk_str){0};
    if (!sv_call_find_member(object, "name", NULL, &m) || !m.complete) return false;
    sv_call_string(slice(object, m.value.begin, m.value.end), owner, name);
    return true;
}

/* A JSON answer that may still become a call without a mark: its first member and its name say so. */
static bool may_be_bare(const sv_answer *a, bk_str t) {
    static const char *const keys[] = {"\"name\"", "\"type\"", "\"parameters\"", "\"arguments\""};
    bk_str object = object_begin(a, t), name;
    json_t *owner = NULL;
    size_t at = skip_space(object, 1);
    bool may = at >= object.len;
    for (size_t i = 0; i < BK_ARRAY_LEN(keys) && !may; i++) {
        may = match_at(object, at, keys[i]) != MATCH_NONE;
    }
    if (may && find_name(object, &owner, &name)) may = sv_call_is_named(a->o.tools, name);
    json_decref(owner);
    return may;
}

/* Announces the call as soon as its name is known and its arguments have begun. */
static void try_begin(sv_answer *a, bk_str t) {
    json_t *owner = NULL;
    bk_str name;
    if (a->c.body == BODY_ARGS) {
        name = slice(t, a->c.name.begin, a->c.name.end);
    } else {
        sv_call_member m;
        bk_str object = object_begin(a, t);
        if (!sv_call_find_member(object, "arguments", "parameters", &m)) return;
        if (object.data[m.value.begin] != '{' || !find_name(object, &owner, &name)) return;
        a->c.args.begin = a->c.object.begin + m.value.begin;
    }
    if (name.len > 0) {
        put_call(a, name);
        a->c.begun = true;
        a->c.sent = a->c.args.begin;
    }
    json_decref(owner);
}

/* Passes on what the arguments have grown by. */
static sv_call_found send_args(sv_answer *a, bk_str t) {
    bool ended = a->c.args.at > a->c.args.begin && a->c.args.depth == 0;
    sv_call_found f = ended ? SV_CALL_END : sv_call_scan_object(&a->c.args, t);
    put(a, SV_ANSWER_ARGUMENTS, slice(t, a->c.sent, a->c.args.at));
    a->c.sent = a->c.args.at;
    return f;
}

static step end_call(sv_answer *a, size_t end) {
    drop(a, end);
    return enter(a, AFTER_CALL, true);
}

/* The call with this text ends at `end` and nothing of it has been passed on. */
static step whole_call(sv_answer *a, bk_str text, size_t end) {
    sv_call c = {0};
    bk_str t = bk_buf_view(&a->held);
    bool good = false;
    if (a->c.body == BODY_XML) good = sv_call_parse_xml(text, a->o.tools, &c);
    if (a->c.body == BODY_OBJECT) good = sv_call_parse_object(text, a->c.bare, &c);
    if (a->c.body == BODY_ARGS) {
        good = sv_call_parse_named(slice(t, a->c.name.begin, a->c.name.end), text, &c);
    }
    if (good && a->c.bare) good = sv_call_is_named(a->o.tools, c.name);
    if (good) {
        put_call(a, c.name);
        put(a, SV_ANSWER_ARGUMENTS, c.args);
    }
    sv_call_free(&c);
    return good ? end_call(a, end) : not_a_call(a);
}

static step xml_call(sv_answer *a, bk_str t, bool final) {
    size_t at;
    match m = find_mark(t, a->c.object.at, xml_end, &at);
    a->c.object.at = at;
    if (m == MATCH_WHOLE) {
        size_t end = at + strlen(xml_end);
        return whole_call(a, slice(t, a->c.xml, end), end);
    }
    return final ? not_a_call(a) : WAIT;
}

/* Whether what has been passed on as arguments is an object. */
static bool sent_whole(const sv_answer *a, bk_str t) {
    json_t *args = NULL;
    bk_status bad = bk_json_parse(slice(t, a->c.args.begin, a->c.args.at), SV_CALL_JSON_DEPTH,
                                  false, &args, NULL);
    json_decref(args);
    return !bad;
}

/* The text around the arguments breaks off or is not JSON. Models forget the last brace: a call with
 * its name and arguments complete is one all the same. */
static step broken_call(sv_answer *a, bk_str t) {
    sv_call_member n, m;
    if (a->c.begun) {
        bool whole = sent_whole(a, t);
        a->malformed |= !whole;
        drop(a, a->c.sent);
        return whole ? enter(a, AFTER_CALL, true) : enter(a, CONTENT, false);
    }
    bk_str object = slice(t, a->c.object.begin, a->c.object.at);
    if (a->c.body != BODY_OBJECT || !sv_call_find_member(object, "name", NULL, &n) ||
        !sv_call_find_member(object, "arguments", "parameters", &m) || !n.complete || !m.complete) {
        return not_a_call(a);
    }
    bk_buf mended = {0};
    size_t end = n.value.end > m.value.end ? n.value.end : m.value.end;
    bk_buf_append(&mended, object.data, end);
    bk_buf_putc(&mended, '}');
    step s = mended.failed ? not_a_call(a)
                           : whole_call(a, bk_buf_view(&mended), a->c.object.begin + end);
    bk_buf_free(&mended);
    return s;
}

static step json_call(sv_answer *a, bk_str t, bool final) {
    bool named = a->c.body == BODY_ARGS, stream = a->o.stream_arguments;
    sv_call_scan *s = named ? &a->c.args : &a->c.object;
    sv_call_found f = named ? SV_CALL_MORE : sv_call_scan_object(s, t);
    if (a->c.bare && !may_be_bare(a, t)) return not_a_call(a);
    if (stream && !a->c.begun) try_begin(a, t);
    bk_str passed = named ? t : slice(t, 0, s->at);
    sv_call_found args = a->c.begun ? send_args(a, passed) : SV_CALL_MORE;
    if (named) f = a->c.begun ? args : sv_call_scan_object(s, t);
    if (f == SV_CALL_BAD || (f == SV_CALL_MORE && final)) return broken_call(a, t);
    if (f == SV_CALL_MORE) return WAIT;
    if (!a->c.begun) return whole_call(a, slice(t, s->begin, s->at), s->at);
    a->malformed |= !sent_whole(a, t);
    return end_call(a, s->at);
}

static step in_call(sv_answer *a, bool final) {
    bk_str t = bk_buf_view(&a->held);
    if (a->c.body == BODY_UNKNOWN) {
        sv_call_found f = find_body(a, t);
        if (f == SV_CALL_BAD || (f == SV_CALL_MORE && final)) return not_a_call(a);
        if (f == SV_CALL_MORE) return WAIT;
    }
    return a->c.body == BODY_XML ? xml_call(a, t, final) : json_call(a, t, final);
}

/* Between a call and the next one of its group, or its group's end. */
static step after_call(sv_answer *a, bool final) {
    if (!trimmed(a)) return WAIT;
    bk_str t = bk_buf_view(&a->held);
    const char *close = a->o.calls == SV_CALL_FORM_MISTRAL ? NULL : others[a->o.calls][0];
    match m = close ? match_at(t, 0, close) : MATCH_NONE;
    if (m == MATCH_PART && !final) return WAIT;
    if (m == MATCH_WHOLE) drop(a, strlen(close));
    if (a->c.list && t.data[0] == ']') {
        drop(a, 1);
        m = MATCH_WHOLE;
    }
    if (m == MATCH_WHOLE) return enter(a, CONTENT, true);
    char separator = a->c.list ? ',' : ';';
    bool separated = a->c.list || a->o.calls == SV_CALL_FORM_LLAMA3;
    if (separated && t.data[0] == separator) return enter_call(a, 1, a->c.bare);
    if (a->o.calls != SV_CALL_FORM_MISTRAL && t.data[0] == '{') return enter_call(a, 0, a->c.bare);
    return enter(a, CONTENT, true);
}

static step take_step(sv_answer *a, bool final) {
    switch ((enum state)a->state) {
    case START:
    case AFTER_THINK: return at_start(a, final);
    case THINK: return in_thought(a, final);
    case CONTENT: return in_content(a, final);
    case CALL: return in_call(a, final);
    case AFTER_CALL: return after_call(a, final);
    }
    return WAIT;
}

/* ---- Input ---------------------------------------------------------------------------------- */

void sv_answer_init(sv_answer *a, const sv_answer_options *o, sv_answer_fn sink, void *user) {
    *a = (sv_answer){.o = *o, .sink = sink, .user = user, .held = {.limit = MAX_HELD}};
    if (!o->think_open || !o->think_close) a->o.think_open = a->o.think_close = NULL;
    a->state = START;
    if (o->in_thought && a->o.think_open) enter(a, THINK, true);
}

void sv_answer_free(sv_answer *a) { bk_buf_free(&a->held); }

bool sv_answer_text(sv_answer *a, bk_str text) {
    if (!bk_buf_append(&a->held, text.data, text.len)) return false;
    while (a->held.len > 0 && take_step(a, false) == AGAIN) {
    }
    return !a->held.failed;
}

static bool is_among(bk_str s, const char *const *marks) {
    while (*marks && !bk_str_eq(s, bk_str_from(*marks))) marks++;
    return *marks != NULL;
}

static bool is_mark(const sv_answer *a, bk_str s) {
    const char *const thought[] = {a->o.think_open, a->o.think_close, NULL};
    return is_among(s, thought) || is_among(s, opens[a->o.calls]) ||
           is_among(s, others[a->o.calls]);
}

bool sv_answer_control(sv_answer *a, bk_str spelling) {
    return is_mark(a, spelling) ? sv_answer_text(a, spelling) : !a->held.failed;
}

bool sv_answer_finish(sv_answer *a) {
    if (a->held.failed) return false;
    while (a->held.len > 0 && take_step(a, true) == AGAIN) {
    }
    return true;
}
