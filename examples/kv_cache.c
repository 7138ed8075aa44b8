/* What caching saves: the keys and values of earlier tokens within an answer, and those of a shared
 * beginning between users. The texts must be the same in all cases.
 *
 *     kv_cache MODEL.gguf
 *
 * Build: cc kv_cache.c $(pkg-config --cflags --libs brisk)
 */
#include <brisk_engine.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { ANSWER = 8, USERS = 8, MAX_TOKENS = 4096 };

static double now_ms(void) {
    struct timespec t;
    timespec_get(&t, TIME_UTC);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec * 1e-6;
}

static void check(brisk_status status, const brisk_error *err) {
    if (!status) return;
    fprintf(stderr, "%s\n", err->text);
    exit(1);
}

/* ms per token of an answer after a prompt of n tokens, with or without forgetting everything before each
 * token; answer gets the tokens. */
static double decode(brisk_model *model, const brisk_token *prompt, size_t n, int keep,
                     brisk_token *answer, double *megabytes) {
    brisk_error err;
    brisk_session *s = NULL;
    brisk_model_info info;
    const float *logits;
    brisk_model_get_info(model, &info);
    check(brisk_session_create(model, NULL, &s, &err), &err);
    check(brisk_session_append(s, prompt, n, &err), &err);
    check(brisk_session_eval(s, &logits, NULL, &err), &err);
    double begin = now_ms();
    for (int i = 0; i < ANSWER; i++) {
        answer[i] = 0;
        for (brisk_token t = 1; t < info.n_vocab; t++)
            if (logits[t] > logits[answer[i]]) answer[i] = t;
        if (!keep) {
            check(brisk_session_truncate(s, 0, &err), &err);
            check(brisk_session_append(s, prompt, n, &err), &err);
            check(brisk_session_append(s, answer, (size_t)i, &err), &err);
        }
        check(brisk_session_append(s, &answer[i], 1, &err), &err);
        check(brisk_session_eval(s, &logits, NULL, &err), &err);
    }
    double ms = (now_ms() - begin) / ANSWER;
    *megabytes = (double)brisk_session_memory(s) / 1e6;
    brisk_session_destroy(&s);
    return ms;
}

/* Users whose prompts have a beginning in common ask one after another; mean ms to the first token of all
 * but the first. */
static double ask(brisk_model *model, brisk_token *prompt, size_t n, int share, size_t *cached) {
    brisk_error err;
    brisk_engine *engine = NULL;
    brisk_engine_options options = {.no_prefix_cache = !share};
    double sum = 0;
    check(brisk_engine_create(model, &options, &engine, &err), &err);
    for (int user = 0; user < USERS; user++) {
        brisk_request request;
        brisk_event event;
        uint64_t id;
        brisk_request_default(&request);
        prompt[n - 1] = prompt[user]; /* everybody asks something else at the end */
        request.tokens = prompt;
        request.n_tokens = n;
        request.max_tokens = 1;
        check(brisk_engine_submit(engine, &request, &id, NULL, &err), &err);
        do {
            struct pollfd p = {.fd = brisk_engine_fd(engine), .events = POLLIN};
            while (!brisk_engine_poll(engine, &event)) poll(&p, 1, -1);
        } while (event.kind != BRISK_EVENT_DONE);
        if (user > 0) sum += event.stats.first_token_ms;
        *cached = event.stats.cached_tokens;
    }
    brisk_engine_destroy(&engine);
    return sum / (USERS - 1);
}

int main(int argc, char **argv) {
    static const size_t depths[] = {128, 1024, 4096};
    static brisk_token prompt[MAX_TOKENS], slow[ANSWER], fast[ANSWER];
    brisk_error err;
    brisk_model *model = NULL;
    brisk_model_info info;
    if (argc != 2) return fprintf(stderr, "usage: kv_cache MODEL.gguf\n"), 2;
    check(brisk_model_open(argv[1], NULL, &model, &err), &err);
    brisk_model_get_info(model, &info);
    for (int i = 0; i < MAX_TOKENS; i++) prompt[i] = (i * 7919 + i / 13) % info.n_vocab;
    printf("%8s %22s %18s %8s %10s\n", "tokens", "recompute, ms/token", "KV cache, ms/token",
           "times", "KV, MB");
    for (int d = 0; d < 3; d++) {
        double megabytes;
        if (depths[d] + ANSWER > (size_t)info.context_length) break;
        double a = decode(model, prompt, depths[d], 0, slow, &megabytes);
        double b = decode(model, prompt, depths[d], 1, fast, &megabytes);
        if (memcmp(slow, fast, sizeof slow)) return fprintf(stderr, "the answers differ\n"), 1;
        printf("%8zu %22.1f %18.2f %8.0f %10.1f\n", depths[d], a, b, a / b, megabytes);
    }
    size_t n = info.context_length > 1100 ? 1024 : (size_t)info.context_length / 2, none, cached;
    double alone = ask(model, prompt, n, 0, &none), shared = ask(model, prompt, n, 1, &cached);
    printf("\n%d users, %zu tokens, all but the last the same: first token after %.1f ms alone, "
           "%.1f ms "
           "with %zu tokens shared\n",
           USERS, n, alone, shared, cached);
    brisk_model_close(&model);
    return 0;
}
