/* The classic language model, from a text to new text: an LSTM learns which character follows, is written
 * to a file, and that file is opened as any other model to go on with a beginning.
 *
 *     lstm_lm TEXT.txt OUT.gguf [STEPS [BEGINNING]]
 *
 * Build: cc lstm_lm.c $(pkg-config --cflags --libs brisk) -lm -o lstm_lm
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <brisk_train.h>

static int fail(const brisk_error *err) {
    fprintf(stderr, "lstm_lm: %s\n", err->text);
    return 1;
}

static int learn(brisk_train *t, int steps) {
    brisk_train_report r = {0};
    brisk_train_score s;
    brisk_train_info info;
    brisk_error err;
    brisk_train_get_info(t, &info);
    printf("%d different characters, %llu to learn from, %llu held out; %llu weights\n",
           info.n_vocab, (unsigned long long)info.train_tokens,
           (unsigned long long)info.valid_tokens, (unsigned long long)info.n_params);
    printf("guessing blindly costs ln %d = %.3f nats per character", info.n_vocab,
           log(info.n_vocab));
    if (info.floor > 0) printf(", counting what follows the last ones %.3f", info.floor);
    putchar('\n');
    while (r.step < steps) {
        if (brisk_train_step(t, &r, &err)) return fail(&err);
        if (r.step != 1 && r.step % (steps / 5 > 0 ? steps / 5 : 1) != 0) continue;
        if (brisk_train_validate(t, r.step < steps ? 10000 : 0, &s, &err)) return fail(&err);
        printf("step %4d: loss %.3f, on unseen text %.3f (perplexity %.2f), %.0f characters/s\n",
               r.step, r.loss, s.loss, s.perplexity, (double)r.tokens / r.seconds);
    }
    return 0;
}

static bool on_text(const char *text, size_t len, brisk_token token, void *user) {
    (void)token, (void)user;
    fwrite(text, 1, len, stdout);
    return true;
}

/* The model as one of any kind: nothing here knows that it is an LSTM. */
static int go_on(const char *path, const char *beginning) {
    brisk_error err;
    brisk_model *model = NULL;
    brisk_session *session = NULL;
    brisk_generate_options options;
    brisk_stats stats;
    brisk_generate_options_default(&options);
    options.max_tokens = 200;
    options.sampling.seed = 1;
    options.sampling.temperature = 0.7f;
    brisk_status st = brisk_model_open(path, NULL, &model, &err);
    if (!st) st = brisk_session_create(model, NULL, &session, &err);
    if (!st) st = brisk_session_append_text(session, beginning, strlen(beginning), &err);
    printf("\n%s", beginning);
    if (!st) st = brisk_generate(session, &options, on_text, NULL, &stats, &err);
    if (!st)
        printf("\n\n%zu characters, %.0f per second\n", stats.generated_tokens,
               1e3 * (double)stats.generated_tokens / (stats.first_token_ms + stats.decode_ms));
    brisk_session_destroy(&session);
    brisk_model_close(&model);
    return st ? fail(&err) : 0;
}

int main(int argc, char **argv) {
    if (argc < 3 || argc > 5) {
        fprintf(stderr, "usage: lstm_lm TEXT.txt OUT.gguf [STEPS [BEGINNING]]\n");
        return 1;
    }
    brisk_train_options o;
    brisk_train *t = NULL;
    brisk_error err;
    brisk_train_default(BRISK_TRAIN_LSTM, &o);
    o.data = argv[1];
    o.steps = argc > 3 ? (int)strtol(argv[3], NULL, 10) : 500;
    o.layers = 1;
    o.embedding = 64;
    o.hidden = 128;
    o.floor_order = 4;
    if (brisk_train_open(&o, &t, &err)) return fail(&err);
    int status = learn(t, o.steps);
    if (!status && brisk_train_write(t, argv[2], NULL, &err)) status = fail(&err);
    brisk_train_close(&t);
    return status ? status : go_on(argv[2], argc > 4 ? argv[4] : "The ");
}
