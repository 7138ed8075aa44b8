/* A simple network learns to tell handwritten digits (or the classes of any table) apart: its loss while
 * it learns, how it does on examples it has not seen, and what it says of a few of them after it was
 * written to a file and read again.
 *
 *     train_mlp TABLE.csv OUT.gguf [STEPS]
 *
 * A line of the table is an example: numbers, then its class. Build:
 *     cc train_mlp.c $(pkg-config --cflags --libs brisk) -o train_mlp
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <brisk_train.h>

enum { SHOWN = 5, COLUMNS = 1024 };

static int fail(const brisk_error *err) {
    fprintf(stderr, "train_mlp: %s\n", err->text);
    return 1;
}

/* The rows are true classes, the columns what the network said. */
static void print_confusion(const brisk_train *t, const brisk_train_score *s) {
    printf("%8s", "");
    for (int k = 0; k < s->classes; k++) printf(" %5.5s", brisk_train_class_name(t, k));
    putchar('\n');
    for (int i = 0; i < s->classes; i++) {
        printf("%8.8s", brisk_train_class_name(t, i));
        for (int k = 0; k < s->classes; k++)
            printf(" %5llu", (unsigned long long)s->confusion[i * s->classes + k]);
        putchar('\n');
    }
}

static int learn(brisk_train *t, int steps, const char *out) {
    brisk_train_report r = {0};
    brisk_train_score s;
    brisk_error err;
    while (r.step < steps) {
        if (brisk_train_step(t, &r, &err)) return fail(&err);
        if (r.step != 1 && r.step % (steps / 5 > 0 ? steps / 5 : 1) != 0) continue;
        if (brisk_train_validate(t, 0, &s, &err)) return fail(&err);
        printf("step %4d: loss %.4f, on unseen examples %.4f, %.1f %% of them right\n", r.step,
               r.loss, s.loss, 100 * s.accuracy);
    }
    if (brisk_train_validate(t, 0, &s, &err)) return fail(&err);
    print_confusion(t, &s);
    if (brisk_train_write(t, out, NULL, &err)) return fail(&err);
    return 0;
}

/* The first examples of the table: x[SHOWN][columns] and what stands behind them. */
static int read_examples(const char *path, int columns, float *x, char truth[SHOWN][64]) {
    static char line[COLUMNS * 32];
    FILE *f = fopen(path, "r");
    int n = 0;
    while (f && n < SHOWN && fgets(line, sizeof line, f)) {
        char *at = line, *end = line;
        int k = 0;
        for (; k < columns; k++, at = end + 1) {
            x[n * columns + k] = strtof(at, &end);
            if (end == at || *end != ',') break; /* the line with names */
        }
        if (k < columns) continue;
        snprintf(truth[n], sizeof truth[n], "%.*s", (int)strcspn(at, "\r\n"), at);
        n++;
    }
    if (f) fclose(f);
    return n;
}

/* Everything from the file: sizes, scaling, weights, names of the classes. */
static int use(const char *model, const char *table) {
    brisk_train_options o;
    brisk_train_info info;
    brisk_train *t = NULL;
    brisk_error err;
    char truth[SHOWN][64];
    int given[SHOWN];
    brisk_train_default(BRISK_TRAIN_MLP, &o);
    o.from = model;
    if (brisk_train_open(&o, &t, &err)) return fail(&err);
    brisk_train_get_info(t, &info);
    size_t columns = (size_t)info.inputs, classes = (size_t)info.n_vocab;
    float *x = calloc(SHOWN * columns, sizeof *x), *p = calloc(SHOWN * classes, sizeof *p);
    int n = x && p && info.inputs <= COLUMNS ? read_examples(table, info.inputs, x, truth) : 0;
    int status = n == 0;
    if (n > 0) status = brisk_train_predict(t, x, (size_t)n, given, p, &err) ? fail(&err) : 0;
    for (int i = 0; i < n && !status; i++)
        printf("example %d is '%s': '%s' with probability %.3f\n", i + 1, truth[i],
               brisk_train_class_name(t, given[i]),
               (double)p[(size_t)i * classes + (size_t)given[i]]);
    free(x), free(p);
    brisk_train_close(&t);
    return status;
}

int main(int argc, char **argv) {
    if (argc < 3 || argc > 4) {
        fprintf(stderr, "usage: train_mlp TABLE.csv OUT.gguf [STEPS]\n");
        return 1;
    }
    brisk_train_options o;
    brisk_train_info info;
    brisk_train *t = NULL;
    brisk_error err;
    brisk_train_default(BRISK_TRAIN_MLP, &o);
    o.data = argv[1];
    o.steps = argc > 3 ? (int)strtol(argv[3], NULL, 10) : 1000;
    o.widths = "32"; /* one hidden layer */
    if (brisk_train_open(&o, &t, &err)) return fail(&err);
    brisk_train_get_info(t, &info);
    printf("%d numbers -> %d -> %d classes: %llu weights, %llu examples to learn from\n",
           info.inputs, info.hidden, info.n_vocab, (unsigned long long)info.n_params,
           (unsigned long long)info.train_tokens);
    int status = learn(t, o.steps, argv[2]);
    brisk_train_close(&t);
    return status ? status : use(argv[2], argv[1]);
}
