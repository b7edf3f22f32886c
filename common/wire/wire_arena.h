/* wire_arena.h - a capped allocator for protobuf-c: everything one decode asks for comes from one
 * block of the caller's, and a message that wants more is refused (a 64 KiB frame of tiny repeated
 * fields would otherwise ask for megabytes in half a million pieces).
 * Owns: nothing. Never: grows, frees. One decode at a time. */
#ifndef PFT_WIRE_ARENA_H
#define PFT_WIRE_ARENA_H

#include <stddef.h>
#include <stdint.h>

#include <protobuf-c/protobuf-c.h>

struct wire_arena {
    ProtobufCAllocator allocator; /* hand &arena.allocator to unpack */
    uint8_t *block;               /* the caller's, aligned to 16 */
    size_t used;
    size_t capacity;
};

void wire_arena_init(struct wire_arena *arena, void *block, size_t capacity);

#endif
