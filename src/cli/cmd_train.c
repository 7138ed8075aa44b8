#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/train.h"

static const char *const kinds[] = {"mlp", "lstm", "llama"};

static bool parse(train_run *r, int argc, char **argv, int *status) {
    brisk_train_options *o = &r->o;
    bool no_forget_bias = false;
    int vocab = 0, tune = 0;
    const opt_spec specs[] = {
        {"-f --data", "FILE", "the text to learn; for mlp a CSV table, the class last", OPT_STR,
         &o->data, 0, 0},
        {"-o --output", "FILE", "the model, as GGUF", OPT_STR, &r->out, 0, 0},
        {"--type", "T", "of its matrices: f32, f16, q8_0, q4_0 ... (f32, or --quant)", OPT_STR,
         &r->type, 0, 0},
        {"--steps", "N", "steps of the optimiser", OPT_INT, &o->steps, 1, 1e9},
        {"--embedding", "N", "width of a token's vector", OPT_INT, &o->embedding, 1, 65536},
        {"--hidden", "N", "lstm, mlp: width of a layer", OPT_INT, &o->hidden, 1, 65536},
        {"--out-width", "N", "lstm: width into the decoder, by a projection", OPT_INT, &o->output,
         1, 65536},
        {"--layers", "N", "layers", OPT_INT, &o->layers, 1, 256},
        {"--heads", "N", "llama: heads of attention", OPT_INT, &o->heads, 1, 1024},
        {"--kv-heads", "N", "llama: heads of keys and values", OPT_INT, &o->kv_heads, 1, 1024},
        {"--ffn", "N", "llama: width between the products of a block", OPT_INT, &o->ffn, 1,
         1 << 20},
        {"--sequence", "N", "tokens of a sequence", OPT_INT, &o->sequence, 1, 65536},
        {"--batch", "N", "sequences (mlp: examples) at once", OPT_INT, &o->batch, 1, 65536},
        {"--accumulate", "N", "batches in a step (1)", OPT_INT, &o->accumulate, 1, 65536},
        {"--dropout", "P", "share of values left out while learning (0)", OPT_FLOAT, &o->dropout, 0,
         0.9},
        {"--tied", NULL, "the decoder is the embedding", OPT_FLAG, &o->tied, 0, 0},
        {"--no-forget-bias", NULL, "lstm: forget gates do not begin open", OPT_FLAG,
         &no_forget_bias, 0, 0},
        {"--widths", "N,...", "mlp: widths of its hidden layers", OPT_STR, &o->widths, 0, 0},
        {"--activation", "A", "mlp: relu, tanh, sigmoid, gelu", OPT_STR, &o->activation, 0, 0},
        {"--lr", "X", "highest learning rate", OPT_FLOAT, &o->lr, 0, 10},
        {"--min-lr", "X", "learning rate at the end", OPT_FLOAT, &o->min_lr, 0, 10},
        {"--warmup", "N", "steps up to the highest rate", OPT_INT, &o->warmup, 0, 1e9},
        {"--b1", "X", "Adam: of the mean (0.9)", OPT_FLOAT, &o->b1, 0, 0.99999},
        {"--b2", "X", "Adam: of the square", OPT_FLOAT, &o->b2, 0, 0.99999},
        {"--decay", "X", "weight decay, of matrices", OPT_FLOAT, &o->decay, 0, 10},
        {"--clip", "X", "largest norm of the gradients; 0: any (1)", OPT_FLOAT, &o->clip, 0, 1e9},
        {"--vocab", "char|word|bpe", "tokens are characters, words or merged bytes (char)",
         OPT_CHOICE, &vocab, 0, 0},
        {"--vocab-size", "N", "most tokens", OPT_INT, &o->vocab_size, 0, 1 << 20},
        {"--normalize", "FORM", "Unicode form of the text: nfc, nfd, nfkc, nfkd", OPT_STR,
         &o->normalize, 0, 0},
        {"--casefold", NULL, "upper case becomes lower case", OPT_FLAG, &o->casefold, 0, 0},
        {"--stop-words", "LISTS", "leave these words out: en, zh", OPT_STR, &o->stop_words, 0, 0},
        {"--valid", "X", "share held out, the last part of a text", OPT_FLOAT, &o->valid_share, 0,
         0.5},
        {"--floor", "N", "compare with an n-gram model of this order (0: none)", OPT_INT,
         &o->floor_order, 0, 8},
        {"--patience", "N", "stop after so many scores that are no better (0: never)", OPT_INT,
         &o->patience, 0, 1e9},
        {"--from", "FILE", "begin with this GGUF model", OPT_STR, &o->from, 0, 0},
        {"--teacher", "FILE", "learn what this model predicts", OPT_STR, &o->teacher, 0, 0},
        {"--top-k", "N", "of the teacher's most likely tokens (32)", OPT_INT, &o->top_k, 1, 256},
        {"--quant", "T", "learn with matrices rounded to this type", OPT_STR, &o->quant, 0, 0},
        {"--quant-share", "X", "of the steps, the last ones, in which they are (1)", OPT_FLOAT,
         &o->quant_share, 0, 1},
        {"--keep-zeros", NULL, "weights that are zero stay so", OPT_FLAG, &o->keep_zeros, 0, 0},
        {"--tune", "all|norms", "what changes (all)", OPT_CHOICE, &tune, 0, 0},
        {"--checkpoint", "FILE", "what going on needs (OUTPUT.checkpoint, until all is done)",
         OPT_STR, &r->checkpoint, 0, 0},
        {"--resume", NULL, "go on from the checkpoint", OPT_FLAG, &r->resume, 0, 0},
        {"--save-every", "N", "steps between checkpoints (a tenth)", OPT_INT, &r->save_every, 1,
         1e9},
        {"--eval-every", "N", "steps between scores (a twentieth)", OPT_INT, &r->eval_every, 1,
         1e9},
        {"--eval-tokens", "N", "of those held out in a score on the way (32768)", OPT_INT,
         &r->eval_tokens, 1, 1e9},
        {"--log", "CSV", "table of losses", OPT_STR, &r->log_path, 0, 0},
        {"--log-every", "N", "steps in a line of it (a five-hundredth)", OPT_INT, &r->log_every, 1,
         1e9},
        {"--plot", "SVG", "picture of losses", OPT_STR, &r->plot, 0, 0},
        {"--seed", "N", "of first values, windows and dropout (1)", OPT_SEED, &o->seed, 0, 0},
        {"-t --threads", "N", "compute threads; 0: as many as there are cores", OPT_INT,
         &o->threads, 0, 256},
        {"--json", NULL, "one JSON object at the end in place of text", OPT_FLAG, &r->json, 0, 0},
    };
    const opt_table table = {
        .verb = "train",
        .usage = "usage: brisk train mlp|lstm|llama --data FILE -o OUT.gguf [options]",
        .about = "Trains a simple network, an LSTM language model or a small transformer.",
        .specs = specs,
        .n_specs = BK_ARRAY_LEN(specs)};
    if (!cli_options(&table, argc, argv, status)) return false;
    if (no_forget_bias) o->forget_bias = false;
    o->vocab = (brisk_vocab_kind)vocab;
    o->tune = (brisk_train_tune)tune;
    return true;
}

/* The kind is the first word behind the verb: what the other options begin with depends on it. */
static bool take_kind(train_run *r, int *argc, char ***argv, int *status) {
    brisk_train_default(BRISK_TRAIN_LSTM, &r->o);
    if (*argc > 1 && (*argv)[1][0] != '-') {
        for (size_t i = 0; i < BK_ARRAY_LEN(kinds); i++) {
            if (strcmp((*argv)[1], kinds[i]) != 0) continue;
            r->kind = kinds[i];
            brisk_train_default((brisk_train_kind)i, &r->o);
        }
        if (!r->kind) {
            *status =
                cli_fail("train: '%.40s' is no kind of model; mlp, lstm and llama are", (*argv)[1]);
            return false;
        }
        ++*argv;
        --*argc;
    }
    return true;
}

static int at_least_one(int v) { return v > 0 ? v : 1; }

/* The table that is installed with the program, beside the folder that it is in; or, where it was built,
 * in the source's. */
static bool find_digits(train_run *r) {
    static const char *const places[] = {"../share/brisk/digits.csv", "../share/digits.csv"};
    char folder[3072];
    ssize_t n = readlink("/proc/self/exe", folder, sizeof folder - 1);
    folder[n > 0 ? n : 0] = '\0';
    char *slash = strrchr(folder, '/');
    if (slash) slash[1] = '\0';
    for (size_t i = 0; slash && i < BK_ARRAY_LEN(places); i++) {
        char path[4096];
        snprintf(path, sizeof path, "%s%s", folder, places[i]);
        if (!realpath(path, r->digits)) continue;
        r->o.data = r->digits;
        return true;
    }
    return false;
}

/* Whether a file can be made there: better known before hours of work than after. */
static bool can_write(const char *path) {
    char folder[4096];
    if (!path) return true;
    const char *slash = strrchr(path, '/');
    snprintf(folder, sizeof folder, "%.*s", slash ? (int)(slash - path) + 1 : 1,
             slash ? path : ".");
    if (access(folder, W_OK | X_OK) == 0) return true;
    return cli_fail("%s: %s", path, strerror(errno)), false;
}

/* A simple network may be made for what is printed alone. */
static bool complete(train_run *r) {
    bool mlp = r->o.kind == BRISK_TRAIN_MLP;
    if (!r->kind) return cli_fail("train: say which kind of model: mlp, lstm or llama"), false;
    if (!r->o.data && !(mlp && find_digits(r)))
        return cli_fail(mlp ? "train: give --data TABLE.csv; the digits that are installed with "
                              "brisk, share/brisk/digits.csv, are not there"
                            : "train: give --data FILE"),
               false;
    if (!r->out && !mlp) return cli_fail("train: give -o FILE for the model"), false;
    if (!r->type) r->type = r->o.quant;
    if (!r->checkpoint && r->out) {
        size_t n = (size_t)snprintf(r->checkpoint_path, sizeof r->checkpoint_path, "%s.checkpoint",
                                    r->out);
        if (n >= sizeof r->checkpoint_path) return cli_fail("the output's name is too long"), false;
        r->checkpoint = r->checkpoint_path;
    }
    if (r->resume && !r->checkpoint)
        return cli_fail("train: --resume wants -o FILE or --checkpoint FILE"), false;
    if (r->resume) r->o.resume = r->checkpoint;
    if (!can_write(r->out) || !can_write(r->checkpoint) || !can_write(r->log_path) ||
        !can_write(r->plot))
        return false;
    if (!r->resume && r->checkpoint && access(r->checkpoint, F_OK) == 0)
        return cli_fail("%s is there: go on from it with --resume, or remove it", r->checkpoint),
               false;
    return true;
}

static void on_progress(const char *what, double done, void *user) {
    train_run *r = user;
    if (r->train) return; /* the loop has a line of its own */
    r->bar.what = what;
    r->bar.most = 0;
    cli_progress_show(&r->bar, done, "");
}

static int go(train_run *r) {
    brisk_error err;
    r->o.progress = on_progress;
    r->o.user = r;
    r->o.cancel = &cli_interrupted;
    cli_catch(SIGINT);
    cli_progress_start(&r->bar, "reading");
    brisk_status st = brisk_train_open(&r->o, &r->train, &err);
    cli_progress_end(&r->bar);
    if (st == BRISK_ERR_CANCELLED) return EXIT_INTERRUPTED;
    if (st) return cli_fail("%s", err.text);
    brisk_train_get_info(r->train, &r->info);
    int steps = r->info.steps;
    if (!r->eval_every) r->eval_every = at_least_one(steps / 20);
    if (!r->save_every) r->save_every = at_least_one(steps / 10);
    if (!r->log_every) r->log_every = at_least_one(steps / 500);
    if (!train_log_open(&r->log, r->log_path, r->info.step)) return EXIT_ERROR;
    if (!r->json) train_print_start(r);
    cli_progress_start(&r->bar, "training");
    int status = train_loop(r);
    bool good = train_log_write(&r->log) && train_write_plot(r);
    if (status) return status;
    if (r->out && brisk_train_write(r->train, r->out, r->type, &err))
        return cli_fail("%s (all is in the checkpoint %s)", err.text, r->checkpoint);
    /* One that nobody asked for was for the case that something stops the work. */
    if (r->checkpoint == r->checkpoint_path) unlink(r->checkpoint);
    if (r->json) {
        train_print_json(r);
    } else {
        train_print_end(r);
    }
    return good && cli_finish_output(stdout) ? 0 : EXIT_ERROR;
}

int cmd_train(int argc, char **argv) {
    train_run r = {.argc = argc, .argv = argv, .eval_tokens = 32768};
    int status = EXIT_ERROR;
    if (!take_kind(&r, &argc, &argv, &status)) return status;
    if (!parse(&r, argc, argv, &status)) return status;
    if (!complete(&r)) return EXIT_ERROR;
    status = go(&r);
    brisk_train_close(&r.train);
    train_log_free(&r.log);
    return status;
}
