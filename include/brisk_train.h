/* brisk_train.h: learning. A simple network, an LSTM language model or a small transformer is made
 * from a file of data, trained on this machine and written as a GGUF file that brisk.h runs.
 *
 *     brisk_train_options o;
 *     brisk_train_default(BRISK_TRAIN_LSTM, &o);
 *     o.data = "book.txt", o.steps = 500;
 *     brisk_train *t = NULL;
 *     brisk_error err;
 *     if (brisk_train_open(&o, &t, &err)) return puts(err.text);
 *     brisk_train_report r = {0};
 *     while (r.step < o.steps) {
 *         if (brisk_train_step(t, &r, &err)) return puts(err.text);
 *         printf("%d %.4f\n", r.step, r.loss);
 *     }
 *     brisk_train_score score;
 *     if (brisk_train_validate(t, 0, &score, &err)) return puts(err.text);
 *     printf("perplexity %.3f\n", score.perplexity);
 *     if (brisk_train_write(t, "book.gguf", NULL, &err)) return puts(err.text);
 *     brisk_train_close(&t);
 *
 * The same options and data give the same bits whatever the number of threads, also when training
 * stopped and went on from a checkpoint in between. Losses are in nats (natural logarithm) per token
 * or example, summed in double. A failed step leaves the weights as they were before it.
 *
 * Conventions as in brisk.h; a brisk_train is used from one thread at a time. */
#ifndef BRISK_TRAIN_H
#define BRISK_TRAIN_H

#include "brisk.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct brisk_train brisk_train;

typedef enum brisk_train_kind {
    BRISK_TRAIN_MLP,  /* classes from a table: linear layers with an activation between them */
    BRISK_TRAIN_LSTM, /* embedding, LSTM layers with carried state, linear decoder */
    BRISK_TRAIN_LLAMA /* transformer: RMSNorm, rotary positions, grouped queries, SwiGLU */
} brisk_train_kind;

typedef enum brisk_vocab_kind {
    BRISK_VOCAB_CHAR, /* one token per character of the training part */
    BRISK_VOCAB_WORD, /* its most frequent words, what is between them, and characters for others */
    BRISK_VOCAB_BPE   /* byte pairs merged while that shortens the training part most */
} brisk_vocab_kind;

/* What a fine-tuning changes. */
typedef enum brisk_train_tune {
    BRISK_TUNE_ALL,
    BRISK_TUNE_NORMS /* scales of the norms and biases alone */
} brisk_train_tune;

/* Fill with brisk_train_default, which gives the values in brackets (llama, lstm, mlp where they
 * differ). Texts are borrowed during brisk_train_open. */
typedef struct brisk_train_options {
    brisk_train_kind kind;

    const char *data; /* the text; for mlp a CSV table of numbers whose last column is the class */
    const char *resume; /* go on from this checkpoint; it holds all sizes, and the same data is
                           wanted. steps, and what lies behind it in the schedule, may be changed */
    const char *from;   /* begin with the weights and the vocabulary of this GGUF model */
    float
        valid_share; /* held out: the last part of a text, a drawn part of a table; 0..0.5 [0.1] */

    /* Text only. */
    brisk_vocab_kind vocab; /* [CHAR] */
    int vocab_size;         /* most tokens; 0: char all, word 8192, bpe 1024 [0] */
    const char *normalize;  /* "nfc", "nfd", "nfkc", "nfkd" or NULL: as it is [NULL] */
    bool casefold;          /* [false] */
    const char *stop_words; /* lists to leave out, "en", "zh", "en,zh"; NULL: none, as a language
                               model must see whole sentences [NULL] */
    int floor_order; /* n-gram order of the floor in brisk_train_info, 1..8; 0: none is computed [0] */

    /* Sizes; those that a kind does not have are ignored. */
    int embedding;       /* [128, 256, -] */
    int hidden;          /* of LSTM layers, of layers of the simple network [-, 256, 32] */
    int output;          /* lstm: width into the decoder, by a projection; 0: hidden [0] */
    int layers;          /* [4, 2, 1] */
    int heads, kv_heads; /* [4, 4] */
    int ffn;             /* 0: 8/3 of the embedding, up to a multiple of 32 [0] */
    int sequence;        /* tokens that gradients go back over, and llama's context [64, 128, -] */
    int batch;           /* sequences or examples together [12, 32, 32] */
    int accumulate;      /* batches in one step of the optimiser [1] */
    float dropout;       /* 0..0.9 [0] */
    bool tied;           /* the decoder is the embedding [false] */
    bool forget_bias;    /* lstm: forget gates begin with a bias of 1 [true] */
    const char *widths;  /* mlp: of its hidden layers, "64,32"; NULL: `layers` of `hidden` [NULL] */
    const char *activation; /* mlp: "relu", "tanh", "sigmoid", "gelu" ["relu"] */

    /* Optimiser: AdamW with a linear warm-up, then a half cosine from lr to min_lr. */
    int steps;         /* of the whole schedule [2000, 1000, 1000] */
    float lr, min_lr;  /* [1e-3, 2e-3, 5e-3; a tenth of it] */
    int warmup;        /* steps [100, 50, 0] */
    float b1, b2, eps; /* [0.9, 0.95 (mlp 0.999), 1e-8] */
    float decay;       /* of matrices alone [0.1, 0.01, 0.01] */
    float clip;        /* largest norm of all gradients together; 0: any [1] */
    int patience;      /* scores without a better one until `stop`; then the best weights are
                                  written; 0: never [0] */
    uint64_t seed;     /* [1] */

    /* Repair of a model given with `from`. */
    const char
        *teacher; /* GGUF model whose distribution is learned in place of the text's next token;
                            what it says of all steps is kept in the cache folder ($BRISK_CACHE) */
    int top_k;    /* of its most likely tokens, 1..256 [32] */
    const char *quant; /* matrices whose rows are whole blocks of this type ("q4_0") go forward as
                          they will read in it, and are scored so; NULL: as they are */
    float quant_share; /* of the steps, the last ones, in which they do [1] */
    bool keep_zeros;   /* weights that are zero stay so */
    brisk_train_tune tune;

    int threads;           /* 0: physical cores this process may use [0] */
    const char *cpu_level; /* "ref", "avx2", "avx512" or NULL: the best that works */

    /* Called during long parts (vocabulary, floor, teacher, validation) with what is going on and
     * done in 0..1; may be NULL. */
    void (*progress)(const char *what, double done, void *user);
    void *user;
    const volatile bool *cancel; /* polled during these; may be NULL. Must outlive the trainer */
} brisk_train_options;

void brisk_train_default(brisk_train_kind kind, brisk_train_options *options);

/* Reads the data, makes the vocabulary and the model, or loads them. INVALID (an option), NOT_FOUND,
 * IO, FORMAT (data that is empty, too short, or no text; a damaged checkpoint), UNSUPPORTED, NOMEM,
 * CANCELLED. */
brisk_status brisk_train_open(const brisk_train_options *options, brisk_train **train,
                              brisk_error *err);
void brisk_train_close(brisk_train **train);

/* ---- Learning ------------------------------------------------------------------------------- */

typedef struct brisk_train_report {
    int step;         /* finished, 1 after the first */
    double loss;      /* mean of the step, before it */
    double lr;        /* used */
    double grad_norm; /* before clipping */
    uint64_t tokens;  /* predicted (examples seen) in this step */
    double seconds;   /* it took */
} brisk_train_report;

/* One step of the optimiser over accumulate * batch sequences or examples. FORMAT when the loss is not
 * a number: weights are as before, and the text says what to change. LIMIT after the last step. */
brisk_status brisk_train_step(brisk_train *train, brisk_train_report *report, brisk_error *err);

typedef struct brisk_train_score {
    uint64_t tokens;           /* predicted (examples) */
    double loss;               /* mean */
    double perplexity;         /* exp(loss) */
    double accuracy;           /* share of right first guesses */
    int classes;               /* mlp; 0: no table */
    const uint64_t *confusion; /* [true class][given class], borrowed until the next score */
    /* Of a model given with `from`, over the same tokens: its loss before the first step, and what there
     * is to win back, the teacher's loss or without one that of the weights before `quant`. Recovered is
     * (before - loss) / (before - reference). 0: not known; the first score, before any step, sets them,
     * and later ones of as many tokens have them. */
    double before, reference, recovered;
    bool best; /* no score before was better */
    bool stop; /* `patience` scores in a row were not better */
} brisk_train_score;

/* The loss over the part held out, without dropout; over its first `most` tokens or examples alone when
 * that is not 0. CANCELLED leaves the trainer as it was. LIMIT when nothing is held out. */
brisk_status brisk_train_validate(brisk_train *train, uint64_t most, brisk_train_score *score,
                                  brisk_error *err);

/* mlp: classes of n examples x[n][inputs], as given in the table (not normalised). probabilities
 * [n][classes] may be NULL. */
brisk_status brisk_train_predict(brisk_train *train, const float *x, size_t n, int *classes,
                                 float *probabilities, brisk_error *err);

/* ---- Keeping -------------------------------------------------------------------------------- */

/* A checkpoint: everything that going on to the same bits needs but the data. Written beside, then
 * renamed over path: a full disk or a crash leaves the one before. */
brisk_status brisk_train_save(brisk_train *train, const char *path, brisk_error *err);

/* The model as a GGUF file (replaced when all of it is on disk), which brisk.h opens; llama also in
 * other programs that read that architecture. Matrices are of `type` where their rows are whole blocks
 * of it ("f16", "q8_0", "q4_0"); NULL: "f32". The mlp is a GGUF of an architecture "mlp" that
 * brisk_train_options.from reads. */
brisk_status brisk_train_write(brisk_train *train, const char *path, const char *type,
                               brisk_error *err);

/* ---- Looking at it -------------------------------------------------------------------------- */

typedef struct brisk_train_info {
    brisk_train_kind kind;
    brisk_vocab_kind vocab;
    uint64_t n_params; /* elements of all weights */
    int n_vocab;       /* tokens; mlp: classes */
    int inputs;        /* mlp: columns */
    int embedding, hidden, output, layers, heads, kv_heads, ffn, sequence, batch, accumulate;
    int step, steps;
    uint64_t train_tokens, valid_tokens; /* of the data (examples) */
    uint64_t valid_chars; /* Unicode characters of the text held out: loss per character is
                              loss * valid_tokens / this */
    uint64_t n_quantised; /* weights that go forward in `quant`; others' rows are no whole blocks */
    uint64_t memory;      /* bytes of weights, gradients, moments and activations */
    double floor;         /* nats per token of the part held out that an n-gram model trained on the
                              rest reaches (Witten and Bell 1991); 0: not computed */
    double best_loss;     /* of the scores so far; 0: none */
    const char *cpu_level; /* kernels in use; valid as long as the trainer */
    int threads;
} brisk_train_info;

void brisk_train_get_info(const brisk_train *train, brisk_train_info *info);

/* mlp: the name of class i as in the table, NULL out of range. Valid as long as the trainer. */
const char *brisk_train_class_name(const brisk_train *train, int i);

#ifdef __cplusplus
}
#endif
#endif
