#include "cli/profile.h"

static const char head[] =
    "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">"
    "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">"
    "<title>brisk profile</title><style>"
    ":root{color-scheme:light dark;--bg:#fff;--fg:#1c1e21;--dim:#5b6168;--line:#e4e6e9;"
    "--card:#f5f6f8}"
    "@media(prefers-color-scheme:dark){:root{--bg:#15171a;--fg:#e6e8eb;--dim:#9aa2ab;"
    "--line:#30343a;--card:#1e2125}}"
    "body{margin:0;background:var(--bg);color:var(--fg);font:15px/1.5 system-ui,sans-serif}"
    "main{max-width:1000px;margin:0 auto;padding:28px 20px 60px}"
    ".cards{display:flex;flex-wrap:wrap;gap:12px;margin:0 0 24px}"
    ".card{flex:1 1 150px;background:var(--card);border-radius:8px;padding:12px 16px}"
    ".card b{display:block;font-size:24px;font-weight:600}.card span{color:var(--dim);"
    "font-size:13px}h1{font-size:22px;margin:0 0 16px}h2{font-size:18px;margin:32px 0 "
    "8px}svg{width:100%;height:auto;display:block}"
    ".wide{overflow-x:auto}table{border-collapse:collapse;width:100%;font-size:13px;"
    "font-variant-numeric:tabular-nums}th,td{text-align:right;padding:5px 8px;"
    "border-bottom:1px solid var(--line);white-space:nowrap}th{color:var(--dim);font-weight:500}"
    "th:first-child,td:first-child,th:nth-child(2),td:nth-child(2){text-align:left}"
    "tr:last-child td{font-weight:600}p{color:var(--dim);font-size:13px;max-width:75ch}"
    "</style></head><body><main>\n";

static const char notes[] =
    "<p>Time is on the clock, from the first thread at work to the next operation, waiting for the "
    "slowest thread included; <em>prepare</em> and <em>wait</em> are parts of it. Read are packed "
    "weights, keys and values, each once; operations are two per multiplication and addition. "
    "Serial is what happens between the operations of one pass and the next, on one thread. The "
    "limit is the longer of reading the bytes and doing the operations at the rates measured on "
    "this machine.</p>\n";

static void card(bk_buf *out, const char *unit, const char *what, double v) {
    bk_buf_printf(out,
                  v < 9.95 ? "<div class=\"card\"><b>%.1f%s</b>"
                           : "<div class=\"card\"><b>%.0f%s</b>",
                  v, unit);
    bk_buf_printf(out, "<span>%s</span></div>\n", what);
}

static void cards(const profile_view *v, bk_buf *out) {
    const brisk_profile_phase *p = v->phase;
    char what[64];
    bk_buf_append_str(out, "<div class=\"cards\">");
    snprintf(what, sizeof what, "tokens/s, %s", v->name);
    card(out, "", what, (double)p->tokens * 1e9 / p->total_ns);
    if (p->limit_ns > 0) {
        card(out, " %", "of this machine's limit", 100 * p->limit_ns / p->total_ns);
        card(out, "", "tokens/s at the limit", (double)p->tokens * 1e9 / p->limit_ns);
    }
    card(out, " %", "waiting for threads", 100 * p->wait_ns / p->total_ns);
    card(out, " %", "serial", 100 * p->serial_ns / p->total_ns);
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
    bk_buf_append_str(out, head);
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
    bk_buf_printf(out, "; brisk %s, %s</p>\n</main></body></html>\n", brisk_version(), r->date);
}
