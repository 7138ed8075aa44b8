#include "cli/page.h"
#include "cli/profile.h"

static const char notes[] =
    "<p>Time is on the clock, from the first thread at work to the next operation, waiting for the "
    "slowest thread included; <em>prepare</em> and <em>wait</em> are parts of it. Read are packed "
    "weights, keys and values, each once; operations are two per multiplication and addition. "
    "Serial is what happens between the operations of one pass and the next, on one thread. The "
    "limit is the longer of reading the bytes and doing the operations at the rates measured on "
    "this machine.</p>\n";

static void cards(const profile_view *v, bk_buf *out) {
    const brisk_profile_phase *p = v->phase;
    char what[64];
    bk_buf_append_str(out, "<div class=\"cards\">");
    snprintf(what, sizeof what, "tokens/s, %s", v->name);
    page_card(out, "", what, (double)p->tokens * 1e9 / p->total_ns);
    if (p->limit_ns > 0) {
        page_card(out, " %", "of this machine's limit", 100 * p->limit_ns / p->total_ns);
        page_card(out, "", "tokens/s at the limit", (double)p->tokens * 1e9 / p->limit_ns);
    }
    page_card(out, " %", "waiting for threads", 100 * p->wait_ns / p->total_ns);
    page_card(out, " %", "serial", 100 * p->serial_ns / p->total_ns);
    bk_buf_append_str(out, "</div>\n");
}

static void table(const profile_view *v, bk_buf *out) {
    profile_line lines[PROFILE_LINES];
    profile_cell cells[PROFILE_COLUMNS];
    size_t n = profile_lines(v, lines), columns = profile_cells(v, &lines[0], cells);
    bk_buf_append_str(out, "<div class=\"wide\"><table><tr><th>operation</th><th>weights</th>");
    for (size_t c = 0; c < columns; c++)
        bk_buf_printf(out, "<th>%s<br>%s</th>", cells[c].name, cells[c].unit);
    bk_buf_append_str(out, "</tr>\n");
    for (size_t i = 0; i < n; i++) {
        profile_cells(v, &lines[i], cells);
        bk_buf_printf(out, "<tr><td>%s</td><td>%s</td>", lines[i].name, lines[i].types);
        for (size_t c = 0; c < columns; c++) bk_buf_printf(out, "<td>%s</td>", cells[c].text);
        bk_buf_append_str(out, "</tr>\n");
    }
    bk_buf_append_str(out, "</table></div>\n");
}

void profile_html(const profile_report *r, bk_buf *out) {
    profile_view views[2];
    size_t n = profile_views(r, views);
    char text[512];
    page_begin(out, "brisk profile");
    bk_buf_append_str(out, "<h1>");
    cli_put_markup(out, profile_model(r, text, sizeof text));
    bk_buf_append_str(out, "</h1>\n");
    for (size_t i = 0; i < n; i++) cards(&views[i], out);
    profile_svg(r, false, out);
    for (size_t i = 0; i < n; i++) {
        bk_buf_printf(out, "<h2>%s, per %s</h2>\n", views[i].name, views[i].per_name);
        table(&views[i], out);
    }
    bk_buf_append_str(out, notes);
    bk_buf_append_str(out, "<p>");
    cli_put_markup(out, r->path);
    bk_buf_printf(out, "; brisk %s, %s</p>\n", brisk_version(), r->date);
    page_end(out);
}
