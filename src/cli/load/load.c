/* Requests: words, JSON, names. */
#include "cli/load/load.h"

#include "base/json_write.h"
#include "base/mem.h"
#include "base/rng.h"

const char *load_outcome_name(load_outcome o) {
    static const char *const names[LOAD_OUTCOMES] = {
        [LOAD_WAITING] = "not sent",
        [LOAD_RUNNING] = "running",
        [LOAD_OK] = "answered",
        [LOAD_STOPPED] = "stopped by the client",
        [LOAD_REFUSED] = "refused (429 or 503)",
        [LOAD_HTTP] = "HTTP error",
        [LOAD_UNREACHED] = "no connection",
        [LOAD_CUT] = "stream cut",
        [LOAD_TIMEOUT] = "timed out",
        [LOAD_NO_STREAM] = "no event stream",
        [LOAD_BAD_JSON] = "event that is not JSON",
        [LOAD_EVENT] = "error in the stream",
        [LOAD_EMPTY] = "answer without text",
    };
    return names[o];
}

void load_request_clear(load_request *r) {
    bk_free(r->stamps);
    bk_buf_free(&r->answer);
    r->stamps = NULL;
    r->n_stamps = r->cap_stamps = 0;
}

/* ---- Words -------------------------------------------------------------------------------------- */

/* Short and frequent: most vocabularies have each as one token. */
static const char *const words[] = {
    "time",  "year",   "people", "way",    "day",    "man",    "thing", "woman",  "life",
    "child", "world",  "school", "state",  "family", "group",  "hand",  "part",   "place",
    "case",  "week",   "work",   "night",  "point",  "home",   "water", "room",   "mother",
    "area",  "money",  "story",  "fact",   "month",  "book",   "eye",   "job",    "word",
    "side",  "kind",   "head",   "house",  "friend", "father", "power", "hour",   "game",
    "line",  "end",    "law",    "car",    "city",   "name",   "team",  "minute", "idea",
    "body",  "back",   "face",   "others", "level",  "office", "door",  "health", "person",
    "art",   "war",    "party",  "result", "change", "reason", "girl",  "guy",    "moment",
    "air",   "force",  "food",   "boy",    "age",    "policy", "music", "market", "sense",
    "road",  "plan",   "love",   "death",  "sea",    "fire",   "table", "light",  "window",
    "paper", "space",  "earth",  "sound",  "color",  "field",  "river", "tree",   "stone",
    "king",  "summer", "winter", "spring", "garden", "horse",  "bird",  "ship",   "train",
    "bread", "glass",  "wall",   "street", "north",  "south",  "east",  "west",   "green",
    "blue",  "red",    "white",  "black",  "small",  "great",  "early", "simple", "open",
    "long",  "short"};

void load_part_text(const load_options *o, const load_part *p, bk_buf *out) {
    if (p->text) {
        bk_buf_append_str(out, p->text);
        return;
    }
    bk_rng rng;
    bk_rng_seed(&rng, o->seed + p->key * 0x9E3779B97F4A7C15u, p->key);
    for (int i = 0; i < p->words; i++) {
        if (i) bk_buf_putc(out, ' ');
        bk_buf_append_str(out, words[bk_rng_u32(&rng) % BK_ARRAY_LEN(words)]);
    }
}

int load_words(double words_per_token, int tokens) {
    double n = (double)tokens * words_per_token + 0.5;
    return n < 1 ? 1 : n > 1e8 ? 100000000 : (int)n;
}

/* ---- JSON --------------------------------------------------------------------------------------- */

static void put_message(bk_json *w, const char *role, const bk_buf *text) {
    bk_json_begin(w, '{');
    bk_json_key_str(w, "role", role);
    bk_json_key(w, "content");
    bk_json_str(w, bk_buf_view(text));
    bk_json_end(w, '}');
}

/* A part, or all after it. */
static void join_parts(const load_options *o, const load_request *r, size_t first, size_t end,
                       bk_buf *text) {
    for (size_t i = first; i < end; i++) {
        if (text->len) bk_buf_putc(text, ' ');
        load_part_text(o, &r->parts[i], text);
    }
}

static bool put_messages(const load_options *o, const load_request *r, bk_json *w) {
    bk_buf text = {.limit = 0};
    if (r->history && !put_messages(o, r->history, w)) return false;
    if (r->history) put_message(w, "assistant", &r->history->answer);
    if (r->system) {
        join_parts(o, r, 0, 1, &text);
        put_message(w, "system", &text);
        bk_buf_clear(&text);
    }
    join_parts(o, r, r->system, r->n_parts, &text);
    put_message(w, "user", &text);
    bool good = !text.failed;
    bk_buf_free(&text);
    return good;
}

/* Without roles, a conversation is its texts one after another. */
static void put_plain(const load_options *o, const load_request *r, bk_buf *text) {
    if (r->history) {
        put_plain(o, r->history, text);
        bk_buf_append(text, r->history->answer.data, r->history->answer.len);
    }
    join_parts(o, r, 0, r->n_parts, text);
}

bool load_body(const load_options *o, const load_request *r, bk_buf *out) {
    bk_buf text = {.limit = 0};
    bk_json w = {.out = out};
    bool good = true;
    bk_json_begin(&w, '{');
    bk_json_key_str(&w, "model", o->model);
    if (load_is_chat(o)) {
        bk_json_key(&w, "messages");
        bk_json_begin(&w, '[');
        good = put_messages(o, r, &w);
        bk_json_end(&w, ']');
    } else {
        put_plain(o, r, &text);
        bk_json_key(&w, "prompt");
        bk_json_str(&w, bk_buf_view(&text));
    }
    bk_json_key_int(&w, "max_tokens", r->out_want);
    bk_json_key_double(&w, "temperature", (double)o->temperature);
    bk_json_key_bool(&w, "stream", true);
    bk_json_key(&w, "stream_options");
    bk_json_begin(&w, '{');
    bk_json_key_bool(&w, "include_usage", true);
    bk_json_end(&w, '}');
    if (o->ignore_eos || r->kind == LOAD_STEADY) bk_json_key_bool(&w, "ignore_eos", true);
    good = good && !text.failed;
    bk_buf_free(&text);
    if (*o->extra_body) bk_buf_printf(out, ",%s", o->extra_body); /* members of an object */
    bk_json_end(&w, '}');
    return good && !out->failed;
}
