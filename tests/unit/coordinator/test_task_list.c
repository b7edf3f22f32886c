/* test_task_list.c - the list of tasks: order, cancelling, room, its text; and a program that is
 * killed at any point of its life: no task lost, none run twice, none before an earlier one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "common/base/mem.h"
#include "common/base/rng.h"
#include "coordinator/task_list.h"

static uint64_t submit(struct task_list *l, uint64_t ticket)
{
    struct errbuf e;
    uint64_t id = 0;
    const struct task_order order = {.sort = TASK_TRAIN, .ticket = ticket, .name = "n"};
    assert_int_equal(task_list_submit(l, &order, 100, &id, &e), OK);
    return id;
}

static void copy(const struct task_list *l, struct task_list *out)
{
    struct str text = {0};
    struct errbuf e = {{0}};
    task_list_text(l, &text);
    assert_int_equal(str_ok(&text), OK);
    if (task_list_parse(text.data, text.len, out, &e) != OK) {
        fail_msg("%s in %s", e.text, text.data);
    }
    str_free(&text);
}

static void test_tasks_come_in_the_order_they_were_submitted(void **state)
{
    (void)state;
    struct task_list l = {0};
    struct errbuf e;
    assert_null(task_list_next(&l));
    assert_int_equal(submit(&l, 11), 1);
    assert_int_equal(submit(&l, 12), 2);
    assert_int_equal(submit(&l, 13), 3);
    assert_int_equal(submit(&l, 12), 2); /* sent again */
    assert_int_equal(l.n, 3);
    assert_int_equal(task_list_next(&l)->id, 1);
    task_list_begin(&l, 1, 200);
    assert_int_equal(task_list_next(&l)->id, 1);
    task_list_end(&l, 1, TASK_FAILED, "no\nsuch file", 300);
    assert_string_equal(task_list_find(&l, 1)->text, "no such file");
    assert_int_equal(task_list_next(&l)->id, 2);
    assert_int_equal(task_list_cancel(&l, 2, 300, &e), OK);
    assert_int_equal(task_list_cancel(&l, 2, 301, &e), OK);
    assert_int_equal(task_list_next(&l)->id, 3);
    assert_int_equal(task_list_cancel(&l, 1, 300, &e), ERR_STATE);
    assert_non_null(strstr(e.text, "failed already"));
    assert_int_equal(task_list_cancel(&l, 9, 300, &e), ERR_NOT_FOUND);
    task_list_free(&l);
}

static void test_a_task_cancelled_while_it_runs_stays_cancelled(void **state)
{
    (void)state;
    struct task_list l = {0};
    struct errbuf e;
    (void)submit(&l, 1);
    task_list_begin(&l, 1, 2);
    assert_int_equal(task_list_cancel(&l, 1, 3, &e), OK);
    task_list_end(&l, 1, TASK_FINISHED, "", 4);
    assert_int_equal(task_list_find(&l, 1)->state, TASK_CANCELLED);
    assert_int_equal(task_list_find(&l, 1)->ended_s, 3);
    assert_null(task_list_next(&l));
    task_list_free(&l);
}

static void test_the_oldest_ended_task_makes_room_and_a_queued_one_never(void **state)
{
    (void)state;
    struct task_list l = {0};
    struct errbuf e;
    uint64_t id;
    const struct task_order one_more = {.sort = TASK_TRAIN, .ticket = 5000};
    for (uint64_t i = 1; i <= TASK_LIST_MOST; i++) {
        (void)submit(&l, i);
    }
    assert_int_equal(task_list_submit(&l, &one_more, 1, &id, &e), ERR_FULL);
    assert_int_equal(task_list_cancel(&l, 7, 1, &e), OK);
    assert_int_equal(task_list_submit(&l, &one_more, 1, &id, &e), OK);
    assert_int_equal(id, TASK_LIST_MOST + 1);
    assert_null(task_list_find(&l, 7));
    task_list_forget(&l, id);
    assert_null(task_list_find(&l, id));
    assert_int_equal(l.n, TASK_LIST_MOST - 1);
    task_list_free(&l);
}

static void test_the_text_holds_everything_and_bad_texts_are_refused(void **state)
{
    (void)state;
    struct task_list l = {0};
    struct task_list again;
    struct errbuf e;
    struct task_order odd = {.sort = TASK_EVALUATE, .ticket = ~0ull};
    uint64_t id;
    memset(odd.name, 0xff, sizeof odd.name - 1); /* no UTF-8: grows in the text */
    (void)submit(&l, 3);
    assert_int_equal(task_list_submit(&l, &odd, 5, &id, &e), OK);
    task_list_begin(&l, 1, 6);
    copy(&l, &again);
    assert_int_equal(again.n, 2);
    assert_int_equal(again.last, 2);
    assert_memory_equal(&again.tasks[0], &l.tasks[0], sizeof l.tasks[0]);
    assert_true(again.tasks[1].ticket == ~0ull);
    assert_int_equal(again.tasks[1].info.sort, TASK_EVALUATE);
    task_list_free(&again);
    task_list_free(&l);
    static const char *const bad[] = {
        "",
        "{}",
        "[]",
        "{\"schema\": 2, \"last\": 0, \"tasks\": []}",
        "{\"schema\": 1, \"last\": -1, \"tasks\": []}",
        "{\"schema\": 1, \"last\": 9007199254740993, \"tasks\": []}",
        "{\"schema\": 1, \"last\": 1, \"tasks\": [{\"id\": 1, \"sort\": \"train\", \"state\": "
        "\"queued\", \"name\": \"a\\nb\", \"text\": \"\", \"submitted\": 0, \"started\": 0, "
        "\"ended\": 0, \"ticket\": \"1\"}]}", /* a control character */
        "{\"schema\": 1, \"last\": 0, \"tasks\": [{}]}",
        "{\"schema\": 1, \"last\": 0, \"tasks\": [{\"id\": 1, \"sort\": \"train\", \"state\": "
        "\"queued\", \"name\": \"\", \"text\": \"\", \"submitted\": 0, \"started\": 0, \"ended\": "
        "0, \"ticket\": \"1\"}]}", /* beyond last */
        "{\"schema\": 1, \"last\": 3, \"tasks\": [{\"id\": 1, \"sort\": \"dance\", \"state\": "
        "\"queued\", \"name\": \"\", \"text\": \"\", \"submitted\": 0, \"started\": 0, \"ended\": "
        "0, \"ticket\": \"1\"}]}",
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_not_equal(task_list_parse(bad[i], strlen(bad[i]), &again, &e), OK);
        assert_int_equal(again.n, 0);
    }
    static const char no_number_left[] =
        "{\"schema\": 1, \"last\": 9007199254740992, \"tasks\": []}";
    const struct task_order order = {.sort = TASK_TRAIN, .ticket = 1};
    assert_int_equal(task_list_parse(no_number_left, strlen(no_number_left), &l, &e), OK);
    assert_int_equal(task_list_submit(&l, &order, 1, &id, &e), ERR_FULL);
    assert_non_null(strstr(e.text, "9007199254740992"));
    task_list_free(&l);
}

/* A life of the program: the list in memory, the file, and what really happened. */
enum { LIVES = 400, MOVES = 60, LIVE_TASKS = 64 };

struct life {
    struct task_list list; /* in memory */
    struct task_list file; /* what is on disk */
    uint64_t seed, draws;
    uint64_t told[LIVE_TASKS]; /* ids that a client was told */
    size_t n_told;
    uint64_t tickets;
    bool cancelled[LIVE_TASKS + 1];   /* and told so */
    uint32_t results[LIVE_TASKS + 1]; /* runs that came to a result */
    bool has_result[LIVE_TASKS + 1];  /* its report lies in the folder */
    uint64_t open;                    /* the task that is open; 0: none */
    uint64_t last_begun;
};

static uint64_t draw(struct life *w, uint64_t bound)
{
    return rng_below(w->seed, w->draws++, bound);
}

/* Written whole or not at all: false is a kill just before the rename, or just after it. */
static bool save(struct life *w)
{
    uint64_t fate = draw(w, 8);
    if (fate == 0) {
        return false;
    }
    task_list_free(&w->file);
    copy(&w->list, &w->file);
    return fate != 1;
}

static void restart(struct life *w)
{
    task_list_free(&w->list);
    copy(&w->file, &w->list);
    w->open = 0;
}

static bool move_submit(struct life *w)
{
    if (w->list.last >= LIVE_TASKS) {
        return true;
    }
    uint64_t ticket = ++w->tickets;
    uint64_t id = submit(&w->list, ticket);
    if (!save(w)) {
        restart(w);
        id = submit(&w->list, ticket); /* the client sends it again until it is told */
        task_list_free(&w->file);
        copy(&w->list, &w->file);
    }
    w->told[w->n_told++] = id;
    return true;
}

static bool move_cancel(struct life *w)
{
    struct errbuf e;
    if (w->n_told == 0) {
        return true;
    }
    uint64_t id = w->told[draw(w, w->n_told)];
    if (task_list_cancel(&w->list, id, 1, &e) != OK) {
        return true;
    }
    if (!save(w)) {
        return false;
    }
    w->cancelled[id] = true;
    w->open = w->open == id ? 0 : w->open;
    return true;
}

/* The shell's part: begin what comes next; or bring what is open to its result; or say so. */
static bool move_work(struct life *w)
{
    const struct task_info *next = task_list_next(&w->list);
    if (!next) {
        return true;
    }
    if (w->open == 0) {
        assert_false(w->cancelled[next->id]);
        assert_true(next->id >= w->last_begun);
        task_list_begin(&w->list, next->id, 1);
        w->last_begun = next->id;
        w->open = next->id;
        return save(w);
    }
    uint64_t id = w->open;
    if (!w->has_result[id]) {
        w->results[id]++;
        w->has_result[id] = true;
        if (draw(w, 4) == 0) {
            return false;
        }
    }
    task_list_end(&w->list, id, TASK_FINISHED, "", 2);
    w->open = 0;
    return save(w);
}

static void test_a_kill_at_any_point_loses_no_task_and_runs_none_twice(void **state)
{
    (void)state;
    uint64_t kills = 0;
    for (uint64_t seed = 1; seed <= LIVES; seed++) {
        struct life w = {.seed = rng_key(seed, 0, 0, 0)};
        copy(&w.list, &w.file);
        for (int i = 0; i < MOVES; i++) {
            uint64_t move = draw(&w, 8);
            bool lives = move < 2 ? move_submit(&w) : move == 2 ? move_cancel(&w) : move_work(&w);
            if (!lives) {
                kills++;
                restart(&w);
            }
        }
        for (int i = 0; i < 100 * LIVE_TASKS && task_list_next(&w.list); i++) {
            if (!move_work(&w)) {
                kills++;
                restart(&w);
            }
        }
        assert_null(task_list_next(&w.list));
        for (size_t i = 0; i < w.n_told; i++) {
            uint64_t id = w.told[i];
            const struct task_info *t = task_list_find(&w.list, id);
            assert_non_null(t);
            assert_true(w.results[id] <= 1);
            if (t->state == TASK_FINISHED) {
                assert_int_equal(w.results[id], 1);
                assert_false(w.cancelled[id]);
            } else {
                assert_int_equal(t->state, TASK_CANCELLED);
            }
        }
        task_list_free(&w.list);
        task_list_free(&w.file);
    }
    print_message("%d lives, %llu kills\n", LIVES, (unsigned long long)kills);
    assert_true(kills > LIVES);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tasks_come_in_the_order_they_were_submitted),
        cmocka_unit_test(test_a_task_cancelled_while_it_runs_stays_cancelled),
        cmocka_unit_test(test_the_oldest_ended_task_makes_room_and_a_queued_one_never),
        cmocka_unit_test(test_the_text_holds_everything_and_bad_texts_are_refused),
        cmocka_unit_test(test_a_kill_at_any_point_loses_no_task_and_runs_none_twice),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
