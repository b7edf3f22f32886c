/* conf.h - settings in YAML from one declared table: the parser, --set, the help, the sample file,
 * the docs and the dump all come from struct conf_key.
 * Owns: what a key is, the conversion of texts, the messages. Never: knows a particular key.
 * The file is a mapping of sections ("lora:" then "r: 8") or of dotted names ("lora.r: 8"). Values
 * are written into a plain struct of the caller at each key's offset. Reads the environment for
 * paths ($NAME/...): before threads start. */
#ifndef PFT_CONF_H
#define PFT_CONF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/err.h"
#include "common/base/str.h"

enum conf_type {              /* what lies at the offset */
                 CONF_BOOL,   /* bool: true or false */
                 CONF_U32,    /* uint32_t within [min, max] */
                 CONF_U64,    /* uint64_t within [min, max]; bounds up to 2^53 */
                 CONF_F32,    /* float within [min, max] */
                 CONF_F64,    /* double within [min, max] */
                 CONF_TEXT,   /* char *, of the block's own */
                 CONF_PATH,   /* char *, absolute, or "" */
                 CONF_CHOICE, /* uint32_t: index into choices */
                 CONF_SET, /* uint32_t: bit 1 << index into choices, at least one; "all" = every one
                            */
};

struct conf_key {
    const char *name; /* "lora.r"; at most one dot */
    enum conf_type type;
    size_t offset;
    const char *fallback;       /* the default, as it would be written on a command line */
    double min, max;            /* numbers; CONF_TEXT, CONF_PATH: max = bytes */
    bool open_min, open_max;    /* the bound itself is refused */
    const char *const *choices; /* CONF_CHOICE, CONF_SET: NULL-terminated */
    const char *meaning;        /* one sentence */
    const char *hint;           /* appended when a value is refused; NULL = nothing */
};

struct conf_section {
    const char *name; /* "lora" */
    const char *meaning;
};

enum { CONF_KEYS_MAX = 128 };
struct conf_schema {
    const struct conf_key *keys; /* keys of a section stand together */
    size_t n_keys;
    const struct conf_section *sections;
    size_t n_sections;
};

/* Where each value came from, for checks across keys; zero it first. */
struct conf_origins {
    char place[CONF_KEYS_MAX][96]; /* "vcd.yaml:12:5", "--set lora.r", "default" */
};

/* Fills *block (zeroed, laid out as the schema says) with defaults, then with what text says, then
 * with sets ("lora.r=8"). name stands in messages; relative paths of the text count from folder,
 * those of sets from the current one. A path that a (later) set replaces is not looked at. On an
 * error block holds only what conf_free can free. */
MUST_USE enum err conf_read(const struct conf_schema *schema, void *block, const char *text,
                            size_t bytes, const char *name, const char *folder,
                            const char *const *sets, int n_sets, struct conf_origins *origins,
                            struct errbuf *e);

/* Frees the texts and paths of a block. */
void conf_free(const struct conf_schema *schema, void *block);

/* Index of a key by name, or -1. */
int conf_find(const struct conf_schema *schema, const char *name);

/* Appends the value of a key as YAML would have it (texts quoted where they must be). */
void conf_value(const struct conf_key *key, const void *block, struct str *out);

/* Appends all of a block as YAML, in table order, without comments. */
void conf_dump(const struct conf_schema *schema, const void *block, struct str *out);

/* Append the table as lines for --help, as a commented sample file, and as a Markdown page. */
void conf_help(const struct conf_schema *schema, struct str *out);
void conf_sample(const struct conf_schema *schema, struct str *out);
void conf_docs(const struct conf_schema *schema, struct str *out);

/* The name nearest to text (edit distance, letter case counts half), or NULL when none is near
 * enough to be worth a guess. names[i] may be NULL (skipped). Pure. */
const char *conf_nearest(const char *text, const char *const *names, size_t n);

#endif
