/* task_commands.c - pft submit, jobs, cancel and logs: the list of a standing coordinator, over its
 * status socket. Owns: the words and the tables. Never: tasks; the coordinator does them. */
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cli/args.h"
#include "cli/cli.h"
#include "cli/status.h"
#include "cli/task_order.h"

enum { TRIES = 4, FOLLOW_MS = 300 };

/* Of every command. */
struct list {
    const char *to, *key;
};

static enum err obey(const struct status *s, const char *to, struct errbuf *e)
{
    switch (s->outcome) {
    case STATUS_DONE:
        return OK;
    case STATUS_REFUSED:
        return err_set(e, ERR_REFUSED, "%s: %s", to, s->answer);
    case STATUS_NOT_THERE:
        return err_set(e, ERR_NOT_FOUND, "%s: %s", to, s->answer);
    case STATUS_NONE:
    case STATUS_OUTCOMES:
    default:
        return err_set(e, ERR_UNSUPPORTED, "%s: this coordinator knows no tasks (an older build)",
                       to);
    }
}

/* One question; a lost answer is asked for again, which changes nothing: an order has a ticket, and
 * what is cancelled stays cancelled. */
static enum err command(const struct list *l, const struct status_request *request,
                        struct status *s, struct errbuf *e)
{
    if (!l->to) {
        return err_set(e, ERR_USAGE,
                       "--to ADDRESS is needed: the folder of a pft-coordinator --serve, or its "
                       "status address");
    }
    enum err error = status_ask(l->to, l->key, request, TRIES, s, e);
    return error == OK ? obey(s, l->to, e) : error;
}

static enum err printed(bool good, struct errbuf *e)
{
    return good && fflush(stdout) == 0 ? OK : err_set(e, ERR_IO, "cannot write to stdout");
}

/* Ends a command: its error told, its exit code. ERR_STATE: --help was printed. */
static int ended(const char *name, enum err error, const struct errbuf *e)
{
    return error == OK || error == ERR_STATE ? CLI_OK : cli_explain(name, error, e);
}

static enum err read_task(const char *word, uint64_t *id, struct errbuf *e)
{
    char *end = NULL;
    unsigned long long value = word ? strtoull(word, &end, 10) : 0;
    if (!word || word[0] < '1' || word[0] > '9' || *end != '\0') {
        return err_set(e, ERR_USAGE, "a task's number is needed; pft jobs lists them");
    }
    *id = value;
    return OK;
}

static enum err check_submit(const struct args *a, struct submit_words *w, bool *evaluate,
                             struct errbuf *e)
{
    *evaluate = a->n_positional > 0 && strcmp(a->positional[0], "eval") == 0;
    w->config = *evaluate ? NULL : a->positional[0];
    w->from = *evaluate ? a->positional[1] : NULL;
    if (!*evaluate && (a->n_positional != 1 || w->model || w->data || w->values || w->readout)) {
        return err_set(e, ERR_USAGE, "one CONFIG is needed, --set changes it; usage: %s", a->usage);
    }
    if (*evaluate && (a->n_positional > 2 || (w->from != NULL) == (w->model != NULL))) {
        return err_set(e, ERR_USAGE, "eval: one RUN, TASK or --model FILE is needed; usage: %s",
                       a->usage);
    }
    if (w->model && (!w->data || !w->values)) {
        return err_set(e, ERR_USAGE, "eval: --model needs --data FILE and --values FILE");
    }
    return OK;
}

int cli_submit(int argc, char **argv)
{
    struct errbuf e = {0};
    struct submit_words w = {0};
    struct list l = {0};
    const char *sets[ARGS_REPEATS];
    const struct args_option options[] = {
        {"--to", "ADDRESS", "folder or status address of the coordinator", &l.to, NULL, NULL},
        {"--key", "FILE", "an operator's key, for tcp addresses with keys", &l.key, NULL, NULL},
        {"--name", "NAME", "name in the list (default: of the config or run)", &w.name, NULL, NULL},
        {"--set", "KEY=VALUE", "override a key of the config", sets, &w.n_sets, NULL},
        {"--model", "FILE", "eval: a bare model instead of a run", &w.model, NULL, NULL},
        {"--data", "FILE", "eval: data file (default: data.test of the run)", &w.data, NULL, NULL},
        {"--values", "FILE", "eval: values file, with --model", &w.values, NULL, NULL},
        {"--readout", "NAMES", "eval: readouts, comma-separated (default: of the run)", &w.readout,
         NULL, NULL},
    };
    struct args a = {.usage = "pft submit CONFIG|eval RUN|eval TASK|eval --model FILE --to ADDRESS "
                              "[options]",
                     .what =
                         "Adds a task to the list of a standing coordinator; prints its number.",
                     .options = options,
                     .n_options = sizeof options / sizeof options[0]};
    struct status_request request = {.command = STATUS_SUBMIT};
    struct status s = {0};
    bool evaluate = false;
    w.sets = sets;
    enum err error = args_parse(&a, argc, argv, &e);
    if (error == OK) {
        error = check_submit(&a, &w, &evaluate, &e);
    }
    if (error == OK) {
        error = evaluate ? task_order_evaluate(&w, &request.order, &e)
                         : task_order_train(&w, &request.order, &e);
    }
    if (error == OK) {
        error = command(&l, &request, &s, &e);
    }
    if (error == OK) {
        error = printed(printf("%" PRIu64 "\n", s.task_id) > 0, &e);
    }
    status_request_free(&request);
    status_free(&s);
    return ended("pft submit", error, &e);
}

static void when(uint64_t seconds, char out[32])
{
    time_t t = (time_t)seconds;
    struct tm parts;
    if (seconds == 0 || !localtime_r(&t, &parts) ||
        strftime(out, 32, "%Y-%m-%d %H:%M:%S", &parts) == 0) {
        (void)snprintf(out, 32, "-");
    }
}

static void table(const struct status *s)
{
    (void)printf("%6s  %-9s %-10s %-24s %-20s %-20s %s\n", "task", "what", "state", "name",
                 "started", "ended", "why");
    for (uint32_t i = 0; i < s->n_tasks; i++) {
        const struct task_info *t = &s->tasks[i];
        char started[32];
        char finished[32];
        when(t->started_s, started);
        when(t->ended_s, finished);
        (void)printf("%6" PRIu64 "  %-9s %-10s %-24s %-20s %-20s %s\n", t->id,
                     task_sort_name(t->sort), task_state_name(t->state), t->name, started, finished,
                     t->text);
    }
}

static void jobs_json(const struct status *s, struct str *out)
{
    str_add(out, "[");
    for (uint32_t i = 0; i < s->n_tasks; i++) {
        const struct task_info *t = &s->tasks[i];
        str_addf(out, "%s{\"id\":%" PRIu64 ",\"what\":\"%s\",\"state\":\"%s\",\"name\":",
                 i > 0 ? "," : "", t->id, task_sort_name(t->sort), task_state_name(t->state));
        str_add_json(out, t->name, strlen(t->name));
        str_addf(out, ",\"submitted\":%" PRIu64 ",\"started\":%" PRIu64 ",\"ended\":%" PRIu64,
                 t->submitted_s, t->started_s, t->ended_s);
        str_add(out, ",\"text\":");
        str_add_json(out, t->text, strlen(t->text));
        str_add(out, "}");
    }
    str_add(out, "]\n");
}

int cli_jobs(int argc, char **argv)
{
    struct errbuf e = {0};
    struct list l = {0};
    bool json = false;
    const struct args_option options[] = {
        {"--to", "ADDRESS", "folder or status address of the coordinator", &l.to, NULL, NULL},
        {"--key", "FILE", "a key that may read, for tcp addresses with keys", &l.key, NULL, NULL},
        {"--json", NULL, "print a JSON list (docs/fleet.md)", NULL, NULL, &json}};
    struct args a = {.usage = "pft jobs --to ADDRESS [--json] [--key FILE]",
                     .what = "The tasks of a standing coordinator, in the order they were sent.",
                     .options = options,
                     .n_options = sizeof options / sizeof options[0]};
    const struct status_request request = {.command = STATUS_JOBS};
    struct status s = {0};
    struct str out = {0};
    enum err error = args_parse(&a, argc, argv, &e);
    if (error == OK && a.n_positional > 0) {
        error = err_set(&e, ERR_USAGE, "'%s' is one word too many; usage: %s", a.positional[0],
                        a.usage);
    }
    if (error == OK) {
        error = command(&l, &request, &s, &e);
    }
    if (error == OK && json) {
        jobs_json(&s, &out);
        error = printed(str_ok(&out) == OK && fputs(out.data, stdout) >= 0, &e);
    } else if (error == OK) {
        table(&s);
        error = printed(true, &e);
    }
    str_free(&out);
    status_free(&s);
    return ended("pft jobs", error, &e);
}

int cli_cancel(int argc, char **argv)
{
    struct errbuf e = {0};
    struct list l = {0};
    const struct args_option options[] = {
        {"--to", "ADDRESS", "folder or status address of the coordinator", &l.to, NULL, NULL},
        {"--key", "FILE", "an operator's key, for tcp addresses with keys", &l.key, NULL, NULL}};
    struct args a = {.usage = "pft cancel TASK --to ADDRESS [--key FILE]",
                     .what =
                         "A task that waits is not begun, one that runs stops; its folder stays.",
                     .options = options,
                     .n_options = sizeof options / sizeof options[0]};
    struct status_request request = {.command = STATUS_CANCEL};
    struct status s = {0};
    enum err error = args_parse(&a, argc, argv, &e);
    if (error == OK) {
        error = read_task(a.n_positional == 1 ? a.positional[0] : NULL, &request.task, &e);
    }
    if (error == OK) {
        error = command(&l, &request, &s, &e);
    }
    if (error == OK) {
        error = printed(puts(s.answer) >= 0, &e);
    }
    status_free(&s);
    return ended("pft cancel", error, &e);
}

/* Pieces until there is nothing more, or with follow until the task has ended. */
static enum err print_content(const struct list *l, struct status_request *request, bool follow,
                              struct errbuf *e)
{
    bool was_over = false;
    for (bool more = true; more;) {
        struct status s = {0};
        enum err error = command(l, request, &s, e);
        bool absent = error == ERR_NOT_FOUND && follow;
        bool over = strcmp(s.answer, "running") != 0 && strcmp(s.answer, "queued") != 0;
        if (error == OK && s.content_bytes > 0) {
            error = printed(fwrite(s.content, 1, s.content_bytes, stdout) == s.content_bytes, e);
            request->offset += s.content_bytes;
        }
        bool all = request->offset >= s.content_total;
        absent = absent && strstr(s.answer, "yet") != NULL; /* it is there, its log is not */
        /* The bytes were read before the state: once more, for what was said last. */
        more = absent || !all || (follow && !(over && was_over));
        was_over = over;
        status_free(&s);
        if (error != OK && !absent) {
            return error;
        }
        if (more && (absent || (all && !over))) {
            (void)poll(NULL, 0, FOLLOW_MS);
        }
    }
    return OK;
}

int cli_logs(int argc, char **argv)
{
    struct errbuf e = {0};
    struct list l = {0};
    bool follow = false;
    bool result = false;
    const struct args_option options[] = {
        {"--to", "ADDRESS", "folder or status address of the coordinator", &l.to, NULL, NULL},
        {"--key", "FILE", "a key that may read, for tcp addresses with keys", &l.key, NULL, NULL},
        {"--follow", NULL, "go on until the task has ended", NULL, NULL, &follow},
        {"--result", NULL, "its report, or the JSON of an evaluation, instead", NULL, NULL,
         &result}};
    struct args a = {.usage = "pft logs TASK --to ADDRESS [--follow] [--result] [--key FILE]",
                     .what = "What the coordinator said while it did that task.",
                     .options = options,
                     .n_options = sizeof options / sizeof options[0]};
    struct status_request request = {.command = STATUS_READ};
    enum err error = args_parse(&a, argc, argv, &e);
    if (error == OK) {
        error = read_task(a.n_positional == 1 ? a.positional[0] : NULL, &request.task, &e);
    }
    if (error == OK) {
        request.part = result ? TASK_RESULT : TASK_LOG;
        error = print_content(&l, &request, follow, &e);
    }
    return ended("pft logs", error, &e);
}
