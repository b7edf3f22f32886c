/* allow_list.h - the public keys that may come in, as a folder with one small file a key.
 * Owns: the folder DIR/allowed and its format. Never: secrets, sockets. Blocks on the disk; any
 * thread, one list one thread.
 *
 * DIR/allowed/NAME.pub      "ROLE HEX\n": this key may come in
 * DIR/allowed/NAME.revoked  the same file after pft keys revoke: never again, under any name
 *
 * A file that is damaged lets nobody in and is named in warnings; a folder that cannot be read or
 * that others may write to is an error, and whoever decides then lets nobody in. */
#ifndef PFT_ALLOW_LIST_H
#define PFT_ALLOW_LIST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/err.h"
#include "common/net/key_file.h"

enum { ALLOW_LIST_KEYS = 8192 };

struct allowed_key {
    char name[KEY_NAME_BYTES];
    enum key_role role;
    uint8_t public_key[KEY_BYTES];
    bool revoked; /* this name, or the same key under another name */
};

struct allow_list {
    struct allowed_key *keys; /* [n], by name */
    size_t n, capacity;
    size_t damaged;      /* files that could not be used */
    struct errbuf first; /* says why of the first of them */
};

MUST_USE enum err allow_list_read(const char *keys_folder, struct allow_list *out,
                                  struct errbuf *e);
MUST_USE enum err allow_list_copy(const struct allow_list *from, struct allow_list *out);
void allow_list_free(struct allow_list *list);

/* The entry of a key that may come in; NULL for a stranger's or a revoked one. */
const struct allowed_key *allow_list_find(const struct allow_list *list,
                                          const uint8_t public_key[KEY_BYTES]);
/* The same by name. */
const struct allowed_key *allow_list_named(const struct allow_list *list, const char *name);

/* Adds a key; ERR_REFUSED when the name was ever used in this folder. */
MUST_USE enum err allow_list_add(const char *keys_folder, const struct key_file *key,
                                 struct errbuf *e);
/* Takes a key out for good; ERR_NOT_FOUND when there is no such name, ERR_STALE when it was. */
MUST_USE enum err allow_list_revoke(const char *keys_folder, const char *name, struct errbuf *e);

/* Changes whenever a key was added or revoked since; 0 when the folder cannot be read. `settled` is
 * false while the last change is so young that another one could hide behind the same time. */
uint64_t allow_list_stamp(const char *keys_folder, bool *settled);

#endif
