/* test_key_file.c - key files: round trip, every truncation, every changed byte, permissions, and
 * the message for each thing that can be wrong with one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "common/base/hash.h"
#include "common/base/mem.h"
#include "common/net/key_file.h"
#include "tests/support/temp_folder.h"

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

static struct key_file sample(enum key_role role)
{
    struct key_file key = {.name = "node-1.lab", .role = role};
    key_generate(&key);
    if (role != KEY_COORDINATOR) {
        struct key_file server = {.role = KEY_COORDINATOR};
        key_generate(&server);
        memcpy(key.server, server.public_key, KEY_BYTES);
    }
    return key;
}

/* The bytes of a key as its file holds them. */
static char *written(const struct key_file *key, const char *name, size_t *bytes)
{
    struct errbuf e;
    char *text;
    const char *path = temp_folder_file(&folder, name);
    assert_int_equal(key_file_write(path, key, &e), OK);
    assert_int_equal(file_read(path, KEY_FILE_BYTES, &text, bytes, &e), OK);
    return text;
}

static void test_a_key_comes_back_as_it_was_in_a_file_of_mode_0600(void **state)
{
    (void)state;
    const enum key_role roles[] = {KEY_COORDINATOR, KEY_WORKER, KEY_OBSERVER, KEY_OPERATOR};
    for (size_t i = 0; i < 4; i++) {
        struct key_file in = sample(roles[i]);
        struct key_file out;
        struct errbuf e;
        struct stat info;
        const char *path = temp_folder_file(&folder, key_role_name(roles[i]));
        assert_int_equal(key_file_write(path, &in, &e), OK);
        assert_int_equal(stat(path, &info), 0);
        assert_int_equal(info.st_mode & 07777, 0600);
        assert_int_equal(key_file_read(path, &out, &e), OK);
        assert_memory_equal(&out, &in, sizeof in);
    }
}

static void test_a_key_is_never_overwritten(void **state)
{
    (void)state;
    struct errbuf e;
    struct key_file key = sample(KEY_WORKER);
    const char *path = temp_folder_file(&folder, "k");
    assert_int_equal(key_file_write(path, &key, &e), OK);
    assert_int_equal(key_file_write(path, &key, &e), ERR_REFUSED);
    assert_non_null(strstr(e.text, "never overwritten"));
}

static void test_every_truncation_and_every_changed_byte_is_refused(void **state)
{
    (void)state;
    struct errbuf e;
    struct key_file out;
    size_t bytes;
    struct key_file key = sample(KEY_WORKER);
    char *text = written(&key, "k", &bytes);
    for (size_t cut = 0; cut < bytes; cut++) {
        char *part = mem_strndup(text, cut);
        assert_non_null(part);
        assert_int_not_equal(key_file_parse("k", part, cut, &out, &e), OK);
        assert_int_equal(out.secret[0] | out.secret[31], 0);
        mem_free(part);
    }
    for (size_t i = 0; i < bytes; i++) {
        for (int flip = 1; flip < 256; flip *= 2) {
            text[i] = (char)(text[i] ^ flip);
            assert_int_not_equal(key_file_parse("k", text, bytes, &out, &e), OK);
            text[i] = (char)(text[i] ^ flip);
        }
    }
    assert_int_equal(key_file_parse("k", text, bytes, &out, &e), OK);
    mem_free(text);
}

/* The sample's text with `from` replaced by `to` and a check line that fits again. */
static size_t changed(const char *text, const char *from, const char *to, char out[2048])
{
    const char *at = strstr(text, from);
    const char *check = strstr(text, "check ");
    char hex[HASH_SHA256_HEX];
    assert_true(at && check && at < check);
    int n = snprintf(out, 2048, "%.*s%s%.*s", (int)(at - text), text, to,
                     (int)(check - at - (long)strlen(from)), at + strlen(from));
    hash_sha256_hex(out, (size_t)n, hex);
    return (size_t)(n + snprintf(out + n, (size_t)(2048 - n), "check %.16s\n", hex));
}

static void test_each_mistake_has_its_own_message(void **state)
{
    (void)state;
    static const char name65[] =
        "name "
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    const struct {
        const char *from, *to;
        enum err code;
        const char *says;
    } table[] = {
        {"pft-key 1", "pft-key 2", ERR_PARSE, "first line must be 'pft-key 1'"},
        {"name node-1.lab\n", "", ERR_PARSE, "k:2: 'name ...' is wanted"},
        {"name node-1.lab", "name ../x", ERR_PARSE, "k:2: '../x': a key's name has"},
        {"name node-1.lab", name65, ERR_PARSE, "1 to 63 characters"},
        {"role worker", "role king", ERR_PARSE, "role 'king'; coordinator, worker"},
        {"role worker", "role coordinator", ERR_PARSE, "k:4: 'secret ...' is wanted"},
        {"server ", "server 0", ERR_PARSE, "k:4: server has 65 characters, 64"},
        {"secret ", "secret Z", ERR_PARSE, "k:5: secret has 65 characters, 64"},
        {"secret ", "secret\t", ERR_PARSE, "k:5: 'secret ...' is wanted"},
        {"role worker\n", "role worker\nextra 1\n", ERR_PARSE, "k:4: 'server ...' is wanted"},
    };
    struct errbuf e;
    struct key_file out;
    size_t bytes;
    struct key_file key = sample(KEY_WORKER);
    char *text = written(&key, "k", &bytes);
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        char bad[2048];
        size_t n = changed(text, table[i].from, table[i].to, bad);
        assert_int_equal(key_file_parse("k", bad, n, &out, &e), table[i].code);
        if (!strstr(e.text, table[i].says)) {
            fail_msg("%s -> %s: \"%s\" does not say \"%s\"", table[i].from, table[i].to, e.text,
                     table[i].says);
        }
    }
    text[strlen("pft-key 1\nname ")] = 'N';
    assert_int_equal(key_file_parse("k", text, bytes, &out, &e), ERR_CORRUPT);
    assert_non_null(strstr(e.text, "check line does not fit"));
    text[strlen("pft-key 1\nname ")] = 'n';
    char longer[2048];
    int n = snprintf(longer, sizeof longer, "%s\n", text);
    assert_int_equal(key_file_parse("k", longer, (size_t)n, &out, &e), ERR_PARSE);
    assert_non_null(strstr(e.text, "1 bytes follow the check line"));
    assert_int_equal(key_file_parse("k", text, bytes - 5, &out, &e), ERR_PARSE);
    assert_non_null(strstr(e.text, "cut short"));
    mem_free(text);
}

static void test_a_secret_that_others_can_read_is_refused_with_the_mend(void **state)
{
    (void)state;
    struct errbuf e;
    struct key_file out;
    struct key_file key = sample(KEY_OPERATOR);
    const char *path = temp_folder_file(&folder, "k");
    assert_int_equal(key_file_write(path, &key, &e), OK);
    const mode_t bad[] = {0604, 0644, 0640, 0620, 0602, 0610, 0777};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(chmod(path, bad[i]), 0);
        assert_int_equal(key_file_read(path, &out, &e), ERR_REFUSED);
        assert_non_null(strstr(e.text, "chmod 600"));
    }
    const mode_t good[] = {0600, 0400, 0700};
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        assert_int_equal(chmod(path, good[i]), 0);
        assert_int_equal(key_file_read(path, &out, &e), OK);
    }
}

static void test_what_is_no_key_file_is_refused_by_name(void **state)
{
    (void)state;
    struct errbuf e;
    struct key_file out;
    char big[KEY_FILE_BYTES + 1];
    memset(big, 'x', sizeof big);
    const char *path = temp_folder_write(&folder, "big", big, sizeof big);
    assert_int_equal(chmod(path, 0600), 0);
    assert_int_equal(key_file_read(path, &out, &e), ERR_PARSE);
    assert_non_null(strstr(e.text, "1025 bytes"));
    assert_int_equal(key_file_read(temp_folder_file(&folder, "none"), &out, &e), ERR_NOT_FOUND);
    assert_int_equal(key_file_read(folder.path, &out, &e), ERR_UNSUPPORTED);
    assert_int_equal(key_file_parse("k", "", 0, &out, &e), ERR_PARSE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_a_key_comes_back_as_it_was_in_a_file_of_mode_0600,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_key_is_never_overwritten, setup, teardown),
        cmocka_unit_test_setup_teardown(test_every_truncation_and_every_changed_byte_is_refused,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(test_each_mistake_has_its_own_message, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_secret_that_others_can_read_is_refused_with_the_mend,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(test_what_is_no_key_file_is_refused_by_name, setup,
                                        teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
