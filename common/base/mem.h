/* mem.h - the only place that calls malloc. Sizes are overflow-checked, failure is NULL and is
 * reported as ERR_NOMEM by the caller. Safe from any thread. Tests can make the n-th call fail. */
#ifndef PFT_MEM_H
#define PFT_MEM_H

#include <stddef.h>

#include "common/base/err.h"

enum { MEM_ALIGNMENT = 64 }; /* bytes; a cache line and a 512-bit vector */

/* count * size bytes, zeroed; NULL when out of memory or when the product overflows.
 * A zero-sized request gives a valid pointer. Free with mem_free. */
MUST_USE void *mem_calloc(size_t count, size_t size);

/* Grows or shrinks a block from mem_calloc or mem_realloc to count * size bytes; new bytes are not
 * zeroed. NULL leaves the old block valid. */
MUST_USE void *mem_realloc(void *block, size_t count, size_t size);

/* count * size bytes aligned to MEM_ALIGNMENT, not zeroed; NULL as above. Free with mem_free. */
MUST_USE void *mem_aligned(size_t count, size_t size);

/* A copy of n bytes plus a terminating NUL; NULL when out of memory. Free with mem_free. */
MUST_USE char *mem_strndup(const char *text, size_t n);
MUST_USE char *mem_strdup(const char *text);

/* Frees a block of any of the above; NULL is fine. */
void mem_free(void *block);

/* Grows *items (capacity *capacity, item size bytes) so that it holds at least need items,
 * doubling. ERR_NOMEM leaves everything as it was; ERR_FULL when need exceeds limit. */
MUST_USE enum err mem_grow(void **items, size_t *capacity, size_t need, size_t size, size_t limit);

/* Test hook: the n-th allocation from now on (1 = the next) fails once; 0 switches it off. */
void mem_fail_after(unsigned long n);

/* What may lie behind the death of a program that this one started: "" or "; its address space is
 * limited to N MiB (ulimit -v)". */
enum { MEM_HINT_BYTES = 80 };
void mem_limit_hint(char out[MEM_HINT_BYTES]);

#endif
