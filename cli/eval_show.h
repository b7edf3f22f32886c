/* eval_show.h - the JSON of an evaluation on the screen: as it is, or as a table.
 * Owns: layout. Never: numbers of its own. */
#ifndef PFT_EVAL_SHOW_H
#define PFT_EVAL_SHOW_H

#include <stdbool.h>

#include "common/base/err.h"

/* Prints the result in the file at path to stdout, without the single questions. */
MUST_USE enum err eval_show(const char *path, bool as_json, struct errbuf *e);

/* Prints the count of pft eval --count as it is. */
MUST_USE enum err eval_show_count(const char *path, struct errbuf *e);

#endif
