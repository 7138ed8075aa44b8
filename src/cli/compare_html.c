#include "cli/compare.h"
#include "cli/page.h"

static const char notes[] =
    "<p>All speeds are of one run in which the models took turns; ratios are medians of those "
    "within a "
    "round, the spread is half of what lies between their quartiles. KL is the divergence of a "
    "model's "
    "predictions from the source's, in nats. Greedy: tokens until an answer differs from the "
    "source's "
    "(median). Flips: questions that were answered right by the source and wrong here (&#8722;), "
    "and "
    "the other way round (+).</p><p>Dense models have nothing left out. What they reach at a "
    "candidate's speed, and at its quality, is taken from the line between them: a mixture of two "
    "types, tensor by tensor, lies on it. A candidate is dominated when another is as fast and as "
    "good, "
    "and a pruned one also when that line is better. Within noise: a speed within the spread would "
    "turn the verdict.</p>\n";

static void put_name(const brisk_compare_row *r, bk_buf *out) {
    bk_buf_append_str(out, "<tr><td>");
    cli_put_markup(out, r->name);
    bk_buf_append_str(out, "</td>");
}

static void measured(const brisk_comparison *c, bk_buf *out) {
    bool answers = c->rows[0].answers.prompts > 0, choices = c->rows[0].choices.questions > 0;
    bk_buf_append_str(
        out, "<h2>Measured</h2>\n<div class=\"wide\"><table class=\"cmp\"><tr><th>candidate"
             "</th><th></th><th>file<br>MB</th><th>memory<br>MB</th><th>prefill<br>tokens/s"
             "</th><th>times</th><th>decode<br>tokens/s</th><th>times</th><th>perplexity"
             "</th><th>KL<br>mean</th><th>KL<br>p99</th><th>same top<br>%</th>");
    if (answers) bk_buf_append_str(out, "<th>greedy<br>tokens</th>");
    if (choices) bk_buf_append_str(out, "<th>right<br>%</th><th>flips</th>");
    bk_buf_append_str(out, "</tr>\n");
    for (size_t i = 0; i < c->n_rows; i++) {
        const brisk_compare_row *r = &c->rows[i];
        put_name(r, out);
        bk_buf_printf(out,
                      "<td>%s</td><td>%.1f</td><td>%.1f</td><td>%.1f</td><td>%.2f</td><td>%.1f</td>"
                      "<td>%.2f</td><td>%.3f</td><td>%.5f</td><td>%.4f</td><td>%.2f</td>",
                      r->dense ? "dense" : "pruned", (double)r->file_bytes * 1e-6,
                      (double)r->resident_bytes * 1e-6, r->prefill.speed, r->prefill.ratio,
                      r->decode.speed, r->decode.ratio, r->quality.ppl, r->quality.kl_mean,
                      r->quality.kl_p99, 100 * r->quality.top_agreement);
        if (answers) bk_buf_printf(out, "<td>%.1f</td>", r->answers.median);
        if (choices)
            bk_buf_printf(out, "<td>%.1f</td><td>&#8722;%zu +%zu</td>",
                          100 * (double)r->choices.right / (double)r->choices.questions,
                          r->choices.to_wrong, r->choices.to_right);
        bk_buf_append_str(out, "</tr>\n");
    }
    bk_buf_append_str(out, "</table></div>\n");
}

static void put_cell(const char *text, bk_buf *out) {
    bk_buf_append_str(out, "<td>");
    cli_put_markup(out, text);
    bk_buf_append_str(out, "</td>");
}

static void rivals(const brisk_comparison *c, const compare_view *v, bk_buf *out) {
    char text[256];
    bk_buf_printf(out,
                  "<h2>Rivals in %s</h2>\n<div class=\"wide\"><table class=\"cmp words\"><tr><th>"
                  "candidate</th><th>verdict</th><th>spread, %%</th><th>dense at its speed</th><th>"
                  "dense at its quality</th></tr>\n",
                  v->name);
    for (size_t i = 1; i < c->n_rows; i++) {
        const brisk_compare_row *r = &c->rows[i];
        const brisk_compare_phase *p = compare_phase(r, v);
        put_name(r, out);
        put_cell(compare_verdict(c, r, v, text, sizeof text), out);
        bk_buf_printf(out, "<td>%.1f</td>", 100 * p->spread);
        put_cell(compare_rival(c, &p->equal_speed, false, text, sizeof text), out);
        put_cell(compare_rival(c, &p->equal_quality, true, text, sizeof text), out);
        bk_buf_append_str(out, "</tr>\n");
    }
    bk_buf_append_str(out, "</table></div>\n");
}

void compare_html(const compare_report *r, bk_buf *out) {
    page_begin(out, "brisk: recipes compared");
    bk_buf_append_str(out, "<style>table.cmp tr:last-child td{font-weight:400}"
                           "table.words td,table.words th{text-align:left}</style><h1>Recipes of ");
    cli_put_markup(out, r->source);
    bk_buf_append_str(out, "</h1>\n");
    for (size_t v = 0; v < BK_ARRAY_LEN(compare_views); v++) compare_svg(r, &compare_views[v], out);
    measured(r->c, out);
    for (size_t v = 0; v < BK_ARRAY_LEN(compare_views); v++) rivals(r->c, &compare_views[v], out);
    bk_buf_append_str(out, notes);
    bk_buf_append_str(out, "<p>Quality measured on ");
    cli_put_markup(out, r->text);
    bk_buf_append_str(out, ". ");
    cli_put_markup(out, r->cpu);
    bk_buf_printf(out, ", %s, %d threads; brisk %s, %s</p>\n", r->c->cpu_level, r->c->threads,
                  brisk_version(), r->date);
    page_end(out);
}
