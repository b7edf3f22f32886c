/* test_report_doc.c - a report's pages: self-contained, escaped, the same bytes every time. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cli/report_doc.h"
#include "cli/report_html.h"
#include "cli/report_md.h"
#include "cli/report_plot.h"

#define HOSTILE "<script>alert(\"x\")</script> & 'quotes' | `ticks` \x01\n](evil)"

static json_t *make(void)
{
    static const char *const columns[] = {"variant " HOSTILE, "contrast"};
    json_t *doc = report_doc_new(HOSTILE, "lead " HOSTILE);
    json_t *section = report_doc_section(doc, "section " HOSTILE);
    report_doc_say(section, "text", "value %.2f of %s", 0.5, HOSTILE);
    report_doc_say(section, "note", "%s", HOSTILE);
    report_doc_say(section, "code", "```\n%s", HOSTILE);
    json_t *table = report_doc_table(section, HOSTILE, columns, 2);
    json_t *row = report_doc_row(table);
    report_doc_cell(row, "%s", HOSTILE);
    report_doc_cell(row, "%.3f", 0.25);
    json_t *bars = report_doc_plot(section, "bars", HOSTILE, "value", "share right");
    (void)json_array_append_new(json_object_get(bars, "categories"), json_string("Risk<b>"));
    (void)json_array_append_new(json_object_get(bars, "categories"), json_string("Calm"));
    (void)json_object_set_new(bars, "line", json_real(0.5));
    json_t *series = report_doc_series(bars, HOSTILE);
    report_doc_point(series, 0, 0.75, 0.5, 0.9);
    report_doc_hole(series);
    json_t *lines = report_doc_plot(section, "lines", "curve", "step", "loss");
    series = report_doc_series(lines, "pft & co");
    for (int i = 0; i < 60; i++) {
        report_doc_point(series, i, 3.0 - i * 0.01, 1, 0);
    }
    report_doc_point(series, 61, (double)NAN, 1, 0);
    assert_true(report_doc_ok(doc));
    return doc;
}

static struct str html_of(const json_t *doc)
{
    struct str out = {0};
    report_html(doc, &out);
    assert_int_equal(str_ok(&out), OK);
    return out;
}

static void test_hostile_names_cannot_become_markup(void **state)
{
    (void)state;
    json_t *doc = make();
    struct str html = html_of(doc);
    assert_null(strstr(html.data, "<script"));
    assert_null(strstr(html.data, "\"x\""));
    assert_null(strstr(html.data, "Risk<b>"));
    assert_null(strchr(html.data, '\x01'));
    assert_non_null(strstr(html.data, "&lt;script&gt;alert(&quot;x&quot;)"));
    struct str md = {0};
    report_md(doc, &md);
    assert_int_equal(str_ok(&md), OK);
    const char *code = strstr(md.data, "````\n"); /* a fence longer than the one inside */
    assert_non_null(code);
    for (const char *at = md.data; (at = strstr(at, "<script")) != NULL; at++) {
        assert_true(at[-1] == '\\' || at > code); /* plain only inside the fence */
    }
    assert_non_null(strstr(md.data, "\\| \\`ticks\\`"));
    str_free(&html);
    str_free(&md);
    json_decref(doc);
}

/* The width of the first bar. */
static double bar_width(double value, double high)
{
    json_t *doc = report_doc_new("title", "lead");
    json_t *bars = report_doc_plot(report_doc_section(doc, "s"), "bars", "b", "value", "score");
    (void)json_array_append_new(json_object_get(bars, "categories"), json_string("Calm"));
    report_doc_point(report_doc_series(bars, "judge"), 0, value, 0.0, high);
    assert_true(report_doc_ok(doc));
    struct str html = html_of(doc);
    const char *bar = strstr(html.data, "<rect class=\"b0\"");
    assert_non_null(bar);
    double width = strtod(strstr(bar, "width=\"") + strlen("width=\""), NULL);
    str_free(&html);
    json_decref(doc);
    return width;
}

static void test_bars_of_scores_above_one_are_drawn_to_their_own_scale(void **state)
{
    (void)state;
    double whole = bar_width(1.0, 1.0);
    assert_true(fabs(bar_width(0.5, 0.9) - whole / 2.0) < 0.11);
    assert_true(fabs(bar_width(7.0, 9.5) - whole * 0.7) < 0.11); /* an axis to 10 */
    assert_true(fabs(bar_width(3.0, 6.0) - whole * 0.5) < 0.11); /* the interval's end counts */
}

static void test_the_page_asks_nothing_of_the_network(void **state)
{
    (void)state;
    json_t *doc = make();
    struct str html = html_of(doc);
    static const char *const banned[] = {"http:", "https:", "src=", "<link", "@import", "url("};
    for (size_t i = 0; i < sizeof banned / sizeof banned[0]; i++) {
        assert_null(strstr(html.data, banned[i]));
    }
    assert_non_null(strstr(html.data, "default-src 'none'"));
    assert_non_null(strstr(html.data, "prefers-color-scheme:dark"));
    assert_non_null(strstr(html.data, "@media print"));
    str_free(&html);
    json_decref(doc);
}

static void test_the_same_document_gives_the_same_bytes(void **state)
{
    (void)state;
    json_t *one = make();
    json_t *two = make();
    struct str a = html_of(one);
    struct str b = html_of(two);
    assert_int_equal(a.len, b.len);
    assert_memory_equal(a.data, b.data, a.len);
    str_free(&a);
    str_free(&b);
    json_decref(one);
    json_decref(two);
}

static void test_plots_draw_what_is_finite_and_say_what_they_leave_out(void **state)
{
    (void)state;
    json_t *doc = report_doc_new("t", "");
    json_t *section = report_doc_section(doc, "s");
    json_t *lines = report_doc_plot(section, "lines", "many", "x", "y");
    for (int i = 0; i < REPORT_SERIES + 2; i++) {
        json_t *series = report_doc_series(lines, "one");
        report_doc_point(series, 1, 0.5, 0.4, 0.6); /* a single point still has a range */
    }
    (void)json_array_append_new(json_object_get(lines, "series"), json_null());
    struct str out = {0};
    report_plot_svg(lines, &out);
    assert_int_equal(str_ok(&out), OK);
    assert_null(strstr(out.data, "nan"));
    assert_null(strstr(out.data, "inf"));
    assert_non_null(strstr(out.data, "the first 8 of 11"));
    str_clear(&out);
    json_t *empty = report_doc_plot(section, "lines", "none", "x", "y");
    report_plot_svg(empty, &out);
    assert_int_equal(str_ok(&out), OK);
    assert_null(strstr(out.data, "nan"));
    str_free(&out);
    json_decref(doc);
}

static void test_bytes_that_are_no_text_do_not_lose_the_document(void **state)
{
    (void)state;
    json_t *doc = report_doc_new("bad \xFF\xC3 bytes", "");
    assert_true(report_doc_ok(doc));
    assert_string_equal(json_string_value(json_object_get(doc, "title")), "bad ?? bytes");
    json_decref(doc);
    assert_false(report_doc_ok(NULL));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hostile_names_cannot_become_markup),
        cmocka_unit_test(test_bars_of_scores_above_one_are_drawn_to_their_own_scale),
        cmocka_unit_test(test_the_page_asks_nothing_of_the_network),
        cmocka_unit_test(test_the_same_document_gives_the_same_bytes),
        cmocka_unit_test(test_plots_draw_what_is_finite_and_say_what_they_leave_out),
        cmocka_unit_test(test_bytes_that_are_no_text_do_not_lose_the_document),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
