/* starter_part.h - a fixed part of the starter data, so that a test's time does not grow with it.
 */
#ifndef PFT_STARTER_PART_H
#define PFT_STARTER_PART_H

#include <jansson.h>
#include <stddef.h>

/* The first n dilemmas of the file called name as a file of its own; 0: it cannot be read or
 * written. */
static inline int starter_part(const char *name, size_t n, const char *path)
{
    json_t *all = json_load_file(name, 0, NULL);
    json_t *part = json_array();
    int done = json_array_size(all) >= n;
    for (size_t i = 0; done && i < n; i++) {
        done = json_array_append(part, json_array_get(all, i)) == 0;
    }
    done = done && json_dump_file(part, path, JSON_INDENT(1)) == 0;
    json_decref(part);
    json_decref(all);
    return done;
}

#endif
