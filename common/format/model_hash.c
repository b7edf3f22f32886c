/* model_hash.c - SHA-256 of a model and its cache. */
#include "common/format/model_hash.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "common/base/check.h"
#include "common/base/file.h"
#include "common/base/mem.h"
#include "common/base/str.h"
#include "common/format/model_default.h"

enum { NAMES_MAX = 2048, CACHE_BYTES_MAX = 2 * FILE_PATH_BYTES };

/* The first line of a cache file: what must still hold for the digest on the second to count. */
struct claim {
    char text[FILE_PATH_BYTES + 80];
    size_t len;
};

static enum err make_claim(const char *real, struct claim *claim, struct errbuf *e)
{
    struct stat info;
    claim->len = 0;
    if (stat(real, &info) != 0) {
        return err_set(e, err_from_errno(errno), "%s: %s", real, strerror(errno));
    }
    int n =
        snprintf(claim->text, sizeof claim->text, "%" PRIu64 " %" PRId64 ".%09ld %s\n",
                 (uint64_t)info.st_size, (int64_t)info.st_mtim.tv_sec, info.st_mtim.tv_nsec, real);
    CHECK(n > 0 && (size_t)n < sizeof claim->text); /* real came from realpath */
    claim->len = (size_t)n;
    return OK;
}

/* out = CACHE/hashes/SHA-256 of the path; folder = CACHE/hashes. */
static bool cache_place(const char *real, char folder[FILE_PATH_BYTES], char out[FILE_PATH_BYTES])
{
    char root[FILE_PATH_BYTES];
    char name[HASH_SHA256_HEX];
    struct errbuf ignored;
    hash_sha256_hex(real, strlen(real), name);
    return model_cache_folder(root, &ignored) == OK &&
           file_join(folder, root, "hashes", &ignored) == OK &&
           file_join(out, folder, name, &ignored) == OK;
}

static bool is_digest(const char *text, size_t n)
{
    return n == HASH_SHA256_HEX && text[n - 1] == '\n' &&
           strspn(text, "0123456789abcdef") == HASH_SHA256_HEX - 1;
}

static bool look_up(const char *real, const struct claim *claim, char hex[HASH_SHA256_HEX])
{
    char folder[FILE_PATH_BYTES];
    char path[FILE_PATH_BYTES];
    char *text = NULL;
    size_t n = 0;
    struct errbuf ignored;
    if (!cache_place(real, folder, path) || !file_exists(path) ||
        file_read(path, CACHE_BYTES_MAX, &text, &n, &ignored) != OK) {
        return false;
    }
    bool found = n > claim->len && memcmp(text, claim->text, claim->len) == 0 &&
                 is_digest(text + claim->len, n - claim->len);
    if (found) {
        memcpy(hex, text + claim->len, HASH_SHA256_HEX - 1);
        hex[HASH_SHA256_HEX - 1] = '\0';
    }
    mem_free(text);
    return found;
}

static void keep(const char *real, const struct claim *claim, const char *hex)
{
    char folder[FILE_PATH_BYTES];
    char path[FILE_PATH_BYTES];
    char text[sizeof claim->text + HASH_SHA256_HEX + 1];
    struct errbuf ignored;
    int n = snprintf(text, sizeof text, "%s%s\n", claim->text, hex);
    if (n > 0 && cache_place(real, folder, path) && file_make_folder(folder, &ignored) == OK &&
        file_write_atomic(path, text, (size_t)n, &ignored) != OK) {
        return; /* nothing is lost but time */
    }
}

static enum err hash_real(const char *real, char hex[HASH_SHA256_HEX], struct errbuf *e)
{
    struct claim claim;
    struct claim after;
    enum err error = make_claim(real, &claim, e);
    if (error != OK || look_up(real, &claim, hex)) {
        return error;
    }
    error = hash_file_sha256_hex(real, hex, e);
    error = error == OK ? make_claim(real, &after, e) : error;
    if (error == OK && strcmp(claim.text, after.text) == 0) {
        keep(real, &claim, hex);
    }
    return error;
}

enum err model_hash_file(const char *path, char hex[HASH_SHA256_HEX], struct errbuf *e)
{
    char real[FILE_PATH_BYTES];
    if (!realpath(path, real)) {
        return err_set(e, err_from_errno(errno), "%s: %s", path, strerror(errno));
    }
    return hash_real(real, hex, e);
}

static bool counts(const char *name)
{
    static const char ending[] = ".safetensors";
    size_t n = strlen(name);
    return strcmp(name, "config.json") == 0 || strcmp(name, "tokenizer.json") == 0 ||
           (name[0] != '.' && n > sizeof ending - 1 &&
            strcmp(name + n - (sizeof ending - 1), ending) == 0);
}

static int by_name(const void *left, const void *right)
{
    const char *const *a = left;
    const char *const *b = right;
    return strcmp(*a, *b);
}

static enum err list_names(const char *path, char *names[NAMES_MAX], size_t *count,
                           struct errbuf *e)
{
    DIR *folder = opendir(path);
    if (!folder) {
        return err_set(e, err_from_errno(errno), "%s: %s", path, strerror(errno));
    }
    enum err error = OK;
    const struct dirent *entry;
    while (error == OK && (entry = readdir(folder)) != NULL) {
        if (!counts(entry->d_name)) {
            continue;
        }
        char *name = *count < NAMES_MAX ? mem_strdup(entry->d_name) : NULL;
        if (!name) {
            error = err_set(e, *count < NAMES_MAX ? ERR_NOMEM : ERR_FULL,
                            "%s: no room for more than %zu file names", path, *count);
        } else {
            names[(*count)++] = name;
        }
    }
    (void)closedir(folder);
    qsort(names, *count, sizeof *names, by_name);
    return error;
}

enum err model_hash_folder(const char *path, char hex[HASH_SHA256_HEX], struct errbuf *e)
{
    char file[FILE_PATH_BYTES];
    char one[HASH_SHA256_HEX];
    struct str lines = {0};
    size_t count = 0;
    char **names = mem_calloc(NAMES_MAX, sizeof *names);
    if (!names) {
        return err_set(e, ERR_NOMEM, "%s: no memory to hash it", path);
    }
    enum err error = list_names(path, names, &count, e);
    for (size_t i = 0; i < count && error == OK; i++) {
        error = file_join(file, path, names[i], e);
        error = error == OK ? model_hash_file(file, one, e) : error;
        if (error == OK) {
            str_addf(&lines, "%s %s\n", names[i], one);
        }
    }
    if (error == OK && str_ok(&lines) != OK) {
        error = err_set(e, str_ok(&lines), "%s: no memory to hash it", path);
    }
    if (error == OK) {
        hash_sha256_hex(lines.data, lines.len, hex);
    }
    str_free(&lines);
    for (size_t i = 0; i < count; i++) {
        mem_free(names[i]);
    }
    mem_free(names);
    return error;
}
