/* bpe.c - tables of byte-level BPE and the merging of one piece.
 *
 * In here tokens are raw bytes; byte_alphabet.h translates what files say.
 *
 * Merging a piece: each byte is a symbol in a doubly linked list; a heap holds every mergeable
 * neighbouring pair by (rank, position). The best is merged, its new neighbours are pushed; entries
 * whose pair has changed meanwhile are passed over. At most 3 n entries: O(n log n). */
#include "common/text/bpe.h"

#include <string.h>
#include <xxhash.h>

#include "common/base/check.h"
#include "common/base/limits.h"
#include "common/base/mem.h"
#include "common/text/byte_alphabet.h"

#define NONE UINT32_MAX /* no id, no neighbour, no slot */
enum { LIMIT_VOCAB_BYTES = 256 << 20, LIMIT_MERGES = 4 * LIMIT_VOCAB };
enum { HEAP_LIMIT = 3 * LIMIT_TEXT_BYTES };

struct merge {
    uint32_t left, right; /* left == NONE: an empty slot */
    uint32_t rank, into;
};

struct bpe {
    uint32_t count;
    bool ignore_merges;
    char *bytes;     /* of all tokens, one after another */
    uint32_t *begin; /* [count + 1] into bytes */
    uint8_t *kind;   /* [count], enum token_kind */
    uint32_t byte_id[256];
    uint32_t *slots; /* [slots_mask + 1], ids hashed by (special, bytes); NONE: empty */
    uint32_t slots_mask;
    struct merge *merges; /* [merges_mask + 1], hashed by (left, right) */
    uint32_t merges_mask;
};

struct bpe_symbol {
    uint32_t id, begin, end;
    uint32_t prev, next; /* NONE at the ends; id NONE: merged away */
};

struct bpe_candidate {
    uint64_t order; /* rank << 32 | position: the smallest goes first */
    uint32_t into;
};

/* ---- tables ---- */

static uint32_t token_hash(bool special, const char *bytes, size_t n)
{
    return (uint32_t)XXH3_64bits_withSeed(bytes, n, special);
}

static const char *token_at(const struct bpe *b, uint32_t id, size_t *n)
{
    *n = b->begin[id + 1] - b->begin[id];
    return b->bytes + b->begin[id];
}

/* The slot that holds the token, or the empty one where it would go. */
static uint32_t *token_slot(const struct bpe *b, bool special, const char *bytes, size_t n)
{
    for (uint32_t at = token_hash(special, bytes, n) & b->slots_mask;;
         at = (at + 1) & b->slots_mask) {
        uint32_t id = b->slots[at];
        if (id == NONE) {
            return &b->slots[at];
        }
        size_t length;
        const char *have = token_at(b, id, &length);
        if (length == n && (b->kind[id] == TOKEN_SPECIAL) == special && !memcmp(have, bytes, n)) {
            return &b->slots[at];
        }
    }
}

static struct merge *merge_slot(const struct bpe *b, uint32_t left, uint32_t right)
{
    uint64_t mixed = ((uint64_t)left << 32 | right) * 0x9E3779B97F4A7C15u;
    for (uint32_t at = (uint32_t)(mixed >> 32) & b->merges_mask;; at = (at + 1) & b->merges_mask) {
        struct merge *m = &b->merges[at];
        if (m->left == NONE || (m->left == left && m->right == right)) {
            return m;
        }
    }
}

/* Power of two with at least half of the slots free. */
static uint32_t table_size(size_t count)
{
    uint32_t size = 16;
    while (size < 2 * count) {
        size *= 2;
    }
    return size;
}

static enum err allocate(struct bpe *b, const struct bpe_source *s, struct errbuf *e)
{
    size_t total = 0;
    for (size_t i = 0; i < s->tokens_count; i++) {
        if (s->tokens[i].bytes > LIMIT_VOCAB_BYTES - total) {
            return err_set(e, ERR_RANGE, "the texts of the tokens exceed %d bytes",
                           LIMIT_VOCAB_BYTES);
        }
        total += s->tokens[i].bytes;
    }
    uint32_t slots = table_size(s->tokens_count);
    uint32_t merges = table_size(s->merges_count);
    b->count = (uint32_t)s->tokens_count;
    b->ignore_merges = s->ignore_merges;
    b->slots_mask = slots - 1;
    b->merges_mask = merges - 1;
    b->bytes = mem_calloc(total + 1, 1);
    b->begin = mem_calloc(s->tokens_count + 1, sizeof *b->begin);
    b->kind = mem_calloc(s->tokens_count + 1, sizeof *b->kind);
    b->slots = mem_calloc(slots, sizeof *b->slots);
    b->merges = mem_calloc(merges, sizeof *b->merges);
    if (!b->bytes || !b->begin || !b->kind || !b->slots || !b->merges) {
        return err_set(e, ERR_NOMEM, "no memory for %zu tokens and %zu merges", s->tokens_count,
                       s->merges_count);
    }
    memset(b->slots, 0xFF, slots * sizeof *b->slots);
    memset(b->merges, 0xFF, merges * sizeof *b->merges);
    return OK;
}

static enum err add_token(struct bpe *b, const int16_t byte_of[BYTE_ALPHABET_POINTS], uint32_t id,
                          const struct token_source *t, struct errbuf *e)
{
    char show[TOKEN_SHOW_BYTES];
    char *to = b->bytes + b->begin[id];
    size_t n = 0;
    b->kind[id] = (uint8_t)t->kind;
    b->begin[id + 1] = b->begin[id];
    if (t->kind == TOKEN_ABSENT) {
        return err_set(e, ERR_PARSE, "token id %u is missing; ids must be 0 to %u without a gap",
                       id, b->count - 1);
    }
    if (t->kind == TOKEN_UNUSED) {
        return OK;
    }
    if (t->kind == TOKEN_SPECIAL && t->bytes > 0) {
        memcpy(to, t->text, t->bytes);
        n = t->bytes;
    } else if (t->kind == TOKEN_SPECIAL ||
               !byte_alphabet_read(byte_of, t->text, t->bytes, to, &n)) {
        return err_set(e, ERR_UNSUPPORTED,
                       "token %u '%s' is empty or not written in the byte alphabet; only "
                       "byte-level BPE is supported",
                       id, token_show(show, t->text, t->bytes));
    }
    b->begin[id + 1] += (uint32_t)n;
    uint32_t *slot = token_slot(b, t->kind == TOKEN_SPECIAL, to, n);
    if (*slot != NONE) {
        return err_set(e, ERR_PARSE, "tokens %u and %u are the same: '%s'", *slot, id,
                       token_show(show, t->text, t->bytes));
    }
    *slot = id;
    if (t->kind == TOKEN_TEXT && n == 1) {
        b->byte_id[(unsigned char)*to] = id;
    }
    return OK;
}

static enum err add_tokens(struct bpe *b, const struct bpe_source *s,
                           const int16_t byte_of[BYTE_ALPHABET_POINTS], struct errbuf *e)
{
    memset(b->byte_id, 0xFF, sizeof b->byte_id);
    for (uint32_t id = 0; id < b->count; id++) {
        enum err error = add_token(b, byte_of, id, &s->tokens[id], e);
        if (error != OK) {
            return error;
        }
    }
    for (unsigned byte = 0x20; byte < 0x7F; byte++) {
        if (b->byte_id[byte] == NONE) {
            return err_set(e, ERR_PARSE,
                           "the vocabulary has no token for the byte 0x%02X; all of printable "
                           "ASCII is needed",
                           byte);
        }
    }
    return OK;
}

/* The id of a token given in the byte alphabet; NONE when there is none. work needs n bytes. */
static uint32_t find_text(const struct bpe *b, const int16_t byte_of[BYTE_ALPHABET_POINTS],
                          const char *text, size_t n, char *work, size_t *length)
{
    return byte_alphabet_read(byte_of, text, n, work, length) ? *token_slot(b, false, work, *length)
                                                              : NONE;
}

static enum err add_merge(struct bpe *b, const int16_t byte_of[BYTE_ALPHABET_POINTS], uint32_t rank,
                          const struct merge_source *m, struct str *work, struct errbuf *e)
{
    char show[3][TOKEN_SHOW_BYTES];
    size_t left_bytes = 0;
    size_t right_bytes = 0;
    str_clear(work);
    str_append(work, m->left, m->left_bytes);
    str_append(work, m->right, m->right_bytes);
    if (str_ok(work) != OK) {
        return err_set(e, str_ok(work), "merge %u: no memory for its text", rank);
    }
    uint32_t left = find_text(b, byte_of, m->left, m->left_bytes, work->data, &left_bytes);
    uint32_t right =
        find_text(b, byte_of, m->right, m->right_bytes, work->data + left_bytes, &right_bytes);
    uint32_t into = left == NONE || right == NONE
                        ? NONE
                        : *token_slot(b, false, work->data, left_bytes + right_bytes);
    if (into == NONE) {
        const char *what = left == NONE ? "its first" : right == NONE ? "its second" : "the merged";
        return err_set(e, ERR_PARSE,
                       "merge %u '%s' + '%s': %s token is not among the vocabulary's text tokens",
                       rank, token_show(show[0], m->left, m->left_bytes),
                       token_show(show[1], m->right, m->right_bytes), what);
    }
    /* A pair listed twice: the later rank counts, as in Hugging Face. */
    *merge_slot(b, left, right) =
        (struct merge){.left = left, .right = right, .rank = rank, .into = into};
    return OK;
}

enum err bpe_new(const struct bpe_source *source, struct bpe **out, struct errbuf *e)
{
    int16_t byte_of[BYTE_ALPHABET_POINTS];
    struct str work = {0};
    *out = NULL;
    if (source->tokens_count == 0 || source->tokens_count > LIMIT_VOCAB ||
        source->merges_count > LIMIT_MERGES) {
        return err_set(e, ERR_RANGE, "%zu tokens and %zu merges; 1 to %d and 0 to %d are possible",
                       source->tokens_count, source->merges_count, LIMIT_VOCAB, LIMIT_MERGES);
    }
    struct bpe *b = mem_calloc(1, sizeof *b);
    if (!b) {
        return err_set(e, ERR_NOMEM, "no memory for a tokenizer");
    }
    byte_alphabet_fill(byte_of);
    enum err error = allocate(b, source, e);
    if (error == OK) {
        error = add_tokens(b, source, byte_of, e);
    }
    for (uint32_t i = 0; error == OK && i < source->merges_count; i++) {
        error = add_merge(b, byte_of, i, &source->merges[i], &work, e);
    }
    str_free(&work);
    if (error != OK) {
        bpe_free(&b);
    }
    *out = b;
    return error;
}

void bpe_free(struct bpe **bpe)
{
    struct bpe *b = *bpe;
    if (b) {
        mem_free(b->bytes);
        mem_free(b->begin);
        mem_free(b->kind);
        mem_free(b->slots);
        mem_free(b->merges);
        mem_free(b);
    }
    *bpe = NULL;
}

/* ---- merging ---- */

void bpe_scratch_free(struct bpe_scratch *scratch)
{
    mem_free(scratch->symbols);
    mem_free(scratch->heap);
    *scratch = (struct bpe_scratch){0};
}

/* Room was reserved for every push a piece can make. */
static void heap_push(struct bpe_scratch *s, struct bpe_candidate c)
{
    CHECK(s->heap_count < s->heap_capacity);
    size_t at = s->heap_count++;
    s->pushes++;
    while (at > 0 && s->heap[(at - 1) / 2].order > c.order) {
        s->heap[at] = s->heap[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    s->heap[at] = c;
}

static struct bpe_candidate heap_pop(struct bpe_scratch *s)
{
    struct bpe_candidate top = s->heap[0];
    struct bpe_candidate last = s->heap[--s->heap_count];
    size_t at = 0;
    for (;;) {
        size_t child = 2 * at + 1;
        if (child >= s->heap_count) {
            break;
        }
        if (child + 1 < s->heap_count && s->heap[child + 1].order < s->heap[child].order) {
            child++;
        }
        if (last.order <= s->heap[child].order) {
            break;
        }
        s->heap[at] = s->heap[child];
        at = child;
    }
    s->heap[at] = last;
    return top;
}

static void consider(const struct bpe *b, struct bpe_scratch *s, uint32_t left)
{
    uint32_t right = s->symbols[left].next;
    const struct merge *m = merge_slot(b, s->symbols[left].id, s->symbols[right].id);
    if (m->left != NONE) {
        heap_push(s,
                  (struct bpe_candidate){.order = (uint64_t)m->rank << 32 | left, .into = m->into});
    }
}

static void merge_best(const struct bpe *b, struct bpe_scratch *s)
{
    struct bpe_candidate best = heap_pop(s);
    uint32_t at = (uint32_t)best.order;
    struct bpe_symbol *left = &s->symbols[at];
    if (left->id == NONE || left->next == NONE) {
        return;
    }
    struct bpe_symbol *right = &s->symbols[left->next];
    const struct merge *m = merge_slot(b, left->id, right->id);
    if (m->left == NONE || m->into != best.into) {
        return;
    }
    left->id = m->into;
    left->end = right->end;
    left->next = right->next;
    right->id = NONE;
    if (left->next != NONE) {
        s->symbols[left->next].prev = at;
        consider(b, s, at);
    }
    if (left->prev != NONE) {
        consider(b, s, left->prev);
    }
}

static enum err reserve(struct bpe_scratch *s, size_t n)
{
    void *symbols = s->symbols;
    void *heap = s->heap;
    enum err error =
        mem_grow(&symbols, &s->symbols_capacity, n, sizeof *s->symbols, LIMIT_TEXT_BYTES);
    s->symbols = symbols;
    if (error == OK) {
        error = mem_grow(&heap, &s->heap_capacity, 3 * n, sizeof *s->heap, HEAP_LIMIT);
        s->heap = heap;
    }
    return error;
}

/* One symbol a byte; a byte without a token is left out, its neighbours then meet. */
static uint32_t fill_symbols(const struct bpe *b, struct bpe_scratch *s, const char *text,
                             size_t begin, size_t end)
{
    uint32_t count = 0;
    for (size_t i = begin; i < end; i++) {
        uint32_t id = b->byte_id[(unsigned char)text[i]];
        if (id != NONE) {
            s->symbols[count] = (struct bpe_symbol){.id = id,
                                                    .begin = (uint32_t)i,
                                                    .end = (uint32_t)i + 1,
                                                    .prev = count - 1,
                                                    .next = count + 1};
            count++;
        }
    }
    if (count > 0) {
        s->symbols[0].prev = NONE;
        s->symbols[count - 1].next = NONE;
    }
    return count;
}

enum err bpe_encode(const struct bpe *bpe, struct bpe_scratch *scratch, const char *text,
                    size_t begin, size_t end, struct token_list *out)
{
    CHECK(end <= LIMIT_TEXT_BYTES);
    if (bpe->ignore_merges) {
        uint32_t id = *token_slot(bpe, false, text + begin, end - begin);
        if (id != NONE) {
            return token_list_append(out, (struct token){id, (uint32_t)begin, (uint32_t)end});
        }
    }
    enum err error = reserve(scratch, end - begin);
    if (error != OK) {
        return error;
    }
    uint32_t count = fill_symbols(bpe, scratch, text, begin, end);
    scratch->heap_count = 0;
    for (uint32_t i = 0; i + 1 < count; i++) {
        consider(bpe, scratch, i);
    }
    while (scratch->heap_count > 0) {
        merge_best(bpe, scratch);
    }
    for (uint32_t i = 0; error == OK && count > 0 && i != NONE; i = scratch->symbols[i].next) {
        const struct bpe_symbol *s = &scratch->symbols[i];
        error = token_list_append(out, (struct token){s->id, s->begin, s->end});
    }
    return error;
}

/* ---- asking ---- */

uint32_t bpe_count(const struct bpe *bpe)
{
    return bpe->count;
}

const char *bpe_text(const struct bpe *bpe, uint32_t id, size_t *bytes)
{
    *bytes = 0;
    if (id >= bpe->count || bpe->kind[id] == TOKEN_UNUSED) {
        return NULL;
    }
    return token_at(bpe, id, bytes);
}

bool bpe_special(const struct bpe *bpe, const char *name, size_t bytes, uint32_t *id)
{
    *id = *token_slot(bpe, true, name, bytes);
    return *id != NONE;
}

uint32_t bpe_alphabet(const struct bpe *bpe)
{
    uint32_t count = 0;
    for (unsigned byte = 0; byte < 256; byte++) {
        count += bpe->byte_id[byte] != NONE;
    }
    return count;
}
