/* conf_value.h - one value of one key: from text into the block, and what is expected of it in
 * words. Inside conf.h's module; others use conf.h. */
#ifndef PFT_CONF_VALUE_H
#define PFT_CONF_VALUE_H

#include "common/base/conf.h"

/* Converts a text and stores it at the key's offset, or writes a message that begins with the key's
 * name and holds the value, the bounds and the key's hint. folder is what a relative path counts
 * from. */
MUST_USE enum err conf_value_set(const struct conf_key *key, void *block, const char *text,
                                 size_t bytes, const char *folder, struct errbuf *e);

/* CONF_SET by items: adds the bit of one choice ("all": every bit), then stores the mask. */
MUST_USE enum err conf_value_choice(const struct conf_key *key, const char *text, size_t bytes,
                                    uint32_t *mask, struct errbuf *e);
MUST_USE enum err conf_value_mask(const struct conf_key *key, void *block, uint32_t mask,
                                  struct errbuf *e);

/* Appends "a whole number, 1 to 512", "one of fp32, auto", ... */
void conf_expected(const struct conf_key *key, struct str *out);

#endif
