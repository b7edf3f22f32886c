/* scribe.c - the thread behind journal, checkpoint and export. */
#include "coordinator/scribe.h"

#include <string.h>

#include "common/base/check.h"
#include "common/base/file.h"
#include "common/base/mem.h"
#include "common/net/desk.h"
#include "coordinator/checkpoint.h"

enum { LETTERS_MAX = 4096, RETRY_MS = 1000 };

struct order {
    struct letter letter; /* first */
    enum scribe_task task;
    struct journal_step step;
    struct blob *gradient;
    struct params *state;
    bool prune; /* the checkpoint is written, the journal not pruned to oldest */
    uint64_t oldest;
    char *name, *value;
    struct export_input input;
    struct params_snapshot *snapshot;
    bool waiting;                 /* the disk was full: said so once */
    struct scribe_report *report; /* made early: once the work is done it must be told */
};

struct scribe {
    struct journal *journal;
    char run[FILE_PATH_BYTES];
    uint8_t fixed[32];
    struct mailbox *reports;
    struct desk *desk;
};

static void drop_order(struct letter *letter)
{
    struct order *o = (struct order *)letter;
    blob_free(&o->gradient);
    params_free(&o->state);
    mem_free(o->report);
    mem_free(o->name);
    mem_free(o->value);
    if (o->snapshot) {
        params_snapshot_release(o->snapshot);
    }
    mem_free(o);
}

static void drop_report(struct letter *letter)
{
    mem_free(letter);
}

void scribe_report_free(struct scribe_report *report)
{
    mem_free(report);
}

static void tell(struct scribe *s, const struct order *o, struct scribe_report *report,
                 enum scribe_news news, const struct errbuf *text)
{
    report->letter.drop = drop_report;
    report->task = o->task;
    report->news = news;
    report->step = o->step.step;
    report->text = *text;
    if (mailbox_post(s->reports, &report->letter) != OK) {
        mem_free(report); /* the program is ending */
    }
}

static enum err write_checkpoint(struct scribe *s, struct order *o, struct errbuf *e)
{
    enum err error = OK;
    if (o->state) {
        error = checkpoint_write(s->run, o->state, s->fixed, &o->oldest, e);
        if (error != OK) {
            return error;
        }
        params_free(&o->state);
        o->prune = true;
    }
    if (o->prune) {
        error = journal_prune(s->journal, o->oldest, e);
        o->prune = error != OK;
    }
    return error;
}

/* One try; the order remembers what is done, so that a repeat goes on where it stopped. */
static enum err write_order(struct scribe *s, struct order *o, struct errbuf *e)
{
    char folder[FILE_PATH_BYTES];
    enum err error = OK;
    switch (o->task) {
    case SCRIBE_STEP:
        if (o->gradient) {
            error = journal_append(s->journal, &o->step,
                                   (const float *)(const void *)blob_data(o->gradient),
                                   blob_bytes(o->gradient) / sizeof(float), e);
            if (error == OK) {
                blob_free(&o->gradient);
            }
        }
        return error == OK ? write_checkpoint(s, o, e) : error;
    case SCRIBE_META:
        return journal_meta_set(s->journal, o->name, o->value, e);
    case SCRIBE_EVAL:
        return journal_eval_set(s->journal, o->name, o->value, e);
    case SCRIBE_EVENT:
        return journal_event(s->journal, o->name, o->value, e);
    case SCRIBE_EXPORT:
        error = file_join(folder, s->run, "adapter", e);
        return error == OK ? export_peft(folder, &o->input, e) : error;
    }
    return ERR_STATE;
}

/* One order, on the desk's thread. A full disk is tried again; any other error is for good. */
static uint32_t carry_out(void *ctx, struct letter *letter, bool closing)
{
    struct scribe *s = ctx;
    struct order *o = (struct order *)letter;
    struct errbuf e = {{0}};
    enum err error = write_order(s, o, &e);
    if (error == ERR_NOSPACE && !closing) {
        struct scribe_report *waits = o->waiting ? NULL : mem_calloc(1, sizeof *waits);
        if (waits) {
            tell(s, o, waits, SCRIBE_WAITING, &e);
            o->waiting = true;
        }
        return RETRY_MS;
    }
    struct scribe_report *report = o->report;
    o->report = NULL;
    tell(s, o, report, error == OK ? SCRIBE_DONE : SCRIBE_FAILED, &e);
    return 0;
}

enum err scribe_open(struct journal *journal, const char *run, const uint8_t fixed[32],
                     struct mailbox *reports, struct scribe **out, struct errbuf *e)
{
    struct scribe *s = mem_calloc(1, sizeof *s);
    if (!s) {
        return err_set(e, ERR_NOMEM, "no memory for the scribe");
    }
    s->journal = journal;
    s->reports = reports;
    memcpy(s->fixed, fixed, sizeof s->fixed);
    CHECK(strlen(run) < sizeof s->run);
    memcpy(s->run, run, strlen(run) + 1);
    enum err error = desk_open(LETTERS_MAX, carry_out, s, &s->desk);
    if (error != OK) {
        scribe_close(&s);
        return err_set(e, error,
                       "cannot start the thread that writes the journal; do ulimit -u and ulimit "
                       "-v allow it?");
    }
    *out = s;
    return OK;
}

static struct order *new_order(enum scribe_task task)
{
    struct order *o = mem_calloc(1, sizeof *o);
    if (o) {
        o->letter.drop = drop_order;
        o->task = task;
        o->report = mem_calloc(1, sizeof *o->report);
        if (!o->report) {
            drop_order(&o->letter);
            return NULL;
        }
    }
    return o;
}

static enum err post(struct scribe *s, struct order *o)
{
    return o ? desk_post(s->desk, &o->letter) : ERR_NOMEM;
}

enum err scribe_step(struct scribe *s, const struct journal_step *step, struct blob *gradient,
                     struct params **state)
{
    struct order *o = new_order(SCRIBE_STEP);
    if (o) {
        o->step = *step;
        o->gradient = blob_ref(gradient);
        o->state = *state;
        *state = NULL;
    }
    return post(s, o);
}

static enum err post_text(struct scribe *s, enum scribe_task task, const char *name,
                          const char *value)
{
    struct order *o = new_order(task);
    if (o) {
        o->name = mem_strdup(name);
        o->value = mem_strdup(value);
        if (!o->name || !o->value) {
            drop_order(&o->letter);
            o = NULL;
        }
    }
    return post(s, o);
}

enum err scribe_meta(struct scribe *s, const char *key, const char *value)
{
    return post_text(s, SCRIBE_META, key, value);
}

enum err scribe_eval(struct scribe *s, const char *name, const char *json)
{
    return post_text(s, SCRIBE_EVAL, name, json);
}

enum err scribe_event(struct scribe *s, const char *name, const char *detail)
{
    return post_text(s, SCRIBE_EVENT, name, detail);
}

enum err scribe_export(struct scribe *s, const struct export_input *in,
                       struct params_snapshot *snapshot)
{
    struct order *o = new_order(SCRIBE_EXPORT);
    if (o) {
        o->input = *in;
        o->snapshot = snapshot;
    } else {
        params_snapshot_release(snapshot);
    }
    return post(s, o);
}

void scribe_close(struct scribe **scribe)
{
    struct scribe *s = *scribe;
    *scribe = NULL;
    if (!s) {
        return;
    }
    desk_close(&s->desk);
    mem_free(s);
}
