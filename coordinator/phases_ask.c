/* phases_ask.c - the phase that answers questions: a line in, its batch, a line out; and what
 * steers behind the published parameters. */
#include <string.h>

#include "common/base/log.h"
#include "common/base/mem.h"
#include "coordinator/phases_state.h"

enum { QUESTIONS_MAX = 8 };

enum err phases_publish_steered(struct phases *p)
{
    const struct model_shape *shape = model_shape(p->start->setup.model);
    struct params_snapshot *with = NULL;
    if (!p->start->steer) {
        return server_publish(p->server, params_snapshot_hold(p->last));
    }
    enum err error = params_snapshot_with(p->last, p->last->version, p->start->steer,
                                          (size_t)shape->layers * shape->hidden, &with);
    return error == OK ? server_publish(p->server, with) : error;
}

enum err phases_publish_value(struct phases *p, uint32_t code)
{
    const struct value_vectors *v = p->start->value_vectors;
    struct params_snapshot *with = NULL;
    enum err error = params_snapshot_with(p->last, p->published + 1, value_vectors_of(v, code),
                                          code > 0 ? v->floats : 0, &with);
    if (error == OK) {
        p->published = with->version;
        error = server_publish(p->server, with);
    }
    return error;
}

static void reply(struct phases *p, const struct str *line)
{
    struct errbuf e;
    if (ask_lines_answer(p->asking, line, &e) != OK) {
        phases_fail(p, e.text);
    }
}

static void reply_error(struct phases *p, const char *why)
{
    struct str line = {0};
    str_add(&line, "{\"error\":");
    str_add_json(&line, why, strlen(why));
    str_add(&line, "}");
    if (str_ok(&line) == OK) {
        reply(p, &line);
    } else {
        phases_fail(p, why);
    }
    str_free(&line);
}

/* Answers what is counted alone. */
static void reply_count(struct phases *p, const struct ask *ask)
{
    struct errbuf e;
    struct str line = {0};
    if (ask_count(ask, &line, &e) == OK) {
        reply(p, &line);
    } else {
        reply_error(p, e.text);
    }
    str_free(&line);
}

/* Opens the batch of a line, or says at once why not. */
static void open_question(struct phases *p, const struct str *text)
{
    struct errbuf e;
    struct ask *ask = NULL;
    enum err error = ask_new(&p->start->setup, text->data ? text->data : "", text->len, &ask, &e);
    batch_free(&p->coming);
    if (error == OK && ask_counts(ask)) {
        reply_count(p, ask);
        ask_free(&ask);
        return;
    }
    if (error == OK) {
        error = ask_batch(ask, p->evals++, &p->coming, &e);
    }
    if (error != OK) {
        ask_free(&ask);
        reply_error(p, e.text);
        return;
    }
    log_event(LOG_INFO, "question", "units=%u tokens=%llu", p->coming.n_units,
              (unsigned long long)p->coming.tokens);
    struct ask *before = p->asked;
    p->ask = ask;
    p->asked = NULL;
    phases_open_batch(p, p->start->adapter && !ask_bare(ask), p->published);
    ask_free(&before);
}

/* Lines come one at a time: none while a question is open. */
static void on_lines(void *ctx)
{
    struct phases *p = ctx;
    for (struct letter *l = mailbox_take(p->questions); l; l = mailbox_take(p->questions)) {
        struct ask_line *line = (struct ask_line *)l;
        if (p->phase == PHASE_ASK && line->trouble[0] != '\0') {
            phases_fail(p, line->trouble);
        } else if (p->phase == PHASE_ASK && line->end) {
            phases_finish(p);
        } else if (p->phase == PHASE_ASK && line->too_long) {
            char text[96];
            (void)snprintf(text, sizeof text, "a question of more than %d bytes", ASK_LINE_BYTES);
            reply_error(p, text);
        } else if (p->phase == PHASE_ASK) {
            open_question(p, &line->text);
        }
        ask_line_free(line);
    }
}

void phases_ask_begin(struct phases *p)
{
    struct errbuf e;
    p->phase = PHASE_ASK;
    enum err error = mailbox_open(QUESTIONS_MAX, &p->questions);
    if (error == OK) {
        error = server_attach(p->server, p->questions, on_lines, p);
    }
    if (error != OK) {
        phases_fail(p, "no memory for questions");
    } else if (ask_lines_open(p->questions, &p->asking, &e) != OK) {
        phases_fail(p, e.text);
    }
}

void phases_ask_take(struct phases *p, const struct job *job, const struct blob *payload)
{
    struct errbuf e;
    if (ask_take(p->ask, job, payload, &e) != OK) {
        phases_fail(p, e.text);
    }
}

void phases_ask_leaves(struct phases *p, uint32_t tree, const double *leaf)
{
    ask_take_leaves(p->ask, tree, leaf);
}

void phases_ask_restart(struct phases *p)
{
    if (p->ask) {
        ask_restart(p->ask);
    }
}

void phases_ask_done(struct phases *p)
{
    struct errbuf e;
    struct str line = {0};
    enum err error = ask_answer(p->ask, &line, &e);
    p->asked = p->ask;
    p->ask = NULL;
    if (error == OK) {
        reply(p, &line);
    } else {
        reply_error(p, e.text);
    }
    str_free(&line);
}

void phases_ask_close(struct phases *p)
{
    ask_lines_close(&p->asking);
    mailbox_close(&p->questions);
    ask_free(&p->ask);
    ask_free(&p->asked);
}
