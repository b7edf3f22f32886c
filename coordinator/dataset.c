/* dataset.c - VCD and pair files in memory. */
#include "coordinator/dataset.h"

#include <string.h>

#include "common/base/file.h"
#include "common/base/limits.h"
#include "common/base/mem.h"

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

static bool keep_text(struct dataset_all *all, const json_t *object, const char *key,
                      struct data_text *out)
{
    const json_t *value = json_object_get(object, key);
    size_t bytes = json_string_length(value);
    char *text = keep(all, bytes + 1);
    if (!text) {
        return false;
    }
    memcpy(text, json_string_value(value), bytes + 1);
    *out = (struct data_text){.text = text, .bytes = bytes};
    return true;
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
    error = all->d.format == DATA_VCD ? fill_vcd(all, s, item, values, out, e)
                                      : fill_pair(all, s, item, out, e);
    return error == OK ? add_pairs(all, all->d.n_scenarios++, grouping, e) : error;
}

/* What the first item says: the format, and whether it can be trained on. */
static enum err settle_format(struct dataset_all *all, const struct json_stream *s,
                              const json_t *item, const struct values *values, struct errbuf *e)
{
    enum err error = data_format_recognise(s, item, &all->d.format, e);
    if (error != OK) {
        return error;
    }
    if (all->d.format != DATA_VCD && all->d.format != DATA_PAIRS) {
        const struct data_format_info *info = data_format_info(all->d.format);
        return json_stream_fail(s, NULL, 0, e, ERR_UNSUPPORTED,
                                "the items look like %s (%s); training and evaluation read 'vcd' "
                                "and 'pairs' files",
                                info->name, info->what);
    }
    if (all->d.format == DATA_VCD && !values) {
        return json_stream_fail(s, NULL, 0, e, ERR_REFUSED,
                                "a VCD file needs a values file: set data.values (or --values)");
    }
    return OK;
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
