/* mem.c - checked allocation. */
#include "common/base/mem.h"

#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

static atomic_ulong fail_countdown;

static int must_fail(void)
{
    unsigned long left = atomic_load_explicit(&fail_countdown, memory_order_relaxed);
    if (left == 0) {
        return 0;
    }
    return atomic_fetch_sub(&fail_countdown, 1) == 1;
}

static int product(size_t count, size_t size, size_t *bytes)
{
    return !__builtin_mul_overflow(count, size, bytes) && *bytes <= PTRDIFF_MAX;
}

void *mem_calloc(size_t count, size_t size)
{
    size_t bytes;
    if (!product(count, size, &bytes) || must_fail()) {
        return NULL;
    }
    return calloc(1, bytes ? bytes : 1);
}

void *mem_realloc(void *block, size_t count, size_t size)
{
    size_t bytes;
    if (!product(count, size, &bytes) || must_fail()) {
        return NULL;
    }
    return realloc(block, bytes ? bytes : 1);
}

void *mem_aligned(size_t count, size_t size)
{
    size_t bytes;
    if (!product(count, size, &bytes) || bytes > PTRDIFF_MAX - MEM_ALIGNMENT || must_fail()) {
        return NULL;
    }
    size_t rounded = (bytes + MEM_ALIGNMENT - 1) / MEM_ALIGNMENT * MEM_ALIGNMENT;
    return aligned_alloc(MEM_ALIGNMENT, rounded ? rounded : MEM_ALIGNMENT);
}

char *mem_strndup(const char *text, size_t n)
{
    char *copy = n < SIZE_MAX ? mem_calloc(n + 1, 1) : NULL;
    if (copy && n > 0) {
        memcpy(copy, text, n);
    }
    return copy;
}

char *mem_strdup(const char *text)
{
    return mem_strndup(text, strlen(text));
}

void mem_free(void *block)
{
    free(block);
}

enum err mem_grow(void **items, size_t *capacity, size_t need, size_t size, size_t limit)
{
    if (need <= *capacity) {
        return OK;
    }
    if (need > limit) {
        return ERR_FULL;
    }
    size_t wanted = *capacity < 8 ? 8 : *capacity * 2;
    if (wanted < need) {
        wanted = need;
    }
    if (wanted > limit) {
        wanted = limit;
    }
    void *grown = mem_realloc(*items, wanted, size);
    if (!grown) {
        return ERR_NOMEM;
    }
    *items = grown;
    *capacity = wanted;
    return OK;
}

void mem_fail_after(unsigned long n)
{
    atomic_store(&fail_countdown, n);
}

void mem_limit_hint(char out[MEM_HINT_BYTES])
{
    struct rlimit limit;
    out[0] = '\0';
    if (getrlimit(RLIMIT_AS, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY) {
        (void)snprintf(out, MEM_HINT_BYTES,
                       "; its address space is limited to %llu MiB (ulimit -v)",
                       (unsigned long long)limit.rlim_cur >> 20);
    }
}
