/* key_file.h - the key of one program as a small text file: who it is, what it may do, its secret.
 * Owns: the format, the permissions it insists on, making keys. Never: decides who gets in
 * (allow_list, zap). Blocks on the disk; any thread.
 *
 *   pft-key 1
 *   name NAME                A-Z a-z 0-9 . _ -, at most 63, beginning with a letter or digit
 *   role ROLE                coordinator, worker, observer, operator
 *   server HEX               public key of the coordinator; not in the coordinator's own file
 *   secret HEX               64 lower-case hex digits; the public key follows from it
 *   check HEX                first 16 digits of the SHA-256 of the lines before
 *
 * Every line once, in this order, each ended by a newline. */
#ifndef PFT_KEY_FILE_H
#define PFT_KEY_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/err.h"

enum { KEY_BYTES = 32, KEY_HEX = 2 * KEY_BYTES + 1, KEY_NAME_BYTES = 64, KEY_FILE_BYTES = 1024 };

enum key_role {
    KEY_COORDINATOR, /* the server itself */
    KEY_WORKER,      /* computes */
    KEY_OBSERVER,    /* reads the status */
    KEY_OPERATOR,    /* reads the status, drains, stops */
};

struct key_file {
    char name[KEY_NAME_BYTES];
    enum key_role role;
    uint8_t public_key[KEY_BYTES];
    uint8_t secret[KEY_BYTES];
    uint8_t server[KEY_BYTES]; /* zeros in the coordinator's own */
};

const char *key_role_name(enum key_role role);
bool key_role_from(const char *name, enum key_role *role);
/* ERR_USAGE with the rule when the name cannot be one. */
MUST_USE enum err key_name_check(const char *name, struct errbuf *e);

/* Fills secret and public_key with a fresh pair. */
void key_generate(struct key_file *key);
/* Zeroes it, the compiler notwithstanding. */
void key_clear(struct key_file *key);

/* Makes the file with mode 0600 and syncs it; a file that is there already is ERR_REFUSED. */
MUST_USE enum err key_file_write(const char *path, const struct key_file *key, struct errbuf *e);
/* Reads it; ERR_REFUSED when others than its owner may read or write it. From then on the process
 * leaves no core file, and no other process of its user can look into it. */
MUST_USE enum err key_file_read(const char *path, struct key_file *key, struct errbuf *e);
/* The same without the disk; path is for messages. ERR_PARSE names the line. */
MUST_USE enum err key_file_parse(const char *path, const char *text, size_t bytes,
                                 struct key_file *key, struct errbuf *e);

void key_hex(const uint8_t key[KEY_BYTES], char hex[KEY_HEX]);

#endif
