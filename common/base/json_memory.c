/* json_memory.c - jansson's allocator and the failures it must not hide. */
#include "common/base/json_memory.h"

#include <pthread.h>
#include <stdbool.h>

#include "common/base/mem.h"

/* jansson reports some failed allocations as other errors and loses a key over others. */
static _Thread_local bool out_of_memory;

static void *allocate(size_t bytes)
{
    void *block = mem_calloc(bytes, 1);
    out_of_memory = out_of_memory || !block;
    return block;
}

static void use_own_memory(void)
{
    json_set_alloc_funcs(allocate, mem_free);
}

enum err json_memory_load(const char *text, size_t n, size_t flags, json_t **out, json_error_t *why)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    (void)pthread_once(&once, use_own_memory);
    out_of_memory = false;
    *out = json_loadb(text, n, flags, why);
    if (out_of_memory) {
        json_decref(*out);
        *out = NULL;
        return ERR_NOMEM;
    }
    return *out ? OK : ERR_PARSE;
}
