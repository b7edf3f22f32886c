/* err.h - the error codes of every module, and the text that goes with one.
 * Owns: the list of codes, struct errbuf. Never: prints, exits.
 * A function that can fail returns enum err; loaders, config and command line also fill an errbuf
 * with the value, the bound and the mend. Safe from any thread. */
#ifndef PFT_ERR_H
#define PFT_ERR_H

#define ERR_LIST(X)                                                                                \
    X(OK, "ok")                                                                                    \
    X(ERR_NOMEM, "out of memory")                                                                  \
    X(ERR_IO, "input/output error")                                                                \
    X(ERR_NOSPACE, "no space left on the device")                                                  \
    X(ERR_NOT_FOUND, "not found")                                                                  \
    X(ERR_PARSE, "malformed input")                                                                \
    X(ERR_RANGE, "value out of range")                                                             \
    X(ERR_UNSUPPORTED, "not supported")                                                            \
    X(ERR_CORRUPT, "damaged data")                                                                 \
    X(ERR_STATE, "not possible in this state")                                                     \
    X(ERR_STALE, "too late: already settled")                                                      \
    X(ERR_REFUSED, "refused")                                                                      \
    X(ERR_BUSY, "in use by somebody else")                                                         \
    X(ERR_FULL, "limit reached")                                                                   \
    X(ERR_GONE, "the peer is gone")                                                                \
    X(ERR_TIMEOUT, "timed out")                                                                    \
    X(ERR_USAGE, "wrong usage")

enum err {
#define ERR_ENUM(code, text) code,
    ERR_LIST(ERR_ENUM)
#undef ERR_ENUM
};

#define MUST_USE __attribute__((warn_unused_result))
#define PRINTF_LIKE(fmt, args) __attribute__((format(printf, fmt, args)))

enum { ERRBUF_BYTES = 1024 };
struct errbuf {
    char text[ERRBUF_BYTES]; /* one message, no newline at the end; "" when nothing was said */
};

/* Name of a code in plain words; never NULL. */
const char *err_text(enum err code);

/* Writes the message into e (which may be NULL) and returns code, so that callers can
 * `return err_set(e, ERR_RANGE, ...)`. A longer message loses its middle: the end says why. */
enum err err_set(struct errbuf *e, enum err code, const char *fmt, ...) PRINTF_LIKE(3, 4);

/* Puts "prefix: " before the message already in e (which may be NULL); returns code. */
enum err err_prefix(struct errbuf *e, enum err code, const char *fmt, ...) PRINTF_LIKE(3, 4);

/* The code that fits an errno value (ENOSPC -> ERR_NOSPACE, ENOENT -> ERR_NOT_FOUND, ...). A lack
 * of descriptors (EMFILE, ENFILE) passes like one of disk space, and is the same code. */
enum err err_from_errno(int errnum);

#endif
