/* allow_list.c - the folder of public keys. */
#include "common/net/allow_list.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "common/base/file.h"
#include "common/base/hash.h"
#include "common/base/mem.h"

enum { ENTRY_BYTES = 128, SETTLED_S = 2 };

static const char PUB[] = ".pub";
static const char REVOKED[] = ".revoked";

static bool ends_in(const char *name, const char *suffix, size_t *stem)
{
    size_t n = strlen(name);
    size_t m = strlen(suffix);
    *stem = n > m ? n - m : 0;
    return n > m && strcmp(name + n - m, suffix) == 0;
}

static enum err parse_entry(const char *path, const char *text, struct allowed_key *key,
                            struct errbuf *e)
{
    char role[16];
    const char *space = strchr(text, ' ');
    size_t n = space ? (size_t)(space - text) : 0;
    if (n == 0 || n >= sizeof role) {
        return err_set(e, ERR_PARSE, "%s: 'ROLE PUBLIC-KEY' is wanted", path);
    }
    memcpy(role, text, n);
    role[n] = '\0';
    if (!key_role_from(role, &key->role) || key->role == KEY_COORDINATOR) {
        return err_set(e, ERR_PARSE, "%s: role '%s'; worker, observer and operator are known", path,
                       role);
    }
    const char *hex = space + 1;
    if (strlen(hex) != KEY_HEX || hex[KEY_HEX - 1] != '\n' ||
        !hash_from_hex(hex, KEY_BYTES, key->public_key)) {
        return err_set(e, ERR_PARSE, "%s: a public key is %d lower-case hex digits and a newline",
                       path, 2 * KEY_BYTES);
    }
    return OK;
}

/* One file of the folder; ERR_STATE: not one of ours. */
static enum err read_entry(const char *folder, const char *name, struct allowed_key *key,
                           struct errbuf *e)
{
    char path[FILE_PATH_BYTES];
    char *text = NULL;
    size_t bytes = 0;
    size_t stem;
    *key = (struct allowed_key){.revoked = ends_in(name, REVOKED, &stem)};
    if (!key->revoked && !ends_in(name, PUB, &stem)) {
        return ERR_STATE;
    }
    enum err error = file_join(path, folder, name, e);
    if (error == OK && stem < KEY_NAME_BYTES) {
        memcpy(key->name, name, stem);
    }
    if (error == OK && key_name_check(key->name, e) != OK) {
        error = err_prefix(e, ERR_PARSE, "%s", path);
    }
    if (error == OK) {
        error = file_read(path, ENTRY_BYTES, &text, &bytes, e);
    }
    if (error == OK) {
        error = strlen(text) == bytes ? parse_entry(path, text, key, e)
                                      : err_set(e, ERR_PARSE, "%s: holds a NUL", path);
    }
    mem_free(text);
    return error;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct allowed_key *)a)->name, ((const struct allowed_key *)b)->name);
}

static enum err check_folder(const char *path, struct errbuf *e)
{
    struct stat info;
    if (stat(path, &info) != 0) {
        return err_set(e, err_from_errno(errno), "%s: %s%s", path, strerror(errno),
                       errno == ENOENT ? "; pft keys init makes a folder of keys" : "");
    }
    if (!S_ISDIR(info.st_mode)) {
        return err_set(e, ERR_REFUSED, "%s: is no folder; pft keys init makes a folder of keys",
                       path);
    }
    return (info.st_mode & 022) == 0
               ? OK
               : err_set(e, ERR_REFUSED,
                         "%s: has mode %04o, so others could let themselves in; chmod 700 %s", path,
                         info.st_mode & 07777u, path);
}

static enum err take_entry(struct allow_list *out, const char *folder, const char *name,
                           struct errbuf *e)
{
    struct allowed_key key;
    struct errbuf why = {{0}};
    enum err error = read_entry(folder, name, &key, &why);
    if (error == ERR_STATE || error == ERR_NOT_FOUND) {
        return OK; /* not ours, or renamed this moment */
    }
    if (error == ERR_NOSPACE || error == ERR_NOMEM) {
        *e = why;
        return error; /* the file may be good: what is read without it would revoke its key */
    }
    if (error != OK) {
        if (out->damaged++ == 0) {
            out->first = why;
        }
        return OK;
    }
    void *grown = out->keys;
    error = mem_grow(&grown, &out->capacity, out->n + 1, sizeof *out->keys, ALLOW_LIST_KEYS);
    if (error != OK) {
        return err_set(e, error, "%s: holds more than %d keys", folder, ALLOW_LIST_KEYS);
    }
    out->keys = grown;
    out->keys[out->n++] = key;
    return OK;
}

static enum err folder_path(const char *keys_folder, char folder[FILE_PATH_BYTES], struct errbuf *e)
{
    enum err error = check_folder(keys_folder, e);
    if (error == OK) {
        error = file_join(folder, keys_folder, "allowed", e);
    }
    return error == OK ? check_folder(folder, e) : error;
}

/* A revoked name or key is revoked wherever it stands. */
static void spread_revocations(struct allow_list *list)
{
    for (size_t i = 0; i < list->n; i++) {
        const struct allowed_key *gone = &list->keys[i];
        for (size_t k = 0; gone->revoked && k < list->n; k++) {
            struct allowed_key *key = &list->keys[k];
            key->revoked |= strcmp(key->name, gone->name) == 0 ||
                            memcmp(key->public_key, gone->public_key, KEY_BYTES) == 0;
        }
    }
}

enum err allow_list_read(const char *keys_folder, struct allow_list *out, struct errbuf *e)
{
    char folder[FILE_PATH_BYTES];
    *out = (struct allow_list){0};
    enum err error = folder_path(keys_folder, folder, e);
    DIR *open = error == OK ? opendir(folder) : NULL;
    if (error == OK && !open) {
        error = err_set(e, err_from_errno(errno), "%s: %s", folder, strerror(errno));
    }
    const struct dirent *entry;
    while (error == OK && (entry = readdir(open)) != NULL) {
        error = take_entry(out, folder, entry->d_name, e);
    }
    if (open) {
        (void)closedir(open);
    }
    if (error == OK && out->n > 0) {
        qsort(out->keys, out->n, sizeof *out->keys, by_name);
        spread_revocations(out);
    } else if (error != OK) {
        allow_list_free(out);
    }
    return error;
}

enum err allow_list_copy(const struct allow_list *from, struct allow_list *out)
{
    *out = (struct allow_list){.n = from->n, .capacity = from->n, .damaged = from->damaged};
    out->keys = mem_calloc(from->n, sizeof *out->keys);
    if (!out->keys) {
        out->n = out->capacity = 0;
        return ERR_NOMEM;
    }
    if (from->n > 0) {
        memcpy(out->keys, from->keys, from->n * sizeof *from->keys);
    }
    return OK;
}

void allow_list_free(struct allow_list *list)
{
    mem_free(list->keys);
    *list = (struct allow_list){0};
}

const struct allowed_key *allow_list_find(const struct allow_list *list,
                                          const uint8_t public_key[KEY_BYTES])
{
    for (size_t i = 0; i < list->n; i++) {
        const struct allowed_key *key = &list->keys[i];
        if (!key->revoked && memcmp(key->public_key, public_key, KEY_BYTES) == 0) {
            return key;
        }
    }
    return NULL;
}

const struct allowed_key *allow_list_named(const struct allow_list *list, const char *name)
{
    size_t low = 0;
    for (size_t high = list->n; low < high;) {
        size_t middle = low + (high - low) / 2;
        int order = strcmp(list->keys[middle].name, name);
        if (order == 0) {
            return list->keys[middle].revoked ? NULL : &list->keys[middle];
        }
        low = order < 0 ? middle + 1 : low;
        high = order < 0 ? high : middle;
    }
    return NULL;
}

static enum err entry_path(const char *folder, const char *name, const char *suffix,
                           char out[FILE_PATH_BYTES], struct errbuf *e)
{
    char file[KEY_NAME_BYTES + 16];
    (void)snprintf(file, sizeof file, "%s%s", name, suffix);
    return file_join(out, folder, file, e);
}

/* Both paths of a name, after checks of the name and the folder. */
static enum err entry_paths(const char *keys_folder, const char *name, char pub[FILE_PATH_BYTES],
                            char revoked[FILE_PATH_BYTES], struct errbuf *e)
{
    char folder[FILE_PATH_BYTES];
    enum err error = key_name_check(name, e);
    if (error == OK) {
        error = folder_path(keys_folder, folder, e);
    }
    if (error == OK) {
        error = entry_path(folder, name, PUB, pub, e);
    }
    return error == OK ? entry_path(folder, name, REVOKED, revoked, e) : error;
}

enum err allow_list_add(const char *keys_folder, const struct key_file *key, struct errbuf *e)
{
    char pub[FILE_PATH_BYTES];
    char revoked[FILE_PATH_BYTES];
    char text[ENTRY_BYTES];
    char hex[KEY_HEX];
    enum err error = entry_paths(keys_folder, key->name, pub, revoked, e);
    if (error != OK) {
        return error;
    }
    if (file_exists(pub) || file_exists(revoked)) {
        return err_set(e, ERR_REFUSED,
                       "%s: that name is taken%s; a name is used once, choose another", key->name,
                       file_exists(revoked) ? " by a revoked key" : "");
    }
    key_hex(key->public_key, hex);
    int n = snprintf(text, sizeof text, "%s %s\n", key_role_name(key->role), hex);
    return file_write_atomic(pub, text, (size_t)n, e);
}

enum err allow_list_revoke(const char *keys_folder, const char *name, struct errbuf *e)
{
    char pub[FILE_PATH_BYTES];
    char revoked[FILE_PATH_BYTES];
    char folder[FILE_PATH_BYTES];
    enum err error = entry_paths(keys_folder, name, pub, revoked, e);
    if (error != OK) {
        return error;
    }
    if (rename(pub, revoked) != 0) {
        int errnum = errno;
        return file_exists(revoked) ? err_set(e, ERR_STALE, "%s: is revoked already", name)
               : errnum == ENOENT
                   ? err_set(e, ERR_NOT_FOUND,
                             "%s: no key has that name; pft keys list %s names "
                             "them",
                             name, keys_folder)
                   : err_set(e, err_from_errno(errnum), "%s: %s", pub, strerror(errnum));
    }
    file_folder_of(folder, pub);
    return file_sync_folder(folder, e);
}

uint64_t allow_list_stamp(const char *keys_folder, bool *settled)
{
    char folder[FILE_PATH_BYTES];
    struct stat info;
    *settled = false;
    if (file_join(folder, keys_folder, "allowed", NULL) != OK || stat(folder, &info) != 0) {
        return 0;
    }
    *settled = time(NULL) - info.st_mtim.tv_sec > SETTLED_S;
    uint64_t stamp = (uint64_t)info.st_mtim.tv_sec * 1000000000u + (uint64_t)info.st_mtim.tv_nsec;
    stamp ^= (uint64_t)info.st_ino << 20 ^ (uint64_t)(info.st_mode & 07777) << 52;
    return stamp ? stamp : 1;
}
