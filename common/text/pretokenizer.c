/* pretokenizer.c - the four known ways to cut text into pieces.
 *
 * GPT-2:    's|'t|'re|'ve|'m|'ll|'d| ?L+| ?N+| ?[^ s L N]+|s+(?!S)|s+
 * Llama 3:  the same contractions in any case | [^ CR LF L N]?L+ | N{1,3} | ?[^ s L N]+[CR LF]*
 *           | s*[CR LF]+ | s+(?!S) | s+
 * with L letter, N number, s space, S no space. The alternatives are tried in that order. */
#include "common/text/pretokenizer.h"

#include <string.h>

#include "common/text/utf8.h"

const char PRETOKENIZER_LLAMA3_PATTERN[] =
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| "
    "?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
const char PRETOKENIZER_QWEN2_PATTERN[] =
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| "
    "?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";

enum { CLASS_PIECE = CLASS_LETTER | CLASS_NUMBER | CLASS_SPACE };

struct walk {
    const uint8_t *of;
    const char *text;
    size_t n;
};

/* Class (letter, number, space or 0 for all else) of the character at i, and where it ends. */
static int class_at(const struct walk *w, size_t i, size_t *end)
{
    uint32_t code;
    *end = i + utf8_next(w->text + i, &code);
    return w->of[code] & CLASS_PIECE;
}

/* End of the run of characters of one class that begins at i (i itself when there is none). */
static size_t run(const struct walk *w, size_t i, int class)
{
    size_t end;
    while (i < w->n && class_at(w, i, &end) == class) {
        i = end;
    }
    return i;
}

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

/* Bytes of the contraction at text[i] == '\'', or 0. With any_case also U+017F, the long s, which
 * folds to s. */
static size_t contraction(const struct walk *w, size_t i, bool any_case)
{
    size_t left = w->n - i;
    const char *p = w->text + i;
    char a = left > 1 ? p[1] : '\0';
    char b = left > 2 ? p[2] : '\0';
    if (any_case) {
        if (a == '\xC5' && b == '\xBF') {
            return 3;
        }
        a = lower(a);
        b = lower(b);
    }
    if (a == 's' || a == 't' || a == 'm' || a == 'd') {
        return 2;
    }
    if ((b == 'e' && (a == 'r' || a == 'v')) || (a == 'l' && b == 'l')) {
        return 3;
    }
    return 0;
}

/* Spaces from i on: all of them at the end of the stretch, else all but the last, which goes to the
 * word behind; a single one is a piece. */
static size_t space_piece(const struct walk *w, size_t i, bool digit_ends_stretch)
{
    size_t last = i;
    size_t at = i;
    size_t end = i;
    int class = CLASS_SPACE;
    while (at < w->n && (class = class_at(w, at, &end)) == CLASS_SPACE) {
        last = at;
        at = end;
    }
    if (at == w->n || last == i || (digit_ends_stretch && class == CLASS_NUMBER)) {
        return at;
    }
    return last;
}

static size_t gpt2_next(const struct walk *w, size_t i, bool single_digits)
{
    size_t end;
    if (w->text[i] == '\'') {
        size_t bytes = contraction(w, i, false);
        if (bytes > 0) {
            return i + bytes;
        }
    }
    int class = class_at(w, i, &end);
    if (class == CLASS_NUMBER && single_digits) {
        return end;
    }
    if (class != CLASS_SPACE) {
        return run(w, end, class);
    }
    if (w->text[i] == ' ' && end < w->n) {
        size_t word;
        int behind = class_at(w, end, &word);
        if (behind != CLASS_SPACE && !(behind == CLASS_NUMBER && single_digits)) {
            return run(w, word, behind);
        }
    }
    return space_piece(w, i, single_digits);
}

static bool is_newline(char c)
{
    return c == '\r' || c == '\n';
}

/* End of the last newline in the run of spaces at i, or i. */
static size_t newline_piece(const struct walk *w, size_t i)
{
    size_t found = i;
    size_t end;
    for (size_t at = i; at < w->n && class_at(w, at, &end) == CLASS_SPACE; at = end) {
        if (is_newline(w->text[at])) {
            found = end;
        }
    }
    return found;
}

static size_t number_piece(const struct walk *w, size_t i, int digits_max)
{
    size_t end;
    for (int k = 0; k < digits_max && i < w->n && class_at(w, i, &end) == CLASS_NUMBER; k++) {
        i = end;
    }
    return i;
}

static size_t llama3_next(const struct walk *w, size_t i, int digits_max)
{
    size_t end;
    size_t word = i;
    if (w->text[i] == '\'') {
        size_t bytes = contraction(w, i, true);
        if (bytes > 0) {
            return i + bytes;
        }
    }
    int class = class_at(w, i, &end);
    if (class == CLASS_LETTER) {
        return run(w, end, CLASS_LETTER);
    }
    if (class == CLASS_NUMBER) {
        return number_piece(w, i, digits_max);
    }
    int behind = end < w->n ? class_at(w, end, &word) : CLASS_SPACE;
    if (!is_newline(w->text[i]) && behind == CLASS_LETTER) {
        return run(w, word, CLASS_LETTER);
    }
    if (class == 0 || (w->text[i] == ' ' && behind == 0)) {
        size_t at = run(w, class == 0 ? end : word, 0);
        while (at < w->n && is_newline(w->text[at])) {
            at++;
        }
        return at;
    }
    size_t newline = newline_piece(w, i);
    return newline > i ? newline : space_piece(w, i, false);
}

size_t pretokenizer_next(enum pretokenizer kind, const struct unicode_classes *classes,
                         const char *text, size_t begin, size_t n)
{
    const struct walk w = {.of = classes->of, .text = text, .n = n};
    switch (kind) {
    case PRE_LLAMA3:
        return llama3_next(&w, begin, 3);
    case PRE_QWEN2:
        return llama3_next(&w, begin, 1);
    case PRE_DIGIT_GPT2:
        return gpt2_next(&w, begin, true);
    case PRE_GPT2:
        break;
    }
    return gpt2_next(&w, begin, false);
}

struct gguf_name {
    const char *name;
    enum pretokenizer kind;
};

/* "default" is not here: it says that the writer did not know either. */
static const struct gguf_name GGUF_NAMES[] = {
    {"gpt-2", PRE_GPT2},    {"smollm", PRE_DIGIT_GPT2}, {"llama-bpe", PRE_LLAMA3},
    {"llama3", PRE_LLAMA3}, {"llama-v3", PRE_LLAMA3},   {"qwen2", PRE_QWEN2},
};

bool pretokenizer_from_gguf(const char *name, size_t length, enum pretokenizer *kind)
{
    for (size_t i = 0; i < sizeof GGUF_NAMES / sizeof GGUF_NAMES[0]; i++) {
        if (strlen(GGUF_NAMES[i].name) == length && !memcmp(GGUF_NAMES[i].name, name, length)) {
            *kind = GGUF_NAMES[i].kind;
            return true;
        }
    }
    return false;
}

const char *pretokenizer_gguf_names(void)
{
    return "gpt-2, smollm, llama-bpe, llama3, llama-v3, qwen2";
}
