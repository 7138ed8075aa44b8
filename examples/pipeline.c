/* pipeline MODEL.gguf "TEXT": what a language model does with a request, stage by stage.
 *
 *     cc pipeline.c $(pkg-config --cflags --libs brisk) -lm -o pipeline
 *
 * Tokenise, look up, pass the layers, score every token of the vocabulary, sample one, and the loss:
 * how surprised the model was by each token of the text. docs/questions/q01.md walks through it. */
#include <brisk.h>
#include <math.h>
#include <stdio.h>

enum { MAX_TOKENS = 64, SHOWN = 5 };

/* ln of the probability of `token`: its score minus ln of the sum of e^score over the vocabulary. */
static double log_probability(const float *logits, int n_vocab, brisk_token token) {
    double max = logits[0], sum = 0;
    for (int i = 1; i < n_vocab; i++) max = fmax(max, logits[i]);
    for (int i = 0; i < n_vocab; i++) sum += exp(logits[i] - max);
    return logits[token] - max - log(sum);
}

static void print_token(const brisk_model *model, brisk_token token) {
    size_t len;
    const char *bytes = brisk_token_bytes(model, token, &len, NULL);
    putchar('"');
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)bytes[i];
        if (c < 32 || c == 127)
            printf("\\x%02x", c);
        else
            putchar(c);
    }
    putchar('"');
}

/* The SHOWN best next tokens with their probabilities. */
static void print_best(const brisk_model *model, const float *logits, int n_vocab) {
    brisk_token best[SHOWN] = {0};
    for (int rank = 0; rank < SHOWN; rank++) {
        best[rank] = -1;
        for (brisk_token t = 0; t < n_vocab; t++) {
            bool taken = false;
            for (int i = 0; i < rank; i++) taken |= best[i] == t;
            if (!taken && (best[rank] < 0 || logits[t] > logits[best[rank]])) best[rank] = t;
        }
        printf("    %6.2f %%  score %7.3f  ",
               100 * exp(log_probability(logits, n_vocab, best[rank])), (double)logits[best[rank]]);
        print_token(model, best[rank]);
        putchar('\n');
    }
}

/* Called with the scores that follow each token: they are compared with the token that came. */
typedef struct {
    const brisk_model *model;
    const brisk_token *tokens;
    size_t n;
    int n_vocab;
    double loss;
} loss_state;

static void on_row(size_t i, const float *logits, void *user) {
    loss_state *s = user;
    if (i + 1 < s->n) {
        double nats = -log_probability(logits, s->n_vocab, s->tokens[i + 1]);
        s->loss += nats;
        printf("    %6.3f  ", nats);
        print_token(s->model, s->tokens[i + 1]);
        putchar('\n');
        return;
    }
    printf("head: a score for each of %d tokens; as probabilities, the best next ones\n",
           s->n_vocab);
    print_best(s->model, logits, s->n_vocab);
}

static int run(brisk_model *model, const char *text, size_t len, brisk_error *err) {
    brisk_model_info info;
    brisk_token tokens[MAX_TOKENS];
    size_t n;
    brisk_model_get_info(model, &info);
    brisk_status status =
        brisk_tokenize(model, text, len, true, false, tokens, MAX_TOKENS, &n, err);
    if (status) return status;

    printf("tokenise: %zu bytes are %zu tokens\n   ", len, n);
    for (size_t i = 0; i < n; i++) {
        printf(" %d ", tokens[i]);
        print_token(model, tokens[i]);
    }
    printf("\nembed: each id picks its row of %d numbers from a table of %d rows\n", info.n_embd,
           info.n_vocab);
    printf("layers: %d times, %d heads look back at earlier tokens, then %d hidden units\n",
           info.n_layers, info.n_heads, info.n_ff);

    brisk_session *session;
    loss_state loss = {model, tokens, n, info.n_vocab, 0};
    if ((status = brisk_session_create(model, NULL, &session, err))) return status;
    printf("loss: surprise at each token given those before, in nats (-ln probability)\n");
    status = brisk_session_eval_rows(session, tokens, n, on_row, &loss, err);
    if (!status && n > 1)
        printf("mean loss %.3f nats, perplexity %.2f\n", loss.loss / (double)(n - 1),
               exp(loss.loss / (double)(n - 1)));

    brisk_generate_options options;
    brisk_generate_options_default(&options);
    options.max_tokens = 1;
    options.sampling.temperature = 0.8f;
    for (uint64_t seed = 1; !status && seed <= 3; seed++) {
        options.sampling.seed = seed;
        status = brisk_session_truncate(session, n, err);
        if (!status) status = brisk_generate(session, &options, NULL, NULL, NULL, err);
        if (status) break;
        size_t total;
        const brisk_token *all = brisk_session_tokens(session, &total);
        printf("sample: temperature 0.8, seed %d: ", (int)seed);
        print_token(model, all[total - 1]);
        putchar('\n');
    }
    brisk_session_destroy(&session);
    return status;
}

int main(int argc, char **argv) {
    brisk_error err;
    brisk_model *model;
    size_t len = 0;
    if (argc != 3) {
        fprintf(stderr, "usage: pipeline MODEL.gguf TEXT\n");
        return 1;
    }
    while (argv[2][len]) len++;
    if (brisk_model_open(argv[1], NULL, &model, &err) || run(model, argv[2], len, &err)) {
        fprintf(stderr, "pipeline: %s\n", err.text);
        return 1;
    }
    brisk_model_close(&model);
    return 0;
}
