/* score_table.c - tables of scores to JSON and back. */
#include "coordinator/score_table.h"

#include <math.h>

#include "common/base/check.h"
#include "common/base/limits.h"

static void add_numbers(const double *x, uint32_t n, struct str *json)
{
    for (uint32_t i = 0; i < n; i++) {
        str_addf(json, "%s%.12g", i > 0 ? "," : ",[", x[i]);
    }
    str_add(json, "]");
}

void score_table_json(const struct eval_scores *scores, uint32_t n_axes, struct str *json)
{
    const char *comma = "";
    str_add(json, ",\"scores\":[");
    for (uint32_t i = 0; i < scores->n; i++) {
        const struct eval_slot *slot = &scores->slots[i];
        if (slot->n_options == 0) {
            continue;
        }
        str_addf(json, "%s[%u,%u", comma, i / n_axes, i % n_axes);
        for (uint32_t o = 0; o < slot->n_options; o++) {
            str_addf(json, "%s%u", o > 0 ? "," : ",[", slot->tokens[o]);
        }
        str_add(json, "]");
        add_numbers(slot->logp, slot->n_options, json);
        add_numbers(slot->logp + slot->n_options, slot->n_options, json);
        str_add(json, "]");
        comma = ",";
    }
    str_add(json, "]");
}

/* A list of n numbers, all finite. */
static bool read_numbers(const json_t *list, uint32_t n, double *out)
{
    bool fine = json_array_size(list) == n;
    for (uint32_t i = 0; i < n && fine; i++) {
        const json_t *x = json_array_get(list, i);
        out[i] = json_number_value(x);
        fine = json_is_number(x) && isfinite(out[i]);
    }
    return fine;
}

static bool read_row(const json_t *row, const struct dataset *data, uint32_t n_axes,
                     enum readout readout, struct value_scores *to)
{
    double logp[2][LIMIT_OPTIONS];
    double counts[LIMIT_OPTIONS];
    uint32_t tokens[LIMIT_OPTIONS];
    json_int_t scenario = json_integer_value(json_array_get(row, 0));
    json_int_t axis = json_integer_value(json_array_get(row, 1));
    if (json_array_size(row) != 5 || scenario < 0 || scenario >= data->n_scenarios || axis < 0 ||
        axis >= n_axes) {
        return false;
    }
    uint32_t n = data->scenarios[scenario].n_options;
    if (!read_numbers(json_array_get(row, 2), n, counts) ||
        !read_numbers(json_array_get(row, 3), n, logp[0]) ||
        !read_numbers(json_array_get(row, 4), n, logp[1])) {
        return false;
    }
    for (uint32_t o = 0; o < n; o++) {
        if (!(counts[o] >= 1.0 && counts[o] <= LIMIT_TREE_LABELS)) {
            return false;
        }
        tokens[o] = (uint32_t)counts[o];
    }
    const struct readout_scores scores = {
        .n_options = n, .logp = {logp[0], logp[1], NULL}, .tokens = tokens};
    for (uint32_t side = 0; side < 2; side++) {
        double *x = value_scores_at(to, (uint32_t)scenario, 2 * (uint32_t)axis + side);
        for (uint32_t o = 0; o < n; o++) {
            x[o] = readout_score(readout, &scores, (enum readout_side)side, o);
        }
    }
    return true;
}

enum err score_table_read(const json_t *root, const struct dataset *data, uint32_t n_axes,
                          enum readout readout, struct value_scores **out, struct errbuf *e)
{
    const json_t *list = json_object_get(root, "scores");
    struct value_scores *s = NULL;
    size_t i;
    json_t *row;
    CHECK(readout == READOUT_CONTRAST || readout == READOUT_LIKELIHOOD);
    if (value_scores_new(data, n_axes, &s) != OK) {
        return err_set(e, ERR_NOMEM, "%s: no memory for its scores", data->path);
    }
    enum err error =
        json_is_array(list)
            ? OK
            : err_set(e, ERR_CORRUPT, "%s: its table of scores is missing", data->path);
    json_array_foreach(list, i, row)
    {
        if (error == OK && !read_row(row, data, n_axes, readout, s)) {
            error =
                err_set(e, ERR_CORRUPT, "%s: row %zu of its table of scores is not of this file",
                        data->path, i);
        }
    }
    if (error != OK) {
        value_scores_free(&s);
        return error;
    }
    *out = s;
    return OK;
}
