/* err.c - texts of the error codes and the message buffer. */
#include "common/base/err.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Two paths of the longest kind and a sentence; what is kept of the front. */
enum { WHOLE_BYTES = 12 << 10, HEAD_BYTES = 300 };

const char *err_text(enum err code)
{
    static const char *const texts[] = {
#define ERR_TEXT(code_name, text) [code_name] = text,
        ERR_LIST(ERR_TEXT)
#undef ERR_TEXT
    };
    unsigned index = (unsigned)code;
    return index < sizeof texts / sizeof texts[0] ? texts[index] : "unknown error";
}

/* A path stands in front and may be long, the reason at the end: of what does not fit the middle is
 * left out, between UTF-8 characters. */
static void keep_ends(struct errbuf *e, const char *whole)
{
    const size_t n = strlen(whole);
    if (n < sizeof e->text) {
        memcpy(e->text, whole, n + 1);
        return;
    }
    size_t head = HEAD_BYTES;
    while (head > 0 && ((unsigned char)whole[head] & 0xC0) == 0x80) {
        head--;
    }
    const char *tail = whole + n - (sizeof e->text - HEAD_BYTES - sizeof "...");
    while (((unsigned char)*tail & 0xC0) == 0x80) {
        tail++;
    }
    memcpy(e->text, whole, head);
    (void)snprintf(e->text + head, sizeof e->text - head, "...%s", tail);
}

enum err err_set(struct errbuf *e, enum err code, const char *fmt, ...)
{
    if (e) {
        char whole[WHOLE_BYTES];
        va_list args;
        va_start(args, fmt);
        (void)vsnprintf(whole, sizeof whole, fmt, args);
        va_end(args);
        keep_ends(e, whole);
    }
    return code;
}

enum err err_prefix(struct errbuf *e, enum err code, const char *fmt, ...)
{
    if (e) {
        char whole[WHOLE_BYTES];
        va_list args;
        va_start(args, fmt);
        int used = vsnprintf(whole, sizeof whole - ERRBUF_BYTES - 2, fmt, args);
        va_end(args);
        const size_t at = used < 0 ? 0 : strlen(whole);
        (void)snprintf(whole + at, sizeof whole - at, ": %s", e->text);
        keep_ends(e, whole);
    }
    return code;
}

enum err err_from_errno(int errnum)
{
    switch (errnum) {
    case 0:
        return OK;
    case ENOMEM:
        return ERR_NOMEM;
    case ENOSPC:
    case EDQUOT:
    case EMFILE: /* no descriptor: a lack that passes, too */
    case ENFILE:
    case EFBIG: /* a limit on the size of files */
        return ERR_NOSPACE;
    case ENOENT:
        return ERR_NOT_FOUND;
    case EBUSY:
    case EAGAIN:
    case EADDRINUSE:
        return ERR_BUSY;
    case ETIMEDOUT:
        return ERR_TIMEOUT;
    default:
        return ERR_IO;
    }
}
