/* task_message.c - orders and infos of tasks, checked, and their generated counterparts. */
#include "common/wire/task_message.h"

#include <string.h>

#include "common/base/mem.h"
#include "common/wire/task_codec.h"

char *wire_text(const char *s)
{
    return (char *)(uintptr_t)(s ? s : "");
}

bool wire_copy_text(char *out, size_t room, const char *in)
{
    size_t n = strnlen(in, room);
    if (n == room) {
        return false;
    }
    for (size_t i = 0; i < n; i++) {
        if ((unsigned char)in[i] < ' ') {
            return false;
        }
    }
    memcpy(out, in, n + 1);
    return true;
}

void wire_make_plain(char *s)
{
    for (; *s; s++) {
        *s = (unsigned char)*s < ' ' ? ' ' : *s;
    }
}

const char *task_sort_name(enum task_sort sort)
{
    static const char *const names[TASK_SORTS] = {"nothing", "train", "evaluate"};
    return (unsigned)sort < TASK_SORTS ? names[sort] : names[0];
}

const char *task_state_name(enum task_state state)
{
    static const char *const names[TASK_STATES] = {"unknown",  "queued", "running",
                                                   "finished", "failed", "cancelled"};
    return (unsigned)state < TASK_STATES ? names[state] : names[0];
}

void task_order_free(struct task_order *o)
{
    mem_free(o->config);
    mem_free(o->from);
    mem_free(o->sets);
    *o = (struct task_order){0};
}

/* A text of several lines: no other control characters. */
static enum err check_text(const char *what, const char *s, size_t room, bool lines,
                           struct errbuf *e)
{
    size_t n = s ? strnlen(s, room) : 0;
    if (n == room) {
        return err_set(e, ERR_RANGE, "%s of a task: %zu bytes at most", what, room - 1);
    }
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)s[i];
        if (c < ' ' && !(lines && (c == '\n' || c == '\t'))) {
            return err_set(e, ERR_RANGE, "%s of a task: byte %zu is a control character", what, i);
        }
    }
    return OK;
}

enum err task_order_check(const struct task_order *o, struct errbuf *e)
{
    bool config = o->config && o->config[0] != '\0';
    bool from = o->from && o->from[0] != '\0';
    if (o->sort != TASK_TRAIN && o->sort != TASK_EVALUATE) {
        return err_set(e, ERR_RANGE, "a task of sort %u; 1 (train) and 2 (evaluate) are known",
                       (unsigned)o->sort);
    }
    if (!config && !(o->sort == TASK_EVALUATE && from)) {
        return err_set(e, ERR_RANGE, "a task without a config");
    }
    if (from && o->sort == TASK_TRAIN) {
        return err_set(e, ERR_RANGE, "only an evaluation has a run that it is from");
    }
    enum err error = check_text("the name", o->name, sizeof o->name, false, e);
    if (error == OK) {
        error = check_text("the config", o->config, TASK_CONFIG_BYTES, true, e);
    }
    if (error == OK) {
        error = check_text("the run", o->from, TASK_FROM_BYTES, false, e);
    }
    return error == OK ? check_text("the overrides", o->sets, TASK_SETS_BYTES, true, e) : error;
}

void task_order_pack(const struct task_order *o, Pft__TaskOrder *p)
{
    pft__task_order__init(p);
    p->sort = (uint32_t)o->sort;
    p->ticket = o->ticket;
    p->name = wire_text(o->name);
    p->config = wire_text(o->config);
    p->from = wire_text(o->from);
    p->sets = wire_text(o->sets);
}

enum err task_order_unpack(const Pft__TaskOrder *p, struct task_order *o, struct errbuf *e)
{
    *o = (struct task_order){.sort = p->sort < TASK_SORTS ? (enum task_sort)p->sort : TASK_NOTHING,
                             .ticket = p->ticket};
    if (!wire_copy_text(o->name, sizeof o->name, p->name)) {
        return err_set(e, ERR_RANGE, "the name of a task: %zu plain bytes at most",
                       sizeof o->name - 1);
    }
    o->config = mem_strdup(p->config);
    o->from = mem_strdup(p->from);
    o->sets = mem_strdup(p->sets);
    enum err error = o->config && o->from && o->sets
                         ? task_order_check(o, e)
                         : err_set(e, ERR_NOMEM, "no memory for the order of a task");
    if (error != OK) {
        task_order_free(o);
    }
    return error;
}

void task_info_pack(const struct task_info *info, Pft__TaskInfo *p)
{
    pft__task_info__init(p);
    p->id = info->id;
    p->sort = (uint32_t)info->sort;
    p->state = (uint32_t)info->state;
    p->name = wire_text(info->name);
    p->text = wire_text(info->text);
    p->submitted_s = info->submitted_s;
    p->started_s = info->started_s;
    p->ended_s = info->ended_s;
}

bool task_info_unpack(const Pft__TaskInfo *p, struct task_info *info)
{
    *info = (struct task_info){.id = p->id,
                               .submitted_s = p->submitted_s,
                               .started_s = p->started_s,
                               .ended_s = p->ended_s};
    if (p->sort == 0 || p->sort >= TASK_SORTS || p->state == 0 || p->state >= TASK_STATES) {
        return false;
    }
    info->sort = (enum task_sort)p->sort;
    info->state = (enum task_state)p->state;
    return wire_copy_text(info->name, sizeof info->name, p->name) &&
           wire_copy_text(info->text, sizeof info->text, p->text);
}
