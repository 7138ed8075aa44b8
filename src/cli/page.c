#include "cli/page.h"

static const char before_title[] =
    "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">"
    "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">"
    "<title>";
static const char after_title[] =
    "</title><style>"
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

void page_begin(bk_buf *out, const char *title) {
    bk_buf_append_str(out, before_title);
    bk_buf_append_str(out, title);
    bk_buf_append_str(out, after_title);
}

void page_end(bk_buf *out) { bk_buf_append_str(out, "</main></body></html>\n"); }

void page_card(bk_buf *out, const char *unit, const char *what, double v) {
    bk_buf_printf(out,
                  v < 9.95 ? "<div class=\"card\"><b>%.1f%s</b>"
                           : "<div class=\"card\"><b>%.0f%s</b>",
                  v, unit);
    bk_buf_printf(out, "<span>%s</span></div>\n", what);
}
