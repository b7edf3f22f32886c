/* test_plan_command.c - pft plan as a user calls it: what it prints, what it refuses. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"
#include "common/base/file.h"
#include "common/base/mem.h"
#include "tests/support/starter_part.h"

static char folder[] = "/tmp/pft-test-plan-XXXXXX";
static char config[64], train[64], out_path[64], err_path[64];

static int set_up(void **state)
{
    char text[1024];
    char *here = NULL;
    struct errbuf e = {{0}};
    (void)state;
    if (!mkdtemp(folder)) {
        return -1;
    }
    (void)snprintf(config, sizeof config, "%s/run.yaml", folder);
    (void)snprintf(train, sizeof train, "%s/train.json", folder);
    if (!starter_part("data/starter_train.json", 96, train)) {
        return -1;
    }
    (void)snprintf(out_path, sizeof out_path, "%s/out", folder);
    (void)snprintf(err_path, sizeof err_path, "%s/err", folder);
    here = realpath(".", NULL);
    int n = snprintf(text, sizeof text,
                     "model: {path: %s/tests/golden/tiny}\n"
                     "data: {train: %s, values: "
                     "%s/configs/values/vcd.yaml}\n"
                     "lora: {r: 4, targets: [q, v]}\n"
                     "train: {batch_groups: 32, max_steps: 6}\n",
                     here, train, here);
    mem_free(here);
    return file_write_atomic(config, text, (size_t)n, &e) == OK ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    (void)unlink(config);
    (void)unlink(train);
    (void)unlink(out_path);
    (void)unlink(err_path);
    return rmdir(folder);
}

/* Turns a stream into a file; gives what it was. */
static int turn(int stream, const char *path)
{
    int kept = dup(stream);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_true(kept >= 0 && fd >= 0 && dup2(fd, stream) == stream);
    (void)close(fd);
    return kept;
}

static void turn_back(int stream, int kept)
{
    assert_true(dup2(kept, stream) == stream);
    (void)close(kept);
}

/* Runs the words behind "plan"; what went to stdout (exit code 0) or stderr (mem_free). */
static char *run(int expected, const char *const *words)
{
    char *argv[24] = {"plan"};
    char *text = NULL;
    size_t bytes = 0;
    int n = 1;
    for (; words[n - 1]; n++) {
        argv[n] = (char *)(uintptr_t)words[n - 1];
    }
    (void)fflush(stdout);
    (void)fflush(stderr);
    int out = turn(STDOUT_FILENO, out_path);
    int err = turn(STDERR_FILENO, err_path);
    int code = cli_plan(n, argv);
    (void)fflush(stdout);
    (void)fflush(stderr);
    turn_back(STDOUT_FILENO, out);
    turn_back(STDERR_FILENO, err);
    assert_int_equal(file_read(code == 0 ? out_path : err_path, 1 << 24, &text, &bytes, NULL), OK);
    if (code != expected) {
        print_message("exit code %d: %s\n", code, text);
    }
    assert_int_equal(code, expected);
    return text;
}
#define RUN(expected, ...) run(expected, (const char *const[]){__VA_ARGS__, NULL})
#define PLAN(...) plan((const char *const[]){config, "--json", __VA_ARGS__, NULL})

static json_t *plan(const char *const *words)
{
    char *text = run(CLI_OK, words);
    json_t *root = json_loads(text, 0, NULL);
    assert_non_null(root);
    mem_free(text);
    return root;
}

static double at(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    assert_true(json_is_number(value));
    return json_number_value(value);
}

static json_t *row(const json_t *root, size_t i)
{
    json_t *found = json_array_get(json_object_get(root, "rows"), i);
    assert_non_null(found);
    return found;
}

static void test_more_workers_help_up_to_the_useful_slots(void **state)
{
    (void)state;
    json_t *root = PLAN("--tokens-per-s", "500", "--bandwidth", "10Gbit", "--workers", "1..1000");
    const json_t *rows = json_object_get(root, "rows");
    const json_t *before = NULL;
    const json_t *last = row(root, json_array_size(rows) - 1);
    double useful = at(root, "useful_slots");
    assert_true(json_is_null(json_object_get(root, "saturates_at")));
    assert_int_equal(json_array_size(rows), 11);
    for (size_t i = 0; i < 11; i++) {
        const json_t *r = row(root, i);
        assert_int_equal((int)at(r, "workers"), i < 10 ? 1 << i : 1000);
        assert_true(!before || at(r, "step_s") <= at(before, "step_s") * 1.001);
        assert_true(at(r, "slots_used") <= useful && at(r, "efficiency") <= 1.001);
        assert_true(at(r, "slots") < useful || at(r, "step_s") <= at(last, "step_s") * 1.001);
        before = r;
    }
    assert_true(at(row(root, 0), "speed_up") == 1.0 && at(last, "speed_up") > 4.0);
    json_decref(root);
}

static void test_bytes_of_a_step_are_those_of_the_protocol(void **state)
{
    (void)state;
    json_t *root = PLAN("--tokens-per-s", "500", "--bandwidth", "10Gbit", "--workers", "1,2,3");
    double floats = at(json_object_get(root, "lora"), "floats");
    double frames = at(row(root, 0), "bytes_out") - 4.0 * floats;
    assert_true(floats > 0.0 && frames > 0.0);
    for (size_t i = 0; i < 3; i++) {
        const json_t *r = row(root, i);
        double out = at(r, "workers") * 4.0 * floats + frames;
        assert_true(at(r, "copies") == 0.0 && at(r, "lost") == 0.0);
        assert_true(at(r, "bytes_out") > out - 0.5 && at(r, "bytes_out") < out + 0.5);
        double in = at(r, "jobs") * 8.0 * floats;
        assert_true(at(r, "bytes_in") > in - 1.0 && at(r, "bytes_in") < in + 1.0);
    }
    json_decref(root);
}

static void test_a_narrow_link_saturates_at_a_number_of_workers(void **state)
{
    (void)state;
    json_t *root = PLAN("--tokens-per-s", "500", "--bandwidth", "400kbit", "--workers", "1,2,16");
    assert_string_equal(json_string_value(json_object_get(root, "model")), "tiny");
    double from = at(root, "saturates_at");
    assert_true(from > 1.0 && from <= 16.0);
    assert_true(json_is_false(json_object_get(row(root, 0), "saturated")));
    assert_true(json_is_true(json_object_get(row(root, 2), "saturated")));
    json_decref(root);
}

static void test_a_larger_model_costs_its_flops(void **state)
{
    (void)state;
    double cost = 0.0;
    const char *const models[] = {"135M", "3B", "8B"};
    const double parameters[] = {135e6, 3.2e9, 8.0e9};
    for (int i = 0; i < 3; i++) {
        json_t *root = PLAN("--tokens-per-s", "500", "--bandwidth", "10Gbit", "--workers", "1",
                            "--model", models[i]);
        double flops = at(root, "flops_per_token");
        assert_true(flops > 3.0 * parameters[i] && flops < 5.0 * parameters[i]);
        assert_true(at(root, "seconds_per_token") > cost);
        cost = at(root, "seconds_per_token");
        json_decref(root);
    }
}

static void test_the_table_says_the_same_twice(void **state)
{
    (void)state;
    char *a = RUN(CLI_OK, config, "--tokens-per-s", "300", "--workers", "1..20", "--slots", "2");
    char *b = RUN(CLI_OK, config, "--tokens-per-s", "300", "--workers", "1..20", "--slots", "2");
    assert_string_equal(a, b);
    assert_non_null(strstr(a, "workers  slots  used"));
    assert_non_null(strstr(a, "useful slots: "));
    mem_free(a);
    mem_free(b);
}

static void refused(int code, const char *part, char *text)
{
    (void)code;
    if (!strstr(text, part)) {
        print_message("%s", text);
    }
    assert_non_null(strstr(text, part));
    mem_free(text);
}
#define REFUSED(code, part, ...) refused(code, part, RUN(code, __VA_ARGS__))

static void test_wrong_words_are_refused_with_the_mend(void **state)
{
    (void)state;
    REFUSED(CLI_USAGE, "give --from RUN", config);
    REFUSED(CLI_USAGE, "one CONFIG is needed", "--tokens-per-s", "500");
    REFUSED(CLI_USAGE, "there are 135M, 3B and 8B", config, "--tokens-per-s", "5", "--model", "7B");
    REFUSED(CLI_USAGE, "--bandwidth is '5 apples'", config, "--tokens-per-s", "5", "--bandwidth",
            "5 apples");
    REFUSED(CLI_USAGE, "--workers is '0', a whole number from 1 to 4096", config, "--tokens-per-s",
            "5", "--workers", "0");
    REFUSED(CLI_USAGE, "--workers is '3', a whole number from 8", config, "--tokens-per-s", "5",
            "--workers", "8..3");
    REFUSED(CLI_USAGE, "--tokens-per-s is 'fast'", config, "--tokens-per-s", "fast");
    REFUSED(CLI_FAILED, "holds no run", config, "--from", folder);
    REFUSED(CLI_FAILED, "no-such.yaml", "no-such.yaml", "--tokens-per-s", "5");
}

static void test_data_that_is_not_there_is_named(void **state)
{
    (void)state;
    (void)unsetenv("PFT_VCD_DIR");
    REFUSED(CLI_FAILED, "PFT_VCD_DIR", "configs/vcd.yaml", "--tokens-per-s", "5");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_more_workers_help_up_to_the_useful_slots),
        cmocka_unit_test(test_bytes_of_a_step_are_those_of_the_protocol),
        cmocka_unit_test(test_a_narrow_link_saturates_at_a_number_of_workers),
        cmocka_unit_test(test_a_larger_model_costs_its_flops),
        cmocka_unit_test(test_the_table_says_the_same_twice),
        cmocka_unit_test(test_wrong_words_are_refused_with_the_mend),
        cmocka_unit_test(test_data_that_is_not_there_is_named),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
