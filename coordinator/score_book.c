/* score_book.c - a hash table of keys and their numbers. */
#include "coordinator/score_book.h"

#include <string.h>

#include "common/base/check.h"
#include "common/base/mem.h"
#include "common/format/json_doc.h"

enum { ENTRIES_MAX = 1 << 22, TABLE_START = 1024, KEY_HEX = 2 * HASH_XXH128_BYTES };

struct entry {
    struct score_key key;
    uint32_t n;
    double *logp;
};

struct score_book {
    uint32_t n, written; /* entries [0 .. written) are in run.db */
    size_t capacity;
    struct entry *entries;
    uint32_t table_size; /* a power of two, more than n; 0: no table yet */
    uint32_t *table;     /* entry + 1, 0 = free; a key lies at its first bytes or behind */
};

enum err score_book_new(struct score_book **out)
{
    *out = mem_calloc(1, sizeof **out);
    return *out ? OK : ERR_NOMEM;
}

void score_book_free(struct score_book **b)
{
    if (*b) {
        for (uint32_t i = 0; i < (*b)->n; i++) {
            mem_free((*b)->entries[i].logp);
        }
        mem_free((*b)->entries);
        mem_free((*b)->table);
        mem_free(*b);
        *b = NULL;
    }
}

/* Behind the text of what is asked: the adapter; what is added, and what is made of a leaf. */
enum { MAKER_BYTES = 2 * HASH_XXH128_BYTES + 1 };

/* Of the first n bytes of text, the caller's, with MAKER_BYTES of zeros behind them; frees it. */
static void make_key(uint8_t *text, size_t n, const struct score_maker *by, struct score_key *key)
{
    if (by->adapter) {
        memcpy(text + n, by->adapter, HASH_XXH128_BYTES);
    }
    n += HASH_XXH128_BYTES;
    if (by->vectors || by->score != WIRE_LOG_P) {
        if (by->vectors) {
            memcpy(text + n, by->vectors, HASH_XXH128_BYTES);
        }
        text[n + HASH_XXH128_BYTES] = (uint8_t)by->score;
        n += HASH_XXH128_BYTES + 1;
    }
    hash_xxh128(text, n, key->bytes);
    mem_free(text);
}

enum err score_book_key(const struct tree *tree, const struct score_maker *by,
                        struct score_key *key)
{
    struct tree plain = *tree;
    size_t bytes = tree_bytes(tree);
    plain.id = 0;
    uint8_t *text = mem_calloc(bytes + MAKER_BYTES, 1);
    if (!text) {
        return ERR_NOMEM;
    }
    tree_write(&plain, text);
    make_key(text, bytes, by, key);
    return OK;
}

enum err score_book_answer_key(const struct tree *tree, const struct answer_request *request,
                               const struct score_maker *by, struct score_key *key)
{
    struct tree plain = *tree;
    plain.id = 0;
    const struct unit unit = {.n_trees = 1, .n_rows = tree->n_rows, .trees = &plain};
    const struct unit *units = &unit;
    size_t bytes = answers_frame_bytes(&units, 1);
    uint8_t *text = mem_calloc(bytes + MAKER_BYTES, 1);
    if (!text) {
        return ERR_NOMEM;
    }
    answers_frame_write(&units, &request, 1, text);
    make_key(text, bytes, by, key);
    return OK;
}

/* Where the key is in the table, or where it would go. */
static uint32_t place_of(const struct score_book *b, const struct score_key *key)
{
    uint32_t at;
    memcpy(&at, key->bytes, sizeof at);
    for (at &= b->table_size - 1; b->table[at] != 0; at = (at + 1) & (b->table_size - 1)) {
        if (memcmp(b->entries[b->table[at] - 1].key.bytes, key->bytes, sizeof key->bytes) == 0) {
            break;
        }
    }
    return at;
}

static enum err make_room(struct score_book *b)
{
    void *entries = b->entries;
    enum err error =
        mem_grow(&entries, &b->capacity, (size_t)b->n + 1, sizeof *b->entries, ENTRIES_MAX);
    b->entries = entries;
    if (error != OK || b->n + 1 <= b->table_size / 2) {
        return error;
    }
    uint32_t size = b->table_size > 0 ? b->table_size * 2 : TABLE_START;
    uint32_t *table = mem_calloc(size, sizeof *table);
    if (!table) {
        return ERR_NOMEM;
    }
    mem_free(b->table);
    b->table = table;
    b->table_size = size;
    for (uint32_t i = 0; i < b->n; i++) {
        b->table[place_of(b, &b->entries[i].key)] = i + 1;
    }
    return OK;
}

const double *score_book_find_any(const struct score_book *b, const struct score_key *key,
                                  uint32_t *n)
{
    uint32_t found = b->table_size > 0 ? b->table[place_of(b, key)] : 0;
    *n = found > 0 ? b->entries[found - 1].n : 0;
    return found > 0 ? b->entries[found - 1].logp : NULL;
}

const double *score_book_find(const struct score_book *b, const struct score_key *key, uint32_t n)
{
    uint32_t has = 0;
    const double *logp = score_book_find_any(b, key, &has);
    return has == n ? logp : NULL;
}

enum err score_book_put(struct score_book *b, const struct score_key *key, const double *logp,
                        uint32_t n)
{
    enum err error = make_room(b);
    if (error != OK) {
        return error;
    }
    uint32_t at = place_of(b, key);
    if (b->table[at] != 0) {
        return OK;
    }
    double *copy = mem_calloc(n, sizeof *copy);
    if (!copy) {
        return ERR_NOMEM;
    }
    memcpy(copy, logp, n * sizeof *copy);
    b->entries[b->n] = (struct entry){.key = *key, .n = n, .logp = copy};
    b->table[at] = ++b->n;
    return OK;
}

uint32_t score_book_fresh(const struct score_book *b)
{
    return b->n - b->written;
}

void score_book_write(struct score_book *b, struct str *out)
{
    str_add(out, "{");
    for (uint32_t i = b->written; i < b->n; i++) {
        const struct entry *entry = &b->entries[i];
        str_add(out, i > b->written ? ",\n\"" : "\n\"");
        for (size_t k = 0; k < sizeof entry->key.bytes; k++) {
            str_addf(out, "%02x", entry->key.bytes[k]);
        }
        str_add(out, "\":[");
        for (uint32_t k = 0; k < entry->n; k++) {
            str_addf(out, "%s%.17g", k > 0 ? "," : "", entry->logp[k]);
        }
        str_add(out, "]");
    }
    str_add(out, "}\n");
    b->written = b->n;
}

static enum err load_entry(struct score_book *b, const char *name, const json_t *numbers)
{
    struct score_key key;
    size_t n = json_array_size(numbers);
    if (strlen(name) != KEY_HEX || !hash_from_hex(name, sizeof key.bytes, key.bytes) || n == 0 ||
        n > UINT32_MAX) {
        return ERR_CORRUPT;
    }
    double *logp = mem_calloc(n, sizeof *logp);
    enum err error = logp ? OK : ERR_NOMEM;
    for (size_t i = 0; i < n && error == OK; i++) {
        error = json_is_number(json_array_get(numbers, i)) ? OK : ERR_CORRUPT;
        logp[i] = json_number_value(json_array_get(numbers, i));
    }
    if (error == OK) {
        error = score_book_put(b, &key, logp, (uint32_t)n);
    }
    mem_free(logp);
    return error;
}

enum err score_book_load(struct score_book *b, const char *text, size_t bytes, struct errbuf *e)
{
    json_t *doc = NULL;
    const char *name;
    json_t *numbers;
    CHECK(b->written == b->n);
    enum err error = json_doc_parse(text, bytes, &doc, e);
    if (error != OK) {
        return err_prefix(e, error == ERR_NOMEM ? error : ERR_CORRUPT, "run.db, kept scores");
    }
    json_object_foreach(doc, name, numbers)
    {
        error = error == OK ? load_entry(b, name, numbers) : error;
    }
    json_decref(doc);
    b->written = b->n;
    return error == OK
               ? OK
               : err_set(e, error, "run.db, kept scores: %s",
                         error == ERR_CORRUPT ? "no list of keys and numbers" : err_text(error));
}
