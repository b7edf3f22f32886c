/* test_loader_faults.c - every loader of a file, and both writers, with the n-th allocation, read
 * or write failing, for every n: a clean error, nothing left behind, the old file whole. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/mem.h"
#include "common/format/gguf.h"
#include "common/format/model_file.h"
#include "common/format/safetensors.h"
#include "common/text/tokenizer.h"
#include "coordinator/config.h"
#include "coordinator/dataset.h"
#include "coordinator/values.h"
#include "tests/support/disk_faults.h"
#include "tests/support/starter_part.h"
#include "tests/support/temp_folder.h"

static const char tiny[] = "tests/golden/tiny";
static const char tiny_gguf[] = "tests/golden/gguf/tiny.Q8_0.gguf";
static const char tiny_weights[] = "tests/golden/tiny/model.safetensors";
static struct values *values; /* for the data file */
static char data_path[96];

static enum err load_config(struct errbuf *e)
{
    struct run_config *cfg = NULL;
    const char *const sets[] = {"train.seed=9", "lora.targets=[q, v]"};
    enum err error = config_load("configs/starter.yaml", sets, 2, &cfg, e);
    config_free(&cfg);
    return error;
}

static enum err load_values(struct errbuf *e)
{
    struct values *v = NULL;
    enum err error = values_load("configs/values/vcd.yaml", &v, e);
    values_free(&v);
    return error;
}

static enum err load_data(struct errbuf *e)
{
    struct dataset *d = NULL;
    enum err error = dataset_load(data_path, values, GROUP_SCENARIO, &d, e);
    dataset_free(&d);
    return error;
}

static enum err load_gguf(struct errbuf *e)
{
    struct gguf *g = NULL;
    enum err error = gguf_open(tiny_gguf, &g, e);
    gguf_close(&g);
    return error;
}

static enum err load_safetensors(struct errbuf *e)
{
    struct safetensors *st = NULL;
    enum err error = safetensors_open(tiny_weights, &st, e);
    safetensors_close(&st);
    return error;
}

static enum err load_model(const char *path, struct errbuf *e)
{
    struct model_file *mf = NULL;
    struct tokenizer *tok = NULL;
    float row[32];
    enum err error = model_open(path, &mf, e);
    error = error == OK ? tokenizer_open(mf, &tok, e) : error;
    error = error == OK ? model_tensor_read(mf, "model.norm.weight", 0, 1, row, e) : error;
    tokenizer_close(&tok);
    model_close(&mf);
    return error;
}

static enum err load_folder(struct errbuf *e)
{
    return load_model(tiny, e);
}

static enum err load_gguf_model(struct errbuf *e)
{
    return load_model(tiny_gguf, e);
}

static const struct {
    const char *name;
    enum err (*load)(struct errbuf *e);
} loaders[] = {
    {"config", load_config},
    {"values", load_values},
    {"data", load_data},
    {"gguf", load_gguf},
    {"safetensors", load_safetensors},
    {"folder, tokenizer", load_folder},
    {"gguf, tokenizer", load_gguf_model},
};
enum { LOADERS = sizeof loaders / sizeof loaders[0] };

static void every_allocation_of_every_loader_may_fail(void **state)
{
    (void)state;
    for (size_t i = 0; i < LOADERS; i++) {
        enum err error = ERR_NOMEM;
        unsigned long n = 1;
        for (; error != OK && n < 100000; n++) {
            struct errbuf e = {{0}};
            mem_fail_after(n);
            error = loaders[i].load(&e);
            mem_fail_after(0);
            if (error != OK && error != ERR_NOMEM) {
                fail_msg("%s, allocation %lu: %s (%s)", loaders[i].name, n, err_text(error),
                         e.text);
            }
        }
        print_message("%s: %lu allocations failed in turn\n", loaders[i].name, n - 2);
        assert_int_equal(error, OK);
        assert_true(n > 2);
    }
}

static void every_read_of_every_loader_may_fail(void **state)
{
    (void)state;
    for (size_t i = 0; i < LOADERS; i++) {
        unsigned long failed = 1;
        unsigned long n = 1;
        for (; failed > 0; n++) {
            struct errbuf e = {{0}};
            disk_fail(DISK_READ, n, EIO, false);
            enum err error = loaders[i].load(&e);
            failed = disk_faults.failed;
            disk_fail(0, 0, 0, false);
            assert_int_equal(error, failed > 0 ? ERR_IO : OK);
            assert_true(failed == 0 || strstr(e.text, "Input/output error"));
        }
        print_message("%s: %lu reads failed in turn\n", loaders[i].name, n - 2);
        assert_true(n > 2);
    }
}

static enum err write_text(const char *path, struct errbuf *e)
{
    return file_write_atomic(path, "new and longer", 14, e);
}

static enum err write_tensor(const char *path, struct errbuf *e)
{
    static const float data[4] = {1, 2, 3, 4};
    const struct safetensors_item item = {
        .name = "t", .dtype = SAFETENSORS_F32, .n_dims = 1, .dims = {4, 1, 1, 1}, .data = data};
    return safetensors_write(path, &item, 1, NULL, 0, e);
}

static void assert_content(const char *path, const char *content)
{
    char *data = NULL;
    size_t bytes = 0;
    assert_int_equal(file_read(path, 1 << 20, &data, &bytes, NULL), OK);
    assert_string_equal(data, content);
    mem_free(data);
}

/* A rename that happened is not taken back when the folder cannot be synced. */
static void a_file_is_the_old_or_the_new_one_whatever_fails_while_it_is_replaced(void **state)
{
    (void)state;
    static enum err (*const writers[])(const char *, struct errbuf *) = {write_text, write_tensor};
    static const int errnums[] = {EIO, ENOSPC};
    struct temp_folder folder;
    temp_folder_make(&folder);
    for (size_t i = 0; i < 4; i++) {
        unsigned long failed = 1;
        unsigned long n = 1;
        for (; failed > 0; n++) {
            struct errbuf e = {{0}};
            const char *path = temp_folder_text(&folder, "file", "old");
            disk_fail(DISK_CHANGES, n, errnums[i % 2], false);
            enum err error = writers[i / 2](path, &e);
            failed = disk_faults.failed;
            bool synced = !disk_faults.sync_failed;
            disk_fail(0, 0, 0, false);
            assert_int_equal(error, failed == 0                          ? OK
                                    : synced && errnums[i % 2] == ENOSPC ? ERR_NOSPACE
                                                                         : ERR_IO);
            if (error != OK && synced) {
                assert_content(path, "old");
            }
        }
        assert_true(n > 4);
    }
    temp_folder_clear(folder.path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_allocation_of_every_loader_may_fail),
        cmocka_unit_test(every_read_of_every_loader_may_fail),
        cmocka_unit_test(a_file_is_the_old_or_the_new_one_whatever_fails_while_it_is_replaced),
    };
    struct errbuf e = {{0}};
    if (values_load("configs/values/vcd.yaml", &values, &e) != OK) {
        (void)fprintf(stderr, "%s\n", e.text);
        return 1;
    }
    struct temp_folder folder;
    temp_folder_make(&folder);
    (void)snprintf(data_path, sizeof data_path, "%s/data.json", folder.path);
    if (!starter_part("data/starter_test.json", 24, data_path)) {
        (void)fprintf(stderr, "data/starter_test.json: no 24 dilemmas\n");
        return 1;
    }
    int failures = cmocka_run_group_tests(tests, NULL, NULL);
    temp_folder_clear(folder.path);
    values_free(&values);
    return failures;
}
