/* examples.c - two dilemmas, the picks under both values. */
#include "coordinator/examples.h"

#include <jansson.h>
#include <string.h>

#include "coordinator/dataset.h"
#include "coordinator/values.h"

enum { SHOWN = 2, WIDTH = 78 };

/* The option picked of a scenario under a side; -1: it was not asked, or nothing was picked. */
static json_int_t pick_of(const json_t *questions, uint32_t scenario, uint32_t side)
{
    size_t i;
    json_t *q;
    json_array_foreach(questions, i, q)
    {
        if (json_integer_value(json_array_get(q, 0)) == scenario &&
            json_integer_value(json_array_get(q, 2)) == side) {
            return json_integer_value(json_array_get(q, 3));
        }
    }
    return -1;
}

/* Words of text, broken before column WIDTH; lines after the first begin with `indent` spaces. */
static void add_wrapped(struct str *out, const char *text, size_t indent, size_t column)
{
    while (*text != '\0') {
        size_t bytes = strcspn(text, " \n\t\r");
        size_t columns = 0;
        for (size_t i = 0; i < bytes; i++) {
            columns += ((unsigned char)text[i] & 0xC0) != 0x80; /* characters, not bytes */
        }
        if (column + columns > WIDTH && column > indent) {
            str_addf(out, "\n%*s", (int)indent, "");
            column = indent;
        }
        str_addf(out, "%.*s", (int)bytes, text);
        column += columns;
        text += bytes;
        if (*text != '\0') {
            text += strspn(text, " \n\t\r");
            str_add(out, *text != '\0' && column < WIDTH ? " " : "");
            column++;
        }
    }
    str_add(out, "\n");
}

static void add_pick(const struct data_scenario *s, json_int_t pick, uint32_t side,
                     const char *when, bool plain, struct str *out)
{
    if (pick < 0 || pick >= s->n_options) {
        return;
    }
    const struct data_option *o = &s->options[pick];
    const char *mark = o->side == side ? "its value" : "the opposite";
    if (plain) {
        str_addf(out, "      %-7s %-13s ", when, mark);
        add_wrapped(out, o->text.text, 28, 28);
    } else {
        str_addf(out, "  - %s (%s): %s\n", when, mark, o->text.text);
    }
}

static void add_dilemma(const struct dataset *test, uint32_t scenario, const struct values *values,
                        const struct examples_picks *picks, bool plain, struct str *out)
{
    const struct data_scenario *s = &test->scenarios[scenario];
    if (plain) {
        str_add(out, "\n  ");
        add_wrapped(out, s->text.text, 2, 2);
    } else {
        str_addf(out, "\n> %s\n\n", s->text.text);
    }
    for (uint32_t side = 0; side < 2; side++) {
        const char *value = values->axes[s->axis].poles[side].name;
        str_addf(out, plain ? "    told %s, it picks\n" : "- told *%s*, it picks\n", value);
        add_pick(s, pick_of(picks->before, scenario, side), side, "before", plain, out);
        add_pick(s, pick_of(picks->after, scenario, side), side, "after", plain, out);
    }
}

enum err examples_add(const struct dataset *test, const struct values *values,
                      const struct examples_picks *picks, bool plain, struct str *out)
{
    const json_t *asked = picks->after ? picks->after : picks->before;
    uint32_t n = 0;
    for (uint32_t k = 0; k < SHOWN; k++) {
        uint32_t i = k * (test->n_scenarios / SHOWN);
        while (i < test->n_scenarios && (test->scenarios[i].axis >= values->n_axes ||
                                         pick_of(asked, i, 0) < 0 || pick_of(asked, i, 1) < 0)) {
            i++;
        }
        if (i == test->n_scenarios) {
            break;
        }
        if (n++ == 0) {
            str_addf(out,
                     plain ? "\n  Held-out dilemmas, the first and the middle one, and what the "
                             "model picks\n  (%s):\n"
                           : "\n## Two held-out dilemmas\n\nThe first and the middle one of the "
                             "file, and what the model picks (%s).\n",
                     picks->readout);
        }
        add_dilemma(test, i, values, picks, plain, out);
    }
    return str_ok(out);
}
