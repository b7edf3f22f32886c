/* reply.h - which of a scenario's options a reply in words picks, read leniently: the JSON that was
 * asked for, whole, broken off or with prose round it; a bare letter; an option's text.
 * Owns: the rules. Never: what is right. Pure; safe on any bytes, NUL and broken UTF-8 included.
 *
 * The first rule that finds something decides (letters a to z in either case, numbers from 1):
 *   1. a key "choice", "choices", "answer", "answers", "option" or "options" in quotes, with a
 *      text, a bare word, a number, a list or an object behind it: the first one whose value names
 *      options. When there are such keys and none has a value that does, the reply is not read.
 *   2. a list in brackets whose items all name options; an item may be an object, which names what
 *      its values name, or keys of values that name none; of {"A": true, "B": false}, or 1 and 0,
 *      keys that are said yes to
 *   3. lines that are letters or begin with one and a full stop, colon or bracket, the first line
 *      among them; or a reply that is numbers, or begins with the text of an option or is at least
 *      its first three words
 *   4. "answer: B", "the choice is B", "option B" within prose
 *   5. the whole text of an option anywhere
 * What a list names beside its options makes it unread; an item that was broken off does not. Case,
 * quotes and punctuation do not count. */
#ifndef PFT_REPLY_H
#define PFT_REPLY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "coordinator/dataset.h"

/* The options picked, bit 1 << index, n of LIMIT_OPTIONS at most: none or many are fine. False: the
 * reply cannot be read. */
bool reply_all(const char *text, size_t bytes, const struct data_option *options, uint32_t n,
               uint64_t *picked);

/* The one option picked. False also where a rule finds more than one; later rules are tried then,
 * but for those behind 1. */
bool reply_one(const char *text, size_t bytes, const struct data_option *options, uint32_t n,
               uint32_t *pick);

#endif
