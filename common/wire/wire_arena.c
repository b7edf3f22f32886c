/* wire_arena.c - a bump allocator behind protobuf-c's table of two functions. */
#include "common/wire/wire_arena.h"

enum { ARENA_ALIGNMENT = 16 };

static void *arena_alloc(void *data, size_t bytes)
{
    struct wire_arena *arena = data;
    if (bytes > arena->capacity) {
        return NULL;
    }
    size_t rounded = (bytes + ARENA_ALIGNMENT - 1) / ARENA_ALIGNMENT * ARENA_ALIGNMENT;
    if (rounded > arena->capacity - arena->used) {
        return NULL;
    }
    void *piece = arena->block + arena->used;
    arena->used += rounded;
    return piece;
}

static void arena_free(void *data, void *piece)
{
    (void)data;
    (void)piece;
}

void wire_arena_init(struct wire_arena *arena, void *block, size_t capacity)
{
    *arena = (struct wire_arena){.block = block, .capacity = capacity};
    arena->allocator =
        (ProtobufCAllocator){.alloc = arena_alloc, .free = arena_free, .allocator_data = arena};
}
