/* payload_room.h - memory of gradients that went out, used again for the next ones. Fresh pages
 * would cost more than the sum that is written into them: tens of megabytes a job.
 * Owns: up to PAYLOAD_ROOM_BUFFERS buffers. Never: what they hold.
 * Place: one per slot, its thread takes; the payloads may be dropped on any thread, also after the
 * room is gone. */
#ifndef PFT_PAYLOAD_ROOM_H
#define PFT_PAYLOAD_ROOM_H

#include "common/net/blob.h"

enum { PAYLOAD_ROOM_BUFFERS = 2 }; /* one computed while one is sent */

struct payload_room {
    struct payload_buffer *kept[PAYLOAD_ROOM_BUFFERS];
};

/* A payload of `bytes` bytes, not zeroed, in a buffer that nobody uses any more, else in a new one.
 * NULL when out of memory. */
MUST_USE struct blob *payload_room_take(struct payload_room *room, size_t bytes);

/* Lets go of the buffers; those of payloads that are still held go with them. */
void payload_room_clear(struct payload_room *room);

#endif
