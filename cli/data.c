/* data.c - pft data: check, describe and rewrite a data file.
 * Owns: the options and the printing. Results go to stdout, what is wrong to stderr. */
#include "cli/data.h"

#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "common/base/file.h"
#include "common/base/limits.h"
#include "common/base/mem.h"
#include "common/base/quote.h"
#include "common/format/model_default.h"
#include "common/format/model_file.h"
#include "coordinator/forest.h"
#include "coordinator/readout.h"
#include "coordinator/render.h"

struct data_file {
    char *text;
    size_t bytes;
    struct json_stream stream;
    enum data_format format;
};

/* The next checked item; NULL at the end. The first one settles the format. */
static enum err next_item(const struct data_command *c, struct data_file *f, json_t **item,
                          struct errbuf *e)
{
    enum err error = json_stream_next(&f->stream, item, NULL, e);
    if (error != OK || !*item) {
        return error;
    }
    if (f->stream.items == 1) {
        error = data_format_recognise(&f->stream, *item, &f->format, e);
        if (error == OK && c->format && data_format_from(c->format) != (int)f->format) {
            error = json_stream_fail(&f->stream, NULL, 0, e, ERR_PARSE,
                                     "the first item looks like %s, --format says %s",
                                     data_format_info(f->format)->name, c->format);
        }
    }
    if (error == OK) {
        error = data_format_check(&f->stream, f->format, *item, e);
    }
    if (error != OK) {
        json_decref(*item);
    }
    return error;
}

static enum err open_file(const struct data_command *c, struct data_file *f, struct errbuf *e)
{
    *f = (struct data_file){.format = DATA_FORMATS};
    enum err error = file_read(c->file, LIMIT_JSON_BYTES, &f->text, &f->bytes, e);
    return error == OK ? json_stream_open(&f->stream, c->file, f->text, f->bytes, e) : error;
}

/* Fields in the order of the table, then the rest in file order, on one line. */
static enum err add_canonical(enum data_format format, json_t *item, struct str *out)
{
    json_t *ordered = json_object();
    const char *key;
    json_t *value;
    int failed = ordered == NULL;
    for (const struct data_field *f = data_format_info(format)->fields; f->name; f++) {
        value = json_object_get(item, f->name);
        failed |= value && json_object_set(ordered, f->name, value) != 0;
    }
    json_object_foreach(item, key, value)
    {
        failed |= !json_object_get(ordered, key) && json_object_set(ordered, key, value) != 0;
    }
    size_t bytes = failed ? 0 : json_dumpb(ordered, NULL, 0, 0);
    char *line = bytes > 0 ? mem_calloc(bytes, 1) : NULL;
    if (line && json_dumpb(ordered, line, bytes, 0) == bytes) {
        str_append(out, line, bytes);
        str_add(out, "\n");
    }
    json_decref(ordered);
    enum err error = line ? str_ok(out) : ERR_NOMEM;
    mem_free(line);
    return error;
}

/* Reads every item; out (may be NULL) takes the canonical lines. */
static enum err walk(const struct data_command *c, struct data_file *f, struct str *out,
                     struct errbuf *e)
{
    enum err error = open_file(c, f, e);
    for (json_t *item = NULL; error == OK;) {
        error = next_item(c, f, &item, e);
        if (error != OK || !item) {
            break;
        }
        if (out && add_canonical(f->format, item, out) != OK) {
            error = err_set(e, ERR_NOMEM, "%s: no memory for the canonical form", c->file);
        }
        json_decref(item);
    }
    if (error == OK && f->stream.items == 0) {
        error = err_set(e, ERR_PARSE, "%s: the array holds no items", c->file);
    }
    mem_free(f->text);
    return error;
}

/* Items whose options carry a value of the values file. */
static bool names_values(enum data_format format)
{
    return format == DATA_VCD || format == DATA_BQD;
}

/* The data set and, with a model, its forest: what a run would read. Both may stay NULL. */
static enum err load_as_run(const struct data_command *c, enum data_format format,
                            struct dataset **data, struct forest **forest, struct errbuf *e)
{
    *data = NULL;
    *forest = NULL;
    if (format != DATA_PAIRS && (!names_values(format) || !c->values)) {
        return OK;
    }
    enum err error =
        dataset_load(c->file, c->values, (enum config_group)c->cfg->data_group, data, e);
    if (error == OK && c->tok) {
        error = forest_new(c->cfg, c->values, *data, c->tok, forest, e);
    }
    return error;
}

static bool trained_on(enum data_format format)
{
    return format == DATA_VCD || format == DATA_PAIRS || format == DATA_BQD;
}

/* By the rules of a run: what it refuses whatever the config says is refused here. */
static enum err load_to_check(const struct data_command *c, enum data_format format,
                              struct dataset **data, struct forest **forest, struct errbuf *e)
{
    const bool needs_values = names_values(format) || format == DATA_HISTORY;
    *data = NULL;
    *forest = NULL;
    if (trained_on(format) || (needs_values && !c->values)) {
        return load_as_run(c, format, data, forest, e);
    }
    return dataset_load(c->file, c->values, (enum config_group)c->cfg->data_group, data, e);
}

/* What a run may refuse, as the config has it. */
static void add_limits(const struct data_command *c, enum data_format format,
                       const struct dataset *d, struct str *out)
{
    const bool letters = (c->cfg->eval_readouts & 1u << READOUT_LETTER) != 0;
    if (!trained_on(format)) {
        str_add(out, "  cannot be trained on: pft eval and pft infer alone read it\n");
    }
    for (uint32_t i = 0; d && trained_on(format) && letters && i < d->n_scenarios; i++) {
        if (d->scenarios[i].n_options > RENDER_LETTERS) {
            str_addf(out,
                     "  line %u has %u options and there are letters for %d: as data.test it is "
                     "refused while eval.readouts has letter\n",
                     d->scenarios[i].line, d->scenarios[i].n_options, RENDER_LETTERS);
            return;
        }
    }
}

static enum err run_check(const struct data_command *c, struct str *out, struct errbuf *e)
{
    struct data_file f;
    struct dataset *data = NULL;
    struct forest *forest = NULL;
    enum err error = walk(c, &f, NULL, e);
    if (error == OK) {
        error = load_to_check(c, f.format, &data, &forest, e);
    }
    if (error == OK && data && trained_on(f.format) && data->n_groups == 0) {
        error = err_set(e, ERR_REFUSED,
                        "%s: no scenario has options of both sides: there is nothing to train on",
                        c->file);
    }
    if (error == OK && c->json) {
        str_add(out, "{\"file\":");
        str_add_json(out, c->file, strlen(c->file));
        str_addf(out, ",\"format\":\"%s\",\"items\":%zu,\"values_checked\":%s,\"ok\":true}\n",
                 data_format_info(f.format)->name, f.stream.items,
                 data && names_values(f.format) ? "true" : "false");
    } else if (error == OK) {
        str_addf(out, "%s: %zu items, %s (%s): fine\n", c->file, f.stream.items,
                 data_format_info(f.format)->name, data_format_info(f.format)->what);
        if (names_values(f.format) && !c->values) {
            str_add(out, "  axes and values were not checked: give --values FILE\n");
        }
        add_limits(c, f.format, data, out);
        if (data && data->one_sided > 0) {
            str_addf(out, "  %u scenarios have options of one side only: no pairs\n",
                     data->one_sided);
        }
        if (forest) {
            size_t before = out->len;
            str_add(out, "  ");
            forest_report_text(forest_report(forest), out);
            str_add(out, out->len > before + 2 ? "\n" : "every sequence fits as it is\n");
        }
    }
    forest_free(&forest);
    dataset_free(&data);
    return error;
}

static void add_values(const struct data_command *c, const struct dataset *d, struct str *out)
{
    const char *comma = "";
    str_add(out, ",\"values\":{");
    for (uint32_t i = 0; c->values && i < c->values->n_axes * 2; i++) {
        uint64_t options = 0;
        for (uint32_t s = 0; s < d->n_scenarios; s++) {
            for (uint32_t o = 0; d->scenarios[s].axis == i / 2 && o < d->scenarios[s].n_options;
                 o++) {
                options += d->scenarios[s].options[o].side == i % 2;
            }
        }
        const char *name = c->values->axes[i / 2].poles[i % 2].name;
        str_add(out, comma);
        str_add_json(out, name, strlen(name));
        str_addf(out, ":%llu", (unsigned long long)options);
        comma = ",";
    }
    str_add(out, "}");
}

static void add_tokens(const struct forest_report *r, const struct dataset *d, struct str *out)
{
    double n = r->groups;
    str_addf(out,
             ",\"tokens\":{\"groups\":%u,\"per_group\":{\"tree\":%.1f,\"sequences\":%.1f,"
             "\"pairs\":%.1f,\"padded_512\":%.1f},\"longest\":%u,\"groups_cut\":%u,"
             "\"words_cut\":%llu,\"tokens_cut\":%llu,\"answers_emptied\":%u,\"groups_skipped\":%u,"
             "\"groups_split\":%u}",
             r->groups, (double)r->rows / n, (double)r->sequence_tokens / n,
             (double)r->pair_tokens / n, 1024.0 * d->n_pairs / n, r->longest, r->groups_cut,
             (unsigned long long)r->words_cut, (unsigned long long)r->tokens_cut,
             r->answers_emptied, r->groups_skipped, r->groups_split);
}

/* One JSON object; without --json the same, a member a line. */
static void print_plain(const struct str *object, struct str *out)
{
    json_t *root = json_loadb(object->data, object->len, 0, NULL);
    const char *key;
    json_t *value;
    json_object_foreach(root, key, value)
    {
        const size_t flags = JSON_ENCODE_ANY | JSON_REAL_PRECISION(6);
        size_t n = json_dumpb(value, NULL, 0, flags);
        char *text = mem_calloc(n + 1, 1);
        if (text && json_dumpb(value, text, n, flags) == n) {
            str_addf(out, "%-10s %s\n", key, text);
        }
        mem_free(text);
    }
    json_decref(root);
}

static enum err run_stats(const struct data_command *c, struct str *out, struct errbuf *e)
{
    struct data_file f;
    struct dataset *d = NULL;
    struct forest *forest = NULL;
    struct str object = {0};
    enum err error = walk(c, &f, NULL, e);
    if (error == OK) {
        error = load_as_run(c, f.format, &d, &forest, e);
    }
    if (error == OK) {
        str_add(&object, "{\"file\":");
        str_add_json(&object, c->file, strlen(c->file));
        str_addf(&object, ",\"format\":\"%s\",\"items\":%zu", data_format_info(f.format)->name,
                 f.stream.items);
        if (d) {
            str_addf(&object, ",\"groups\":%u,\"pairs\":%u,\"one_sided\":%u", d->n_groups,
                     d->n_pairs, d->one_sided);
        }
        if (d && names_values(f.format)) {
            add_values(c, d, &object);
        }
        if (d && forest) {
            add_tokens(forest_report(forest), d, &object);
        }
        str_add(&object, "}");
        error = str_ok(&object);
    }
    if (error == OK && c->json) {
        str_addf(out, "%s\n", object.data);
    } else if (error == OK) {
        print_plain(&object, out);
    }
    str_free(&object);
    forest_free(&forest);
    dataset_free(&d);
    return error;
}

static enum err run_import(const struct data_command *c, struct str *out, struct errbuf *e)
{
    struct data_file f;
    struct dataset *data = NULL;
    struct forest *forest = NULL;
    out->limit = LIMIT_JSON_BYTES;
    enum err error = walk(c, &f, out, e);
    if (error == OK) {
        error = load_as_run(c, f.format, &data, &forest, e);
    }
    forest_free(&forest);
    dataset_free(&data);
    return error;
}

static enum err load_tokenizer(struct data_command *c, struct errbuf *e)
{
    char path[FILE_PATH_BYTES];
    struct model_file *mf = NULL;
    enum err error = model_resolve(c->model_path, path, e);
    if (error == OK) {
        error = model_open(path, &mf, e);
    }
    if (error == OK) {
        error = tokenizer_open(mf, &c->tok, e);
    }
    model_close(&mf);
    return error;
}

static enum err prepare(struct data_command *c, struct errbuf *e)
{
    const char *sets[ARGS_REPEATS + 1];
    char layout[64];
    int n = 0;
    if (c->format && data_format_from(c->format) < 0) {
        return err_set(e, ERR_USAGE,
                       "--format '%s' is unknown; there are vcd, pairs, dpo, sft, sft-io, bqd, "
                       "retention, questions",
                       c->format);
    }
    if (c->layout) {
        (void)snprintf(layout, sizeof layout, "data.layout=%.40s", c->layout);
        sets[n++] = layout;
    }
    for (int i = 0; i < c->n_sets; i++) {
        sets[n++] = c->sets[i];
    }
    enum err error = config_parse("", 0, "defaults", ".", sets, n, &c->cfg, e);
    if (error == OK && c->values_path) {
        error = values_load(c->values_path, &c->values, e);
    }
    return error == OK && c->model_path ? load_tokenizer(c, e) : error;
}

static enum err parse_words(struct data_command *c, int argc, char **argv, const char **action,
                            struct errbuf *e)
{
    const struct args_option options[] = {
        {"--values", "FILE", "axes, values and sentences; VCD files need it", &c->values_path, NULL,
         NULL},
        {"--model", "FILE", "count tokens with this model (\"default\": the fetched one)",
         &c->model_path, NULL, NULL},
        {"--format", "NAME", "refuse the file when it is another format", &c->format, NULL, NULL},
        {"--layout", "NAME", "preference_last (the default) or paper", &c->layout, NULL, NULL},
        {"--set", "KEY=VALUE", "another setting of a config", c->sets, &c->n_sets, NULL},
        {"--limit", "N", "forest: the first N groups", &c->limit, NULL, NULL},
        {"--out", "FILE", "write here instead of to stdout", &c->out, NULL, NULL},
        {"--json", NULL, "one JSON object", NULL, NULL, &c->json},
    };
    struct args a = {
        .usage = "pft data check|stats|import|forest FILE [--values FILE] [--model FILE] [--json]",
        .what =
            "check: is the file what a run needs?  stats: what is in it?  import: the canonical "
            "form,\nJSON Lines.  forest: the trees a run would train on, as JSON.",
        .options = options,
        .n_options = sizeof options / sizeof options[0]};
    enum err error = args_parse(&a, argc, argv, e);
    if (error == OK && a.n_positional != 2) {
        error = err_set(e, ERR_USAGE, "an action and one FILE are needed; usage: %s", a.usage);
    }
    *action = a.positional[0];
    c->file = a.positional[1];
    return error;
}

static enum err write_out(const struct data_command *c, const struct str *text, struct errbuf *e)
{
    enum err error = str_ok(text);
    if (error != OK) {
        return err_set(e, error, "%s: the output does not fit the memory", c->file);
    }
    if (c->out) {
        return file_write_atomic(c->out, text->data, text->len, e);
    }
    bool ok = fwrite(text->data, 1, text->len, stdout) == text->len && fflush(stdout) == 0;
    return ok ? OK : err_set(e, ERR_IO, "stdout cannot be written");
}

int cli_data(int argc, char **argv)
{
    static const struct {
        const char *name;
        enum err (*run)(const struct data_command *c, struct str *out, struct errbuf *e);
    } actions[] = {{"check", run_check},
                   {"stats", run_stats},
                   {"import", run_import},
                   {"forest", data_forest}};
    struct data_command c = {0};
    struct errbuf e = {0};
    struct str out = {0};
    const char *action = NULL;
    size_t i = 0;
    enum err error = parse_words(&c, argc, argv, &action, &e);
    if (error == ERR_STATE) {
        return CLI_OK;
    }
    while (error == OK && i < 4 && strcmp(actions[i].name, action) != 0) {
        i++;
    }
    if (error == OK && i == 4) {
        error = err_set(&e, ERR_USAGE,
                        "unknown action '%.40s'; there are check, stats, import and "
                        "forest",
                        action);
    }
    if (error == OK) {
        error = prepare(&c, &e);
    }
    if (error == OK) {
        error = actions[i].run(&c, &out, &e);
    }
    if (error == OK) {
        error = write_out(&c, &out, &e);
    }
    str_free(&out);
    config_free(&c.cfg);
    values_free(&c.values);
    tokenizer_close(&c.tok);
    return error == OK ? CLI_OK : cli_explain("pft data", error, &e);
}
