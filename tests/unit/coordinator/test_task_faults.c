/* test_task_faults.c - the files of a standing coordinator with the n-th allocation, read, write or
 * sync failing, for every n: a clean error, the list on the disk is the old or the new one, whole,
 * and what failed can be done again. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/mem.h"
#include "coordinator/clerk.h"
#include "coordinator/task_folder.h"
#include "tests/support/disk_faults.h"
#include "tests/support/temp_folder.h"

enum { REPORTS_MAX = 16, CALLS_MAX = 10000 };

static struct temp_folder folder;

static int setup(void **state)
{
    (void)state;
    temp_folder_make(&folder);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    temp_folder_clear(folder.path);
    return 0;
}

static void fill_order(struct task_order *o, uint64_t ticket)
{
    *o = (struct task_order){.sort = TASK_EVALUATE, .ticket = ticket, .name = "n"};
    o->config = mem_strdup("lora:\n  r: 8\n");
    o->from = mem_strdup("/runs/\"a\"");
    o->sets = mem_strdup("a=1\nb=2\n");
    assert_non_null(o->sets);
}

/* A list of n tasks as a file. */
static void put_list(uint64_t n)
{
    struct task_list l = {0};
    struct str text = {0};
    struct errbuf e;
    for (uint64_t i = 1; i <= n; i++) {
        const struct task_order order = {.sort = TASK_TRAIN, .ticket = i, .name = "n"};
        uint64_t id;
        assert_int_equal(task_list_submit(&l, &order, 5, &id, &e), OK);
    }
    task_list_text(&l, &text);
    assert_int_equal(str_ok(&text), OK);
    (void)temp_folder_write(&folder, "tasks.json", text.data, text.len);
    str_free(&text);
    task_list_free(&l);
}

static enum err open_and_close(struct task_list *l, struct errbuf *e)
{
    struct mailbox *reports = NULL;
    struct clerk *c = NULL;
    enum err error = mailbox_open(REPORTS_MAX, &reports);
    if (error == OK) {
        error = clerk_open(folder.path, reports, l, &c, e);
    }
    assert_true(error == OK || (!c && l->n == 0));
    clerk_close(&c);
    mailbox_close(&reports);
    return error;
}

static enum err read_list(struct errbuf *e)
{
    struct task_list l = {0};
    enum err error = open_and_close(&l, e);
    assert_int_equal(l.n, error == OK ? 3 : 0);
    task_list_free(&l);
    return error;
}

static enum err read_order(struct errbuf *e)
{
    struct task_order o;
    enum err error = task_folder_order(folder.path, 1, &o, e);
    if (error == OK) {
        assert_string_equal(o.from, "/runs/\"a\"");
        assert_string_equal(o.sets, "a=1\nb=2\n");
    } else {
        assert_null(o.from);
        assert_null(o.sets);
    }
    task_order_free(&o);
    return error;
}

static enum err make_folder(struct errbuf *e)
{
    const struct task_order o = {.sort = TASK_EVALUATE,
                                 .name = "n",
                                 .config = (char[]){"lora:\n  r: 8\n"},
                                 .from = (char[]){"/runs/\"a\""},
                                 .sets = (char[]){"a=1\nb=2\n"}};
    return task_folder_make(folder.path, 1, &o, e);
}

static enum err change_list(struct errbuf *e)
{
    struct task_list l = {0};
    struct str text = {0};
    const struct task_order order = {.sort = TASK_TRAIN, .ticket = 9, .name = "n"};
    uint64_t id;
    enum err error = task_list_submit(&l, &order, 5, &id, e);
    if (error == OK) {
        task_list_text(&l, &text);
        error = str_ok(&text);
    }
    if (error != OK) {
        assert_int_equal(l.n, text.data || str_ok(&text) != OK ? 1 : 0);
    }
    str_free(&text);
    task_list_free(&l);
    return error;
}

static const struct {
    const char *name;
    enum err (*act)(struct errbuf *e);
    bool reads;
} acts[] = {{"list read", read_list, true},
            {"order read", read_order, true},
            {"folder made", make_folder, false},
            {"list changed", change_list, false}};
enum { ACTS = sizeof acts / sizeof acts[0] };

static void prepare(void)
{
    struct errbuf e;
    put_list(3);
    assert_int_equal(file_make_folder(temp_folder_file(&folder, "tasks"), &e), OK);
    assert_int_equal(make_folder(&e), OK);
}

static void every_allocation_around_the_list_may_fail(void **state)
{
    (void)state;
    prepare();
    for (size_t i = 0; i < ACTS; i++) {
        enum err error = ERR_NOMEM;
        unsigned long n = 1;
        for (; error != OK && n < CALLS_MAX; n++) {
            struct errbuf e = {{0}};
            mem_fail_after(n);
            error = acts[i].act(&e);
            mem_fail_after(0);
            if (error != OK && error != ERR_NOMEM) {
                fail_msg("%s, allocation %lu: %s (%s)", acts[i].name, n, err_text(error), e.text);
            }
        }
        print_message("%s: %lu allocations failed in turn\n", acts[i].name, n - 2);
        assert_int_equal(error, OK);
        assert_true(n > 2);
    }
}

static void every_read_of_the_list_and_of_an_order_may_fail(void **state)
{
    (void)state;
    prepare();
    for (size_t i = 0; i < ACTS; i++) {
        unsigned long failed = acts[i].reads;
        unsigned long n = 1;
        for (; failed > 0; n++) {
            struct errbuf e = {{0}};
            disk_fail(DISK_READ, n, EIO, false);
            enum err error = acts[i].act(&e);
            failed = disk_faults.failed;
            disk_fail(0, 0, 0, false);
            assert_int_equal(error, failed > 0 ? ERR_IO : OK);
            assert_true(failed == 0 || strstr(e.text, "Input/output error"));
        }
        assert_true(!acts[i].reads || n > 2);
    }
}

/* One more task is submitted; what came of it. */
static enum err submit(struct task_list *l, unsigned long n, int errnum, bool *orderless)
{
    struct mailbox *reports = NULL;
    struct clerk *c = NULL;
    struct task_order order;
    struct errbuf e = {{0}};
    struct clerk_tag tag = {.what = CLERK_SUBMIT, .fresh = true};
    assert_int_equal(mailbox_open(REPORTS_MAX, &reports), OK);
    assert_int_equal(clerk_open(folder.path, reports, l, &c, &e), OK);
    fill_order(&order, l->last + 1);
    assert_int_equal(task_list_submit(l, &order, 5, &tag.task, &e), OK);
    disk_fail(DISK_CHANGES, n, errnum, false);
    assert_int_equal(clerk_save(c, l, &order, &tag), OK);
    struct clerk_report *r = (struct clerk_report *)mailbox_wait(reports);
    assert_non_null(r);
    enum err code = r->code;
    *orderless = r->orderless;
    assert_true(code == OK || r->text.text[0] != '\0');
    clerk_report_free(r);
    clerk_close(&c);
    mailbox_close(&reports);
    return code;
}

static void a_list_is_the_old_or_the_new_one_whatever_fails_while_a_task_is_kept(void **state)
{
    static const int errnums[] = {EIO, ENOSPC};
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        unsigned long failed = 1;
        unsigned long of_order = 0;
        unsigned long of_list = 0;
        for (unsigned long n = 1; failed > 0; n++) {
            struct task_list l;
            struct task_list found;
            struct errbuf e = {{0}};
            bool orderless = false;
            put_list(3);
            enum err code = submit(&l, n, errnums[i], &orderless);
            failed = disk_faults.failed;
            bool synced = !disk_faults.sync_failed;
            disk_fail(0, 0, 0, false);
            assert_int_equal(code, failed == 0                      ? OK
                                   : synced && errnums[i] == ENOSPC ? ERR_NOSPACE
                                                                    : ERR_IO);
            of_order += orderless;
            of_list += failed > 0 && !orderless;
            assert_int_equal(open_and_close(&found, &e), OK);
            /* A rename that happened is not taken back when the folder cannot be synced. */
            assert_true(code == OK ? found.n == 4
                                   : found.n == 3 || (found.n == 4 && !orderless && !synced));
            task_list_free(&found);
            task_list_free(&l);
            assert_int_equal(make_folder(&e), OK); /* whatever was left of it */
            assert_int_equal(read_order(&e), OK);
        }
        assert_true(of_order > 6 && of_list >= 4);
    }
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(every_allocation_around_the_list_may_fail),
        CASE(every_read_of_the_list_and_of_an_order_may_fail),
        CASE(a_list_is_the_old_or_the_new_one_whatever_fails_while_a_task_is_kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
