/* choices.c - finds "Choices:" and the letters behind it. */
#include "coordinator/choices.h"

#include <string.h>

static const char MARK[] = "Choices:";

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static struct choices_span trimmed(const char *text, size_t begin, size_t end)
{
    while (begin < end && is_space(text[begin])) {
        begin++;
    }
    while (end > begin && is_space(text[end - 1])) {
        end--;
    }
    return (struct choices_span){.begin = begin, .bytes = end - begin};
}

/* The last line that holds nothing but the mark; bytes when there is none. */
static size_t find_mark(const char *text, size_t bytes)
{
    const size_t n = sizeof MARK - 1;
    for (size_t at = bytes; at > 0; at--) {
        size_t line = at - 1;
        if (line > 0 && text[line - 1] != '\n') {
            continue;
        }
        const char *end = memchr(text + line, '\n', bytes - line);
        if (!end) {
            continue;
        }
        struct choices_span span = trimmed(text, line, (size_t)(end - text));
        if (span.bytes == n && memcmp(text + span.begin, MARK, n) == 0) {
            return line;
        }
    }
    return bytes;
}

struct choices_span choices_stem(const char *text, size_t bytes)
{
    return trimmed(text, 0, find_mark(text, bytes));
}

/* A line that begins with "(X)": its letter and where the words begin. */
static bool lettered(const char *text, size_t line, size_t end, char *letter, size_t *words)
{
    struct choices_span span = trimmed(text, line, end);
    const char *at = text + span.begin;
    if (span.bytes < 3 || at[0] != '(' || at[1] < 'A' || at[1] > 'Z' || at[2] != ')') {
        return false;
    }
    *letter = at[1];
    *words = span.begin + 3;
    return true;
}

bool choices_find(const char *text, size_t bytes, const char *answer, struct choices_span *out)
{
    char wanted = 0;
    char letter = 0;
    size_t words = 0;
    size_t begin = 0;
    bool found = false;
    size_t line = find_mark(text, bytes);
    if (!lettered(answer, 0, strlen(answer), &wanted, &words) ||
        trimmed(answer, 0, strlen(answer)).bytes != 3) {
        return false;
    }
    while (line < bytes) {
        const char *newline = memchr(text + line, '\n', bytes - line);
        size_t end = newline ? (size_t)(newline - text) : bytes;
        if (lettered(text, line, end, &letter, &words)) {
            if (found) {
                break;
            }
            found = letter == wanted;
            begin = words;
        }
        line = end + 1;
    }
    if (found) {
        *out = trimmed(text, begin, line < bytes ? line : bytes);
    }
    return found && out->bytes > 0;
}
