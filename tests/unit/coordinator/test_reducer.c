/* test_reducer.c - a result that finds no memory is refused where it is handed on; what was taken
 * is summed and told.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/hash.h"
#include "common/base/mem.h"
#include "coordinator/reducer.h"

enum { COUNT = 8, MOST = 10 };

static const struct adamw_config adam = {
    .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .weight_decay = 0.01, .clip = 1.0};

static void every_allocation_that_fails_refuses_the_result_or_loses_none(void **state)
{
    struct params *params = NULL;
    struct mailbox *reports = NULL;
    struct reducer *reducer = NULL;
    struct errbuf e;
    uint32_t unit = 0;
    uint32_t labels = 1;
    int64_t loss = 0;
    (void)state;
    assert_int_equal(params_new_empty(COUNT, &adam, &params), OK);
    assert_int_equal(mailbox_open(MOST, &reports), OK);
    assert_int_equal(reducer_open(&params, reports, &reducer, &e), OK);
    assert_int_equal(reducer_begin(reducer, 0, 1, 1), OK);
    struct blob *payload = blob_new(COUNT * sizeof(int64_t));
    assert_non_null(payload);
    memset(blob_data_mut(payload), 0, blob_bytes(payload));
    struct reduce_job job = {.n_units = 1, .units = &unit, .loss = &loss, .labels = &labels};
    hash_xxh128(blob_data(payload), blob_bytes(payload), job.digest);
    enum err error = ERR_NOMEM;
    unsigned long refused = 0;
    for (unsigned long n = 1; error == ERR_NOMEM; n++) {
        assert_true(n < MOST);
        mem_fail_after(n);
        error = reducer_add(reducer, 0, 7, &job, payload);
        refused += error == ERR_NOMEM;
    }
    assert_int_equal(error, OK);
    assert_true(refused >= 2); /* the order and the word of it */
    struct reducer_report *report = (struct reducer_report *)mailbox_wait(reports);
    mem_fail_after(0);
    assert_int_equal(report->kind, REDUCER_SUMMED);
    assert_int_equal(report->job, 7);
    assert_int_equal(report->code, OK);
    reducer_report_free(report);
    blob_free(&payload);
    reducer_close(&reducer);
    mailbox_close(&reports);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_allocation_that_fails_refuses_the_result_or_loses_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
