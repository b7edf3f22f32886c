/* key_file.c - reading, checking and writing key files. */
#include "common/net/key_file.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/check.h"
#include "common/base/file.h"
#include "common/base/hash.h"

enum { CHECK_DIGITS = 16, VALUE_BYTES = 128 };

static const char FIRST_LINE[] = "pft-key 1\n";
static const char *const roles[] = {"coordinator", "worker", "observer", "operator"};

const char *key_role_name(enum key_role role)
{
    return (unsigned)role < sizeof roles / sizeof roles[0] ? roles[role] : "unknown";
}

bool key_role_from(const char *name, enum key_role *role)
{
    for (size_t i = 0; i < sizeof roles / sizeof roles[0]; i++) {
        if (strcmp(name, roles[i]) == 0) {
            *role = (enum key_role)i;
            return true;
        }
    }
    return false;
}

static bool plain(char c, bool first)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           (!first && (c == '.' || c == '_' || c == '-'));
}

enum err key_name_check(const char *name, struct errbuf *e)
{
    size_t n = 0;
    while (n < KEY_NAME_BYTES && plain(name[n], n == 0)) {
        n++;
    }
    return n > 0 && n < KEY_NAME_BYTES && name[n] == '\0'
               ? OK
               : err_set(e, ERR_USAGE,
                         "'%.80s': a key's name has 1 to %d characters of A-Z a-z 0-9 . _ - and "
                         "begins with a letter or digit",
                         name, KEY_NAME_BYTES - 1);
}

void key_generate(struct key_file *key)
{
    CHECK(sodium_init() >= 0);
    CHECK(crypto_box_keypair(key->public_key, key->secret) == 0);
}

void key_clear(struct key_file *key)
{
    sodium_memzero(key, sizeof *key);
}

void key_hex(const uint8_t key[KEY_BYTES], char hex[KEY_HEX])
{
    (void)sodium_bin2hex(hex, KEY_HEX, key, KEY_BYTES);
}

struct cursor {
    const char *path, *begin, *at, *end;
    int line;
};

/* value = the rest of the next line, which must begin with word and a space. */
static enum err take_line(struct cursor *c, const char *word, char value[VALUE_BYTES],
                          struct errbuf *e)
{
    size_t left = (size_t)(c->end - c->at);
    size_t length = strlen(word);
    const char *newline = memchr(c->at, '\n', left);
    c->line++;
    if (!newline) {
        return err_set(e, ERR_PARSE,
                       "%s: ends in line %d, where '%s ...' is wanted: the file is cut short; copy "
                       "it again",
                       c->path, c->line, word);
    }
    size_t n = (size_t)(newline - c->at);
    if (n <= length + 1 || memcmp(c->at, word, length) != 0 || c->at[length] != ' ' ||
        n - length - 1 >= VALUE_BYTES || memchr(c->at, '\0', n)) {
        return err_set(e, ERR_PARSE,
                       "%s:%d: '%s ...' is wanted in this line; copy the file again, or make a new "
                       "key with pft keys add",
                       c->path, c->line, word);
    }
    memcpy(value, c->at + length + 1, n - length - 1);
    value[n - length - 1] = '\0';
    c->at = newline + 1;
    return OK;
}

static enum err take_key(struct cursor *c, const char *word, uint8_t out[KEY_BYTES],
                         struct errbuf *e)
{
    char value[VALUE_BYTES];
    enum err error = take_line(c, word, value, e);
    if (error == OK &&
        (strlen(value) != 2 * (size_t)KEY_BYTES || !hash_from_hex(value, KEY_BYTES, out))) {
        error = err_set(e, ERR_PARSE,
                        "%s:%d: %s has %zu characters, %d lower-case hex digits "
                        "are wanted",
                        c->path, c->line, word, strlen(value), 2 * KEY_BYTES);
    }
    sodium_memzero(value, sizeof value);
    return error;
}

static enum err take_name_and_role(struct cursor *c, struct key_file *key, struct errbuf *e)
{
    char value[VALUE_BYTES] = {0};
    enum err error = take_line(c, "name", value, e);
    if (error == OK && key_name_check(value, e) != OK) {
        error = err_prefix(e, ERR_PARSE, "%s:%d", c->path, c->line);
    }
    if (error == OK) {
        memcpy(key->name, value, strlen(value) + 1);
        error = take_line(c, "role", value, e);
    }
    if (error == OK && !key_role_from(value, &key->role)) {
        error = err_set(e, ERR_PARSE,
                        "%s:%d: role '%.40s'; coordinator, worker, observer and operator are known",
                        c->path, c->line, value);
    }
    return error;
}

/* The check line covers every byte before it, and nothing comes after it. */
static enum err take_check(struct cursor *c, struct errbuf *e)
{
    char hex[HASH_SHA256_HEX];
    char value[VALUE_BYTES];
    hash_sha256_hex(c->begin, (size_t)(c->at - c->begin), hex);
    enum err error = take_line(c, "check", value, e);
    if (error == OK && (strlen(value) != CHECK_DIGITS || memcmp(value, hex, CHECK_DIGITS) != 0)) {
        error = err_set(e, ERR_CORRUPT,
                        "%s: the check line does not fit the lines before it: the file was changed "
                        "or damaged; copy it again",
                        c->path);
    }
    if (error == OK && c->at != c->end) {
        error = err_set(e, ERR_PARSE, "%s: %zu bytes follow the check line; it must be the last",
                        c->path, (size_t)(c->end - c->at));
    }
    return error;
}

enum err key_file_parse(const char *path, const char *text, size_t bytes, struct key_file *key,
                        struct errbuf *e)
{
    struct cursor c = {.path = path, .begin = text, .at = text, .end = text + bytes, .line = 1};
    *key = (struct key_file){.name = ""};
    if (bytes < sizeof FIRST_LINE - 1 || memcmp(text, FIRST_LINE, sizeof FIRST_LINE - 1) != 0) {
        return err_set(e, ERR_PARSE,
                       "%s: is no key file: its first line must be 'pft-key 1' (pft keys init and "
                       "pft keys add make them)",
                       path);
    }
    c.at += sizeof FIRST_LINE - 1;
    enum err error = take_name_and_role(&c, key, e);
    if (error == OK && key->role != KEY_COORDINATOR) {
        error = take_key(&c, "server", key->server, e);
    }
    if (error == OK) {
        error = take_key(&c, "secret", key->secret, e);
    }
    if (error == OK) {
        error = take_check(&c, e);
    }
    if (error == OK) {
        CHECK(crypto_scalarmult_base(key->public_key, key->secret) == 0);
    } else {
        key_clear(key);
    }
    return error;
}

static enum err check_mode(const char *path, int fd, struct errbuf *e)
{
    struct stat info;
    if (fstat(fd, &info) != 0) {
        return err_set(e, err_from_errno(errno), "%s: %s", path, strerror(errno));
    }
    return (info.st_mode & 077) == 0
               ? OK
               : err_set(e, ERR_REFUSED,
                         "%s: has mode %04o, so others can read the secret key; chmod 600 %s, and "
                         "if it lay open, pft keys revoke it and add a new one",
                         path, info.st_mode & 07777u, path);
}

enum err key_file_read(const char *path, struct key_file *key, struct errbuf *e)
{
    char text[KEY_FILE_BYTES] = {0};
    int fd = -1;
    size_t bytes = 0;
    enum err error = file_open(path, &fd, &bytes, e);
    if (error != OK) {
        return error;
    }
    error = check_mode(path, fd, e);
    if (error == OK && bytes > sizeof text) {
        error = err_set(e, ERR_PARSE, "%s: has %zu bytes, a key file has at most %zu", path, bytes,
                        sizeof text);
    }
    if (error == OK) {
        error = file_read_at(fd, path, 0, text, bytes, e);
    }
    (void)close(fd);
    if (error == OK) {
        error = key_file_parse(path, text, bytes, key, e);
        /* libzmq keeps copies of its own: only the process as a whole can be kept out of a core. */
        (void)prctl(PR_SET_DUMPABLE, 0);
    }
    sodium_memzero(text, sizeof text);
    return error;
}

static size_t format(const struct key_file *key, char text[KEY_FILE_BYTES])
{
    char secret[KEY_HEX];
    char server[KEY_HEX];
    char hex[HASH_SHA256_HEX];
    bool own = key->role == KEY_COORDINATOR;
    key_hex(key->secret, secret);
    key_hex(key->server, server);
    int n = snprintf(text, KEY_FILE_BYTES, "%sname %s\nrole %s\n%s%s%ssecret %s\n", FIRST_LINE,
                     key->name, key_role_name(key->role), own ? "" : "server ", own ? "" : server,
                     own ? "" : "\n", secret);
    hash_sha256_hex(text, (size_t)n, hex);
    int m = snprintf(text + n, (size_t)(KEY_FILE_BYTES - n), "check %.*s\n", CHECK_DIGITS, hex);
    CHECK(n > 0 && m > 0 && n + m < KEY_FILE_BYTES);
    sodium_memzero(secret, sizeof secret);
    return (size_t)n + (size_t)m;
}

enum err key_file_write(const char *path, const struct key_file *key, struct errbuf *e)
{
    char text[KEY_FILE_BYTES];
    char folder[FILE_PATH_BYTES];
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0) {
        return errno == EEXIST ? err_set(e, ERR_REFUSED,
                                         "%s: is there already; a key is never overwritten", path)
                               : err_set(e, err_from_errno(errno), "%s: cannot be made: %s", path,
                                         strerror(errno));
    }
    size_t bytes = format(key, text);
    /* A file this small goes out whole or not at all. */
    bool written =
        fchmod(fd, 0600) == 0 && write(fd, text, bytes) == (ssize_t)bytes && fsync(fd) == 0;
    int errnum = errno;
    sodium_memzero(text, sizeof text);
    written &= close(fd) == 0;
    if (!written) {
        (void)unlink(path);
        return err_set(e, err_from_errno(errnum), "%s: cannot be written: %s", path,
                       strerror(errnum));
    }
    file_folder_of(folder, path);
    return file_sync_folder(folder, e);
}
