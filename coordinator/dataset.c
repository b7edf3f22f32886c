/* dataset.c - data files in memory. */
#include "coordinator/dataset.h"

#include <string.h>

#include "common/base/check.h"
#include "common/base/file.h"
#include "common/base/limits.h"
#include "common/base/mem.h"
#include "coordinator/choices.h"

/* Texts and option lists live in blocks that are freed together. */
enum { BLOCK_BYTES = 1 << 20, BLOCKS_MAX = 1 << 16, PAIRS_MAX = 1 << 24 };

struct dataset_all {
    struct dataset d; /* first: the public part */
    struct data_scenario *scenarios;
    struct data_group *groups;
    struct data_pair *pairs;
    size_t scenario_capacity, group_capacity, pair_capacity;
    void **blocks;
    size_t n_blocks, block_capacity, block_used, block_size;
    uint32_t behaviour; /* BQD: the axis of every item */
};

/* Memory for as long as the dataset lives, aligned for structs; NULL when there is none. */
static void *keep(struct dataset_all *all, size_t bytes)
{
    bytes = (bytes + 15) / 16 * 16;
    if (all->n_blocks == 0 || bytes > all->block_size - all->block_used) {
        size_t size = bytes > BLOCK_BYTES ? bytes : BLOCK_BYTES;
        void *blocks = all->blocks;
        void *block = mem_calloc(size, 1);
        if (!block || mem_grow(&blocks, &all->block_capacity, all->n_blocks + 1, sizeof(void *),
                               BLOCKS_MAX) != OK) {
            mem_free(block);
            return NULL;
        }
        all->blocks = blocks;
        all->blocks[all->n_blocks++] = block;
        all->block_size = size;
        all->block_used = 0;
    }
    char *at = (char *)all->blocks[all->n_blocks - 1] + all->block_used;
    all->block_used += bytes;
    return at;
}

static bool keep_bytes(struct dataset_all *all, const char *from, size_t bytes,
                       struct data_text *out)
{
    char *text = keep(all, bytes + 1);
    if (!text) {
        return false;
    }
    memcpy(text, from, bytes);
    *out = (struct data_text){.text = text, .bytes = bytes};
    return true;
}

static bool keep_text(struct dataset_all *all, const json_t *object, const char *key,
                      struct data_text *out)
{
    const json_t *value = json_object_get(object, key);
    return value ? keep_bytes(all, json_string_value(value), json_string_length(value), out)
                 : keep_bytes(all, "", 0, out);
}

/* Puts the place of a field in front of a message about its value. */
static enum err at_field(const struct json_stream *s, const struct json_step *path, size_t n,
                         enum err error, struct errbuf *e)
{
    if (error == OK) {
        return OK;
    }
    struct json_place place = json_stream_locate(s, path, n);
    return err_prefix(e, error, "%s:%u:%u: field '%s'", s->name, place.line, place.column,
                      path[n - 1].key);
}

static enum err fill_vcd(struct dataset_all *all, const struct json_stream *s, const json_t *item,
                         const struct values *values, struct data_scenario *out, struct errbuf *e)
{
    struct json_step path[3] = {{.key = "preference domain"}};
    const char *domain = json_string_value(json_object_get(item, path[0].key));
    enum err error = at_field(s, path, 1, values_find_axis(values, domain, &out->axis, e), e);
    if (error != OK) {
        return error;
    }
    const json_t *options = json_object_get(item, "options");
    out->n_options = (uint32_t)json_array_size(options);
    struct data_option *list = keep(all, out->n_options * sizeof *list);
    if (!list || !keep_text(all, item, "scenario", &out->text)) {
        return err_set(e, ERR_NOMEM, "%s: no memory for its texts", s->name);
    }
    out->options = list;
    path[0].key = "options";
    for (uint32_t i = 0; i < out->n_options; i++) {
        const json_t *option = json_array_get(options, i);
        path[1] = (struct json_step){.index = i};
        path[2] = (struct json_step){.key = "bias"};
        const char *bias = json_string_value(json_object_get(option, "bias"));
        error =
            at_field(s, path, 3, values_find_pole(values, out->axis, bias, &list[i].side, e), e);
        if (error != OK) {
            return error;
        }
        if (!keep_text(all, option, "text", &list[i].text)) {
            return err_set(e, ERR_NOMEM, "%s: no memory for its texts", s->name);
        }
    }
    return OK;
}

/* Options without values; the axis only where the item names it. */
static enum err fill_history(struct dataset_all *all, const struct json_stream *s,
                             const json_t *item, const struct values *values,
                             struct data_scenario *out, struct errbuf *e)
{
    const struct json_step path[1] = {{.key = "preference domain"}};
    const char *domain = json_string_value(json_object_get(item, path[0].key));
    out->axis = DATASET_NO_AXIS;
    if (domain) {
        enum err error = at_field(s, path, 1, values_find_axis(values, domain, &out->axis, e), e);
        if (error != OK) {
            return error;
        }
    }
    const json_t *options = json_object_get(item, "options");
    out->n_options = (uint32_t)json_array_size(options);
    struct data_option *list = keep(all, out->n_options * sizeof *list);
    bool kept = list && keep_text(all, item, "scenario", &out->text);
    for (uint32_t i = 0; i < out->n_options && kept; i++) {
        const json_t *text = data_format_option(json_array_get(options, i));
        kept = keep_bytes(all, json_string_value(text), json_string_length(text), &list[i].text);
    }
    out->options = list;
    return kept ? OK : err_set(e, ERR_NOMEM, "%s: no memory for its texts", s->name);
}

static enum err fill_pair(struct dataset_all *all, const struct json_stream *s, const json_t *item,
                          struct data_scenario *out, struct errbuf *e)
{
    struct data_option *list = keep(all, 2 * sizeof *list);
    out->axis = DATASET_NO_AXIS;
    out->n_options = 2;
    out->options = list;
    if (!list || !keep_text(all, item, "instruction", &out->text) ||
        !keep_text(all, item, "extra_a", &out->extra[0]) ||
        !keep_text(all, item, "extra_b", &out->extra[1]) ||
        !keep_text(all, item, "response_a", &list[0].text) ||
        !keep_text(all, item, "response_b", &list[1].text)) {
        return err_set(e, ERR_NOMEM, "%s: no memory for its texts", s->name);
    }
    list[1].side = 1;
    return OK;
}

/* The words of an answer that names a choice of the question by its letter, or the answer as it
 * is. Gives the place in the question, by which answers are put in its order. */
static bool keep_answer(struct dataset_all *all, const json_t *item, const char *question,
                        const char *key, struct data_text *out, size_t *place)
{
    const json_t *text = json_object_get(item, question);
    const char *answer = json_string_value(json_object_get(item, key));
    struct choices_span span;
    bool listed = choices_find(json_string_value(text), json_string_length(text), answer, &span);
    *place = listed ? span.begin : 0;
    return listed ? keep_bytes(all, json_string_value(text) + span.begin, span.bytes, out)
                  : keep_text(all, item, key, out);
}

/* A question with two answers, the first of them of side a: options in the question's order. */
static enum err fill_question(struct dataset_all *all, const struct json_stream *s,
                              const json_t *item, const char *const keys[3],
                              struct data_scenario *out, struct errbuf *e)
{
    struct data_option *list = keep(all, 2 * sizeof *list);
    size_t places[2] = {0, 0};
    const json_t *text = json_object_get(item, keys[0]);
    struct choices_span stem = choices_stem(json_string_value(text), json_string_length(text));
    out->n_options = 2;
    out->options = list;
    if (!list || !keep_bytes(all, json_string_value(text) + stem.begin, stem.bytes, &out->text) ||
        !keep_answer(all, item, keys[0], keys[1], &list[0].text, &places[0]) ||
        !keep_answer(all, item, keys[0], keys[2], &list[1].text, &places[1])) {
        return err_set(e, ERR_NOMEM, "%s: no memory for its texts", s->name);
    }
    if (list[0].text.bytes == list[1].text.bytes &&
        memcmp(list[0].text.text, list[1].text.text, list[0].text.bytes) == 0) {
        const struct json_step path[1] = {{.key = keys[2]}};
        return json_stream_fail(s, path, 1, e, ERR_PARSE,
                                "field '%s' is the same answer as '%s': two different ones are "
                                "wanted",
                                keys[2], keys[1]);
    }
    list[1].side = 1;
    if (places[1] < places[0]) {
        const struct data_option first = list[0];
        list[0] = list[1];
        list[1] = first;
    }
    return OK;
}

static enum err fill_behaviour(struct dataset_all *all, const struct json_stream *s,
                               const json_t *item, struct data_scenario *out, struct errbuf *e)
{
    static const char *const keys[3] = {"question", "answer_matching_behavior",
                                        "answer_not_matching_behavior"};
    out->axis = all->behaviour;
    return fill_question(all, s, item, keys, out, e);
}

static enum err fill_retention(struct dataset_all *all, const struct json_stream *s,
                               const json_t *item, struct data_scenario *out, struct errbuf *e)
{
    static const char *const keys[3] = {"prompt", "correct", "incorrect"};
    out->axis = DATASET_NO_AXIS;
    if (!keep_bytes(all, "", 0, &out->extra[0]) || !keep_bytes(all, "", 0, &out->extra[1]) ||
        !keep_text(all, item, "category", &out->category)) {
        return err_set(e, ERR_NOMEM, "%s: no memory for its texts", s->name);
    }
    return fill_question(all, s, item, keys, out, e);
}

/* A prompt that names no preference, and its answer as the one option where there is one. */
static enum err fill_plain(struct dataset_all *all, const struct json_stream *s, const json_t *item,
                           const char *text, const char *answer, struct data_scenario *out,
                           struct errbuf *e)
{
    struct data_option *list = keep(all, sizeof *list);
    out->axis = DATASET_NO_AXIS;
    out->options = list;
    out->n_options = answer ? 1 : 0;
    if (!list || !keep_text(all, item, text, &out->text) ||
        !keep_bytes(all, "", 0, &out->extra[0]) || !keep_bytes(all, "", 0, &out->extra[1]) ||
        (answer && !keep_text(all, item, answer, &list[0].text))) {
        return err_set(e, ERR_NOMEM, "%s: no memory for its texts", s->name);
    }
    return OK;
}

static enum err add_group(struct dataset_all *all, uint32_t scenario, uint32_t n_pairs,
                          struct errbuf *e)
{
    void *groups = all->groups;
    enum err error = mem_grow(&groups, &all->group_capacity, all->d.n_groups + 1,
                              sizeof *all->groups, LIMIT_GROUPS);
    if (error != OK) {
        return err_set(e, error, "%s: more than %d groups, or no memory for them", all->d.path,
                       LIMIT_GROUPS);
    }
    all->groups = groups;
    all->groups[all->d.n_groups++] = (struct data_group){
        .scenario = scenario, .first_pair = all->d.n_pairs - n_pairs, .n_pairs = n_pairs};
    return OK;
}

/* All A x B pairs of a scenario, as one group or one group each. */
static enum err add_pairs(struct dataset_all *all, uint32_t index, enum config_group grouping,
                          struct errbuf *e)
{
    const struct data_scenario *s = &all->scenarios[index];
    uint32_t n = 0;
    enum err error = OK;
    for (uint32_t a = 0; a < s->n_options && error == OK; a++) {
        for (uint32_t b = 0; b < s->n_options && s->options[a].side == 0 && error == OK; b++) {
            if (s->options[b].side != 1) {
                continue;
            }
            void *pairs = all->pairs;
            error = mem_grow(&pairs, &all->pair_capacity, all->d.n_pairs + 1, sizeof *all->pairs,
                             PAIRS_MAX);
            if (error != OK) {
                return err_set(e, error, "%s: more than %d pairs, or no memory for them",
                               all->d.path, PAIRS_MAX);
            }
            all->pairs = pairs;
            all->pairs[all->d.n_pairs++] = (struct data_pair){.a = a, .b = b};
            n++;
            if (grouping == GROUP_PAIR) {
                error = add_group(all, index, 1, e);
            }
        }
    }
    all->d.one_sided += n == 0;
    return error == OK && n > 0 && grouping == GROUP_SCENARIO ? add_group(all, index, n, e) : error;
}

static enum err add_item(struct dataset_all *all, const struct json_stream *s, const json_t *item,
                         struct json_place place, const struct values *values,
                         enum config_group grouping, struct errbuf *e)
{
    enum err error = data_format_check(s, all->d.format, item, e);
    if (error != OK) {
        return error;
    }
    void *scenarios = all->scenarios;
    error = mem_grow(&scenarios, &all->scenario_capacity, all->d.n_scenarios + 1,
                     sizeof *all->scenarios, LIMIT_GROUPS);
    if (error != OK) {
        return err_set(e, error, "%s: more than %d items, or no memory for them", all->d.path,
                       LIMIT_GROUPS);
    }
    all->scenarios = scenarios;
    struct data_scenario *out = &all->scenarios[all->d.n_scenarios];
    *out = (struct data_scenario){.line = place.line, .column = place.column};
    out->chosen = data_format_choice(item, &out->choice);
    error = all->d.format == DATA_VCD         ? fill_vcd(all, s, item, values, out, e)
            : all->d.format == DATA_HISTORY   ? fill_history(all, s, item, values, out, e)
            : all->d.format == DATA_BQD       ? fill_behaviour(all, s, item, out, e)
            : all->d.format == DATA_RETENTION ? fill_retention(all, s, item, out, e)
            : all->d.format == DATA_SFT
                ? fill_plain(all, s, item, "instruction", "response", out, e)
            : all->d.format == DATA_QUESTIONS ? fill_plain(all, s, item, "question", NULL, out, e)
                                              : fill_pair(all, s, item, out, e);
    return error == OK ? add_pairs(all, all->d.n_scenarios++, grouping, e) : error;
}

/* The axis that a behaviour file is about: the one axis there is, else the one whose name the
 * file's name begins with (the longest). */
static enum err find_behaviour(struct dataset_all *all, const struct json_stream *s,
                               const struct values *values, struct errbuf *e)
{
    const char *slash = strrchr(s->name, '/');
    const char *name = slash ? slash + 1 : s->name;
    struct str known = {0};
    size_t longest = 0;
    all->behaviour = values->n_axes == 1 ? 0 : DATASET_NO_AXIS;
    for (uint32_t i = 0; i < values->n_axes; i++) {
        size_t n = strlen(values->axes[i].name);
        if (n > longest && strncmp(name, values->axes[i].name, n) == 0) {
            longest = n;
            all->behaviour = i;
        }
        str_addf(&known, "%s'%s'", i > 0 ? ", " : "", values->axes[i].name);
    }
    enum err error = OK;
    if (all->behaviour == DATASET_NO_AXIS) {
        error = json_stream_fail(
            s, NULL, 0, e, ERR_REFUSED,
            "the behaviour is told by the file's name, which begins with none of the axes of the "
            "values file: %s; rename the file or the axis",
            known.data ? known.data : "");
    }
    str_free(&known);
    return error;
}

/* What the first item says: the format, and whether it can be read at all. */
static enum err settle_format(struct dataset_all *all, const struct json_stream *s,
                              const json_t *item, const struct values *values, struct errbuf *e)
{
    enum err error = data_format_recognise(s, item, &all->d.format, e);
    if (error != OK) {
        return error;
    }
    enum data_format format = all->d.format;
    if (format != DATA_VCD && format != DATA_PAIRS && format != DATA_BQD &&
        format != DATA_RETENTION && format != DATA_HISTORY && format != DATA_SFT &&
        format != DATA_QUESTIONS) {
        const struct data_format_info *info = data_format_info(format);
        return json_stream_fail(s, NULL, 0, e, ERR_UNSUPPORTED,
                                "the items look like %s (%s); training and evaluation read 'vcd', "
                                "'pairs' and 'bqd' files, evaluation 'retention', 'sft' and "
                                "'questions' files too",
                                info->name, info->what);
    }
    if ((format == DATA_VCD || format == DATA_BQD || format == DATA_HISTORY) && !values) {
        return json_stream_fail(s, NULL, 0, e, ERR_REFUSED,
                                "a %s file needs a values file: set data.values (or --values)",
                                format == DATA_VCD   ? "VCD"
                                : format == DATA_BQD ? "BQD"
                                                     : "history");
    }
    return format == DATA_BQD ? find_behaviour(all, s, values, e) : OK;
}

static enum err read_items(struct dataset_all *all, struct json_stream *s,
                           const struct values *values, enum config_group grouping,
                           struct errbuf *e)
{
    for (;;) {
        json_t *item = NULL;
        struct json_place place = {0};
        enum err error = json_stream_next(s, &item, &place, e);
        if (error != OK || !item) {
            return error;
        }
        if (s->items == 1) {
            error = settle_format(all, s, item, values, e);
        }
        if (error == OK) {
            error = add_item(all, s, item, place, values, grouping, e);
        }
        json_decref(item);
        if (error != OK) {
            return error;
        }
    }
}

enum err dataset_parse(const char *text, size_t bytes, const char *name,
                       const struct values *values, enum config_group grouping,
                       struct dataset **out, struct errbuf *e)
{
    struct json_stream s;
    struct dataset_all *all = mem_calloc(1, sizeof *all);
    if (!all) {
        return err_set(e, ERR_NOMEM, "%s: no memory", name);
    }
    struct dataset *d = &all->d;
    d->path = mem_strdup(name);
    enum err error = d->path ? json_stream_open(&s, name, text, bytes, e)
                             : err_set(e, ERR_NOMEM, "%s: no memory", name);
    if (error == OK) {
        error = read_items(all, &s, values, grouping, e);
    }
    if (error == OK && d->n_scenarios == 0) {
        error = err_set(e, ERR_PARSE, "%s: the array holds no items", name);
    }
    if (error != OK) {
        dataset_free(&d);
        return error;
    }
    d->scenarios = all->scenarios;
    d->groups = all->groups;
    d->pairs = all->pairs;
    *out = d;
    return OK;
}

void dataset_hold_out(struct dataset *d, uint32_t n)
{
    d->held_out = n < d->n_scenarios ? n : d->n_scenarios;
    while (d->n_groups > 0 && d->groups[0].scenario < d->held_out) {
        d->n_pairs -= d->groups[0].n_pairs;
        d->groups++;
        d->n_groups--;
    }
}

uint32_t dataset_fitting(const struct dataset *d)
{
    return d->held_out > 0 ? d->held_out : d->n_scenarios;
}

enum err dataset_load(const char *path, const struct values *values, enum config_group grouping,
                      struct dataset **out, struct errbuf *e)
{
    char *text = NULL;
    size_t bytes = 0;
    if (path[0] == '\0') {
        return err_set(e, ERR_REFUSED, "no data file is named: set data.train or data.test");
    }
    enum err error = file_read(path, LIMIT_JSON_BYTES, &text, &bytes, e);
    if (error == OK) {
        error = dataset_parse(text, bytes, path, values, grouping, out, e);
        mem_free(text);
    }
    return error;
}

uint32_t dataset_side_count(const struct data_scenario *s, uint32_t side)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < s->n_options; i++) {
        n += s->options[i].side == side;
    }
    return n;
}

uint32_t dataset_side_option(const struct data_scenario *s, uint32_t side, uint32_t nth)
{
    for (uint32_t i = 0;; i++) {
        CHECK(i < s->n_options);
        if (s->options[i].side == side && nth-- == 0) {
            return i;
        }
    }
}

bool dataset_offers_both(const struct data_scenario *s)
{
    return dataset_side_count(s, 0) > 0 && dataset_side_count(s, 1) > 0;
}

void dataset_free(struct dataset **d)
{
    struct dataset_all *all = (struct dataset_all *)(void *)*d;
    if (!all) {
        return;
    }
    for (size_t i = 0; i < all->n_blocks; i++) {
        mem_free(all->blocks[i]);
    }
    mem_free((void *)all->blocks);
    mem_free(all->scenarios);
    mem_free(all->groups);
    mem_free(all->pairs);
    mem_free(all->d.path);
    mem_free(all);
    *d = NULL;
}
