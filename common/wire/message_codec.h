/* message_codec.h - between plain structs and what protoc-c makes of pft.proto. Private to
 * common/wire. */
#ifndef PFT_MESSAGE_CODEC_H
#define PFT_MESSAGE_CODEC_H

#include "common/wire/message.h"
#include "pft.pb-c.h"

/* Where pack puts the pieces that the header points to. */
struct message_scratch {
    union {
        Pft__Hello hello;
        Pft__Welcome welcome;
        Pft__Note note;
        Pft__Probe probe;
        Pft__Session session;
        Pft__Request request;
        Pft__Job job;
        Pft__Heartbeat heartbeat;
        Pft__ResultReady result_ready;
        Pft__JobNote job_note;
        Pft__Params params;
    };
    union {
        struct {
            Pft__SlotProgress slot[LIMIT_SLOTS];
            Pft__SlotProgress *slots[LIMIT_SLOTS];
        };
        struct {
            Pft__UnitRow row[LIMIT_JOB_UNITS];
            Pft__UnitRow *rows[LIMIT_JOB_UNITS];
        };
    };
};

/* Points header at scratch, filled from m; both borrow from m. */
void message_pack(const struct wire_message *m, struct message_scratch *scratch,
                  Pft__Header *header);

/* Copies header into m: ERR_RANGE when a string, a count or a byte field does not fit. */
MUST_USE enum err message_unpack(const Pft__Header *header, struct wire_message *m,
                                 struct errbuf *e);

#endif
