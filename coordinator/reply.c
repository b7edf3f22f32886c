/* reply.c - options from words. */
#include "coordinator/reply.h"

#include <string.h>

#include "common/base/check.h"
#include "common/base/limits.h"

enum {
    REPLY_BYTES = 16 << 10, /* what lies behind is not looked at */
    WORDS_OF_START = 3,     /* of an option's text, to be taken for it */
};

_Static_assert(LIMIT_OPTIONS <= 64, "an option is a bit");

struct span {
    const char *at, *end;
};

struct reading {
    const struct data_option *options;
    uint32_t n;
    bool one; /* exactly one option is wanted */
};

/* ASCII; bytes of longer characters count as letters. */
static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static char lower(char c)
{
    return (char)(c >= 'A' && c <= 'Z' ? c + 'a' - 'A' : c);
}

static bool is_letter(char c)
{
    return lower(c) >= 'a' && lower(c) <= 'z';
}

static bool is_word(char c)
{
    return is_letter(c) || is_digit(c) || (unsigned char)c >= 0x80;
}

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static bool is_one_of(char c, const char *set)
{
    return c != '\0' && strchr(set, c) != NULL;
}

static struct span skip_space(struct span s)
{
    while (s.at < s.end && is_space(*s.at)) {
        s.at++;
    }
    return s;
}

/* Without quotes, brackets and marks round it. */
static struct span trim(struct span s)
{
    while (s.at < s.end && !is_word(*s.at)) {
        s.at++;
    }
    while (s.end > s.at && !is_word(s.end[-1])) {
        s.end--;
    }
    return s;
}

/* The next letter of a text in which only words count: 0 between two words, -1 at the end. */
static int next_sign(struct span *s, bool *begun)
{
    bool gap = false;
    while (s->at < s->end && !is_word(*s->at)) {
        s->at++;
        gap = *begun;
    }
    if (s->at == s->end) {
        return -1;
    }
    if (gap) {
        *begun = false; /* the gap is told once */
        return 0;
    }
    *begun = true;
    return (unsigned char)lower(*s->at++);
}

enum match { MATCH_NONE, MATCH_START, MATCH_WHOLE, MATCH_BEYOND };

/* How the words of text go with an option: they are its first ones (at least WORDS_OF_START, the
 * last one maybe broken off), all of them, or go on behind it. */
static enum match match_option(struct span text, const struct data_option *option)
{
    struct span whole = {option->text.text, option->text.text + option->text.bytes};
    bool text_begun = false;
    bool whole_begun = false;
    int words = 1;
    for (bool first = true;; first = false) {
        int a = next_sign(&text, &text_begun);
        int b = next_sign(&whole, &whole_begun);
        if (b < 0 && !first) {
            return a < 0 ? MATCH_WHOLE : a == 0 ? MATCH_BEYOND : MATCH_NONE;
        }
        if (a < 0) {
            return !first && words >= WORDS_OF_START ? MATCH_START : MATCH_NONE;
        }
        if (a != b) {
            return MATCH_NONE;
        }
        words += a == 0;
    }
}

/* The option of a letter or a number that makes up all of s; false when there is none. */
static bool read_label(const struct reading *r, struct span s, uint64_t *mask)
{
    size_t bytes = (size_t)(s.end - s.at);
    uint32_t index = UINT32_MAX;
    if (bytes == 1 && is_letter(*s.at)) {
        index = (uint32_t)(lower(*s.at) - 'a');
    } else if (bytes >= 1 && bytes <= 2 && is_digit(s.at[0]) && is_digit(s.end[-1])) {
        uint32_t number = 0;
        for (const char *at = s.at; at < s.end; at++) {
            number = number * 10 + (uint32_t)(*at - '0');
        }
        index = number - 1; /* 0 wraps and is none */
    }
    if (index >= r->n) {
        return false;
    }
    *mask |= UINT64_C(1) << index;
    return true;
}

/* "A. text", "b) text", "A: text": the label in front. */
static bool read_lead(const struct reading *r, struct span s, uint64_t *mask)
{
    struct span label = s;
    while (s.at < s.end && is_word(*s.at)) {
        s.at++;
    }
    label.end = s.at;
    bool far = s.at + 1 >= s.end || !is_word(s.at[1]);
    return s.at < s.end && (is_one_of(*s.at, ":)]") || (is_one_of(*s.at, ".,;*\"'\n") && far)) &&
           read_label(r, label, mask);
}

/* By its text: whole, the beginning of one option alone, or the longest that it goes on behind. */
static bool read_text(const struct reading *r, struct span s, uint64_t *mask)
{
    uint32_t found = UINT32_MAX;
    uint32_t starts = 0;
    enum match best = MATCH_NONE;
    for (uint32_t i = 0; i < r->n; i++) {
        enum match m = match_option(s, &r->options[i]);
        bool longer = m == MATCH_BEYOND && best == MATCH_BEYOND &&
                      r->options[i].text.bytes > r->options[found].text.bytes;
        starts += m == MATCH_START;
        if (m == MATCH_WHOLE) {
            *mask |= UINT64_C(1) << i;
            return true;
        }
        if (m > best || longer) {
            best = m;
            found = i;
        }
    }
    if (best == MATCH_NONE || (best == MATCH_START && starts > 1)) {
        return false;
    }
    *mask |= UINT64_C(1) << found;
    return true;
}

/* s without the word at its beginning, in any case; s as it is when it has another one. */
static struct span skip_word(struct span s, const char *word)
{
    size_t n = strlen(word);
    struct span rest = s;
    for (size_t i = 0; i < n; i++) {
        if (rest.at == s.end || lower(*rest.at) != word[i]) {
            return s;
        }
        rest.at++;
    }
    return rest.at < s.end && is_word(*rest.at) ? s : rest;
}

/* "A, C", "a and c", "A/C", "1 & 3". */
static bool read_several(const struct reading *r, struct span s, uint64_t *mask)
{
    uint64_t found = 0;
    bool fine = s.at < s.end;
    while (fine && s.at < s.end) {
        struct span label = s;
        while (s.at < s.end && is_word(*s.at)) {
            s.at++;
        }
        label.end = s.at;
        fine = read_label(r, label, &found);
        while (s.at < s.end && (is_space(*s.at) || is_one_of(*s.at, ",/&;+\"'"))) {
            s.at++;
        }
        s = skip_space(skip_word(s, "and"));
    }
    *mask |= fine ? found : 0;
    return fine;
}

/* Labels alone, or one with a text behind it. */
static bool read_labels(const struct reading *r, struct span s, uint64_t *mask)
{
    return read_several(r, s, mask) || read_lead(r, s, mask);
}

/* One value or item; *mask gets what it names, or stays. */
static bool read_item(const struct reading *r, struct span s, uint64_t *mask)
{
    static const char *const titles[] = {"option", "choice", "answer", "options", "choices"};
    struct span rest = trim(s);
    uint64_t found = 0;
    for (size_t i = 0; i < sizeof titles / sizeof titles[0]; i++) {
        rest = trim(skip_word(rest, titles[i]));
    }
    bool known = read_labels(r, rest, &found) || read_text(r, trim(s), &found);
    *mask |= known ? found : 0;
    return known;
}

/* Where a text in quotes ends: at such a quote with the end of a value behind it. */
static const char *quote_end(struct span s, char quote)
{
    for (; s.at < s.end; s.at++) {
        if (*s.at == '\\' && s.at + 1 < s.end) {
            s.at++;
        } else if (*s.at == quote) {
            const struct span behind = skip_space((struct span){s.at + 1, s.end});
            if (behind.at == s.end || is_one_of(*behind.at, ",}]:") || s.at[1] == '\n') {
                return s.at;
            }
        }
    }
    return s.end;
}

/* Takes a value from *s: a text in quotes, or what stands before one of `ends`. *whole: it was not
 * broken off. */
static struct span take_value(struct span *s, const char *ends, bool *whole)
{
    *s = skip_space(*s);
    struct span value = *s;
    if (s->at < s->end && is_one_of(*s->at, "\"'")) {
        value.at++;
        value.end = s->at = quote_end(value, *s->at);
        *whole = s->at < s->end;
        s->at += *whole;
        return value;
    }
    while (s->at < s->end && !is_one_of(*s->at, ends)) {
        s->at++;
    }
    value.end = s->at;
    *whole = s->at < s->end;
    return value;
}

/* Of {"A": true, "B": false}: a value that says whether its key is picked. */
static bool read_flag(struct span value, bool *on)
{
    static const char *const flags[] = {"true", "1", "yes", "false", "0", "no", "null"};
    const struct span v = trim(value);
    for (size_t i = 0; i < sizeof flags / sizeof flags[0]; i++) {
        if (v.at != v.end && skip_word(v, flags[i]).at == v.end) {
            *on = i < 3;
            return true;
        }
    }
    return false;
}

/* {"letter": "B", "text": "..."}, s->at behind its brace; then behind the closing one, or at the
 * end. Names what its values name, and the keys of values that name nothing or say yes; true when
 * that is anything. */
static bool read_object(const struct reading *r, struct span *s, uint64_t *mask)
{
    uint64_t found = 0;
    struct span key = {s->at, s->at};
    while (s->at < s->end && *s->at != '}') {
        bool whole = false;
        const char *before = s->at;
        const struct span value = take_value(s, ":,}\n", &whole);
        *s = skip_space(*s);
        uint64_t by_key = 0;
        bool on = false;
        if (s->at < s->end && *s->at == ':') {
            key = value;
        } else if (read_item(r, key, &by_key) && read_flag(value, &on)) {
            found |= on ? by_key : 0;
        } else if (!read_item(r, value, &found)) {
            found |= by_key;
        }
        s->at += s->at < s->end && (s->at == before || is_one_of(*s->at, ":,"));
    }
    s->at += s->at < s->end;
    *mask |= found;
    return found != 0;
}

/* An item of a list; false: it is whole and names nothing. *empty: nothing stands there. */
static bool read_list_item(const struct reading *r, struct span *s, bool *empty, uint64_t *mask)
{
    bool whole = false;
    *empty = false;
    if (s->at < s->end && *s->at == '{') {
        s->at++;
        return read_object(r, s, mask) || s->at == s->end;
    }
    const struct span item = take_value(s, ",]}\n", &whole);
    *empty = trim(item).at == trim(item).end;
    return *empty || read_item(r, item, mask) || !whole;
}

/* A list, s.at behind its bracket. */
static bool read_list(const struct reading *r, struct span s, uint64_t *mask)
{
    uint64_t found = 0;
    bool closed = false;
    bool any = false;
    while (!closed && s.at < s.end) {
        bool empty = false;
        s = skip_space(s);
        const char *before = s.at;
        if (!read_list_item(r, &s, &empty, &found)) {
            return false;
        }
        any = any || !empty;
        s = skip_space(s);
        closed = s.at < s.end && is_one_of(*s.at, "]}");
        s.at += s.at < s.end && *s.at == ',';
        if (s.at < s.end && !closed && before == s.at) {
            s.at++; /* a sign that begins no item */
        }
    }
    *mask |= found;
    return closed ? !any || found != 0 : found != 0;
}

static bool enough(const struct reading *r, uint64_t mask)
{
    return !r->one || (mask != 0 && (mask & (mask - 1)) == 0);
}

static bool read_value(const struct reading *r, struct span s, uint64_t *mask)
{
    bool whole = false;
    uint64_t found = 0;
    s = skip_space(s);
    char first = s.at < s.end ? *s.at : '\0';
    struct span inside = {s.at + (first != '\0'), s.end};
    bool known = first == '['   ? read_list(r, inside, &found)
                 : first == '{' ? read_object(r, &inside, &found)
                                : read_item(r, take_value(&s, ",}]\n", &whole), &found);
    *mask = found;
    return known && enough(r, found);
}

static const char *const keys[] = {"choices", "choice", "answers", "answer", "options", "option"};
enum { KEYS = sizeof keys / sizeof keys[0] };

/* Is a word that begins here one of the keys? rest: what stands behind it. */
static bool at_key(struct span s, struct span *rest)
{
    for (size_t i = 0; i < KEYS; i++) {
        *rest = skip_word(s, keys[i]);
        if (rest->at != s.at) {
            return true;
        }
    }
    return false;
}

/* Rule 1; *there: such a key was found. */
static bool read_keys(const struct reading *r, struct span s, bool *there, uint64_t *mask)
{
    *there = false;
    for (; s.at < s.end; s.at++) {
        struct span rest = {s.at + 1, s.end};
        if (!is_one_of(*s.at, "\"'") || !at_key(rest, &rest)) {
            continue;
        }
        rest = skip_space(rest);
        if (rest.at == s.end || *rest.at != *s.at) {
            continue;
        }
        rest.at++;
        rest = skip_space(rest);
        if (rest.at == s.end || *rest.at != ':') {
            continue;
        }
        rest.at++;
        *there = true;
        if (read_value(r, rest, mask)) {
            return true;
        }
    }
    return false;
}

/* Rule 2. */
static bool read_brackets(const struct reading *r, struct span s, uint64_t *mask)
{
    for (; s.at < s.end; s.at++) {
        *mask = 0;
        if (*s.at == '[' && read_list(r, (struct span){s.at + 1, s.end}, mask) && *mask != 0 &&
            enough(r, *mask)) {
            return true;
        }
    }
    return false;
}

/* Rule 3. */
static bool read_lines(const struct reading *r, struct span s, uint64_t *mask)
{
    const struct span all = trim(skip_word(trim(s), "json")); /* of a code fence */
    bool first = true;
    uint64_t found = 0;
    *mask = 0;
    for (s = all; s.at < s.end;) {
        struct span line = s;
        while (s.at < s.end && *s.at != '\n') {
            s.at++;
        }
        line.end = s.at;
        s = skip_space(s);
        const struct span words = trim(line);
        bool numbered = words.at < words.end && is_digit(*words.at);
        bool known = !numbered && read_labels(r, words, &found);
        if (first && !known) {
            break;
        }
        first = false;
    }
    if (found == 0 && !read_several(r, all, &found) && !read_text(r, all, &found)) {
        return false;
    }
    *mask = found;
    return enough(r, found);
}

/* Rule 4: a key as a word of its own, then ":", "=", "is" or nothing, and a label: behind nothing a
 * capital letter or a number. */
static bool read_prose(const struct reading *r, struct span s, uint64_t *mask)
{
    bool inside = false; /* of a word */
    for (; s.at < s.end; inside = is_word(*s.at), s.at++) {
        struct span rest;
        if (inside || !at_key(s, &rest)) {
            continue;
        }
        struct span label = skip_space(rest);
        const struct span verb = skip_space(skip_word(label, "is"));
        bool told = verb.at != label.at || (label.at < s.end && is_one_of(*label.at, ":="));
        label = verb;
        while (label.at < s.end && !is_word(*label.at) && !is_one_of(*label.at, "\n.!?;,")) {
            label.at++;
        }
        struct span end = label;
        while (end.at < s.end && is_word(*end.at)) {
            end.at++;
        }
        label.end = end.at;
        bool last = skip_space(end).at == s.end || !is_space(*end.at);
        bool clear = label.at < label.end && (*label.at < 'a' || (told && last));
        *mask = 0;
        if (clear && read_label(r, label, mask)) {
            return true;
        }
    }
    return false;
}

/* Rule 5. */
static bool read_mentions(const struct reading *r, struct span s, uint64_t *mask)
{
    bool inside = false;
    *mask = 0;
    for (; s.at < s.end; inside = is_word(*s.at), s.at++) {
        for (uint32_t i = 0; !inside && is_word(*s.at) && i < r->n; i++) {
            enum match m = match_option(s, &r->options[i]);
            *mask |= (uint64_t)(m == MATCH_WHOLE || m == MATCH_BEYOND) << i;
        }
    }
    return *mask != 0 && enough(r, *mask);
}

static bool read_reply(const struct reading *r, const char *text, size_t bytes, uint64_t *mask)
{
    const struct span s = {text, text + (bytes < REPLY_BYTES ? bytes : REPLY_BYTES)};
    bool there = false;
    CHECK(r->n <= LIMIT_OPTIONS);
    *mask = 0;
    if (read_keys(r, s, &there, mask)) {
        return true;
    }
    return !there && (read_brackets(r, s, mask) || read_lines(r, s, mask) ||
                      read_prose(r, s, mask) || read_mentions(r, s, mask));
}

bool reply_all(const char *text, size_t bytes, const struct data_option *options, uint32_t n,
               uint64_t *picked)
{
    const struct reading r = {options, n, false};
    return read_reply(&r, text, bytes, picked);
}

bool reply_one(const char *text, size_t bytes, const struct data_option *options, uint32_t n,
               uint32_t *pick)
{
    const struct reading r = {options, n, true};
    uint64_t mask = 0;
    if (!read_reply(&r, text, bytes, &mask)) {
        return false;
    }
    *pick = 0;
    while (!(mask >> *pick & 1)) {
        (*pick)++;
    }
    return true;
}
