/* A rendering from end to end. */
#include "text/template.h"

#include <string.h>

#include "text/template_eval.h"

/* Moves the text and its spans out of the arena. */
static bk_status hand_over(const bk_tsb *sb, bk_rendered *out, bk_error *err) {
    if (!bk_buf_append(&out->text, sb->data, sb->len))
        return bk_fail(err, BK_ERR_NOMEM, "out of memory");
    if (sb->n_user == 0) return BK_OK;
    out->user = bk_alloc(sb->n_user, sizeof *out->user);
    if (!out->user) return bk_fail(err, BK_ERR_NOMEM, "out of memory");
    memcpy(out->user, sb->user, sb->n_user * sizeof *out->user);
    out->n_user = out->cap_user = sb->n_user;
    return BK_OK;
}

/* request: {NULL, 0} when vars_json is all there is. */
static bk_status render(const bk_template *t, bk_str vars_json, bk_str request, bk_rendered *out,
                        bk_error *err) {
    bk_error none;
    bk_tsb sb;
    if (!err) err = &none;
    *out = (bk_rendered){0};
    bk_trun run = {.err = err, .line = 1};
    bk_tsb_init(&sb, &run);
    run.out = &sb;
    run.scope = bk_tscope_push(&run, NULL);
    if (run.scope && bk_trun_read_vars(&run, vars_json, request)) bk_texec(&run, t->body);
    bk_status status = run.status;
    if (status == BK_OK) status = hand_over(&sb, out, err);
    if (status != BK_OK) bk_rendered_free(out);
    bk_arena_free(&run.arena);
    return status;
}

bk_status bk_template_render(const bk_template *t, bk_str vars_json, bk_rendered *out,
                             bk_error *err) {
    return render(t, vars_json, (bk_str){NULL, 0}, out, err);
}

bk_status bk_template_render_request(const bk_template *t, bk_str request_json,
                                     bk_str defaults_json, bk_rendered *out, bk_error *err) {
    return render(t, defaults_json, request_json.data ? request_json : BK_STR(""), out, err);
}

void bk_rendered_free(bk_rendered *r) {
    bk_buf_free(&r->text);
    bk_free(r->user);
    *r = (bk_rendered){0};
}
