/* payload_room.c - buffers that are held by the room, by a payload, or by both. */
#include "worker/payload_room.h"

#include <stdatomic.h>
#include <stdbool.h>

#include "common/base/mem.h"

struct payload_buffer {
    atomic_uint holders;
    size_t bytes;
    void *data;
};

static void let_go(void *hint)
{
    struct payload_buffer *b = hint;
    if (b && atomic_fetch_sub_explicit(&b->holders, 1, memory_order_acq_rel) == 1) {
        mem_free(b->data);
        mem_free(b);
    }
}

static struct payload_buffer *buffer_new(size_t bytes)
{
    struct payload_buffer *b = mem_calloc(1, sizeof *b);
    void *data = b ? mem_aligned(bytes, 1) : NULL;
    if (!data) {
        mem_free(b);
        return NULL;
    }
    atomic_init(&b->holders, 1);
    b->bytes = bytes;
    b->data = data;
    return b;
}

/* Nobody but the room holds it; what its last reader did is done. */
static bool idle(struct payload_buffer *b)
{
    return atomic_load_explicit(&b->holders, memory_order_acquire) == 1;
}

struct blob *payload_room_take(struct payload_room *room, size_t bytes)
{
    struct payload_buffer **place = NULL;
    for (int i = 0; i < PAYLOAD_ROOM_BUFFERS; i++) {
        struct payload_buffer *b = room->kept[i];
        if (!b || idle(b)) {
            place = &room->kept[i];
        }
        if (b && idle(b) && b->bytes == bytes) {
            break;
        }
    }
    if (!place) {
        return blob_new(bytes);
    }
    if (*place && (*place)->bytes != bytes) {
        let_go(*place);
        *place = NULL;
    }
    *place = *place ? *place : buffer_new(bytes);
    struct payload_buffer *b = *place;
    if (!b) {
        return NULL;
    }
    atomic_fetch_add_explicit(&b->holders, 1, memory_order_relaxed);
    struct blob *blob = blob_wrap(b->data, bytes, let_go, b);
    if (!blob) {
        let_go(b);
    }
    return blob;
}

void payload_room_clear(struct payload_room *room)
{
    for (int i = 0; i < PAYLOAD_ROOM_BUFFERS; i++) {
        let_go(room->kept[i]);
        room->kept[i] = NULL;
    }
}
