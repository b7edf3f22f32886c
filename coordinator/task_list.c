/* task_list.c - tasks in the order they came. */
#include "coordinator/task_list.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "common/base/check.h"
#include "common/base/json_memory.h"
#include "common/base/mem.h"

enum { SCHEMA = 1 };
static const uint64_t ID_MAX = 1ull << 53; /* exact in every reader of JSON */

void task_list_free(struct task_list *l)
{
    mem_free(l->tasks);
    *l = (struct task_list){0};
}

static struct task *find(const struct task_list *l, uint64_t id)
{
    for (size_t i = 0; i < l->n; i++) {
        if (l->tasks[i].info.id == id) {
            return &l->tasks[i];
        }
    }
    return NULL;
}

static bool ended(const struct task *t)
{
    return t->info.state != TASK_QUEUED && t->info.state != TASK_RUNNING;
}

static void remove_at(struct task_list *l, size_t i)
{
    memmove(&l->tasks[i], &l->tasks[i + 1], (l->n - i - 1) * sizeof *l->tasks);
    l->n--;
}

static bool make_room(struct task_list *l)
{
    for (size_t i = 0; i < l->n; i++) {
        if (ended(&l->tasks[i])) {
            remove_at(l, i);
            return true;
        }
    }
    return false;
}

enum err task_list_submit(struct task_list *l, const struct task_order *order, uint64_t now_s,
                          uint64_t *id, struct errbuf *e)
{
    for (size_t i = 0; i < l->n; i++) {
        if (l->tasks[i].ticket == order->ticket && order->ticket != 0) {
            *id = l->tasks[i].info.id;
            return OK;
        }
    }
    if (l->n == TASK_LIST_MOST && !make_room(l)) {
        return err_set(e, ERR_FULL, "%d tasks wait, that is the most: cancel one, or wait",
                       TASK_LIST_MOST);
    }
    if (l->last >= ID_MAX) {
        return err_set(e, ERR_FULL, "task %" PRIu64 " was the last number: start with a new folder",
                       l->last);
    }
    void *grown = l->tasks;
    if (mem_grow(&grown, &l->capacity, l->n + 1, sizeof *l->tasks, TASK_LIST_MOST) != OK) {
        return err_set(e, ERR_NOMEM, "no memory for one more task");
    }
    l->tasks = grown;
    struct task *t = &l->tasks[l->n++];
    *t = (struct task){
        .info = {.id = ++l->last, .sort = order->sort, .state = TASK_QUEUED, .submitted_s = now_s},
        .ticket = order->ticket};
    (void)snprintf(t->info.name, sizeof t->info.name, "%s", order->name);
    *id = t->info.id;
    return OK;
}

void task_list_forget(struct task_list *l, uint64_t id)
{
    const struct task *t = find(l, id);
    if (t) {
        remove_at(l, (size_t)(t - l->tasks));
    }
}

const struct task_info *task_list_next(const struct task_list *l)
{
    const struct task_info *queued = NULL;
    for (size_t i = 0; i < l->n; i++) {
        const struct task_info *info = &l->tasks[i].info;
        if (info->state == TASK_RUNNING) {
            return info;
        }
        queued = queued || info->state != TASK_QUEUED ? queued : info;
    }
    return queued;
}

const struct task_info *task_list_find(const struct task_list *l, uint64_t id)
{
    const struct task *t = find(l, id);
    return t ? &t->info : NULL;
}

void task_list_begin(struct task_list *l, uint64_t id, uint64_t now_s)
{
    struct task *t = find(l, id);
    CHECK(t && !ended(t));
    t->info.state = TASK_RUNNING;
    t->info.started_s = t->info.started_s ? t->info.started_s : now_s;
}

/* Texts go into frames and files: control characters become spaces. */
static void keep_text(struct task *t, const char *text)
{
    (void)snprintf(t->info.text, sizeof t->info.text, "%s", text);
    wire_make_plain(t->info.text);
}

void task_list_end(struct task_list *l, uint64_t id, enum task_state state, const char *text,
                   uint64_t now_s)
{
    struct task *t = find(l, id);
    CHECK(t && (state == TASK_FINISHED || state == TASK_FAILED));
    if (t->info.state == TASK_RUNNING) {
        t->info.state = state;
        t->info.ended_s = now_s;
        keep_text(t, text);
    }
}

enum err task_list_cancel(struct task_list *l, uint64_t id, uint64_t now_s, struct errbuf *e)
{
    struct task *t = find(l, id);
    if (!t) {
        return err_set(e, ERR_NOT_FOUND, "there is no task %" PRIu64, id);
    }
    if (t->info.state == TASK_FINISHED || t->info.state == TASK_FAILED) {
        return err_set(e, ERR_STATE, "task %" PRIu64 " is %s already", id,
                       task_state_name(t->info.state));
    }
    if (t->info.state != TASK_CANCELLED) {
        t->info.state = TASK_CANCELLED;
        t->info.ended_s = now_s;
    }
    return OK;
}

void task_list_text(const struct task_list *l, struct str *out)
{
    str_addf(out, "{\"schema\": %d, \"last\": %" PRIu64 ", \"tasks\": [", SCHEMA, l->last);
    for (size_t i = 0; i < l->n; i++) {
        const struct task_info *t = &l->tasks[i].info;
        str_addf(out, "%s\n  {\"id\": %" PRIu64 ", \"sort\": \"%s\", \"state\": \"%s\", \"name\": ",
                 i > 0 ? "," : "", t->id, task_sort_name(t->sort), task_state_name(t->state));
        str_add_json(out, t->name, strlen(t->name));
        str_add(out, ", \"text\": ");
        str_add_json(out, t->text, strlen(t->text));
        str_addf(out,
                 ", \"submitted\": %" PRIu64 ", \"started\": %" PRIu64 ", \"ended\": %" PRIu64
                 ", \"ticket\": \"%" PRIx64 "\"}",
                 t->submitted_s, t->started_s, t->ended_s, l->tasks[i].ticket);
    }
    str_add(out, "\n]}\n");
}

static bool get_number(const json_t *object, const char *key, uint64_t *out)
{
    const json_t *value = json_object_get(object, key);
    *out = json_is_integer(value) && json_integer_value(value) >= 0
               ? (uint64_t)json_integer_value(value)
               : 0;
    return json_is_integer(value) && json_integer_value(value) >= 0;
}

/* Longer texts are cut: bytes that were no UTF-8 grew when they were written. Control characters
 * are not ours, and no reply could carry them. */
static bool get_text(const json_t *object, const char *key, char *out, size_t room)
{
    const char *value = json_string_value(json_object_get(object, key));
    for (const char *p = value; p && *p; p++) {
        if ((unsigned char)*p < ' ') {
            return false;
        }
    }
    return value && snprintf(out, room, "%s", value) >= 0;
}

static bool get_names(const json_t *object, struct task_info *info)
{
    char sort[16];
    char state[16];
    if (!get_text(object, "sort", sort, sizeof sort) ||
        !get_text(object, "state", state, sizeof state)) {
        return false;
    }
    for (enum task_sort i = TASK_TRAIN; i < TASK_SORTS; i++) {
        info->sort = strcmp(sort, task_sort_name(i)) == 0 ? i : info->sort;
    }
    for (enum task_state i = TASK_QUEUED; i < TASK_STATES; i++) {
        info->state = strcmp(state, task_state_name(i)) == 0 ? i : info->state;
    }
    return info->sort != TASK_NOTHING && info->state != TASK_UNKNOWN;
}

static bool get_task(const json_t *object, struct task *t)
{
    char ticket[24];
    *t = (struct task){0};
    return get_number(object, "id", &t->info.id) && get_names(object, &t->info) &&
           get_text(object, "name", t->info.name, sizeof t->info.name) &&
           get_text(object, "text", t->info.text, sizeof t->info.text) &&
           get_number(object, "submitted", &t->info.submitted_s) &&
           get_number(object, "started", &t->info.started_s) &&
           get_number(object, "ended", &t->info.ended_s) &&
           get_text(object, "ticket", ticket, sizeof ticket) &&
           sscanf(ticket, "%" SCNx64, &t->ticket) == 1;
}

static enum err read_tasks(const json_t *root, struct task_list *l, struct errbuf *e)
{
    const json_t *tasks = json_object_get(root, "tasks");
    uint64_t schema;
    size_t running = 0;
    if (!get_number(root, "schema", &schema) || schema != SCHEMA ||
        !get_number(root, "last", &l->last) || l->last > ID_MAX || !json_is_array(tasks) ||
        json_array_size(tasks) > TASK_LIST_MOST) {
        return err_set(e, ERR_RANGE,
                       "a list of schema %d with at most %d tasks and \"last\" of at most %" PRIu64
                       " is wanted",
                       SCHEMA, TASK_LIST_MOST, ID_MAX);
    }
    l->n = l->capacity = json_array_size(tasks);
    l->tasks = mem_calloc(l->n, sizeof *l->tasks);
    if (!l->tasks) {
        return err_set(e, ERR_NOMEM, "no memory for %zu tasks", l->n);
    }
    for (size_t i = 0; i < l->n; i++) {
        struct task *t = &l->tasks[i];
        uint64_t before = i > 0 ? l->tasks[i - 1].info.id : 0;
        if (!get_task(json_array_get(tasks, i), t) || t->info.id <= before ||
            t->info.id > l->last) {
            return err_set(e, ERR_RANGE, "task %zu of the list is out of range", i);
        }
        running += t->info.state == TASK_RUNNING;
    }
    return running <= 1 ? OK : err_set(e, ERR_RANGE, "%zu tasks run at once", running);
}

enum err task_list_parse(const char *text, size_t bytes, struct task_list *l, struct errbuf *e)
{
    *l = (struct task_list){0};
    json_error_t where;
    json_t *root = NULL;
    enum err error = json_memory_load(text, bytes, JSON_REJECT_DUPLICATES, &root, &where);
    if (error != OK) {
        return error == ERR_NOMEM ? err_set(e, error, "no memory for a list of %zu bytes", bytes)
                                  : err_set(e, error, "line %d: %s", where.line, where.text);
    }
    error = read_tasks(root, l, e);
    json_decref(root);
    if (error != OK) {
        task_list_free(l);
    }
    return error;
}
