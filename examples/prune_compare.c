/* Prunings of a given model beside each other and beside plain quantisation: how much faster, at what
 * price, and whether a dense model would do better.
 *
 *     prune_compare MODEL.gguf CALIBRATION.txt EVALUATION.txt [RECIPE...]
 *
 * Build: cc prune_compare.c $(pkg-config --cflags --libs brisk) -o prune_compare
 */
#include <stdio.h>
#include <stdlib.h>

#include <brisk_compress.h>

static const char *const usual[] = {"q8_0",
                                    "q4_0",
                                    "prune:channels:0.1",
                                    "prune:channels:0.2",
                                    "prune:channels:0.2:no-repair",
                                    "prune:layers:0.1"};

/* The text of a file, freed by the caller; NULL after saying why not. */
static char *read_text(const char *path, size_t *len) {
    FILE *f = fopen(path, "rb");
    char *text = NULL;
    long size = -1;
    if (f && fseek(f, 0, SEEK_END) == 0 && (size = ftell(f)) >= 0) {
        rewind(f);
        text = malloc((size_t)size + 1);
    }
    *len = text ? fread(text, 1, (size_t)size, f) : 0;
    if (!text || *len != (size_t)size) {
        fprintf(stderr, "prune_compare: cannot read %s\n", path);
        free(text);
        text = NULL;
    }
    if (f) fclose(f);
    return text;
}

static void on_progress(const char *what, double done, void *user) {
    (void)user;
    fprintf(stderr, "\r%-30.30s %3.0f %%", what, 100 * done);
}

static void print_rival(const brisk_comparison *c, const brisk_compare_row *row) {
    const brisk_compare_phase *p = &row->decode;
    if (p->equal_speed.fast < 0) {
        printf("  no dense model is as fast as %s\n", row->name);
        return;
    }
    printf("  %s: KL %.4f; dense at its speed (%s to %s): KL %.4f; %s%s\n", row->name,
           row->quality.kl_mean, c->rows[p->equal_speed.fast].name,
           c->rows[p->equal_speed.slow].name, p->equal_speed.value,
           p->dominated ? "dominated" : "worth it", p->tie ? ", within the noise" : "");
}

static void print(const brisk_comparison *c) {
    printf("%-30s %9s %8s %8s %10s %9s %6s\n", "model", "MB", "prefill", "decode", "perplexity",
           "mean KL", "top");
    for (size_t i = 0; i < c->n_rows; i++) {
        const brisk_compare_row *r = &c->rows[i];
        printf("%-30s %9.2f %7.2fx %7.2fx %10.3f %9.4f %5.1f%%\n", r->name,
               (double)r->file_bytes * 1e-6, r->prefill.ratio, r->decode.ratio, r->quality.ppl,
               r->quality.kl_mean, 100 * r->quality.top_agreement);
    }
    printf("\ndecoding, pruned beside dense:\n");
    for (size_t i = 0; i < c->n_rows; i++)
        if (!c->rows[i].dense) print_rival(c, &c->rows[i]);
}

int main(int argc, char **argv) {
    if (argc < 4) {
        fprintf(stderr,
                "usage: prune_compare MODEL.gguf CALIBRATION.txt EVALUATION.txt [RECIPE...]\n");
        return 1;
    }
    brisk_compare_options o;
    brisk_compare_default(&o);
    char *calibrate = read_text(argv[2], &o.calibrate_len);
    char *text = calibrate ? read_text(argv[3], &o.text_len) : NULL;
    if (!text) return free(calibrate), 1;
    o.calibrate = calibrate;
    o.text = text;
    o.windows = 16;
    o.prompts = 0;
    o.progress = on_progress;
    brisk_comparison *c = NULL;
    brisk_error err;
    brisk_status st =
        argc > 4
            ? brisk_compare(argv[1], (const char *const *)argv + 4, (size_t)argc - 4, &o, &c, &err)
            : brisk_compare(argv[1], usual, sizeof usual / sizeof *usual, &o, &c, &err);
    fprintf(stderr, "\n");
    if (st) {
        fprintf(stderr, "prune_compare: %s\n", err.text);
    } else {
        print(c);
    }
    brisk_comparison_free(&c);
    free(calibrate);
    free(text);
    return st ? 1 : 0;
}
