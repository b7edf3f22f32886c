/* test_payload_room.c - memory of payloads is used again once nobody reads it, never before. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/mem.h"
#include "worker/payload_room.h"

enum { BYTES = 4096, ROUNDS = 200 };

static void test_memory_is_used_again_when_nobody_reads_it(void **state)
{
    (void)state;
    struct payload_room room = {{NULL}};
    struct blob *first = payload_room_take(&room, BYTES);
    const uint8_t *at = blob_data(first);
    blob_free(&first);
    for (int i = 0; i < 3; i++) {
        struct blob *again = payload_room_take(&room, BYTES);
        assert_ptr_equal(blob_data(again), at);
        blob_free(&again);
    }
    payload_room_clear(&room);
}

static void test_what_is_held_is_never_given_out_again(void **state)
{
    (void)state;
    struct payload_room room = {{NULL}};
    struct blob *held[PAYLOAD_ROOM_BUFFERS + 2];
    for (int i = 0; i < PAYLOAD_ROOM_BUFFERS + 2; i++) {
        held[i] = payload_room_take(&room, BYTES);
        assert_non_null(held[i]);
        memset(blob_data_mut(held[i]), 'a' + i, BYTES);
    }
    for (int i = 0; i < PAYLOAD_ROOM_BUFFERS + 2; i++) {
        assert_int_equal(blob_data(held[i])[BYTES - 1], 'a' + i);
    }
    payload_room_clear(&room); /* those in flight stay good */
    for (int i = 0; i < PAYLOAD_ROOM_BUFFERS + 2; i++) {
        assert_int_equal(blob_data(held[i])[0], 'a' + i);
        blob_free(&held[i]);
    }
}

static void test_another_size_takes_the_place_of_an_idle_buffer(void **state)
{
    (void)state;
    struct payload_room room = {{NULL}};
    struct blob *b = payload_room_take(&room, BYTES);
    blob_free(&b);
    b = payload_room_take(&room, BYTES / 2);
    assert_int_equal(blob_bytes(b), BYTES / 2);
    memset(blob_data_mut(b), 1, BYTES / 2);
    blob_free(&b);
    payload_room_clear(&room);
}

static void test_out_of_memory_is_null_and_loses_nothing(void **state)
{
    (void)state;
    for (unsigned long n = 1;; n++) {
        struct payload_room room = {{NULL}};
        mem_fail_after(n);
        struct blob *b = payload_room_take(&room, BYTES);
        mem_fail_after(0);
        bool made = b != NULL;
        blob_free(&b);
        b = payload_room_take(&room, BYTES);
        assert_non_null(b);
        blob_free(&b);
        payload_room_clear(&room);
        if (made) {
            assert_true(n > 1);
            return;
        }
    }
}

static void *reader(void *argument)
{
    struct blob *b = argument;
    size_t sum = 0;
    for (size_t i = 0; i < blob_bytes(b); i++) {
        sum += blob_data(b)[i];
    }
    blob_free(&b);
    return (void *)(uintptr_t)sum;
}

static void test_another_thread_may_drop_a_payload(void **state)
{
    (void)state;
    struct payload_room room = {{NULL}};
    for (int i = 0; i < ROUNDS; i++) {
        pthread_t threads[2];
        for (int t = 0; t < 2; t++) {
            struct blob *b = payload_room_take(&room, BYTES);
            assert_non_null(b);
            memset(blob_data_mut(b), t + 1, BYTES);
            assert_int_equal(pthread_create(&threads[t], NULL, reader, b), 0);
        }
        for (int t = 0; t < 2; t++) {
            void *sum;
            assert_int_equal(pthread_join(threads[t], &sum), 0);
            assert_int_equal((uintptr_t)sum, (uintptr_t)(t + 1) * BYTES);
        }
    }
    payload_room_clear(&room);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_memory_is_used_again_when_nobody_reads_it),
        cmocka_unit_test(test_what_is_held_is_never_given_out_again),
        cmocka_unit_test(test_another_size_takes_the_place_of_an_idle_buffer),
        cmocka_unit_test(test_out_of_memory_is_null_and_loses_nothing),
        cmocka_unit_test(test_another_thread_may_drop_a_payload),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
