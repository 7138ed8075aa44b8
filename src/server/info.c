/* What the server says of itself: health, models, properties, version; the chat page's files. */
#include "server/assets.h"
#include "server/state.h"

void sv_get_health(sv_server *s, sv_exchange *x) {
    static const char loading[] =
        "{\"error\":{\"code\":503,\"message\":\"Loading model\",\"type\":\"unavailable_error\"}}";
    static const char draining[] = "{\"error\":{\"code\":503,\"message\":\"The server is about to "
                                   "end\",\"type\":\"unavailable_error\"}}";
    static const char good[] = "{\"status\":\"ok\"}";
    if (s->phase == SV_LOADING)
        sv_reply(x, 503, "application/json", loading, sizeof loading - 1);
    else if (s->phase == SV_DRAINING)
        sv_reply(x, 503, "application/json", draining, sizeof draining - 1);
    else
        sv_reply(x, 200, "application/json", good, sizeof good - 1);
}

int sv_context(const sv_server *s) {
    brisk_engine_stats st;
    brisk_engine_get_stats(s->engine, &st);
    return st.context;
}

static void write_model(bk_json *w, const sv_server *s) {
    bk_json_begin(w, '{');
    bk_json_key_str(w, "id", s->name);
    bk_json_key_str(w, "object", "model");
    bk_json_key_int(w, "created", s->created);
    bk_json_key_str(w, "owned_by", "brisk");
    bk_json_key_int(w, "max_model_len", sv_context(s));
    bk_json_key(w, "meta");
    bk_json_begin(w, '{');
    bk_json_key_str(w, "architecture", s->info.architecture);
    bk_json_key_str(w, "quant", s->info.quantization);
    bk_json_key_uint(w, "n_params", s->info.n_params);
    bk_json_key_uint(w, "size", s->info.file_bytes);
    bk_json_key_int(w, "n_ctx", sv_context(s));
    bk_json_key_int(w, "n_ctx_train", s->info.context_length);
    bk_json_key_int(w, "n_vocab", s->info.n_vocab);
    bk_json_key_int(w, "n_embd", s->info.n_embd);
    bk_json_end(w, '}');
    bk_json_end(w, '}');
}

/* The list, or one of it. */
void sv_get_models(sv_server *s, sv_exchange *x) {
    static const char all[] = "/v1/models";
    bk_str id = {x->head.path.data + sizeof all - 1, x->head.path.len - (sizeof all - 1)};
    bk_buf out = {0};
    bk_json w = {.out = &out};
    if (id.len == 0) {
        bk_json_begin(&w, '{');
        bk_json_key_str(&w, "object", "list");
        bk_json_key(&w, "data");
        bk_json_begin(&w, '[');
        write_model(&w, s);
        bk_json_end(&w, ']');
        bk_json_end(&w, '}');
    } else if (bk_str_eq((bk_str){id.data + 1, id.len - 1}, bk_str_from(s->name))) {
        write_model(&w, s);
    } else {
        sv_problem p;
        sv_problem_set(&p, 404, "model_not_found", "model",
                       "there is no model '" BK_STR_FMT "' here; the one that answers is '%.200s'",
                       BK_STR_ARG(((bk_str){id.data + 1, id.len - 1})), s->name);
        sv_reply_problem(x, &p);
        return;
    }
    sv_reply_json(x, 200, &out);
}

void sv_get_props(sv_server *s, sv_exchange *x) {
    brisk_engine_stats st;
    brisk_engine_get_stats(s->engine, &st);
    bk_buf out = {0};
    bk_json w = {.out = &out};
    bk_json_begin(&w, '{');
    bk_json_key_str(&w, "model_alias", s->name);
    bk_json_key_str(&w, "build_info", brisk_version());
    bk_json_key_int(&w, "total_slots", st.max_running);
    bk_json_key(&w, "default_generation_settings");
    bk_json_begin(&w, '{');
    bk_json_key_int(&w, "n_ctx", st.context);
    bk_json_end(&w, '}');
    bk_json_key(&w, "chat_template");
    if (s->chat_template)
        bk_json_str(&w, bk_str_from(s->chat_template));
    else
        bk_json_null(&w);
    bk_json_key_str(&w, "cpu_level", s->info.cpu_level);
    bk_json_key_str(&w, "kv_type", s->info.kv_type);
    bk_json_key_int(&w, "threads", s->info.threads);
    bk_json_key(&w, "memory");
    bk_json_begin(&w, '{');
    bk_json_key_uint(&w, "limit", st.memory.limit);
    bk_json_key_uint(&w, "weights", st.memory.weights);
    bk_json_key_uint(&w, "scratch", st.memory.scratch);
    bk_json_key_uint(&w, "kv_limit", st.memory.kv_limit);
    bk_json_key_uint(&w, "kv_used", st.memory.kv_used);
    bk_json_key_uint(&w, "cached", st.memory.cached);
    bk_json_key_uint(&w, "kv_per_token", st.memory.kv_per_token);
    bk_json_end(&w, '}');
    bk_json_key(&w, "engine");
    bk_json_begin(&w, '{');
    bk_json_key_int(&w, "running", st.running);
    bk_json_key_int(&w, "waiting", st.waiting);
    bk_json_key_int(&w, "queue_max", st.queue_max);
    bk_json_key_double(&w, "queue_seconds", st.queue_seconds);
    bk_json_key_double(&w, "itl_budget_ms", st.itl_budget_ms);
    bk_json_key_double(&w, "prefill_per_second", st.prefill_per_second);
    bk_json_key_double(&w, "decode_per_second", st.decode_per_second);
    bk_json_key_uint(&w, "chunk", st.chunk);
    bk_json_key_uint(&w, "cache_tokens", st.cache_tokens);
    bk_json_key_uint(&w, "cache_asked_tokens", st.cache_asked_tokens);
    bk_json_key_uint(&w, "cache_hit_tokens", st.cache_hit_tokens);
    bk_json_end(&w, '}');
    bk_json_end(&w, '}');
    sv_reply_json(x, 200, &out);
}

void sv_get_version(sv_server *s, sv_exchange *x) {
    (void)s;
    bk_buf out = {0};
    bk_json w = {.out = &out};
    bk_json_begin(&w, '{');
    bk_json_key_str(&w, "version", brisk_version());
    bk_json_end(&w, '}');
    sv_reply_json(x, 200, &out);
}

/* A file of the chat page. It may be read by anybody: the page asks for the key itself. */
void sv_get_asset(sv_server *s, sv_exchange *x) {
    sv_problem p;
    const bk_asset *a = s->o->no_ui ? NULL : bk_asset_find(x->head.path.data, x->head.path.len);
    if (!a) {
        sv_problem_set(&p, 404, "unknown_url", NULL, "there is no " BK_STR_FMT,
                       BK_STR_ARG(x->head.path));
        sv_reply_problem(x, &p);
        return;
    }
    bool gz = a->gz && sv_list_has(x->head.accept_encoding, "gzip");
    const char *etag = gz ? a->gz_etag : a->etag;
    sv_add_header(x, "ETag", "%s", etag);
    sv_add_header(x, "Cache-Control", "no-cache"); /* ask each time, by the tag */
    sv_add_header(x, "Vary", "Accept-Encoding");
    sv_add_header(x, "Content-Security-Policy", "%s", BK_ASSETS_CSP);
    sv_add_header(x, "X-Content-Type-Options", "nosniff");
    sv_add_header(x, "Referrer-Policy", "no-referrer");
    if (sv_list_has(x->head.if_none_match, etag)) {
        sv_reply(x, 304, NULL, NULL, 0);
        return;
    }
    if (gz) sv_add_header(x, "Content-Encoding", "gzip");
    sv_reply(x, 200, a->type, gz ? a->gz : a->data, gz ? a->gz_size : a->size);
}

void sv_get_metrics(sv_server *s, sv_exchange *x) {
    bk_buf out = {0};
    sv_problem p;
    brisk_engine_stats st;
    if (s->o->no_metrics) {
        sv_problem_set(&p, 404, "unknown_url", NULL, "this server has no /metrics (--no-metrics)");
        sv_reply_problem(x, &p);
        return;
    }
    brisk_engine_get_stats(s->engine, &st);
    const sv_metrics_scene scene = {s->name, &s->info, &st};
    if (sv_metrics_render(&s->metrics, &scene, sv_compat_of(s->o->metrics_compat), &out)) {
        sv_reply(x, 200, SV_METRICS_TYPE, out.data, out.len);
    } else {
        sv_problem_set(&p, 503, "out_of_memory", NULL, "no memory for the metrics");
        sv_reply_problem(x, &p);
    }
    bk_buf_free(&out);
}
