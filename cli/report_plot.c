/* report_plot.c - bars and lines, drawn by hand. */
#include "cli/report_plot.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "cli/report_doc.h"
#include "common/format/json_doc.h"

enum {
    WIDTH = 760,
    LEFT = 190, /* of bars: room for the names of categories */
    LINE_LEFT = 64,
    RIGHT = 20,
    TOP = 10,
    BOTTOM = 46,
    LINE_HEIGHT = 320,
    BAR = 9,
    BAR_TICKS = 5,
    GROUP_GAP = 12,
    LEGEND = 18,
    TICKS_MAX = 12,
    MARKED_POINTS = 24, /* lines of more points have no dots */
};

struct frame {
    double left, right, top, bottom; /* of the drawing area */
    double x0, x1, y0, y1;           /* of the data */
};

void report_plot_escape(const char *text, struct str *out)
{
    for (const char *c = text ? text : ""; *c != '\0'; c++) {
        switch (*c) {
        case '&':
            str_add(out, "&amp;");
            break;
        case '<':
            str_add(out, "&lt;");
            break;
        case '>':
            str_add(out, "&gt;");
            break;
        case '"':
            str_add(out, "&quot;");
            break;
        case '\'':
            str_add(out, "&#39;");
            break;
        default:
            if (((unsigned char)*c < 0x20 && *c != '\n' && *c != '\t') || *c == 0x7F) {
                str_add(out, "\xEF\xBF\xBD");
            } else {
                str_append(out, c, 1);
            }
        }
    }
}

static size_t shown(const json_t *plot)
{
    size_t n = json_array_size(json_object_get(plot, "series"));
    return n < REPORT_SERIES ? n : (size_t)REPORT_SERIES;
}

/* A point's numbers; false when it is no point or one of them is not finite. */
static bool read_point(const json_t *point, double out[4], bool *interval)
{
    size_t n = json_array_size(point);
    *interval = n == 4;
    for (size_t i = 0; i < n && i < 4; i++) {
        out[i] = json_number_value(json_array_get(point, i));
        if (!isfinite(out[i])) {
            return false;
        }
    }
    return n == 2 || n == 4;
}

static void add_text(double x, double y, const char *anchor, const char *text, struct str *out)
{
    str_addf(out, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\">", x, y, anchor);
    report_plot_escape(text, out);
    str_add(out, "</text>");
}

static void add_legend(const json_t *plot, double y, bool lines, struct str *out)
{
    const json_t *series = json_object_get(plot, "series");
    for (size_t i = 0; i < shown(plot); i++) {
        double x = LINE_LEFT + (double)(i % 4) * 172.0;
        double row = y + floor((double)i / 4.0) * LEGEND;
        if (lines) {
            str_addf(out,
                     "<line class=\"s s%zu\" x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\"/>", i,
                     x, row - 4, x + 22, row - 4);
        } else {
            str_addf(out, "<rect class=\"b%zu\" x=\"%.1f\" y=\"%.1f\" width=\"22\" height=\"9\"/>",
                     i, x, row - 9);
        }
        add_text(x + 27, row, "start", json_doc_text(json_array_get(series, i), "name"), out);
    }
}

static double legend_height(const json_t *plot)
{
    return ceil((double)shown(plot) / 4.0) * LEGEND + 8;
}

static void begin(const json_t *plot, double height, struct str *out)
{
    size_t n = json_array_size(json_object_get(plot, "series"));
    str_addf(out, "<figure><figcaption>");
    report_plot_escape(json_doc_text(plot, "title"), out);
    if (n > REPORT_SERIES) {
        str_addf(out, " (the first %d of %zu; the tables have all)", REPORT_SERIES, n);
    }
    str_addf(out, "</figcaption>\n<svg viewBox=\"0 0 %d %.0f\" role=\"img\" aria-label=\"", WIDTH,
             height);
    report_plot_escape(json_doc_text(plot, "title"), out);
    str_add(out, "\">\n");
}

static void end(struct str *out)
{
    str_add(out, "</svg></figure>\n");
}

/* 1, 2 or 5 times a power of ten: at most TICKS_MAX steps cover the span. */
static double nice_step(double span, int most)
{
    double raw = span / most;
    double base = pow(10.0, floor(log10(raw)));
    const double factors[] = {1.0, 2.0, 5.0, 10.0};
    for (int i = 0; i < 4; i++) {
        if (base * factors[i] >= raw) {
            return base * factors[i];
        }
    }
    return base * 10.0;
}

/* What the points and their intervals cover; all 0 without one. */
static void extent(const json_t *plot, struct frame *f)
{
    const json_t *series = json_object_get(plot, "series");
    bool any = false;
    for (size_t s = 0; s < shown(plot); s++) {
        size_t i;
        json_t *point;
        json_array_foreach(json_object_get(json_array_get(series, s), "points"), i, point)
        {
            double p[4] = {0};
            bool interval;
            if (!read_point(point, p, &interval)) {
                continue;
            }
            double lo = interval ? fmin(p[1], p[2]) : p[1];
            double hi = interval ? fmax(p[1], p[3]) : p[1];
            f->x0 = any ? fmin(f->x0, p[0]) : p[0];
            f->x1 = any ? fmax(f->x1, p[0]) : p[0];
            f->y0 = any ? fmin(f->y0, lo) : lo;
            f->y1 = any ? fmax(f->y1, hi) : hi;
            any = true;
        }
    }
}

/* The end of the axis of bars: 1, for they are shares, or beyond where a score is larger. */
static double bars_end(const json_t *plot)
{
    struct frame f = {0};
    extent(plot, &f);
    double most = fmax(f.y1, 1.0);
    double step = nice_step(most, BAR_TICKS);
    return ceil(most / step - 1e-9) * step;
}

static double bar_x(double value, double end)
{
    return LEFT + fmin(fmax(value / end, 0.0), 1.0) * (WIDTH - LEFT - RIGHT);
}

/* One bar with its whisker; the tooltip is for whoever points at it. */
static void add_bar(const json_t *series, size_t s, size_t category, const char *name, double y,
                    double end, struct str *out)
{
    double p[4] = {0};
    bool interval;
    if (!read_point(json_array_get(json_object_get(series, "points"), category), p, &interval)) {
        return;
    }
    str_addf(out, "<rect class=\"b%zu\" x=\"%d\" y=\"%.1f\" width=\"%.1f\" height=\"%d\"><title>",
             s, LEFT, y, bar_x(p[1], end) - LEFT, BAR - 1);
    report_plot_escape(json_doc_text(series, "name"), out);
    str_add(out, ", ");
    report_plot_escape(name, out);
    if (interval) {
        str_addf(out, ": %.3f [%.3f, %.3f]", p[1], p[2], p[3]);
    } else {
        str_addf(out, ": %.3f", p[1]);
    }
    str_add(out, "</title></rect>");
    if (interval) {
        double middle = y + (BAR - 1) / 2.0;
        str_addf(out, "<line class=\"w\" x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\"/>",
                 bar_x(p[2], end), middle, bar_x(p[3], end), middle);
    }
    str_add(out, "\n");
}

static void draw_bars(const json_t *plot, struct str *out)
{
    const json_t *categories = json_object_get(plot, "categories");
    const json_t *series = json_object_get(plot, "series");
    const json_t *mark = json_object_get(plot, "line");
    size_t n = json_array_size(categories);
    double group = (double)shown(plot) * BAR + GROUP_GAP;
    double bottom = TOP + (double)n * group;
    double height = bottom + BOTTOM + legend_height(plot);
    begin(plot, height, out);
    double last = bars_end(plot);
    double step = nice_step(last, BAR_TICKS);
    for (int i = 0; i * step <= last + step / 2; i++) {
        char label[32];
        double x = bar_x(i * step, last);
        str_addf(out, "<line class=\"g\" x1=\"%.1f\" y1=\"%d\" x2=\"%.1f\" y2=\"%.1f\"/>", x, TOP,
                 x, bottom);
        (void)snprintf(label, sizeof label, "%.4g", i * step);
        add_text(x, bottom + 14, "middle", label, out);
    }
    add_text((LEFT + WIDTH - RIGHT) / 2.0, bottom + 31, "middle", json_doc_text(plot, "y_title"),
             out);
    str_add(out, "\n");
    for (size_t c = 0; c < n; c++) {
        const char *name = json_string_value(json_array_get(categories, c));
        double y = TOP + (double)c * group + GROUP_GAP / 2.0;
        add_text(LEFT - 8, y + (group - GROUP_GAP) / 2.0 + 4, "end", name ? name : "", out);
        str_add(out, "\n");
        for (size_t s = 0; s < shown(plot); s++) {
            add_bar(json_array_get(series, s), s, c, name ? name : "", y + (double)s * BAR, last,
                    out);
        }
    }
    if (json_is_number(mark)) {
        double x = bar_x(json_number_value(mark), last);
        str_addf(out, "<line class=\"m\" x1=\"%.1f\" y1=\"%d\" x2=\"%.1f\" y2=\"%.1f\"/>\n", x, TOP,
                 x, bottom);
    }
    add_legend(plot, bottom + BOTTOM + 8, false, out);
    end(out);
}

static void widen(const json_t *plot, struct frame *f)
{
    extent(plot, f);
    if (!(f->x1 > f->x0)) {
        f->x0 -= 0.5;
        f->x1 = f->x0 + 1.0;
    }
    if (!(f->y1 > f->y0)) {
        f->y0 -= 0.5;
        f->y1 = f->y0 + 1.0;
    }
    double step = nice_step(f->y1 - f->y0, 6);
    f->y0 = floor(f->y0 / step) * step;
    f->y1 = ceil(f->y1 / step) * step;
}

static double at_x(const struct frame *f, double x)
{
    return f->left + (x - f->x0) / (f->x1 - f->x0) * (f->right - f->left);
}

static double at_y(const struct frame *f, double y)
{
    return f->bottom - (y - f->y0) / (f->y1 - f->y0) * (f->bottom - f->top);
}

static void add_axes(const json_t *plot, const struct frame *f, struct str *out)
{
    char label[32];
    double step = nice_step(f->y1 - f->y0, 6);
    for (int i = 0; i <= TICKS_MAX && f->y0 + i * step <= f->y1 + step / 2; i++) {
        double y = at_y(f, f->y0 + i * step);
        (void)snprintf(label, sizeof label, "%.4g", f->y0 + i * step + 0.0);
        str_addf(out, "<line class=\"g\" x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\"/>",
                 f->left, y, f->right, y);
        add_text(f->left - 6, y + 4, "end", label, out);
    }
    double x_step = nice_step(f->x1 - f->x0, 10);
    double first = ceil(f->x0 / x_step - 1e-9) * x_step;
    for (int i = 0; i <= TICKS_MAX && first + i * x_step <= f->x1 + x_step * 1e-6; i++) {
        (void)snprintf(label, sizeof label, "%.4g", first + i * x_step + 0.0);
        add_text(at_x(f, first + i * x_step), f->bottom + 16, "middle", label, out);
    }
    add_text((f->left + f->right) / 2, f->bottom + 34, "middle", json_doc_text(plot, "x_title"),
             out);
    double middle = (f->top + f->bottom) / 2;
    str_addf(out, "<text transform=\"translate(14 %.1f) rotate(-90)\" text-anchor=\"middle\">",
             middle);
    report_plot_escape(json_doc_text(plot, "y_title"), out);
    str_add(out, "</text>\n");
}

static void add_line(const json_t *series, size_t s, const struct frame *f, struct str *out)
{
    const json_t *points = json_object_get(series, "points");
    bool dots = json_array_size(points) <= MARKED_POINTS;
    size_t i;
    json_t *point;
    double p[4] = {0};
    bool interval;
    str_addf(out, "<polyline class=\"s s%zu\" points=\"", s);
    json_array_foreach(points, i, point)
    {
        if (read_point(point, p, &interval)) {
            str_addf(out, "%.1f,%.1f ", at_x(f, p[0]), at_y(f, p[1]));
        }
    }
    str_add(out, "\"/>");
    json_array_foreach(points, i, point)
    {
        if (!dots || !read_point(point, p, &interval)) {
            continue;
        }
        double x = at_x(f, p[0]);
        if (interval) {
            str_addf(out, "<line class=\"w\" x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\"/>", x,
                     at_y(f, p[2]), x, at_y(f, p[3]));
        }
        str_addf(out, "<circle class=\"b%zu\" cx=\"%.1f\" cy=\"%.1f\" r=\"3.5\"><title>", s, x,
                 at_y(f, p[1]));
        report_plot_escape(json_doc_text(series, "name"), out);
        str_addf(out, ", %.4g: %.4g</title></circle>", p[0], p[1]);
    }
    str_add(out, "\n");
}

static void draw_lines(const json_t *plot, struct str *out)
{
    struct frame f = {
        .left = LINE_LEFT, .right = WIDTH - RIGHT, .top = TOP, .bottom = TOP + LINE_HEIGHT};
    widen(plot, &f);
    begin(plot, f.bottom + BOTTOM + legend_height(plot), out);
    add_axes(plot, &f, out);
    for (size_t s = 0; s < shown(plot); s++) {
        add_line(json_array_get(json_object_get(plot, "series"), s), s, &f, out);
    }
    add_legend(plot, f.bottom + BOTTOM + 8, true, out);
    end(out);
}

void report_plot_svg(const json_t *plot, struct str *out)
{
    if (strcmp(json_doc_text(plot, "kind"), "bars") == 0) {
        draw_bars(plot, out);
    } else {
        draw_lines(plot, out);
    }
}
