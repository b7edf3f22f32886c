/* report_html.c - the page. */
#include "cli/report_html.h"

#include <stdbool.h>
#include <string.h>

#include "cli/report_plot.h"

static const char HEAD[] =
    "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
    "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src "
    "'unsafe-inline'\">\n"
    "<style>\n"
    ":root{color-scheme:light dark;--fg:#1b1f24;--bg:#fff;--soft:#5b6570;--line:#d5dae0;"
    "--tint:#f4f6f8;--warn:#fff4d6;--c0:#0072b2;--c1:#d55e00;--c2:#009e73;--c3:#b0629a;--c4:#"
    "b8860b;"
    "--c5:#2f9bd0;--c6:#6a3d9a;--c7:#6b7280}\n"
    "@media(prefers-color-scheme:dark){:root{--fg:#e6e9ed;--bg:#14171b;--soft:#a3adb8;"
    "--line:#363d45;--tint:#1d2228;--warn:#3a3113;--c0:#4aa8e0;--c1:#f0813a;--c2:#2cc79a;"
    "--c3:#d995c4;--c4:#e0b84c;--c5:#8fd0f2;--c6:#b795dd;--c7:#a7b0ba}}\n"
    "@media print{:root{color-scheme:light;--fg:#000;--bg:#fff;--soft:#333;--line:#bbb;--tint:#fff;"
    "--warn:#fff;--c0:#0072b2;--c1:#d55e00;--c2:#009e73;--c3:#b0629a;--c4:#b8860b;--c5:#2f9bd0;"
    "--c6:#6a3d9a;--c7:#6b7280}table,figure,.note{break-inside:avoid}h2{break-after:avoid}"
    "nav{display:none}}\n"
    "body{font:15px/1.5 system-ui,sans-serif;color:var(--fg);background:var(--bg);margin:0 auto;"
    "max-width:62rem;padding:1.5rem}\n"
    "h1{font-size:1.6rem;margin:0 0 .3rem}h2{font-size:1.2rem;margin:2.2rem 0 .6rem;"
    "border-bottom:1px solid var(--line);padding-bottom:.2rem}\n"
    ".lead,figcaption,caption{color:var(--soft)}nav a{margin-right:1rem;color:var(--c0)}\n"
    ".scroll{overflow-x:auto}table{border-collapse:collapse;margin:.6rem 0 1rem;font-size:.92em}"
    "caption{text-align:left;padding-bottom:.3rem}\n"
    "th,td{padding:.25rem .7rem;border-bottom:1px solid var(--line);text-align:left;"
    "vertical-align:top;font-variant-numeric:tabular-nums}th{background:var(--tint)}\n"
    ".note{background:var(--warn);border-left:4px solid var(--c4);padding:.5rem .9rem;"
    "margin:.7rem 0}p{white-space:pre-line}\n"
    "pre{background:var(--tint);padding:.7rem;overflow-x:auto;font-size:.85em;"
    "white-space:pre-wrap;overflow-wrap:anywhere}\n"
    "figure{margin:1rem 0}figcaption{margin-bottom:.3rem}svg{width:100%;height:auto;"
    "max-width:760px}svg text{font:12px system-ui,sans-serif;fill:var(--fg)}\n"
    ".g{stroke:var(--line)}.w{stroke:var(--fg);stroke-width:1.3;opacity:.75}"
    ".m{stroke:var(--fg);stroke-dasharray:5 4}.s{fill:none;stroke-width:2}\n";

static void add_styles(struct str *out)
{
    static const char *const dashes[] = {"none", "7 3", "2 3",  "9 3 2 3",
                                         "4 2",  "1 2", "12 4", "6 2 2 2"};
    for (int i = 0; i < 8; i++) {
        str_addf(out, ".b%d{fill:var(--c%d)}.s%d{stroke:var(--c%d);stroke-dasharray:%s}\n", i, i, i,
                 i, dashes[i]);
    }
    str_add(out, "</style>\n");
}

static void add_element(const char *open, const json_t *text, const char *close, struct str *out)
{
    str_add(out, open);
    report_plot_escape(json_string_value(text), out);
    str_add(out, close);
}

static void add_table(const json_t *block, struct str *out)
{
    size_t i;
    size_t k;
    json_t *row;
    json_t *cell;
    str_add(out, "<div class=\"scroll\"><table>");
    add_element("<caption>", json_object_get(block, "caption"), "</caption>\n<thead><tr>", out);
    json_array_foreach(json_object_get(block, "columns"), i, cell)
    {
        add_element("<th scope=\"col\">", cell, "</th>", out);
    }
    str_add(out, "</tr></thead>\n<tbody>\n");
    json_array_foreach(json_object_get(block, "rows"), i, row)
    {
        str_add(out, "<tr>");
        json_array_foreach(row, k, cell)
        {
            add_element(k == 0 ? "<th scope=\"row\">" : "<td>", cell, k == 0 ? "</th>" : "</td>",
                        out);
        }
        str_add(out, "</tr>\n");
    }
    str_add(out, "</tbody></table></div>\n");
}

static void add_block(const json_t *block, struct str *out)
{
    const char *kind = json_string_value(json_object_get(block, "kind"));
    const json_t *text = json_object_get(block, "text");
    if (!kind) {
        return;
    }
    if (strcmp(kind, "text") == 0) {
        add_element("<p>", text, "</p>\n", out);
    } else if (strcmp(kind, "note") == 0) {
        add_element("<p class=\"note\">", text, "</p>\n", out);
    } else if (strcmp(kind, "code") == 0) {
        add_element("<pre>", text, "</pre>\n", out);
    } else if (strcmp(kind, "table") == 0) {
        add_table(block, out);
    } else {
        report_plot_svg(block, out);
    }
}

void report_html(const json_t *doc, struct str *out)
{
    const json_t *sections = json_object_get(doc, "sections");
    size_t i;
    size_t k;
    json_t *section;
    json_t *block;
    add_element("<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n<title>",
                json_object_get(doc, "title"), "</title>\n", out);
    str_add(out, HEAD);
    add_styles(out);
    add_element("</head><body>\n<h1>", json_object_get(doc, "title"), "</h1>\n", out);
    add_element("<p class=\"lead\">", json_object_get(doc, "lead"), "</p>\n<nav>", out);
    json_array_foreach(sections, i, section)
    {
        str_addf(out, "<a href=\"#s%zu\">", i + 1);
        add_element("", json_object_get(section, "title"), "</a> ", out);
    }
    str_add(out, "</nav>\n");
    json_array_foreach(sections, i, section)
    {
        str_addf(out, "<h2 id=\"s%zu\">", i + 1);
        add_element("", json_object_get(section, "title"), "</h2>\n", out);
        json_array_foreach(json_object_get(section, "blocks"), k, block)
        {
            add_block(block, out);
        }
    }
    str_add(out, "</body></html>\n");
}
