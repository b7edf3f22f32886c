/* test_clerk.c - the files of a standing coordinator: what was saved is there after a restart,
 * whole; one owner; pieces of logs; a disk that takes nothing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/mem.h"
#include "common/wire/status_message.h"
#include "coordinator/clerk.h"
#include "coordinator/task_folder.h"
#include "tests/support/temp_folder.h"

struct world {
    struct temp_folder temp;
    struct mailbox *reports;
    struct task_list list;
    struct clerk *clerk;
};

static int setup(void **state)
{
    struct world *w = mem_calloc(1, sizeof *w);
    struct errbuf e;
    assert_non_null(w);
    temp_folder_make(&w->temp);
    assert_int_equal(mailbox_open(64, &w->reports), OK);
    assert_int_equal(clerk_open(w->temp.path, w->reports, &w->list, &w->clerk, &e), OK);
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;
    clerk_close(&w->clerk);
    mailbox_close(&w->reports);
    task_list_free(&w->list);
    temp_folder_clear(w->temp.path);
    mem_free(w);
    return 0;
}

static struct clerk_report *next_report(struct world *w)
{
    struct clerk_report *r = (struct clerk_report *)mailbox_wait(w->reports);
    assert_non_null(r);
    return r;
}

static enum err save(struct world *w, struct task_order *order, uint64_t task)
{
    const struct clerk_tag tag = {.what = CLERK_SUBMIT, .task = task};
    assert_int_equal(clerk_save(w->clerk, &w->list, order, &tag), OK);
    struct clerk_report *r = next_report(w);
    enum err code = r->code;
    assert_int_equal(r->tag.task, task);
    clerk_report_free(r);
    return code;
}

static uint64_t submit(struct world *w, const char *config, enum err expected)
{
    struct errbuf e;
    uint64_t id;
    struct task_order order = {.sort = TASK_EVALUATE, .name = "n", .ticket = w->list.last + 1};
    order.config = mem_strdup(config);
    order.from = mem_strdup("/runs/\"a\"");
    order.sets = mem_strdup("a=1\nb=2\n");
    assert_int_equal(task_list_submit(&w->list, &order, 5, &id, &e), OK);
    assert_int_equal(save(w, &order, id), expected);
    task_order_free(&order); /* the clerk took what it holds */
    return id;
}

static void test_what_was_saved_is_there_after_a_restart(void **state)
{
    struct world *w = *state;
    struct errbuf e;
    struct task_order order;
    char path[FILE_PATH_BYTES];
    assert_int_equal(submit(w, "lora:\n  r: 8\n", OK), 1);
    assert_int_equal(submit(w, "", OK), 2);
    clerk_close(&w->clerk);
    task_list_free(&w->list);
    assert_int_equal(clerk_open(w->temp.path, w->reports, &w->list, &w->clerk, &e), OK);
    assert_int_equal(w->list.n, 2);
    assert_int_equal(task_folder_order(w->temp.path, 1, &order, &e), OK);
    assert_int_equal(order.sort, TASK_EVALUATE);
    assert_string_equal(order.from, "/runs/\"a\"");
    assert_string_equal(order.sets, "a=1\nb=2\n");
    task_order_free(&order);
    assert_int_equal(task_folder_file(path, w->temp.path, 1, "config.yaml", &e), OK);
    assert_true(file_exists(path));
    assert_int_equal(task_folder_file(path, w->temp.path, 2, "config.yaml", &e), OK);
    assert_false(file_exists(path));
}

static void reopen(struct world *w)
{
    struct errbuf e;
    clerk_close(&w->clerk);
    task_list_free(&w->list);
    assert_int_equal(clerk_open(w->temp.path, w->reports, &w->list, &w->clerk, &e), OK);
}

/* Killed before the list named it: the folder is there, nobody was told. */
static void test_the_number_of_a_folder_never_comes_back(void **state)
{
    struct world *w = *state;
    struct errbuf e;
    struct task_order unlisted = {.sort = TASK_TRAIN, .name = "lost"};
    char path[FILE_PATH_BYTES];
    assert_int_equal(task_folder_make(w->temp.path, 12, &unlisted, &e), OK);
    reopen(w);
    assert_int_equal(submit(w, "", OK), 13);
    assert_int_equal(file_join(path, w->temp.path, "tasks.json", &e), OK);
    assert_int_equal(unlink(path), 0); /* the list is lost */
    reopen(w);
    assert_int_equal(w->list.n, 0);
    assert_int_equal(submit(w, "", OK), 14);
    const char *older = "{\"schema\": 1, \"last\": 3, \"tasks\": []}";
    assert_int_equal(file_write_atomic(path, older, strlen(older), &e), OK);
    reopen(w);
    assert_int_equal(submit(w, "", OK), 15);
}

static void test_the_digest_of_an_order_covers_its_words_and_its_config(void **state)
{
    struct world *w = *state;
    struct errbuf e;
    char path[FILE_PATH_BYTES];
    char one[HASH_SHA256_HEX];
    char other[HASH_SHA256_HEX];
    (void)submit(w, "a: 1\n", OK);
    assert_int_equal(task_folder_digest(w->temp.path, 1, one, &e), OK);
    assert_int_equal(task_folder_file(path, w->temp.path, 1, "config.yaml", &e), OK);
    assert_int_equal(file_write_atomic(path, "a: 2\n", 5, &e), OK);
    assert_int_equal(task_folder_digest(w->temp.path, 1, other, &e), OK);
    assert_string_not_equal(one, other);
    assert_int_equal(file_write_atomic(path, "a: 1\n", 5, &e), OK);
    assert_int_equal(task_folder_file(path, w->temp.path, 1, "order.json", &e), OK);
    assert_int_equal(file_write_atomic(path, "{}", 2, &e), OK);
    assert_int_equal(task_folder_digest(w->temp.path, 1, other, &e), OK);
    assert_string_not_equal(one, other);
}

static void test_a_second_owner_is_refused_and_a_damaged_list_is_named(void **state)
{
    struct world *w = *state;
    struct errbuf e;
    struct task_list list;
    struct clerk *second;
    char path[FILE_PATH_BYTES];
    assert_int_equal(clerk_open(w->temp.path, w->reports, &list, &second, &e), ERR_BUSY);
    (void)submit(w, "a: 1\n", OK);
    clerk_close(&w->clerk);
    assert_int_equal(file_join(path, w->temp.path, "tasks.json", &e), OK);
    assert_int_equal(truncate(path, 40), 0);
    assert_int_equal(clerk_open(w->temp.path, w->reports, &list, &second, &e), ERR_PARSE);
    assert_non_null(strstr(e.text, "tasks.json"));
}

static void read_piece(struct world *w, uint64_t offset, enum err code, uint32_t bytes)
{
    const struct clerk_tag tag = {.what = CLERK_CONTENT, .task = 1};
    assert_int_equal(clerk_read(w->clerk, TASK_LOG, TASK_TRAIN, offset, &tag), OK);
    struct clerk_report *r = next_report(w);
    assert_int_equal(r->code, code);
    assert_int_equal(r->content_bytes, bytes);
    for (uint32_t i = 0; i < bytes; i++) {
        assert_int_equal(r->content[i], (uint8_t)((offset + i) % 251));
    }
    clerk_report_free(r);
}

static void test_a_log_is_read_piece_by_piece(void **state)
{
    struct world *w = *state;
    struct errbuf e;
    char path[FILE_PATH_BYTES];
    size_t n = STATUS_CONTENT_BYTES + 1000;
    uint8_t *bytes = mem_calloc(1, n);
    assert_non_null(bytes);
    (void)submit(w, "a: 1\n", OK);
    read_piece(w, 0, ERR_NOT_FOUND, 0);
    for (size_t i = 0; i < n; i++) {
        bytes[i] = (uint8_t)(i % 251);
    }
    assert_int_equal(task_folder_file(path, w->temp.path, 1, "task.log", &e), OK);
    assert_int_equal(file_write_atomic(path, bytes, n, &e), OK);
    read_piece(w, 0, OK, STATUS_CONTENT_BYTES);
    read_piece(w, STATUS_CONTENT_BYTES, OK, 1000);
    read_piece(w, n, OK, 0);
    read_piece(w, UINT64_MAX, OK, 0);
    mem_free(bytes);
}

static void test_a_disk_that_takes_nothing_is_reported_and_the_file_before_stays(void **state)
{
    struct world *w = *state;
    struct errbuf e;
    char path[FILE_PATH_BYTES];
    struct stat before;
    struct stat after;
    (void)submit(w, "a: 1\n", OK);
    assert_int_equal(file_join(path, w->temp.path, "tasks.json", &e), OK);
    assert_int_equal(stat(path, &before), 0);
    if (geteuid() == 0) {
        assert_int_equal(file_join(path, w->temp.path, "tasks/2", &e), OK);
        assert_int_equal(file_write_atomic(path, "", 0, &e),
                         OK); /* a file where a folder must be */
    } else {
        assert_int_equal(file_join(path, w->temp.path, "tasks", &e), OK);
        assert_int_equal(chmod(path, 0500), 0);
    }
    struct task_order order = {.sort = TASK_TRAIN};
    const struct clerk_tag tag = {.what = CLERK_SUBMIT, .task = 2};
    order.config = mem_strdup("a: 1\n");
    assert_int_equal(clerk_save(w->clerk, &w->list, &order, &tag), OK);
    struct clerk_report *r = next_report(w);
    assert_int_not_equal(r->code, OK);
    assert_true(r->orderless);
    assert_true(r->text.text[0] != '\0');
    clerk_report_free(r);
    assert_int_equal(file_join(path, w->temp.path, "tasks.json", &e), OK);
    assert_int_equal(stat(path, &after), 0);
    assert_true(before.st_ino == after.st_ino);
    assert_int_equal(file_join(path, w->temp.path, "tasks", &e), OK);
    assert_int_equal(chmod(path, 0700), 0);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(test_what_was_saved_is_there_after_a_restart),
        CASE(test_the_number_of_a_folder_never_comes_back),
        CASE(test_the_digest_of_an_order_covers_its_words_and_its_config),
        CASE(test_a_second_owner_is_refused_and_a_damaged_list_is_named),
        CASE(test_a_log_is_read_piece_by_piece),
        CASE(test_a_disk_that_takes_nothing_is_reported_and_the_file_before_stays),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
