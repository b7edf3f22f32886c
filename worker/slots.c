/* slots.c - compute threads and their maker. */
#include "worker/slots.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "common/base/check.h"
#include "common/base/clock.h"
#include "common/base/failpoint.h"
#include "common/base/log.h"
#include "common/base/mem.h"
#include "common/wire/units_frame.h"
#include "worker/memory.h"
#include "worker/model/weights.h"
#include "worker/probe.h"

enum task_kind { TASK_LOAD, TASK_PREPARE, TASK_PROBE, TASK_JOB };
enum { TASKS_MAX = 8 };
/* A test build shares the smallest model too, so that its failpoints are passed. */
enum { SHARE_FLOATS = FAILPOINTS_ON ? 1 : WEIGHTS_SHARE_FLOATS };

struct task {
    struct letter letter; /* first */
    enum task_kind kind;
    struct engine_config config; /* TASK_PREPARE */
    struct engine_rows rows;
    uint64_t number;
    struct wire_job job; /* TASK_JOB */
    struct unit *units;
    struct answer_request *requests;
    struct blob *params;
};

struct slot_thread {
    struct slots *owner;
    uint32_t index;
    pthread_t thread;
    bool started;
    struct mailbox *tasks;
    struct engine_slot *slot; /* made by the maker while the slot is idle */
    pthread_mutex_t busy;     /* held while the thread uses slot */
    atomic_bool stop;
    struct payload_room room;              /* the thread's */
    _Atomic(struct engine_slot *) watched; /* for slots_progress */
    pthread_mutex_t time;                  /* over the next two */
    uint64_t begun_ns;                     /* of the job that runs; 0: none */
    uint64_t computed_ns;                  /* of the jobs before it */
};

struct slots {
    const struct model_file *mf;
    const char *model_hash;
    struct mailbox *reports;
    struct mailbox *tasks; /* of the maker */
    pthread_t maker;
    bool maker_started;
    struct weights weights;
    enum err loaded;
    struct errbuf loaded_text;
    struct engine *engine;
    struct engine_config config;
    struct engine_rows rows;
    uint64_t asked;            /* calls of slots_prepare */
    atomic_uint_fast64_t made; /* the call that the engine is of */
    uint32_t count;
    struct slot_thread threads[];
};

static void drop_task(struct letter *letter)
{
    struct task *task = (struct task *)letter;
    units_frame_free(task->units, task->job.units);
    mem_free(task->requests);
    blob_free(&task->params);
    mem_free(task);
}

static void drop_report(struct letter *letter)
{
    slot_report_free((struct slot_report *)letter);
}

void slot_report_free(struct slot_report *report)
{
    blob_free(&report->result.payload);
    mem_free(report);
}

static struct task *new_task(enum task_kind kind)
{
    struct task *task = mem_calloc(1, sizeof *task);
    if (task) {
        task->letter.drop = drop_task;
        task->kind = kind;
    }
    return task;
}

static enum err post_task(struct mailbox *mailbox, struct task *task)
{
    enum err error = task ? mailbox_post(mailbox, &task->letter) : ERR_NOMEM;
    if (error != OK && task) {
        drop_task(&task->letter);
    }
    return error;
}

/* A worker that cannot even say what happened has no memory left: it ends. */
static struct slot_report *new_report(enum slot_report_kind kind, uint32_t slot)
{
    struct slot_report *report = mem_calloc(1, sizeof *report);
    CHECK(report != NULL);
    report->letter.drop = drop_report;
    report->kind = kind;
    report->slot = slot;
    return report;
}

static void post_report(struct slots *s, struct slot_report *report)
{
    if (mailbox_post(s->reports, &report->letter) != OK) {
        slot_report_free(report); /* the program is ending */
    }
}

/* The job that ran until now counts; begun_ns 0: no other begins. */
static uint64_t keep_time(struct slot_thread *t, uint64_t now_ns, uint64_t begun_ns)
{
    (void)pthread_mutex_lock(&t->time);
    uint64_t spent = t->begun_ns > 0 ? now_ns - t->begun_ns : 0;
    t->computed_ns += spent;
    t->begun_ns = begun_ns;
    (void)pthread_mutex_unlock(&t->time);
    return spent;
}

static void run_job(struct slot_thread *t, const struct task *task)
{
    struct slot_report *report = new_report(SLOT_JOB, t->index);
    const struct engine *engine = t->owner->engine;
    const size_t lora_count = engine_lora_count(engine);
    const float *params =
        task->params ? (const float *)(const void *)blob_data(task->params) : NULL;
    const struct step_work work = {.job = &task->job,
                                   .units = task->units,
                                   .requests = task->requests,
                                   .lora = task->job.adapter ? params : NULL,
                                   .lora_count = lora_count,
                                   .steer = task->job.steer ? params + lora_count : NULL,
                                   .sums = engine_capture_count(engine),
                                   .stop = &t->stop,
                                   .room = &t->room};
    uint64_t begin = clock_now_ns();
    (void)keep_time(t, begin, begin);
    report->job = task->job;
    report->code = step_run(t->slot, &work, &report->result, &report->text);
    report->seconds = (float)((double)keep_time(t, clock_now_ns(), 0) * 1e-9);
    post_report(t->owner, report);
}

static void run_probe(struct slot_thread *t)
{
    struct slot_report *report = new_report(SLOT_PROBED, t->index);
    report->engine = atomic_load(&t->owner->made);
    FAILPOINT("probe.before");
    report->code = engine_probe(t->slot, report->digest, &report->text);
    FAILPOINT("probe.after");
    post_report(t->owner, report);
}

static void *slot_main(void *argument)
{
    struct slot_thread *t = argument;
    for (struct letter *l = mailbox_wait(t->tasks); l; l = mailbox_wait(t->tasks)) {
        struct task *task = (struct task *)l;
        pthread_mutex_lock(&t->busy);
        if (task->kind == TASK_JOB) {
            run_job(t, task);
        } else {
            run_probe(t);
        }
        pthread_mutex_unlock(&t->busy);
        drop_task(l);
    }
    return NULL;
}

static void free_engine(struct slots *s)
{
    for (uint32_t i = 0; i < s->count; i++) {
        pthread_mutex_lock(&s->threads[i].busy);
        atomic_store(&s->threads[i].watched, NULL);
        engine_slot_free(&s->threads[i].slot);
        pthread_mutex_unlock(&s->threads[i].busy);
    }
    engine_free(&s->engine);
}

/* The model, and with it the shape, is the same for as long as the process lives. */
static bool same_config(const struct engine_config *a, const struct engine_config *b)
{
    return a->lora.r == b->lora.r && a->lora.alpha == b->lora.alpha &&
           a->lora.dropout == b->lora.dropout && a->lora.targets == b->lora.targets &&
           a->kernels == b->kernels && a->tile_rows == b->tile_rows &&
           a->tile_cols == b->tile_cols && a->seed == b->seed && a->precision == b->precision;
}

static bool same_rows(const struct engine_rows *a, const struct engine_rows *b)
{
    return a->train == b->train && a->anchor == b->anchor && a->score == b->score;
}

/* Before anything is taken. */
static enum err check_memory(const struct slots *s, const struct task *task, struct errbuf *e)
{
    struct engine_need need;
    const size_t available = memory_available("");
    enum err error = memory_fits(&task->config, s->count, &task->rows, available, &need, e);
    if (error == OK) {
        log_event(LOG_INFO, "memory_planned",
                  "mib=%zu weights_mib=%zu slot_mib=%zu slots=%u unit_tokens=%u free_mib=%zu",
                  (need.resident + need.packed + s->count * need.slot) >> 20,
                  (need.resident + need.packed) >> 20, need.slot >> 20, s->count, task->rows.train,
                  available >> 20);
    }
    return error;
}

static enum err make_engine(struct slots *s, const struct task *task, bool *fresh, struct errbuf *e)
{
    if (s->loaded != OK) {
        *e = s->loaded_text;
        return s->loaded;
    }
    if (s->engine && same_config(&s->config, &task->config) && same_rows(&s->rows, &task->rows)) {
        atomic_store(&s->made, task->number);
        return OK;
    }
    *fresh = true;
    free_engine(s);
    enum err error = check_memory(s, task, e);
    if (error != OK) {
        return error;
    }
    error = engine_new(&task->config, &s->weights, &s->engine, e);
    for (uint32_t i = 0; i < s->count && error == OK; i++) {
        struct slot_thread *t = &s->threads[i];
        pthread_mutex_lock(&t->busy);
        error = engine_slot_new(s->engine, task->rows.train, &t->slot, e);
        atomic_store(&t->watched, t->slot);
        pthread_mutex_unlock(&t->busy);
    }
    if (error != OK) {
        free_engine(s);
        return error;
    }
    s->config = task->config;
    s->rows = task->rows;
    atomic_store(&s->made, task->number);
    return OK;
}

static void load_weights(struct slots *s)
{
    struct errbuf note;
    s->loaded =
        weights_open(&s->weights, s->mf, s->model_hash, NULL, SHARE_FLOATS, &note, &s->loaded_text);
    if (s->loaded == OK && note.text[0] != '\0') {
        log_event(LOG_WARN, "weights_not_shared", "%s", note.text);
    }
}

static void *maker_main(void *argument)
{
    struct slots *s = argument;
    for (struct letter *l = mailbox_wait(s->tasks); l; l = mailbox_wait(s->tasks)) {
        struct task *task = (struct task *)l;
        if (task->kind == TASK_LOAD) {
            load_weights(s);
        } else {
            struct slot_report *report = new_report(SLOT_PREPARED, 0);
            report->engine = task->number;
            report->code = make_engine(s, task, &report->fresh, &report->text);
            post_report(s, report);
        }
        drop_task(l);
    }
    return NULL;
}

static enum err start_threads(struct slots *s, struct errbuf *e)
{
    for (uint32_t i = 0; i < s->count; i++) {
        struct slot_thread *t = &s->threads[i];
        t->owner = s;
        t->index = i;
        atomic_init(&t->stop, false);
        atomic_init(&t->watched, NULL);
        CHECK(pthread_mutex_init(&t->busy, NULL) == 0);
        CHECK(pthread_mutex_init(&t->time, NULL) == 0);
        enum err error = mailbox_open(TASKS_MAX, &t->tasks);
        t->started = error == OK && pthread_create(&t->thread, NULL, slot_main, t) == 0;
        if (!t->started) {
            return err_set(
                e, ERR_NOMEM,
                "cannot start the thread of slot %u; do ulimit -u and ulimit -v allow it?", i);
        }
    }
    s->maker_started = pthread_create(&s->maker, NULL, maker_main, s) == 0;
    return s->maker_started ? OK
                            : err_set(e, ERR_NOMEM,
                                      "cannot start the thread that loads the model; do ulimit -u "
                                      "and ulimit -v allow it?");
}

enum err slots_open(const struct model_file *mf, const char *model_hash, uint32_t count,
                    struct mailbox *reports, struct slots **out, struct errbuf *e)
{
    struct slots *s = mem_calloc(1, sizeof *s + count * sizeof s->threads[0]);
    if (!s) {
        return err_set(e, ERR_NOMEM, "no memory for %u slots", count);
    }
    s->mf = mf;
    s->model_hash = model_hash;
    s->reports = reports;
    s->count = count;
    enum err error = mailbox_open(TASKS_MAX, &s->tasks);
    if (error == OK) {
        error = start_threads(s, e);
    }
    if (error == OK) {
        error = post_task(s->tasks, new_task(TASK_LOAD));
    }
    if (error != OK) {
        slots_close(&s);
        return error;
    }
    *out = s;
    return OK;
}

enum err slots_prepare(struct slots *s, const struct engine_config *config,
                       const struct engine_rows *rows, uint64_t *engine)
{
    struct task *task = new_task(TASK_PREPARE);
    *engine = ++s->asked;
    if (task) {
        task->number = *engine;
        task->config = *config;
        task->rows = *rows;
    }
    return post_task(s->tasks, task);
}

enum err slots_probe(struct slots *s)
{
    return post_task(s->threads[0].tasks, new_task(TASK_PROBE));
}

enum err slots_compute(struct slots *s, uint32_t slot, const struct wire_job *job,
                       struct unit *units, struct answer_request *requests, struct blob *params)
{
    struct task *task = new_task(TASK_JOB);
    if (!task) {
        units_frame_free(units, job->units);
        mem_free(requests);
        return ERR_NOMEM;
    }
    task->job = *job;
    task->units = units;
    task->requests = requests;
    task->params = params ? blob_ref(params) : NULL;
    atomic_store(&s->threads[slot].stop, false);
    return post_task(s->threads[slot].tasks, task);
}

void slots_stop(struct slots *s, uint32_t slot)
{
    atomic_store(&s->threads[slot].stop, true);
}

uint64_t slots_progress(const struct slots *s, uint32_t slot)
{
    const struct engine_slot *watched = atomic_load(&s->threads[slot].watched);
    return watched ? engine_slot_progress(watched) : 0;
}

uint64_t slots_computed_ms(struct slots *s)
{
    uint64_t now = clock_now_ns();
    uint64_t ns = 0;
    for (uint32_t i = 0; i < s->count; i++) {
        struct slot_thread *t = &s->threads[i];
        (void)pthread_mutex_lock(&t->time);
        ns += t->computed_ns + (t->begun_ns > 0 && now > t->begun_ns ? now - t->begun_ns : 0);
        (void)pthread_mutex_unlock(&t->time);
    }
    return ns / 1000000u;
}

void slots_close(struct slots **slots)
{
    struct slots *s = *slots;
    *slots = NULL;
    if (!s) {
        return;
    }
    for (uint32_t i = 0; i < s->count; i++) {
        atomic_store(&s->threads[i].stop, true);
        if (s->threads[i].tasks) {
            mailbox_stop(s->threads[i].tasks);
        }
    }
    if (s->tasks) {
        mailbox_stop(s->tasks);
    }
    if (s->maker_started) {
        pthread_join(s->maker, NULL);
    }
    for (uint32_t i = 0; i < s->count; i++) {
        struct slot_thread *t = &s->threads[i];
        if (t->started) {
            pthread_join(t->thread, NULL);
        }
        mailbox_close(&t->tasks);
        payload_room_clear(&t->room);
    }
    if (s->engine) {
        free_engine(s);
    }
    mailbox_close(&s->tasks);
    weights_free(&s->weights);
    mem_free(s);
}
