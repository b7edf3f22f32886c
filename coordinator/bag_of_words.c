/* bag_of_words.c - naive Bayes over words and adjacent pairs, one hash table for all axes. */
#include "coordinator/bag_of_words.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <math.h>
#include <pcre2.h>
#include <string.h>
#include <xxhash.h>

#include "common/base/check.h"
#include "common/base/mem.h"

enum { FIRST_SLOTS = 1 << 12, MAX_SLOTS = 1 << 26 };
static const double smoothing = 0.1;

/* A feature is known by a 64-bit hash of (axis, words): a collision is next to impossible at the
 * sizes of a data file and would cost one count. */
struct feature {
    uint64_t hash; /* 0 = empty slot */
    uint32_t axis;
    uint32_t count[2];
};

struct bag_of_words {
    uint32_t n_axes;
    uint64_t (*total)[2];  /* [n_axes] tokens of each side */
    uint64_t *vocabulary;  /* [n_axes] distinct features */
    struct feature *slots; /* [n_slots], open addressing */
    size_t n_slots, n_used;
    pcre2_code *word;
};

enum err bag_new(uint32_t n_axes, struct bag_of_words **out)
{
    int code;
    PCRE2_SIZE offset;
    struct bag_of_words *bag = mem_calloc(1, sizeof *bag);
    if (!bag) {
        return ERR_NOMEM;
    }
    bag->n_axes = n_axes;
    bag->n_slots = FIRST_SLOTS;
    bag->total = mem_calloc(n_axes, sizeof *bag->total);
    bag->vocabulary = mem_calloc(n_axes, sizeof *bag->vocabulary);
    bag->slots = mem_calloc(bag->n_slots, sizeof *bag->slots);
    bag->word = pcre2_compile((PCRE2_SPTR) "\\w+", PCRE2_ZERO_TERMINATED, PCRE2_UTF | PCRE2_UCP,
                              &code, &offset, NULL);
    if (!bag->total || !bag->vocabulary || !bag->slots || !bag->word) {
        bag_free(&bag);
        return ERR_NOMEM;
    }
    *out = bag;
    return OK;
}

static struct feature *find(struct feature *slots, size_t n_slots, uint64_t hash)
{
    size_t i = (size_t)hash & (n_slots - 1);
    while (slots[i].hash != 0 && slots[i].hash != hash) {
        i = (i + 1) & (n_slots - 1);
    }
    return &slots[i];
}

static enum err make_room(struct bag_of_words *bag)
{
    if (bag->n_used * 2 < bag->n_slots) {
        return OK;
    }
    if (bag->n_slots >= MAX_SLOTS) {
        return ERR_FULL;
    }
    size_t n_slots = bag->n_slots * 2;
    struct feature *slots = mem_calloc(n_slots, sizeof *slots);
    if (!slots) {
        return ERR_NOMEM;
    }
    for (size_t i = 0; i < bag->n_slots; i++) {
        if (bag->slots[i].hash != 0) {
            *find(slots, n_slots, bag->slots[i].hash) = bag->slots[i];
        }
    }
    mem_free(bag->slots);
    bag->slots = slots;
    bag->n_slots = n_slots;
    return OK;
}

static enum err count_feature(struct bag_of_words *bag, uint32_t axis, uint32_t side, uint64_t hash)
{
    enum err error = make_room(bag);
    if (error != OK) {
        return error;
    }
    struct feature *f = find(bag->slots, bag->n_slots, hash);
    if (f->hash == 0) {
        *f = (struct feature){.hash = hash, .axis = axis};
        bag->n_used++;
        bag->vocabulary[axis]++;
    }
    f->count[side]++;
    bag->total[axis][side]++;
    return OK;
}

static double weigh_feature(const struct bag_of_words *bag, uint32_t axis, uint64_t hash)
{
    const struct feature *f = find(bag->slots, bag->n_slots, hash);
    if (f->hash == 0) {
        return 0.0;
    }
    double extra = smoothing * (double)bag->vocabulary[axis];
    double a = ((double)f->count[0] + smoothing) / ((double)bag->total[axis][0] + extra);
    double b = ((double)f->count[1] + smoothing) / ((double)bag->total[axis][1] + extra);
    return log(a) - log(b);
}

/* ASCII and the Latin-1 letters (U+00C0..U+00DE) are lowered in place. */
static void lower(char *text, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++) {
        unsigned char c = (unsigned char)text[i];
        if (c >= 'A' && c <= 'Z') {
            text[i] = (char)(c + 32);
        } else if (c == 0xC3 && i + 1 < bytes) {
            unsigned char next = (unsigned char)text[i + 1];
            if (next >= 0x80 && next <= 0x9E && next != 0x97) {
                text[i + 1] = (char)(next + 32);
            }
            i++;
        }
    }
}

static uint64_t hash_words(uint32_t axis, const char *text, size_t bytes, uint64_t before)
{
    uint64_t hash = XXH3_64bits_withSeed(text, bytes, before * 31 + axis + 1);
    return hash ? hash : 1;
}

/* Calls for each word and pair: counts when fit is not NULL, else adds weights to *score. */
static enum err each_feature(const struct bag_of_words *bag, struct bag_of_words *fit,
                             uint32_t axis, uint32_t side, const char *text, size_t bytes,
                             double *score)
{
    char *low = mem_strndup(text, bytes);
    pcre2_match_data *match = pcre2_match_data_create_from_pattern(bag->word, NULL);
    enum err error = low && match ? OK : ERR_NOMEM;
    uint64_t before = 0;
    size_t at = 0;
    if (error == OK) {
        lower(low, bytes);
    }
    while (error == OK && at <= bytes &&
           pcre2_match(bag->word, (PCRE2_SPTR)low, bytes, at, 0, match, NULL) > 0) {
        const PCRE2_SIZE *range = pcre2_get_ovector_pointer(match);
        uint64_t word = hash_words(axis, low + range[0], range[1] - range[0], 0);
        uint64_t pair = before ? hash_words(axis, low + range[0], range[1] - range[0], before) : 0;
        for (int i = 0; i < 2 && error == OK; i++) {
            uint64_t feature = i == 0 ? word : pair;
            if (feature != 0 && fit) {
                error = count_feature(fit, axis, side, feature);
            } else if (feature != 0) {
                *score += weigh_feature(bag, axis, feature);
            }
        }
        before = word;
        at = range[1];
    }
    pcre2_match_data_free(match);
    mem_free(low);
    return error;
}

enum err bag_fit(struct bag_of_words *bag, uint32_t axis, uint32_t side, const char *text,
                 size_t bytes)
{
    CHECK(axis < bag->n_axes && side < 2);
    return each_feature(bag, bag, axis, side, text, bytes, NULL);
}

enum err bag_score(const struct bag_of_words *bag, uint32_t axis, const char *text, size_t bytes,
                   double *score)
{
    CHECK(axis < bag->n_axes);
    *score = 0.0;
    return each_feature(bag, NULL, axis, 0, text, bytes, score);
}

void bag_free(struct bag_of_words **bag)
{
    struct bag_of_words *b = *bag;
    if (b) {
        pcre2_code_free(b->word);
        mem_free(b->total);
        mem_free(b->vocabulary);
        mem_free(b->slots);
        mem_free(b);
    }
    *bag = NULL;
}
