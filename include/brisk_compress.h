/* brisk_compress.h: smaller models. Weights are rounded to fewer bits or left out, and what that costs
 * is measured.
 *
 * Conventions as in brisk.h. */
#ifndef BRISK_COMPRESS_H
#define BRISK_COMPRESS_H

#include "brisk_tools.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Rounding weights ----------------------------------------------------------------------------- */

/* Rows of k floats become blocks of a type ("q8_0", "q4_k", in whatever case) as GGUF files hold them, and
 * floats again. */
typedef struct brisk_block_type {
    const char *name; /* static: "Q4_K" */
    size_t length;    /* weights of a block; a row is a whole number of blocks */
    size_t bytes;     /* of a block */
    bool rounds;      /* whether weights can be rounded to it here */
} brisk_block_type;

/* INVALID: an unknown name; the error lists all. */
brisk_status brisk_block_type_find(const char *name, brisk_block_type *out, brisk_error *err);

/* How rows are rounded. */
typedef enum brisk_rounding {
    BRISK_ROUND_SEARCH, /* scales are searched so that the sum of importance * error^2 is small */
    BRISK_ROUND_PLAIN   /* every weight to the nearest step of a scale that holds the largest one */
} brisk_rounding;

/* blocks[n_rows * k / length * bytes] from rows[n_rows][k]. importance[k]: what an error of each column
 * costs, the mean square of what it is multiplied with; NULL: the type's own measure. INVALID (a type, k),
 * UNSUPPORTED (a type that is read only). Thread-safe. */
brisk_status brisk_round_weights(const char *type, brisk_rounding how, const float *rows,
                                 size_t n_rows, size_t k, const float *importance, void *blocks,
                                 brisk_error *err);

/* rows[n_rows][k] from blocks. INVALID. */
brisk_status brisk_read_weights(const char *type, const void *blocks, size_t n_rows, size_t k,
                                float *rows, brisk_error *err);

/* ---- Quantising a model --------------------------------------------------------------------------- */

/* Of a tensor, once its type is decided. Pointers are valid during the call. */
typedef struct brisk_quantize_tensor {
    const char *name;
    const char *from, *to; /* types */
    uint64_t weights, bytes_before, bytes_after;
} brisk_quantize_tensor;

/* Fill with brisk_quantize_default. Texts are borrowed during the call. */
typedef struct brisk_quantize_options {
    /* What becomes of the weights: a type for most of them or a mixture, by llama-quantize's names ("q4_0",
     * "Q4_K_M"); matrices whose rows are too short for its blocks get one that fits. */
    const char *type;
    /* In place of a type, one of these: every matrix gets the type by which the whole loses least. Damage is
     * measured on the text; without one it is guessed. 0: not given. */
    double target_bpw; /* bits per weight, of all tensors */
    double target_ms;  /* a decoded token, on this machine */
    double target_kl;  /* mean KL from the source on the text, in nats: smallest model within it */
    bool pure;         /* the same type everywhere, no mixture */
    bool leave_output; /* the head stays as it is */
    const char *output_type; /* of the head; NULL: as the mixture says */
    const char *embedding_type;
    const char *const *tensor_types; /* "PATTERN=TYPE", POSIX extended regular expressions that are
                                        looked for in tensors' names; the first that is found decides */
    size_t n_tensor_types;

    /* How much the inputs of each weight matter: from a file, or collected while the model reads a text. */
    const char *imatrix;     /* llama.cpp's file, GGUF or older; NULL: none */
    const char *imatrix_out; /* written here, as GGUF; NULL: nowhere */
    const char *text;        /* calibration; NULL: none */
    size_t text_len;
    const char *text_name; /* goes into files */
    int context;           /* tokens a window of the text; 0: 512 */
    size_t max_tokens;     /* of the text that are read; 0: all */
    brisk_rounding rounding;

    int threads;  /* 0: one per core */
    bool dry_run; /* plan, report, write nothing */
    /* Of each step, "rounding" and others: how much is done, 0..1. May be NULL. */
    void (*progress)(const char *step, double done, void *user);
    /* Of each tensor, in their order, before the first is rounded. May be NULL. */
    void (*tensor)(const brisk_quantize_tensor *t, void *user);
    void *user;
    const volatile bool *cancel; /* polled; may be NULL */
} brisk_quantize_options;

/* All 0 and NULL: a type is to be set. */
void brisk_quantize_default(brisk_quantize_options *options);

typedef struct brisk_quantize_report {
    uint64_t weights, bytes_before, bytes_after; /* of all tensors */
    size_t requantised;                          /* tensors that were no floats before */
    size_t unweighted;        /* rounded without importance, as the matrix had nothing of them */
    char unweighted_name[64]; /* the first of these */
    size_t text_tokens;       /* read for statistics */
    double text_seconds, plan_seconds, round_seconds;
    /* With a target; negative: not measured. kl is the mean KL from the source on text that the plan has
     * not seen, where the text is long enough. */
    double kl_estimate, kl, ms;
} brisk_quantize_report;

/* Rounds the matrices of a model (a GGUF file, a Hugging Face folder, what brisk_train wrote); vectors and
 * routers of experts stay. `out` is replaced when all of it is on disk, and not touched before. out NULL:
 * a dry run, or statistics are collected (imatrix_out) and nothing else. INVALID, NOT_FOUND, IO, FORMAT,
 * UNSUPPORTED, CANCELLED, NOMEM. */
brisk_status brisk_quantize(const char *in, const char *out, const brisk_quantize_options *options,
                            brisk_quantize_report *report, brisk_error *err);

/* ---- Pruning a model ------------------------------------------------------------------------------ */

/* How layers are chosen. */
typedef enum brisk_prune_choice {
    BRISK_PRUNE_BY_KL,        /* one after the other, whichever changes the predictions least */
    BRISK_PRUNE_BY_INFLUENCE, /* those that turn the states least */
    BRISK_PRUNE_CONTIGUOUS    /* neighbours that together turn them least */
} brisk_prune_choice;

/* How the ratio is spread over the layers. */
typedef enum brisk_prune_spread {
    BRISK_PRUNE_UNIFORM,
    BRISK_PRUNE_OUTLIERS, /* layers with more outliers lose less */
    BRISK_PRUNE_MEASURED  /* by the divergence that pruning each alone causes */
} brisk_prune_spread;

/* Fill with brisk_prune_default. */
typedef struct brisk_prune_options {
    const char *strategy;  /* a name of brisk_prune_strategies */
    double ratio;          /* share to leave out, above 0 and below 1; 0: target_speed says */
    double target_speed;   /* as many times the decode speed, above 1; 0: ratio says */
    const char *calibrate; /* text that choice and repair go by, [calibrate_len]; NULL: none */
    size_t calibrate_len;
    size_t max_tokens; /* of it that are read; 0: all */
    bool no_repair;    /* what stays keeps its values */
    /* Single weights: seconds in which feed-forward blocks are fitted to the dense ones; 0: none. */
    double reconstruct;
    brisk_prune_choice choice;
    int keep_n, keep_m;        /* strategy nm: of each keep_m weights keep_n stay */
    brisk_prune_spread spread; /* single weights */
    bool sparse;               /* write matrices with many zeros as sparse tensors */
    const char *type;          /* of the matrices in the result, "q8_0"; NULL: each as it was */
    const char *eval;          /* text for perplexity before and after, [eval_len]; NULL: none */
    size_t eval_len;
    bool bench;  /* measure the speed before and after */
    int threads; /* 0: as many as the process may use */
    /* What is done now and how far it is, 0..1; may be NULL. */
    void (*progress)(const char *what, double done, void *user);
    void *user;
    const volatile bool *cancel; /* may be NULL */
} brisk_prune_options;

typedef struct brisk_prune_side {
    uint64_t parameters, bytes; /* of the tensors */
    uint64_t zeros;             /* weights that are 0 */
    double decode, prefill;     /* tokens/s, medians; 0: not measured */
} brisk_prune_side;

typedef struct brisk_prune_result {
    double ratio;              /* that was left out */
    char removed[160];         /* "320 of 1536 feed-forward channels in each of 30 layers" */
    size_t calibration_tokens; /* that were read; 0: unknown or none */
    size_t sparse_tensors;     /* that were written as such */
    brisk_prune_side before, after;
    /* After to before, medians of runs that took turns. */
    double decode_ratio, prefill_ratio;
    brisk_eval_result quality; /* with the model before as reference; tokens 0: not measured */
} brisk_prune_result;

/* Text of 20,000 tokens at most, repair, no measuring. */
void brisk_prune_default(brisk_prune_options *options);

/* "channels, heads, ...": the names, NUL-terminated and cut to fit cap. Returns text. */
const char *brisk_prune_strategies(char *text, size_t cap);

/* Reads the model at `in`, leaves parts of it out and writes the rest to `out`, which is replaced when
 * all of it is on disk and measured, and not touched before. INVALID (strategy, ratio, a text that is
 * missing or too short), UNSUPPORTED (the model has nothing of what the strategy cuts), FORMAT,
 * NOT_FOUND, IO, CANCELLED, NOMEM. */
brisk_status brisk_prune(const char *in, const char *out, const brisk_prune_options *options,
                         brisk_prune_result *result, brisk_error *err);

/* ---- Sparse matrices ------------------------------------------------------------------------------ */

/* Forms of a matrix. Tiles of 16 rows x 4 columns that are all 0 are left out, or single weights under bit
 * masks; compressed sparse rows are floats. */
typedef enum brisk_sparse_form {
    BRISK_SPARSE_DENSE_Q4_0,
    BRISK_SPARSE_DENSE_Q8_0,
    BRISK_SPARSE_TILES_Q4_0,
    BRISK_SPARSE_TILES_Q8_0,
    BRISK_SPARSE_BITS_Q4_0,
    BRISK_SPARSE_CSR,
    BRISK_SPARSE_FORMS
} brisk_sparse_form;

enum { BRISK_SPARSE_DENSITIES = 16, BRISK_SPARSE_COLUMNS = 8 };

typedef struct brisk_sparse_row {
    brisk_sparse_form form;
    double density; /* share of the tiles, or weights, that are left */
    int columns;    /* vectors multiplied at once */
    bool cold;      /* weights came from memory, not from a cache */
    double seconds; /* of the fastest product */
    uint64_t bytes; /* of the matrix */
} brisk_sparse_row;

typedef struct brisk_sparse_test {
    size_t m, k; /* rows and columns of the matrix; columns in blocks of 32 */
    double densities[BRISK_SPARSE_DENSITIES];
    int n_densities, columns[BRISK_SPARSE_COLUMNS], n_columns;
    int threads, rounds;
    const char *cpu_level;                                /* NULL: $BRISK_CPU, else the best */
    void (*row)(const brisk_sparse_row *row, void *user); /* all forms of a case in their order */
    void *user;
    const volatile bool *cancel; /* may be NULL */
} brisk_sparse_test;

/* 1024 x 2048, densities from 0.1 to 1, 1, 4, 16 and 128 vectors, as many threads as a model takes, 3
 * rounds. */
void brisk_sparse_test_default(brisk_sparse_test *test);

/* Times products of random matrices in all forms; each is compared with the dense one: FORMAT when it is
 * wrong. INVALID, NOMEM, CANCELLED. */
brisk_status brisk_bench_sparse(const brisk_sparse_test *test, brisk_error *err);

/* ---- Comparing recipes ---------------------------------------------------------------------------- */

/* Fill with brisk_compare_default, which gives the values in brackets. Texts are borrowed. */
typedef struct brisk_compare_options {
    const char *calibrate; /* text for recipes, [calibrate_len]; NULL: none */
    size_t calibrate_len;
    const char *text; /* that quality is measured on, [text_len] */
    size_t text_len;
    const char *choices; /* JSON as for brisk_eval_choices, [choices_len]; NULL: none */
    size_t choices_len;
    int context;                /* tokens a window of the text; 0: 512 [0] */
    int windows;                /* that are read of it; 0: all [0] */
    int rounds;                 /* of timing, 1..100, each with one run of every model [5] */
    int n_prompt, n_gen;        /* tokens of a run of prefill, of decoding [256, 32] */
    int prompts, answer_tokens; /* greedy answers and their length; prompts 0: none [16, 64] */
    int threads;                /* 0: as many as the process may use [0] */
    /* What is done now and how far it is, 0..1; may be NULL. */
    void (*progress)(const char *what, double done, void *user);
    void *user;
    const volatile bool *cancel; /* may be NULL */
} brisk_compare_options;

void brisk_compare_default(brisk_compare_options *options);

/* What dense models (nothing left out) reach where a model is: one of them, or a mixture of two, tensor by
 * tensor, on the line between them. */
typedef struct brisk_compare_rival {
    int fast, slow; /* rows; equal: that one; -1: none reaches it */
    double value;
} brisk_compare_rival;

typedef struct brisk_compare_phase {
    double speed;  /* tokens/s, median */
    double ratio;  /* to the source's in the same round, median */
    double spread; /* half of what lies between the quartiles of the ratio, as a share of it */
    brisk_compare_rival equal_speed;   /* value: their mean KL at this speed */
    brisk_compare_rival equal_quality; /* value: their speed at this mean KL, as a ratio */
    bool
        dominated; /* a row is as fast and as good, or (of a pruned one) the dense rivals of this speed are
                       better */
    int by;        /* that row; -1: those rivals, or none */
    bool tie; /* a speed within the spread would turn the verdict */
} brisk_compare_phase;

typedef struct brisk_compare_row {
    const char *name; /* "source", the recipe, or the file's name */
    bool dense;
    uint64_t file_bytes, resident_bytes, n_params;
    brisk_compare_phase decode, prefill;
    brisk_eval_result quality; /* the source is the reference */
    brisk_greedy_result answers;
    brisk_choices_result choices; /* questions 0: none */
} brisk_compare_row;

typedef struct brisk_comparison {
    const brisk_compare_row *rows; /* [n_rows], the first is the source */
    size_t n_rows;
    const char *cpu_level; /* "avx512" */
    int threads;
} brisk_comparison;

/* Makes a candidate of the model `source` (a file or folder) by each of recipes[n], 1 to 63, and measures
 * all in one run, whose speeds are taken in turns. A recipe is a list of steps with "+" between them: a
 * type or mixture of brisk_quantize ("q4_0"), or "prune:STRATEGY:RATIO" of brisk_prune, with ":no-repair"
 * behind it if wished. The path of a model that is there stands for itself. Candidates are files in
 * $TMPDIR one at a time, and all are loaded at once. Dense are those without a pruning, of files those
 * with as many weights as the source. *out is freed with brisk_comparison_free. INVALID (a recipe, vocabularies that differ), and
 * the errors of making, opening and measuring. */
brisk_status brisk_compare(const char *source, const char *const *recipes, size_t n,
                           const brisk_compare_options *options, brisk_comparison **out,
                           brisk_error *err);
void brisk_comparison_free(brisk_comparison **comparison);

#ifdef __cplusplus
}
#endif
#endif
