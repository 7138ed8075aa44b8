/* The steps of `brisk train`: when to score, to keep a checkpoint, to write a line. */
#include <string.h>

#include "cli/train.h"

/* Sums of the steps since the last line of the table. */
typedef struct gathered {
    double loss, grad_norm, seconds;
    uint64_t tokens;
    int n;
} gathered;

/* A checkpoint that cannot be written is told and does not end the work: the one before is whole. */
static bool save(train_run *r) {
    brisk_error err;
    if (!r->checkpoint) return true;
    if (!brisk_train_save(r->train, r->checkpoint, &err)) return true;
    cli_progress_end(&r->bar);
    cli_fail("%s", err.text);
    return false;
}

static void show(train_run *r, const brisk_train_report *p) {
    char note[160];
    int n = snprintf(note, sizeof note, "loss %.3f", p->loss);
    if (r->scored) n += snprintf(note + n, sizeof note - (size_t)n, ", valid %.3f", r->score.loss);
    double rate = (double)r->tokens / r->seconds;
    int left = (int)((r->info.steps - p->step) * ((double)p->tokens / rate));
    snprintf(note + n, sizeof note - (size_t)n, ", %.0f %s/s, %d:%02d left", rate,
             r->o.kind == BRISK_TRAIN_MLP ? "examples" : "tokens", left / 60, left % 60);
    cli_progress_show(&r->bar, (double)p->step / r->info.steps, note);
}

static bool score(train_run *r, uint64_t most, brisk_error *err) {
    if (r->info.valid_tokens < 2) return true;
    brisk_status st = brisk_train_validate(r->train, most, &r->score, err);
    if (!st) r->scored = true;
    return !st;
}

static bool due(int every, const brisk_train_report *p) {
    return every > 0 && p->step % every == 0;
}

/* After a step: a line of the table when it is due, with a score when that is. */
static bool note(train_run *r, const brisk_train_report *p, gathered *g, brisk_error *err) {
    bool scored = due(r->eval_every, p) || p->step == r->info.steps;
    g->loss += p->loss;
    g->grad_norm += p->grad_norm;
    g->seconds += p->seconds;
    g->tokens += p->tokens;
    g->n++;
    show(r, p);
    if (!due(r->log_every, p) && !scored) return true;
    train_row row = {.step = p->step,
                     .loss = g->loss / g->n,
                     .lr = p->lr,
                     .grad_norm = g->grad_norm / g->n,
                     .tokens_per_second = (double)g->tokens / g->seconds};
    *g = (gathered){0};
    bool good = !scored || score(r, (uint64_t)r->eval_tokens, err);
    if (scored && good && r->scored) {
        row.valid_loss = r->score.loss;
        row.accuracy = r->score.accuracy;
    }
    if (!train_log_add(&r->log, &row)) return false;
    if (!scored) return good;
    cli_progress_end(&r->bar);
    train_print_row(r, &row);
    return train_log_write(&r->log) && good;
}

/* Ctrl-C, or a step that failed: what is there is kept. A loss that is no number keeps the checkpoint
 * before, from which there is a way on. */
static int stopped(train_run *r, brisk_status st, const brisk_error *err) {
    bool interrupted = cli_interrupted || st == BRISK_ERR_CANCELLED;
    cli_progress_end(&r->bar);
    train_log_write(&r->log);
    if (!interrupted) return *err->text ? cli_fail("%s", err->text) : EXIT_ERROR;
    brisk_train_get_info(r->train, &r->info);
    if (save(r) && r->checkpoint) train_print_resume(r);
    return EXIT_INTERRUPTED;
}

int train_loop(train_run *r) {
    brisk_train_report p = {.step = r->info.step};
    brisk_error err = {BRISK_OK, ""};
    gathered g = {0};
    if (r->o.from && r->info.step == 0) {
        if (!score(r, 0, &err)) return stopped(r, err.code, &err);
        cli_progress_end(&r->bar);
        train_print_before(r);
    }
    while (p.step < r->info.steps && !r->score.stop) {
        brisk_status st = brisk_train_step(r->train, &p, &err);
        if (st) return stopped(r, st, &err);
        r->tokens += p.tokens;
        r->seconds += p.seconds;
        if (!note(r, &p, &g, &err)) return stopped(r, err.code, &err);
        if (cli_interrupted) return stopped(r, BRISK_OK, &err);
        if (due(r->save_every, &p) && p.step < r->info.steps) save(r);
    }
    cli_progress_end(&r->bar);
    /* The table's scores are over equally many tokens; the one that is told at the end is over all. */
    bool whole = r->scored && r->score.tokens + 1 >= r->info.valid_tokens;
    if ((!whole || r->score.stop) && !score(r, 0, &err)) return stopped(r, err.code, &err);
    brisk_train_get_info(r->train, &r->info);
    return save(r) ? 0 : EXIT_ERROR;
}
