/* blob.h - bytes with a reference count: parameters that go to many peers, payloads that go from
 * the loop to another thread, all without a copy.
 * Owns: the bytes. Whoever holds a reference may read; writing is for the maker, before the first
 * blob_ref. References may be taken and dropped on any thread. */
#ifndef PFT_BLOB_H
#define PFT_BLOB_H

#include <stddef.h>
#include <stdint.h>

#include "common/base/err.h"

struct blob;

/* bytes bytes, aligned to MEM_ALIGNMENT, not zeroed, one reference; NULL when out of memory. */
MUST_USE struct blob *blob_new(size_t bytes);
/* Same blob, one reference more. */
struct blob *blob_ref(struct blob *blob);
/* Drops a reference and nulls the pointer; NULL inside is fine. */
void blob_free(struct blob **blob);

const uint8_t *blob_data(const struct blob *blob);
uint8_t *blob_data_mut(struct blob *blob);
size_t blob_bytes(const struct blob *blob);

/* Takes memory that somebody else frees: release(hint) is called when the last reference is
 * dropped, on that thread. NULL when out of memory (release was not called). */
MUST_USE struct blob *blob_wrap(void *data, size_t bytes, void (*release)(void *hint), void *hint);

#endif
