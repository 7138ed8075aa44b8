/* generate MODEL.gguf "PROMPT": the least that answers a prompt.
 *
 *     cc generate.c $(pkg-config --cflags --libs brisk) -o generate */
#include <brisk.h>
#include <stdio.h>

static bool on_text(const char *text, size_t len, brisk_token token, void *user) {
    (void)token, (void)user;
    fwrite(text, 1, len, stdout);
    return fflush(stdout) == 0;
}

static int fail(const brisk_error *err) {
    fprintf(stderr, "generate: %s\n", err->text);
    return 1;
}

int main(int argc, char **argv) {
    if (argc != 3) {
        fprintf(stderr, "usage: generate MODEL.gguf PROMPT\n");
        return 1;
    }
    brisk_error err;
    brisk_model *model;
    if (brisk_model_open(argv[1], NULL, &model, &err)) return fail(&err);

    brisk_session *session = NULL;
    brisk_chat_message message = {"user", argv[2]};
    brisk_generate_options options;
    brisk_generate_options_default(&options);
    options.max_tokens = 64;
    options.sampling.seed = 1;

    brisk_stats stats;
    brisk_status status = brisk_session_create(model, NULL, &session, &err);
    if (!status) status = brisk_session_chat(session, &message, 1, &err);
    if (!status) status = brisk_generate(session, &options, on_text, NULL, &stats, &err);
    if (!status) {
        fprintf(stderr, "\n%zu tokens, the first after %.0f ms\n", stats.generated_tokens,
                stats.first_token_ms);
    }
    brisk_session_destroy(&session);
    brisk_model_close(&model);
    return status ? fail(&err) : 0;
}
