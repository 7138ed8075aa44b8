/* Pruning where nothing is hidden: trains a small LSTM and a small transformer on a text, leaves parts of
 * each out by several strategies at three ratios, and prints speed and loss on unseen text before and after.
 *
 *     lm_prune_compare TEXT.txt FOLDER [STEPS]
 *
 * Build: cc lm_prune_compare.c $(pkg-config --cflags --libs brisk) -o lm_prune_compare
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <brisk_compress.h>
#include <brisk_train.h>

enum { STRATEGIES = 5, RATIOS = 3, NAME = 40, SEQUENCE = 64 };

/* What can be left out depends on the model: whole parts of its own kind, or single weights of any. */
static const struct network {
    const char *name;
    brisk_train_kind kind;
    const char *strategies[STRATEGIES];
} networks[] = {
    {"lstm", BRISK_TRAIN_LSTM, {"units", "magnitude", "wanda", "sparsegpt", "blocks"}},
    {"transformer", BRISK_TRAIN_LLAMA, {"channels", "heads", "magnitude", "wanda", "sparsegpt"}},
};
static const double ratios[RATIOS] = {0.25, 0.5, 0.75};

static int fail(const brisk_error *err) {
    fprintf(stderr, "lm_prune_compare: %s\n", err->text);
    return 1;
}

static int learn(const struct network *n, const char *data, const char *path, int steps) {
    brisk_train_options o;
    brisk_train_report r = {0};
    brisk_train *t = NULL;
    brisk_error err;
    brisk_train_default(n->kind, &o);
    o.data = data;
    o.steps = steps;
    o.lr = 5e-3f;
    o.embedding = 128;
    o.hidden = 128;
    o.layers = n->kind == BRISK_TRAIN_LSTM ? 1 : 2;
    o.sequence = SEQUENCE;
    brisk_status st = brisk_train_open(&o, &t, &err);
    while (!st && r.step < steps) st = brisk_train_step(t, &r, &err);
    if (!st) st = brisk_train_write(t, path, NULL, &err);
    if (!st) printf("%s: loss %.3f after %d steps of training\n", n->name, r.loss, r.step);
    brisk_train_close(&t);
    return st ? fail(&err) : 0;
}

static void print(const struct network *n, const brisk_comparison *c) {
    const brisk_compare_row *before = &c->rows[0];
    printf("%-12s %-10s %6s %10s %10s %8s %8s %8s\n", "network", "strategy", "ratio", "tokens/s",
           "before", "times", "loss", "before");
    for (size_t i = 1; i < c->n_rows; i++) {
        const brisk_compare_row *r = &c->rows[i];
        printf("%-12s %-10s %6.2f %10.0f %10.0f %7.2fx %8.4f %8.4f\n", n->name,
               n->strategies[(i - 1) / RATIOS], ratios[(i - 1) % RATIOS], r->decode.speed,
               before->decode.speed, r->decode.ratio, r->quality.nll, before->quality.nll);
    }
    printf("\n");
}

static int prune(const struct network *n, const char *path, const char *text, size_t len) {
    char names[STRATEGIES * RATIOS][NAME];
    const char *recipes[STRATEGIES * RATIOS];
    size_t count = 0, cut = len - len / 10; /* training held the last tenth out */
    for (int s = 0; s < STRATEGIES; s++)
        for (int r = 0; r < RATIOS; r++, count++) {
            snprintf(names[count], NAME, "prune:%s:%g", n->strategies[s], ratios[r]);
            recipes[count] = names[count];
        }
    brisk_compare_options o;
    brisk_comparison *c = NULL;
    brisk_error err;
    brisk_compare_default(&o);
    o.calibrate = text;
    o.calibrate_len = cut;
    o.text = text + cut;
    o.text_len = len - cut;
    o.context = SEQUENCE;
    o.n_prompt = SEQUENCE;
    o.n_gen = 128; /* tiny networks are done with fewer before a clock sees it */
    o.prompts = 0;
    if (brisk_compare(path, recipes, count, &o, &c, &err)) return fail(&err);
    print(n, c);
    brisk_comparison_free(&c);
    return 0;
}

int main(int argc, char **argv) {
    static char text[1 << 22];
    if (argc < 3) {
        fprintf(stderr, "usage: lm_prune_compare TEXT.txt FOLDER [STEPS]\n");
        return 1;
    }
    FILE *f = fopen(argv[1], "rb");
    size_t len = f ? fread(text, 1, sizeof text, f) : 0;
    if (f) fclose(f);
    if (len == 0 || len == sizeof text) {
        fprintf(stderr, "lm_prune_compare: %s is no text of up to 4 MiB\n", argv[1]);
        return 1;
    }
    int status = 0, steps = argc > 3 ? (int)strtol(argv[3], NULL, 10) : 300;
    for (size_t i = 0; i < sizeof networks / sizeof *networks && !status; i++) {
        char path[4096];
        snprintf(path, sizeof path, "%s/%s.gguf", argv[2], networks[i].name);
        status = learn(&networks[i], argv[1], path, steps);
        if (!status) status = prune(&networks[i], path, text, len);
    }
    return status;
}
