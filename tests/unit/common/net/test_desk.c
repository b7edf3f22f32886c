/* test_desk.c - letters are handled in order, again when wanted, and all of them before the end. */
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/base/mem.h"
#include "common/net/desk.h"

struct note {
    struct letter letter; /* first */
    int number, wanted;   /* times it asks to be handed in again */
    uint32_t again_ms;
};

struct record {
    int numbers[64];
    int n;
    atomic_int calls, dropped;
    int closings;
};

static struct record record;

static void drop(struct letter *letter)
{
    atomic_fetch_add(&record.dropped, 1);
    mem_free(letter);
}

static uint32_t handle(void *ctx, struct letter *letter, bool closing)
{
    struct record *r = ctx;
    struct note *note = (struct note *)letter;
    r->numbers[r->n++] = note->number;
    r->closings += closing;
    atomic_fetch_add(&r->calls, 1);
    return note->wanted-- > 0 && !closing ? note->again_ms : 0;
}

static void post(struct desk *d, int number, int wanted, uint32_t again_ms)
{
    struct note *note = mem_calloc(1, sizeof *note);
    assert_non_null(note);
    *note = (struct note){.letter.drop = drop, number, wanted, again_ms};
    assert_int_equal(desk_post(d, &note->letter), OK);
}

static int set_up(void **state)
{
    (void)state;
    record = (struct record){0};
    return 0;
}

static void letters_are_handled_in_order_and_all_before_the_desk_closes(void **state)
{
    (void)state;
    struct desk *d = NULL;
    assert_int_equal(desk_open(64, handle, &record, &d), OK);
    for (int i = 0; i < 40; i++) {
        post(d, i, 0, 0);
    }
    desk_close(&d);
    assert_null(d);
    assert_int_equal(record.n, 40);
    assert_int_equal(record.dropped, 40);
    for (int i = 0; i < 40; i++) {
        assert_int_equal(record.numbers[i], i);
    }
}

static void a_letter_that_is_wanted_again_goes_before_the_next(void **state)
{
    (void)state;
    struct desk *d = NULL;
    assert_int_equal(desk_open(64, handle, &record, &d), OK);
    post(d, 1, 2, 1);
    post(d, 2, 0, 0);
    while (atomic_load(&record.calls) < 4) {
        (void)sched_yield();
    }
    desk_close(&d);
    const int expected[] = {1, 1, 1, 2};
    assert_int_equal(record.n, 4);
    assert_memory_equal(record.numbers, expected, sizeof expected);
    assert_int_equal(record.closings, 0);
}

static void closing_does_not_wait_for_a_letter_that_wants_an_hour(void **state)
{
    (void)state;
    struct desk *d = NULL;
    assert_int_equal(desk_open(64, handle, &record, &d), OK);
    post(d, 1, 1, 3600000);
    while (atomic_load(&record.calls) < 1) {
        (void)sched_yield();
    }
    desk_close(&d);
    assert_int_equal(record.n, 2);
    assert_int_equal(record.closings, 1);
    assert_int_equal(record.dropped, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(letters_are_handled_in_order_and_all_before_the_desk_closes, set_up),
        cmocka_unit_test_setup(a_letter_that_is_wanted_again_goes_before_the_next, set_up),
        cmocka_unit_test_setup(closing_does_not_wait_for_a_letter_that_wants_an_hour, set_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
