/* wish.h - whose preference an answer follows, as "value" or "mix" of a request: from the words of
 * an option, from a posterior that pft infer wrote.
 * Owns: nothing. Never: wording, tokens. */
#ifndef PFT_WISH_H
#define PFT_WISH_H

#include <jansson.h>

#include "common/base/err.h"
#include "coordinator/values.h"

struct wish_source {
    const struct values *values; /* names are checked; NULL: the coordinator will check them */
    const char *inferred;        /* output of pft infer --json, read anew each time; NULL: none */
};

/* Each puts one into the request, in place of what stood there. ERR_USAGE: an unknown name (the
 * nearest one is named), a number out of bounds; the codes of json_doc_load and ERR_PARSE: the
 * posterior cannot be read. The request is then as it was. */
MUST_USE enum err wish_value(const struct wish_source *s, json_t *request, const char *name,
                             struct errbuf *e);
/* AXIS=LAMBDA, or AXIS: LAMBDA is then the one of the posterior. */
MUST_USE enum err wish_mix(const struct wish_source *s, json_t *request, const char *text,
                           struct errbuf *e);

/* A number of an option; ERR_USAGE unless it lies in [least, most]. */
MUST_USE enum err wish_number(const char *option, const char *text, double least, double most,
                              double *out, struct errbuf *e);

#endif
