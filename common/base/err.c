/* err.c - texts of the error codes and the message buffer. */
#include "common/base/err.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

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

enum err err_set(struct errbuf *e, enum err code, const char *fmt, ...)
{
    if (e) {
        va_list args;
        va_start(args, fmt);
        (void)vsnprintf(e->text, sizeof e->text, fmt, args);
        va_end(args);
    }
    return code;
}

enum err err_prefix(struct errbuf *e, enum err code, const char *fmt, ...)
{
    if (e) {
        char old[ERRBUF_BYTES];
        memcpy(old, e->text, sizeof old);
        va_list args;
        va_start(args, fmt);
        int used = vsnprintf(e->text, sizeof e->text, fmt, args);
        va_end(args);
        size_t at = used < 0 ? 0 : (size_t)used;
        if (at < sizeof e->text - 1) {
            (void)snprintf(e->text + at, sizeof e->text - at, ": %s", old);
        }
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
