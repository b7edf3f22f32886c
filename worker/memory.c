/* memory.c - /proc/meminfo, cgroups, and the sum of what slots need. */
#include "worker/memory.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/file.h"
#include "common/base/mem.h"

enum { TEXT_BYTES = 1 << 20, MIB = 20 };

/* The number behind a word at the start of a line; SIZE_MAX: it is not there. */
static size_t number_behind(const char *text, const char *word)
{
    size_t length = strlen(word);
    for (const char *line = text; line && *line != '\0';) {
        if (strncmp(line, word, length) == 0) {
            return (size_t)strtoull(line + length, NULL, 10);
        }
        line = strchr(line, '\n');
        line = line ? line + 1 : NULL;
    }
    return SIZE_MAX;
}

static char *read_text(const char *root, const char *folder, const char *name)
{
    char path[FILE_PATH_BYTES];
    char *text = NULL;
    size_t bytes = 0;
    FILE *file;
    int n = snprintf(path, sizeof path, "%s%s/%s", root, folder, name);
    if (n < 0 || (size_t)n >= sizeof path || !(file = fopen(path, "re"))) {
        return NULL;
    }
    text = mem_calloc(1, TEXT_BYTES);
    bytes = text ? fread(text, 1, TEXT_BYTES - 1, file) : 0;
    (void)fclose(file);
    if (text) {
        text[bytes] = '\0';
    }
    return text;
}

static size_t read_number(const char *root, const char *folder, const char *name, const char *word)
{
    char *text = read_text(root, folder, name);
    size_t number = text ? number_behind(text, word) : SIZE_MAX;
    if (text && word[0] == '\0' && (text[0] < '0' || text[0] > '9')) { /* "max" */
        number = SIZE_MAX;
    }
    mem_free(text);
    return number;
}

/* What one cgroup leaves: its page cache can be given up. */
static size_t group_leaves(const char *root, const char *folder)
{
    size_t most = read_number(root, folder, "memory.max", "");
    size_t used = read_number(root, folder, "memory.current", "");
    size_t cache = read_number(root, folder, "memory.stat", "file ");
    if (most == SIZE_MAX || used == SIZE_MAX) {
        return SIZE_MAX;
    }
    cache = cache == SIZE_MAX ? 0 : cache;
    used = used > cache ? used - cache : 0;
    return most > used ? most - used : 0;
}

static size_t groups_leave(const char *root)
{
    char folder[FILE_PATH_BYTES];
    size_t least = SIZE_MAX;
    char *text = read_text(root, "/proc/self", "cgroup");
    char *path = text ? strstr(text, "0::/") : NULL;
    if (path) {
        path += 3;
        path[strcspn(path, "\n")] = '\0';
        int n = snprintf(folder, sizeof folder, "/sys/fs/cgroup%s", path);
        const char *top = folder + strlen("/sys/fs");
        while (n > 0 && (size_t)n < sizeof folder) {
            size_t leaves = group_leaves(root, folder);
            least = leaves < least ? leaves : least;
            char *slash = strrchr(folder, '/');
            if (!slash || slash <= top) {
                break;
            }
            *slash = '\0';
        }
    }
    mem_free(text);
    return least;
}

/* What a limit on the address space (ulimit -v) leaves. */
static size_t limit_leaves(const char *root)
{
    size_t used = read_number(root, "/proc/self", "status", "VmSize:");
    char *text = read_text(root, "/proc/self", "limits");
    const char *line = text ? strstr(text, "Max address space") : NULL;
    const char *number = line ? line + strcspn(line, "0123456789u\n") : "u";
    size_t most = *number >= '0' && *number <= '9' ? (size_t)strtoull(number, NULL, 10) : SIZE_MAX;
    mem_free(text);
    if (most == SIZE_MAX || used == SIZE_MAX) {
        return SIZE_MAX;
    }
    return most > used << 10 ? most - (used << 10) : 0;
}

size_t memory_available(const char *root)
{
    size_t kib = read_number(root, "/proc", "meminfo", "MemAvailable:");
    size_t machine = kib == SIZE_MAX ? SIZE_MAX : kib << 10;
    size_t groups = groups_leave(root);
    size_t limit = limit_leaves(root);
    size_t least = machine < groups ? machine : groups;
    return least < limit ? least : limit;
}

enum err memory_fits(const struct engine_config *config, uint32_t slots,
                     const struct engine_rows *rows, size_t available, struct engine_need *need,
                     struct errbuf *e)
{
    enum err error = engine_need(config, rows, need, e);
    if (error != OK) {
        return error;
    }
    const size_t all = need->resident + need->packed + slots * need->slot;
    if (all <= available) {
        return OK;
    }
    return err_set(e, ERR_NOMEM,
                   "%zu MiB are needed (weights %zu, %u slots of %zu for units of %u tokens) and "
                   "%zu are free: use fewer --slots%s, or lower unit_tokens and tree_tokens_max in "
                   "the run's config",
                   all >> MIB, (need->resident + need->packed) >> MIB, slots, need->slot >> MIB,
                   rows->train, available >> MIB,
                   config->checkpointing ? "" : ", --gradient-checkpointing");
}
