/* fuzz_fleet.c - a standing coordinator, its list of tasks and whoever gives it orders: the real
 * fleet, its commands, its list and the status side of its server. The fuzzer's are the network,
 * the clock, the disk behind the clerk and the thread that opens tasks (fleet.c sees them through
 * clerk.h, opener.h and address_file.h, whose functions are defined here), and the loop
 * (server_run is wrapped).
 *
 * The first byte of an input chooses: L, the rest is a list as a file holds it, read, written and
 * served to its end; O, an order as a file; else the rest is a script of records of 4 bytes and a
 * body: op, argument, number, bytes of the body.
 *   HONEST  a command of kind argument about task or ticket `number`; the body overwrites bytes of
 *           the frame, pairs of (place, value)
 *   RAW     the body is the frame
 *   DISK    what came of the oldest thing handed to the clerk: argument in enum fate
 *   OPENED  what came of opening a task
 *   TICK, STOP, KILL (the next start goes by what is on the disk)
 * Whoever is told "submitted" or "cancelled" must find it on the disk; one task is open at a time,
 * said to run on the disk, none after its end, and what is written can be read again. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/file.h"
#include "common/base/log.h"
#include "common/base/mem.h"
#include "coordinator/fleet_state.h"
#include "coordinator/server_state.h"
#include "coordinator/task_folder.h"
#include "tests/fuzz/driver.h"
#include "tests/support/no_keys.h"
#include "tests/support/no_net.h"

enum { OP_HONEST, OP_RAW, OP_DISK, OP_OPENED, OP_TICK, OP_STOP, OP_KILL, OPS };
enum fate { KEPT, FULL_ORDER, FULL_LIST, FAILED_ORDER, FAILED_LIST, FATES };
enum opening { COMPLETE, REFUSED, NO_ROOM, OPENINGS };
enum { RECORD_BYTES = 4, RECORDS_MAX = 300, WORK_MAX = 512, OVER_MAX = 2000, STARTS_MAX = 8 };

/* Handed to the clerk and not reported yet. */
struct work {
    enum clerk_verb verb;
    struct clerk_tag tag;
    struct str list;
    bool has_order;
};

static struct {
    uint64_t now_ns;
    const uint8_t *script;
    size_t bytes;
    struct server *server;
    struct mailbox *saved, *opened; /* fleet's */
    struct work work[WORK_MAX];
    uint32_t n_work;
    struct str disk;            /* the list as it would be read after a kill */
    uint64_t open;              /* the task that is being opened; 0: none */
    uint64_t over[OVER_MAX];    /* tasks whose end was on the disk once */
    uint64_t told[RECORDS_MAX]; /* tasks that somebody was told are submitted */
    uint32_t n_over, n_told;
    bool killed;
} w;

uint64_t clock_now_ns(void)
{
    return w.now_ns;
}

uint64_t clock_now_ms(void)
{
    return w.now_ns / 1000000u;
}

/* -- the disk ----------------------------------------------------------------------------------
 */

static enum task_state on_disk(uint64_t id)
{
    struct task_list list;
    struct errbuf e;
    CHECK(task_list_parse(w.disk.data, w.disk.len, &list, &e) == OK);
    const struct task_info *info = task_list_find(&list, id);
    enum task_state state = info ? info->state : TASK_UNKNOWN;
    task_list_free(&list);
    return state;
}

static bool is_over(uint64_t id)
{
    for (uint32_t i = 0; i < w.n_over; i++) {
        if (w.over[i] == id) {
            return true;
        }
    }
    return false;
}

static void put_disk(const char *text, size_t bytes)
{
    str_clear(&w.disk);
    str_append(&w.disk, text, bytes);
    CHECK(str_ok(&w.disk) == OK);
}

enum err clerk_open(const char *dir, struct mailbox *reports, struct task_list *list,
                    struct clerk **out, struct errbuf *e)
{
    (void)dir;
    *out = NULL;
    w.saved = reports;
    return task_list_parse(w.disk.data, w.disk.len, list, e);
}

static enum err hand_in(const struct work *work)
{
    if (w.n_work == WORK_MAX) {
        return ERR_FULL;
    }
    w.work[w.n_work++] = *work;
    return OK;
}

enum err clerk_save(struct clerk *c, const struct task_list *list, struct task_order *order,
                    const struct clerk_tag *tag)
{
    (void)c;
    struct work work = {.verb = CLERK_SAVE, .tag = *tag, .has_order = order != NULL};
    task_list_text(list, &work.list);
    CHECK(str_ok(&work.list) == OK);
    enum err error = hand_in(&work);
    if (error != OK) {
        str_free(&work.list);
    } else if (order) {
        task_order_free(order); /* written, or not: nobody reads it here */
    }
    return error;
}

enum err clerk_read(struct clerk *c, enum task_part part, enum task_sort sort, uint64_t offset,
                    const struct clerk_tag *tag)
{
    (void)c;
    (void)offset;
    CHECK((unsigned)part < TASK_PARTS && task_folder_result(sort)[0] != '\0');
    const struct work work = {.verb = CLERK_READ, .tag = *tag};
    return hand_in(&work);
}

void clerk_report_free(struct clerk_report *r)
{
    mem_free(r->content);
    mem_free(r);
}

static void drop_report(struct letter *letter)
{
    clerk_report_free((struct clerk_report *)letter);
}

void clerk_close(struct clerk **clerk)
{
    *clerk = NULL;
    for (uint32_t i = 0; i < w.n_work; i++) {
        str_free(&w.work[i].list);
    }
    w.n_work = 0;
}

/* renamed: a list whose sync failed may have taken the old one's place, or not. */
static void keep(const struct work *work, enum fate fate, bool renamed, struct clerk_report *r)
{
    bool of_order = fate == FULL_ORDER || fate == FAILED_ORDER;
    bool kept = fate == KEPT || (of_order && !work->has_order);
    if (kept || (fate == FAILED_LIST && renamed)) {
        put_disk(work->list.data, work->list.len);
    }
    if (kept) {
        return;
    }
    r->orderless = of_order;
    r->code = fate == FULL_ORDER || fate == FULL_LIST ? ERR_NOSPACE : ERR_IO;
    (void)snprintf(r->text.text, sizeof r->text.text, "the disk\tsays no");
}

static void report(enum fate fate, uint8_t bytes)
{
    if (w.n_work == 0) {
        return;
    }
    struct work work = w.work[0];
    memmove(w.work, w.work + 1, --w.n_work * sizeof *w.work);
    struct clerk_report *r = mem_calloc(1, sizeof *r);
    CHECK(r);
    r->letter.drop = drop_report;
    r->verb = work.verb;
    r->tag = work.tag;
    if (work.verb == CLERK_SAVE) {
        keep(&work, fate, bytes % 2 == 1, r);
    } else if (fate == KEPT) {
        r->content = mem_calloc(1, bytes);
        r->content_bytes = bytes;
        r->content_total = bytes;
    } else {
        r->code = fate == FULL_LIST ? ERR_IO : ERR_NOT_FOUND;
    }
    str_free(&work.list);
    CHECK(mailbox_post(w.saved, &r->letter) == OK);
}

enum err address_file_choose(const char *run, const char *jobs, const char *status, bool keys,
                             struct address_file *a, struct errbuf *e)
{
    (void)run;
    (void)jobs;
    (void)status;
    (void)keys;
    (void)e;
    *a = (struct address_file){.jobs = "ipc:///nowhere/jobs", .status = "ipc:///nowhere/status"};
    return OK;
}

enum err address_file_write(const struct address_file *a, const char *jobs, const char *status,
                            struct errbuf *e)
{
    (void)a;
    (void)jobs;
    (void)status;
    (void)e;
    return OK;
}

void address_file_remove(const struct address_file *a, bool served)
{
    (void)a;
    (void)served;
}

/* -- opening tasks -----------------------------------------------------------------------------
 */

void opened_free(struct opened *o, bool discard)
{
    (void)discard;
    mem_free(o);
}

static void drop_opened(struct letter *letter)
{
    opened_free((struct opened *)letter, false);
}

enum err opener_begin(struct opener *o, const char *dir, uint64_t id, enum task_sort sort,
                      struct mailbox *reports)
{
    CHECK(w.open == 0 && on_disk(id) == TASK_RUNNING);
    CHECK(!is_over(id));
    *o = (struct opener){.dir = dir, .id = id, .sort = sort, .reports = reports};
    w.open = id;
    w.opened = reports;
    return OK;
}

void opener_join(struct opener *o)
{
    (void)o;
}

static void open_ends(enum opening what)
{
    if (w.open == 0) {
        return;
    }
    struct opened *o = mem_calloc(1, sizeof *o);
    CHECK(o);
    o->letter.drop = drop_opened;
    o->id = w.open;
    o->log = -1;
    o->complete = what == COMPLETE;
    o->code = what == COMPLETE ? OK : what == NO_ROOM ? ERR_NOSPACE : ERR_PARSE;
    (void)snprintf(o->text.text, sizeof o->text.text, "it cannot be\nopened");
    w.open = 0;
    CHECK(mailbox_post(w.opened, &o->letter) == OK);
}

/* -- what is asked and answered ----------------------------------------------------------------
 */

enum err socket_send(struct socket *s, const struct socket_route *route, const uint8_t *header,
                     size_t header_bytes, struct blob *payload)
{
    struct status status;
    struct errbuf e;
    (void)s;
    (void)route;
    CHECK(!payload && status_decode(header, header_bytes, &status, &e) == OK);
    unsigned long long id = 0;
    int at = 0;
    if (status.outcome == STATUS_DONE && status.task_id != 0 && status.content_total == 0 &&
        sscanf(status.answer, "task %llu is %n", &id, &at) == 1 && at > 0) {
        const char *what = status.answer + at;
        enum task_state state = on_disk(id);
        if (strcmp(what, "submitted") == 0 && w.n_told < RECORDS_MAX) {
            w.told[w.n_told++] = id; /* check_disk looks for it, now and later */
        }
        CHECK(strcmp(what, "cancelled") != 0 || state == TASK_CANCELLED);
    }
    status_free(&status);
    return OK;
}

static void ask(const uint8_t *frame, size_t bytes)
{
    const struct socket_route from = {.length = 1, .bytes = {1}};
    uint8_t *copy = mem_calloc(bytes, 1); /* exactly so long, for the sanitizer */
    CHECK(copy);
    if (bytes > 0) {
        memcpy(copy, frame, bytes);
    }
    server_on_status(w.server, &from, copy, bytes, NULL);
    mem_free(copy);
}

static void ask_honestly(uint8_t kind, uint8_t number, const uint8_t *body, size_t n)
{
    static uint8_t frame[STATUS_REQUEST_BYTES];
    static char config[] = "lora: {r: 4}\n", sets[] = "train.seed=2\n", from[] = "3";
    size_t bytes;
    bool evaluate = number % 4 == 3;
    const struct status_request request = {.command = (enum status_command)(kind % STATUS_COMMANDS),
                                           .task = number,
                                           .part = number % 2 ? TASK_LOG : TASK_RESULT,
                                           .offset = number,
                                           .order = {.sort = evaluate ? TASK_EVALUATE : TASK_TRAIN,
                                                     .ticket = number,
                                                     .name = "n",
                                                     .config = evaluate ? NULL : config,
                                                     .from = evaluate ? from : NULL,
                                                     .sets = sets}};
    status_request_encode(&request, frame, &bytes);
    for (size_t i = 0; i + 1 < n; i += 2) {
        frame[body[i] % bytes] = body[i + 1];
    }
    ask(frame, bytes);
}

/* What somebody was told is there; what has ended is noted. */
static void check_disk(void)
{
    struct task_list list;
    struct errbuf e;
    CHECK(task_list_parse(w.disk.data, w.disk.len, &list, &e) == OK);
    for (size_t i = 0; i < list.n; i++) {
        const struct task_info *t = &list.tasks[i].info;
        bool over = t->state != TASK_QUEUED && t->state != TASK_RUNNING;
        if (over && !is_over(t->id) && w.n_over < OVER_MAX) {
            w.over[w.n_over++] = t->id;
        }
    }
    /* The oldest may have made room for others. */
    for (uint32_t i = 0; i < w.n_told && list.n < TASK_LIST_MOST; i++) {
        CHECK(task_list_find(&list, w.told[i]));
    }
    task_list_free(&list);
}

static void tick(void)
{
    w.now_ns += 500000000u;
    if (!server_ended(w.server)) {
        w.server->owner.tick(w.server->owner.ctx, clock_now_ms());
    }
}

static void play(const uint8_t *record, const uint8_t *body, size_t n)
{
    switch (record[0] % OPS) {
    case OP_HONEST:
        ask_honestly(record[1], record[2], body, n);
        break;
    case OP_RAW:
        ask(body, n);
        break;
    case OP_DISK:
        report((enum fate)(record[1] % FATES), record[2]);
        break;
    case OP_OPENED:
        open_ends((enum opening)(record[1] % OPENINGS));
        break;
    case OP_TICK:
        tick();
        break;
    case OP_STOP:
        w.server->owner.signal(w.server->owner.ctx);
        break;
    default:
        w.killed = true;
        break;
    }
}

/* Letters are delivered, until none is under way. */
static void turn(struct server *s)
{
    for (int i = 0; i < 3; i++) {
        (void)uv_run(&s->loop, UV_RUN_NOWAIT);
    }
    check_disk();
}

static bool busy(const struct fleet *f)
{
    return w.n_work > 0 || w.open != 0 || (f->unsaved && f->failed == OK);
}

/* Everything goes well from here on: no task is left, and it ends when it is told to. */
static void come_to_rest(struct server *s)
{
    const struct fleet *f = s->owner.ctx;
    for (int i = 0; i < 8 * TASK_LIST_MOST && (busy(f) || i < 4); i++) {
        report(KEPT, 0);
        open_ends(COMPLETE);
        tick();
        turn(s);
    }
    CHECK(w.n_work == 0 && w.open == 0);
    CHECK(f->stopping || !task_list_next(&f->list));
    if (!server_ended(s)) {
        s->owner.signal(s->owner.ctx);
        turn(s);
    }
    CHECK(server_ended(s));
}

void __wrap_server_run(struct server *s);

void __wrap_server_run(struct server *s)
{
    w.server = s;
    s->owner_commands = true; /* the socket's file is the owner's */
    turn(s);
    for (int i = 0; i < RECORDS_MAX && w.bytes >= RECORD_BYTES && !server_ended(s); i++) {
        const uint8_t *record = w.script;
        size_t n = record[3];
        w.script += RECORD_BYTES;
        w.bytes -= RECORD_BYTES;
        n = n < w.bytes ? n : w.bytes;
        play(record, w.script, n);
        w.script += n;
        w.bytes -= n;
        if (w.killed) {
            return;
        }
        turn(s);
    }
    if (!server_ended(s)) {
        w.bytes = 0;
        come_to_rest(s);
    }
}

static void serve(void)
{
    const struct fleet_options options = {.dir = "/nowhere"};
    struct errbuf e = {{0}};
    for (int i = 0; i < STARTS_MAX; i++) {
        bool left = false;
        w.killed = false;
        w.open = 0;
        enum err error = fleet_run(&options, &left, &e);
        CHECK(error == OK || error == ERR_IO);
        CHECK(error == OK || e.text[0] != '\0');
        if (w.bytes < RECORD_BYTES && !w.killed) {
            return;
        }
    }
}

/* -- the two files -----------------------------------------------------------------------------
 */

static void check_list(const char *text, size_t bytes)
{
    struct task_list list;
    struct task_list again;
    struct errbuf e = {{0}};
    struct str written = {0};
    if (task_list_parse(text, bytes, &list, &e) != OK) {
        CHECK(e.text[0] != '\0' && list.n == 0);
        return;
    }
    task_list_text(&list, &written);
    CHECK(str_ok(&written) == OK);
    CHECK(task_list_parse(written.data, written.len, &again, &e) == OK);
    CHECK(again.n == list.n && again.last == list.last);
    for (size_t i = 0; i < list.n; i++) {
        const struct task *a = &list.tasks[i];
        const struct task *b = &again.tasks[i];
        CHECK(a->info.id == b->info.id && a->info.state == b->info.state && a->ticket == b->ticket);
        CHECK(a->info.sort == b->info.sort && a->info.ended_s == b->info.ended_s);
    }
    put_disk(written.data, written.len);
    str_free(&written);
    task_list_free(&again);
    task_list_free(&list);
    static const uint8_t looks[] = {OP_HONEST, STATUS_JOBS, 0, 0, OP_HONEST, STATUS_SUBMIT, 9, 0};
    w.script = looks;
    w.bytes = sizeof looks;
    serve();
}

static void check_order(const char *text, size_t bytes)
{
    static const char *const names[] = {"tasks/1/order.json", "tasks/1", "tasks"};
    char dir[] = "/tmp/pft-fuzz-fleet-XXXXXX";
    char path[FILE_PATH_BYTES];
    struct task_order order;
    struct errbuf e = {{0}};
    CHECK(mkdtemp(dir) != NULL);
    CHECK(task_folder_path(path, dir, 1, &e) == OK && file_make_folder(path, &e) == OK);
    CHECK(task_folder_file(path, dir, 1, "order.json", &e) == OK);
    FILE *f = fopen(path, "wb");
    CHECK(f && fwrite(text, 1, bytes, f) == bytes && fclose(f) == 0);
    enum err error = task_folder_order(dir, 1, &order, &e);
    if (error == OK) {
        CHECK(order.sort != TASK_NOTHING && order.from && order.sets);
    } else {
        CHECK(e.text[0] != '\0' && !order.from && !order.sets);
    }
    task_order_free(&order);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        CHECK(file_join(path, dir, names[i], &e) == OK && remove(path) == 0);
    }
    CHECK(rmdir(dir) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    static const char empty[] = "{\"schema\": 1, \"last\": 0, \"tasks\": []}";
    log_init("fuzz", (enum log_level)(LOG_ERROR + 1)); /* not a word: failing is the normal case */
    memset(&w, 0, sizeof w);
    w.now_ns = 1000000000u;
    if (bytes > 0 && data[0] == 'L') {
        check_list((const char *)data + 1, bytes - 1);
    } else if (bytes > 0 && data[0] == 'O') {
        check_order((const char *)data + 1, bytes - 1);
    } else if (bytes > 0) {
        put_disk(empty, sizeof empty - 1);
        w.script = data + 1;
        w.bytes = bytes - 1;
        serve();
    }
    str_free(&w.disk);
    return 0;
}

/* -- seeds -------------------------------------------------------------------------------------
 */

static void put(struct str *s, uint8_t op, uint8_t argument, uint8_t number)
{
    const char record[RECORD_BYTES] = {(char)op, (char)argument, (char)number};
    str_append(s, record, sizeof record);
}

static struct fuzz_seed finished(struct str *s)
{
    CHECK(str_ok(s) == OK);
    struct fuzz_seed seed = fuzz_seed_text(s->data, s->len);
    str_free(s);
    return seed;
}

static struct fuzz_seed quiet_life(void)
{
    struct str s = {0};
    str_append(&s, "S", 1);
    for (uint8_t number = 1; number <= 3; number++) {
        put(&s, OP_HONEST, STATUS_SUBMIT, number);
        put(&s, OP_DISK, KEPT, 0);
        put(&s, OP_DISK, KEPT, 0);
        put(&s, OP_HONEST, STATUS_READ, number);
        put(&s, OP_DISK, KEPT, 9);
        put(&s, OP_OPENED, number % OPENINGS, 0);
        put(&s, OP_TICK, 0, 0);
        put(&s, OP_HONEST, STATUS_JOBS, 0);
        put(&s, OP_DISK, KEPT, 0);
    }
    put(&s, OP_HONEST, STATUS_CANCEL, 3);
    put(&s, OP_HONEST, STATUS_DRAIN, 0);
    put(&s, OP_HONEST, STATUS_ASK, 0);
    put(&s, OP_HONEST, STATUS_STOP, 0);
    return finished(&s);
}

/* A disk that says no in every way, orders that come again, kills. */
static struct fuzz_seed rough_life(uint8_t fate)
{
    struct str s = {0};
    str_append(&s, "S", 1);
    put(&s, OP_HONEST, STATUS_SUBMIT, 1);
    put(&s, OP_DISK, KEPT, 0);
    put(&s, OP_DISK, KEPT, 0);
    put(&s, OP_HONEST, STATUS_SUBMIT, 1);
    put(&s, OP_HONEST, STATUS_SUBMIT, 2);
    put(&s, OP_DISK, fate, 0);
    put(&s, OP_DISK, fate, 0);
    put(&s, OP_TICK, 0, 0);
    put(&s, OP_OPENED, COMPLETE, 0);
    put(&s, OP_HONEST, STATUS_CANCEL, 1);
    put(&s, OP_DISK, KEPT, 0);
    put(&s, OP_HONEST, STATUS_CANCEL, 2);
    put(&s, OP_DISK, fate, 0);
    put(&s, OP_KILL, 0, 0);
    put(&s, OP_HONEST, STATUS_JOBS, 0);
    put(&s, OP_DISK, KEPT, 0);
    put(&s, OP_OPENED, NO_ROOM, 0);
    put(&s, OP_STOP, 0, 0);
    return finished(&s);
}

/* Every command as bytes. */
static struct fuzz_seed commands(void)
{
    static uint8_t frame[STATUS_REQUEST_BYTES];
    static char config[] = "a: 1\n";
    struct str s = {0};
    str_append(&s, "S", 1);
    for (int i = 0; i < STATUS_COMMANDS; i++) {
        const struct status_request request = {
            .command = (enum status_command)i,
            .task = 1,
            .order = {.sort = TASK_TRAIN, .ticket = 7, .name = "n", .config = config}};
        size_t n;
        status_request_encode(&request, frame, &n);
        const char record[RECORD_BYTES] = {OP_RAW, 0, 0, (char)n};
        str_append(&s, record, sizeof record);
        str_append(&s, (const char *)frame, n);
    }
    return finished(&s);
}

/* A list as task_list.c writes it, a task in every state. */
static struct fuzz_seed list_file(void)
{
    struct task_list list = {0};
    struct str s = {0};
    struct errbuf e;
    for (uint64_t i = 1; i <= 5; i++) {
        uint64_t id;
        const struct task_order order = {.sort = i % 2 ? TASK_TRAIN : TASK_EVALUATE,
                                         .ticket = i << 60 | 1,
                                         .name = "a \"name\""};
        CHECK(task_list_submit(&list, &order, 1700000000, &id, &e) == OK);
    }
    task_list_begin(&list, 1, 1700000001);
    task_list_end(&list, 1, TASK_FAILED, "no\nsuch file", 1700000002);
    task_list_begin(&list, 2, 1700000003);
    task_list_end(&list, 2, TASK_FINISHED, "", 1700000004);
    task_list_begin(&list, 3, 1700000005);
    CHECK(task_list_cancel(&list, 4, 1700000006, &e) == OK);
    str_append(&s, "L", 1);
    task_list_text(&list, &s);
    task_list_free(&list);
    return finished(&s);
}

size_t fuzz_seeds(struct fuzz_seed *seeds)
{
    static const char order[] = "O{\"schema\": 1, \"sort\": \"evaluate\", \"name\": \"n\", "
                                "\"from\": \"/runs/\\\"a\\\"\", \"sets\": \"a=1\\nb=2\\n\"}\n";
    /* No number is left to give out; a name that no reply can carry. */
    static const char last[] = "L{\"schema\": 1, \"last\": 9223372036854775807, \"tasks\": []}";
    static const char odd[] =
        "L{\"schema\": 1, \"last\": 1, \"tasks\": [{\"id\": 1, \"sort\": \"train\", \"state\": "
        "\"queued\", \"name\": \"a\\nb\", \"text\": \"\", \"submitted\": 0, \"started\": 0, "
        "\"ended\": 0, \"ticket\": \"1\"}]}";
    size_t n = 0;
    seeds[n++] = quiet_life();
    for (uint8_t fate = KEPT; fate < FATES; fate++) {
        seeds[n++] = rough_life(fate);
    }
    seeds[n++] = commands();
    seeds[n++] = list_file();
    seeds[n++] = fuzz_seed_text(order, sizeof order - 1);
    seeds[n++] = fuzz_seed_text(last, sizeof last - 1);
    seeds[n++] = fuzz_seed_text(odd, sizeof odd - 1);
    return n;
}
