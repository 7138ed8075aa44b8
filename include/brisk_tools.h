/* brisk_tools.h: measuring and converting a model, looking into files, and what the machine has.
 * Conventions as in brisk.h. */
#ifndef BRISK_TOOLS_H
#define BRISK_TOOLS_H

#include "brisk.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Places and the machine ----------------------------------------------------------------- */

/* The folder of fetched models: $BRISK_CACHE, $XDG_CACHE_HOME/brisk or ~/.cache/brisk, made when
 * missing. INVALID (cap too small), NOT_FOUND (no home folder), IO. */
brisk_status brisk_cache_dir(char *path, size_t cap, brisk_error *err);

/* The processor's own name, "" when unknown. Written into name[cap], which is returned. */
const char *brisk_cpu_name(char *name, size_t cap);

/* What the machine has and what of it this process may use. */
typedef struct brisk_machine {
    char cpu[64], features[128]; /* the processor's name; "AVX2 FMA F16C AVX512-VNNI" */
    const char *best_level;      /* of kernels: "ref", "avx2", "avxvnni", "avx512" */
    const char *level;           /* that is used: $BRISK_CPU where set; NULL: that names none */
    int cores, cpus;             /* physical cores and hardware threads of the affinity mask */
    double cpu_quota;            /* of the control groups, in CPUs; 0: none */
    int threads;                 /* used unless told otherwise */
    /* Bytes; 0: unknown, or no limit. */
    uint64_t memory, memory_available, memory_limit;
    char huge_pages[16]; /* of the kernel for large blocks: "always", "madvise", "never" or "" */
} brisk_machine;

void brisk_machine_get(brisk_machine *machine);

enum { BRISK_LIMITS_COUNTS = 10, BRISK_LIMITS_SIZES = 8 };

/* What the machine can do at most, measured. [c] is for threads[c], [s] for bytes[s]. */
typedef struct brisk_limits {
    char cpu[64];
    const char *level; /* of the instructions measured */
    int64_t date;      /* seconds since 1970 */
    int n_counts, n_sizes;
    int threads[BRISK_LIMITS_COUNTS];   /* 1, 2, 4, ... and as many as asked for */
    uint64_t bytes[BRISK_LIMITS_SIZES]; /* of a buffer that all threads read, each its part */
    /* Bytes per second, read over and over: the best pass and the median. */
    double read[BRISK_LIMITS_COUNTS][BRISK_LIMITS_SIZES];
    double read_median[BRISK_LIMITS_COUNTS][BRISK_LIMITS_SIZES];
    /* Operations per second; a multiplication and an addition are two. */
    double int8[BRISK_LIMITS_COUNTS];        /* dot of bytes, operands in registers */
    double int8_memory[BRISK_LIMITS_COUNTS]; /* one operand broadcast from memory */
    double bf16[BRISK_LIMITS_COUNTS];        /* 0: there is no such instruction */
    double f32[BRISK_LIMITS_COUNTS];
    double barrier[BRISK_LIMITS_COUNTS]; /* seconds until all threads have met */
} brisk_limits;

typedef struct brisk_limits_options {
    const char *cpu_level;                     /* NULL: $BRISK_CPU, else the best */
    int threads;                               /* the most; 0: as a model takes */
    bool again;                                /* measure also when figures are kept */
    void (*progress)(double done, void *user); /* while measuring; may be NULL */
    void *user;
    const volatile bool *cancel; /* polled while measuring; may be NULL */
} brisk_limits_options;

void brisk_limits_options_default(brisk_limits_options *options);

/* The figures kept in the cache folder, or measured now, in a few seconds, and kept there. options may
 * be NULL. INVALID, NOMEM, CANCELLED. */
brisk_status brisk_limits_get(const brisk_limits_options *options, brisk_limits *limits,
                              brisk_error *err);

/* Measures for a second how fast `threads` threads read `bytes` bytes over and over: what no decoder
 * passes whose tokens need as many. best and median (may be NULL) in bytes per second. INVALID,
 * LIMIT (more than the machine has), NOMEM, CANCELLED. */
brisk_status brisk_read_rate(uint64_t bytes, int threads, const volatile bool *cancel, double *best,
                             double *median, brisk_error *err);

/* ---- What is in a file ---------------------------------------------------------------------- */

/* A GGUF file's header; texts are printable, "" where the file does not say. */
typedef struct brisk_brief {
    char architecture[64], name[128];
    char quantization[16];         /* "Q4_K_M": the mixture, or the type of most weights */
    uint64_t n_params, file_bytes; /* a part of a split model counts alone */
} brisk_brief;

/* Reads the header alone, in milliseconds, also of architectures that brisk cannot run. Errors as
 * with brisk_model_open. */
brisk_status brisk_model_peek(const char *path, brisk_brief *brief, brisk_error *err);

/* ---- Text before tokens ------------------------------------------------------------------------ */

/* What is done to a text, in this order; zero-initialised: nothing. */
typedef struct brisk_text_options {
    const char *normalize;  /* "nfc", "nfd", "nfkc", "nfkd" (UAX #15) or NULL */
    bool casefold;          /* full Unicode case folding */
    const char *stop_words; /* lists and files whose words are left out, with commas between: "en",
                               "zh", "./my.txt"; NULL: none */
} brisk_text_options;

/* *out is NUL-terminated, owned by the caller, freed with brisk_free; *out_len may be NULL. INVALID,
 * NOT_FOUND, IO, FORMAT (a list), LIMIT (text beyond 1 GiB), NOMEM. */
brisk_status brisk_text_prepare(const brisk_text_options *options, const char *text, size_t len,
                                char **out, size_t *out_len, brisk_error *err);

/* ---- Conversion ----------------------------------------------------------------------------- */

typedef struct brisk_convert_options {
    const char *type; /* of matrices: "f32", "f16", "bf16", "q8_0", "q4_0"; NULL or "auto": as they
                          are stored */
    const char *keep; /* matrices whose names contain this stay as they are stored; NULL: none */
    const char *pre; /* name of the pre-tokenizer (tokenizer.ggml.pre), when it is not recognised */
    const char *vocab; /* file with the vocabulary of a PyTorch model; NULL: the one beside it */
    void (*progress)(double done, void *user); /* may be NULL */
    void *user;
    const volatile bool *cancel; /* polled while writing; may be NULL */
} brisk_convert_options;

void brisk_convert_options_default(brisk_convert_options *options);

/* Writes the model at `in`, a Hugging Face folder, the state dictionary of a PyTorch LSTM as safetensors
 * or a GGUF file (split ones become one), to a GGUF file. `out` is replaced when all of it is on disk, and not touched before. options may be NULL.
 * NOT_FOUND, IO, FORMAT, UNSUPPORTED, INVALID, CANCELLED, NOMEM. */
brisk_status brisk_convert(const char *in, const char *out, const brisk_convert_options *options,
                           brisk_error *err);

/* ---- Speed ---------------------------------------------------------------------------------- */

/* As llama-bench: random tokens, no sampling, memory emptied before each repetition. */
typedef struct brisk_bench_test {
    int n_prompt;                /* tokens processed together; 0: none */
    int n_gen;                   /* then tokens decoded one at a time; 0: none */
    int n_seqs;                  /* sequences that do so at once, one row of each a pass; 0: 1 */
    int n_depth;                 /* tokens in memory beforehand, not timed */
    int batch_size;              /* tokens per pass, 1..8192; 0: 512 */
    int repetitions;             /* 1..1000 */
    bool warm_up;                /* one more run beforehand, not counted */
    const volatile bool *cancel; /* polled between passes; may be NULL */
} brisk_bench_test;

/* 512 prompt tokens, 5 repetitions, warm-up. */
void brisk_bench_default(brisk_bench_test *test);

/* samples_ns[repetitions] gets the duration of each run, in which n_prompt + n_gen * n_seqs tokens are
 * computed; more of them than the model's context are fine. INVALID, LIMIT (over 2^24 tokens), CANCELLED,
 * NOMEM. */
brisk_status brisk_bench(brisk_model *model, const brisk_bench_test *test, uint64_t *samples_ns,
                         brisk_error *err);

/* Where the time of a prompt and of each generated token goes, operation by operation. */
enum { BRISK_PROFILE_PARTS = 48 };

/* All calls of an operation with weights of the same types. Bytes and operations are what there is to
 * read and compute: packed weights, keys and values once per pass; two operations for a multiplication
 * and its addition, as what the kernels multiply with. Times are on the clock, all calls together. */
typedef struct brisk_profile_part {
    char name[32], types[32]; /* "gate and up", "Q4_K Q6_K" */
    uint64_t calls, bytes;
    uint64_t int8_ops, int16_ops, float_ops;
    double time_ns;    /* = work_ns + wait_ns */
    double work_ns;    /* at work, mean over the threads */
    double prepare_ns; /* of work_ns: norms, activations, rotation, quantising of the input */
    double wait_ns;    /* for other threads, mean over the threads */
    double limit_ns;   /* that this machine needs at its limits; 0: not known */
} brisk_profile_part;

/* total_ns = work_ns + wait_ns + serial_ns; the first two are sums over the parts. */
typedef struct brisk_profile_phase {
    size_t tokens, passes;
    double total_ns, work_ns, wait_ns;
    double serial_ns; /* between the parallel regions: one thread at work */
    double limit_ns;  /* sum over the parts; 0: not known */
    double read_rate; /* limit: bytes per second at the size of what a pass reads; 0 */
    size_t n_parts;
    brisk_profile_part parts[BRISK_PROFILE_PARTS]; /* in the order of a pass */
} brisk_profile_phase;

typedef struct brisk_profile {
    brisk_profile_phase prefill, decode;      /* tokens 0: the test had none */
    double int8_peak, int16_peak, float_peak; /* limits: operations per second; 0: not known */
} brisk_profile;

/* Runs the test with its commands timed, which costs about a hundredth of the speed. tokens[n_tokens]
 * are used one after another and over again; n_tokens 0: random ones. Errors as brisk_bench. */
brisk_status brisk_profile_run(brisk_model *model, const brisk_bench_test *test,
                               const brisk_token *tokens, size_t n_tokens, brisk_profile *profile,
                               brisk_error *err);

/* Adds what this machine could do at most to a profile of the model: brisk_limits_get with the model's
 * level and threads, whatever the options (may be NULL) say of these. When it fails the profile is as it
 * was. */
brisk_status brisk_profile_limits(const brisk_model *model, const brisk_limits_options *options,
                                  brisk_profile *profile, brisk_error *err);

/* The matrix product y = W x of n vectors by itself, in several ways: three loops; loops over blocks that
 * stay in the cache; brisk's SIMD kernels; OpenBLAS, where it is installed. */
typedef enum brisk_matmul_way {
    BRISK_MATMUL_NAIVE,
    BRISK_MATMUL_BLOCKED,
    BRISK_MATMUL_SIMD,
    BRISK_MATMUL_OPENBLAS
} brisk_matmul_way;

enum { BRISK_MATMUL_THREADS = 16, BRISK_MATMUL_ROWS = 2 + 2 * BRISK_MATMUL_THREADS };

typedef struct brisk_matmul_test {
    const char *type; /* of the weights, as for brisk_matrix_create; OpenBLAS: "f32" alone */
    size_t m, n, k;   /* weights [m][k] times n vectors of k; 1..65536 */
    int threads[BRISK_MATMUL_THREADS];
    int n_threads;
    const char *cpu_level;       /* NULL: $BRISK_CPU, else the best */
    int rounds;                  /* every way is timed in each, 1..100 */
    const char *peer;            /* OpenBLAS's library; NULL: libopenblas.so.0; "": none */
    const volatile bool *cancel; /* polled between products; may be NULL */
} brisk_matmul_test;

/* 1024 x 1024 x 1024, f32, one thread and as many as a model takes, 5 rounds. */
void brisk_matmul_default(brisk_matmul_test *test);

typedef struct brisk_matmul_row {
    brisk_matmul_way way;
    int threads;
    size_t vectors;      /* that were computed: the slow ways stop after some seconds */
    double best, median; /* seconds for them */
    double difference;   /* the largest from the three loops, as a share of their largest result */
} brisk_matmul_row;

typedef struct brisk_matmul_result {
    brisk_matmul_row rows[BRISK_MATMUL_ROWS];
    int n_rows;
    const char *cpu_level; /* of the kernels: "avx512" */
    bool integer;          /* they multiply 8-bit numbers */
    char peer[256];        /* what OpenBLAS calls itself, "" where it was not found */
} brisk_matmul_result;

/* Some seconds. All results are compared: FORMAT when one is wrong; INVALID, UNSUPPORTED, NOMEM,
 * CANCELLED. */
brisk_status brisk_bench_matmul(const brisk_matmul_test *test, brisk_matmul_result *result,
                                brisk_error *err);

/* ---- Quality -------------------------------------------------------------------------------- */

typedef struct brisk_eval_options {
    int context;            /* tokens per window of a text; 0: 512 */
    brisk_model *reference; /* compare with this model's predictions; NULL: none, but of a model
                                     opened `fast` its own, computed exactly, or with `head_keep` with
                                     its whole head, where there is no other reference
                                     either */
    const char *reference_logits; /* or with the rows of this .npy file (float32 or float64,
                                     [rows, n_vocab]); NULL: none */
    const char *save_logits;      /* write the rows as float32 to this .npy file; NULL: none */
    /* After each window or sequence; may be NULL. */
    void (*progress)(size_t done, size_t total, double ppl_so_far, void *user);
    void *user;
    const volatile bool *cancel; /* polled between passes; may be NULL */
} brisk_eval_options;

void brisk_eval_options_default(brisk_eval_options *options);

enum { BRISK_EVAL_PARTS = 8 };

typedef struct brisk_eval_result {
    size_t tokens;    /* predictions scored */
    double nll;       /* mean of -log p(token), in nats */
    double ppl;       /* exp(nll) */
    double ppl_error; /* its standard error */
    size_t compared;  /* predictions compared with the reference; 0: there was none */
    double ref_ppl;   /* the reference's perplexity */
    double kl_mean, kl_error, kl_median, kl_p99, kl_max; /* KL(reference || model), in nats */
    double top_agreement; /* share of predictions, 0..1, whose best token is the same */
    /* ln(ppl / ref_ppl) and its standard error, from the difference token by token, in which the text's
     * own difficulty cancels. */
    double log_ratio, log_ratio_error;
    double kl_p90, kl_p999;
    double kl_parts[BRISK_EVAL_PARTS]; /* means over each eighth of what is scored of a window */
    double rms_dp;         /* root of the mean square of p(token) - p of the reference(token) */
    double near_agreement; /* share whose best token of the reference is among the model's best 5 */
    /* Of a model that cannot give all tokens (logits of -infinity): scored tokens that it cannot give,
     * which are part of `tokens` and not of nll; the reference's mean probability of such. Divergence is
     * that from the reference over the other tokens. */
    size_t impossible;
    double outside;
} brisk_eval_result;

/* Perplexity with llama-perplexity's windows: the text is cut into windows of `context` tokens, each
 * computed by itself (its first token replaced by the begin token where the model wants one), the
 * second half of each is scored, a rest is left out. Rows are those scored.
 * INVALID (text shorter than a window, vocabularies differ), NOT_FOUND, IO, FORMAT, CANCELLED. */
brisk_status brisk_eval_text(brisk_model *model, const char *text, size_t len,
                             const brisk_eval_options *options, brisk_eval_result *result,
                             brisk_error *err);

/* The same for sequences of given tokens, each computed by itself: lengths[n_sequences], the tokens
 * of all one after another. Every token gives a row; all but the last of a sequence are scored. */
brisk_status brisk_eval_tokens(brisk_model *model, const brisk_token *tokens, const size_t *lengths,
                               size_t n_sequences, const brisk_eval_options *options,
                               brisk_eval_result *result, brisk_error *err);

/* How long greedy answers stay the reference's. Prompts are beginnings of parts of the text. */
typedef struct brisk_greedy_result {
    int prompts, tokens; /* tokens: of an answer, at most */
    int same; /* answers without any difference; they count as `tokens` in the next two */
    double median, mean; /* of tokens before the first different one */
} brisk_greedy_result;

/* `prompts` prompts of 32 tokens, 1..10000, and answers of `tokens` tokens, 1..100000, which end at an
 * end token. Of options (not NULL) reference, which must be there, progress (its perplexity is 0), user
 * and cancel count. INVALID (also a text of less than a prompt), CANCELLED, NOMEM. */
brisk_status brisk_eval_greedy(brisk_model *model, const char *text, size_t len, int prompts,
                               int tokens, const brisk_eval_options *options,
                               brisk_greedy_result *result, brisk_error *err);

/* Multiple choice. Flips show what accuracy alone hides: a model that became as good at other things. */
typedef struct brisk_choices_result {
    size_t questions, right;
    size_t ref_right, to_wrong,
        to_right; /* beside a reference; to_wrong: right with it, wrong now */
} brisk_choices_result;

/* json: a list of {"question": text, "choices": [2 to 26 texts], "answer": index of the right one}. The
 * choice picked is that whose tokens after "question " have the largest log-probability per character
 * (acc_norm of EleutherAI's lm-evaluation-harness). Of options, which may be NULL, reference, progress
 * (its perplexity is 0), user and cancel count. FORMAT, LIMIT (the list); INVALID (a question that the
 * context does not hold), CANCELLED, NOMEM. */
brisk_status brisk_eval_choices(brisk_model *model, const char *json, size_t len,
                                const brisk_eval_options *options, brisk_choices_result *result,
                                brisk_error *err);

#ifdef __cplusplus
}
#endif
#endif
