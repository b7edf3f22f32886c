/* task_codec.h - between the structs of task_message.h and the generated ones. Private to
 * common/wire. */
#ifndef PFT_TASK_CODEC_H
#define PFT_TASK_CODEC_H

#include <stdbool.h>

#include "common/wire/task_message.h"
#include "pft.pb-c.h"

/* p borrows the texts of o, of info. */
void task_order_pack(const struct task_order *o, Pft__TaskOrder *p);
void task_info_pack(const struct task_info *info, Pft__TaskInfo *p);

/* Copies, checked; on an error nothing is held. */
MUST_USE enum err task_order_unpack(const Pft__TaskOrder *p, struct task_order *o,
                                    struct errbuf *e);
bool task_info_unpack(const Pft__TaskInfo *p, struct task_info *info);

/* False when it does not fit or holds control characters. */
bool wire_copy_text(char *out, size_t room, const char *in);
/* For pack, which only reads. */
char *wire_text(const char *s);

#endif
