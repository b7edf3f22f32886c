/* test_mailbox.c - letters between threads: order, limit, stop, a loop that is woken. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <pthread.h>
#include <uv.h>

#include "common/base/check.h"
#include "common/base/mem.h"
#include "common/net/mailbox.h"

enum { LETTERS = 10000 };

struct number {
    struct letter letter; /* first */
    int value;
};

static void drop(struct letter *letter)
{
    mem_free(letter);
}

static struct letter *number(int value)
{
    struct number *n = mem_calloc(1, sizeof *n);
    CHECK(n != NULL);
    n->letter.drop = drop;
    n->value = value;
    return &n->letter;
}

static void *post_all(void *mailbox)
{
    for (int i = 0; i < LETTERS; i++) {
        CHECK(mailbox_post(mailbox, number(i)) == OK);
    }
    mailbox_stop(mailbox);
    return NULL;
}

static void test_a_waiting_thread_gets_every_letter_in_order(void **state)
{
    (void)state;
    struct mailbox *m;
    pthread_t thread;
    assert_int_equal(mailbox_open(LETTERS, &m), OK);
    assert_int_equal(pthread_create(&thread, NULL, post_all, m), 0);
    int expected = 0;
    for (struct letter *l = mailbox_wait(m); l; l = mailbox_wait(m)) {
        assert_int_equal(((struct number *)l)->value, expected++);
        drop(l);
    }
    assert_int_equal(expected, LETTERS);
    pthread_join(thread, NULL);
    mailbox_close(&m);
    assert_null(m);
}

static void test_a_full_or_stopped_mailbox_leaves_the_letter_with_the_poster(void **state)
{
    (void)state;
    struct mailbox *m;
    assert_int_equal(mailbox_open(2, &m), OK);
    struct letter *third = number(3);
    assert_int_equal(mailbox_post(m, number(1)), OK);
    assert_int_equal(mailbox_post(m, number(2)), OK);
    assert_int_equal(mailbox_post(m, third), ERR_FULL);
    mailbox_stop(m);
    assert_int_equal(mailbox_post(m, third), ERR_GONE);
    drop(third);
    mailbox_close(&m); /* drops the two inside */
}

struct taker {
    struct mailbox *m;
    int expected;
};

static void take_all(void *ctx)
{
    struct taker *t = ctx;
    for (struct letter *l = mailbox_take(t->m); l; l = mailbox_take(t->m)) {
        CHECK(((struct number *)l)->value == t->expected++);
        drop(l);
    }
    if (t->expected == LETTERS) {
        mailbox_close(&t->m);
    }
}

static void test_a_loop_is_woken_and_ends_when_the_mailbox_is_closed(void **state)
{
    (void)state;
    uv_loop_t loop;
    struct taker t = {0};
    assert_int_equal(uv_loop_init(&loop), 0);
    assert_int_equal(mailbox_open(LETTERS, &t.m), OK);
    assert_int_equal(mailbox_attach(t.m, &loop, take_all, &t), OK);
    struct mailbox *poster = t.m;
    for (int i = 0; i < LETTERS - 1; i++) {
        assert_int_equal(mailbox_post(poster, number(i)), OK);
    }
    assert_int_equal(mailbox_post(poster, number(LETTERS - 1)), OK);
    assert_int_equal(uv_run(&loop, UV_RUN_DEFAULT), 0);
    assert_int_equal(t.expected, LETTERS);
    assert_int_equal(uv_loop_close(&loop), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_waiting_thread_gets_every_letter_in_order),
        cmocka_unit_test(test_a_full_or_stopped_mailbox_leaves_the_letter_with_the_poster),
        cmocka_unit_test(test_a_loop_is_woken_and_ends_when_the_mailbox_is_closed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
