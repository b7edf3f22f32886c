/* hf_folder.c - one safetensors file or the shards of an index. */
#include "common/format/hf_folder.h"

#include <stdbool.h>
#include <string.h>

#include "common/base/check.h"
#include "common/base/file.h"
#include "common/base/mem.h"
#include "common/format/json_doc.h"

enum { SHARDS_MAX = 1024, INDEX_BYTES_MAX = 64 << 20 };
static const char single_name[] = "model.safetensors";
static const char index_name[] = "model.safetensors.index.json";

/* The shards of an index while they are opened; names belong to the JSON document. */
struct shard_names {
    size_t count;
    const char *names[SHARDS_MAX];
};

static bool plain_name(const char *name)
{
    static const char ending[] = ".safetensors";
    size_t n = strlen(name);
    return n > sizeof ending - 1 && n < 256 && name[0] != '.' && !strchr(name, '/') &&
           strcmp(name + n - (sizeof ending - 1), ending) == 0;
}

static size_t find_shard(const struct shard_names *shards, const char *name)
{
    size_t i = 0;
    while (i < shards->count && strcmp(shards->names[i], name) != 0) {
        i++;
    }
    return i;
}

static enum err list_shards(json_t *map, struct shard_names *shards, struct errbuf *e)
{
    const char *tensor;
    json_t *value;
    if (!json_is_object(map) || json_object_size(map) == 0) {
        return err_set(e, ERR_PARSE, "weight_map is %s; an object of tensor: file is needed",
                       json_is_object(map) ? "empty" : json_doc_kind(map));
    }
    json_object_foreach(map, tensor, value)
    {
        const char *name = json_string_value(value);
        if (!name || !plain_name(name)) {
            return err_set(e, ERR_REFUSED,
                           "weight_map: tensor %.200s lies in %s%.200s; a plain file name that "
                           "ends in .safetensors is needed",
                           tensor, name ? "" : json_doc_kind(value), name ? name : "");
        }
        if (find_shard(shards, name) < shards->count) {
            continue;
        }
        if (shards->count == SHARDS_MAX) {
            return err_set(e, ERR_FULL, "weight_map names more than %d files", SHARDS_MAX);
        }
        shards->names[shards->count++] = name;
    }
    return OK;
}

static enum err add_file(struct hf_folder *folder, const char *path, const char *name,
                         struct errbuf *e)
{
    char file[FILE_PATH_BYTES];
    enum err error = file_join(file, path, name, e);
    if (error == OK) {
        error = safetensors_open(file, &folder->files[folder->n_files], e);
    }
    folder->n_files += error == OK;
    return error;
}

/* The index and the shards must tell the same. */
static enum err check_map(const struct hf_folder *folder, const struct shard_names *shards,
                          json_t *map, struct errbuf *e)
{
    const char *tensor;
    json_t *value;
    size_t there = 0;
    json_object_foreach(map, tensor, value)
    {
        const char *home = json_string_value(value);
        CHECK(home); /* list_shards saw to that */
        size_t i = find_shard(shards, home);
        if (!safetensors_find(folder->files[i], tensor)) {
            return err_set(e, ERR_NOT_FOUND, "weight_map: tensor %.200s is not in %.200s", tensor,
                           shards->names[i]);
        }
    }
    for (size_t i = 0; i < folder->n_files; i++) {
        there += safetensors_count(folder->files[i]);
    }
    for (size_t i = 0; i < folder->n_files && there != json_object_size(map); i++) {
        const char *shard = shards->names[i];
        CHECK(shard);
        for (size_t j = 0; j < safetensors_count(folder->files[i]); j++) {
            const char *name = safetensors_at(folder->files[i], j)->name;
            const char *home = json_string_value(json_object_get(map, name));
            if (!home || strcmp(home, shard) != 0) {
                return err_set(e, ERR_CORRUPT, "tensor %.200s is in %.200s, weight_map says %.200s",
                               name, shard, home ? home : "nothing of it");
            }
        }
    }
    return OK;
}

static enum err open_shards(struct hf_folder *folder, const char *path, const json_t *doc,
                            struct errbuf *e)
{
    struct shard_names shards = {0};
    json_t *map = json_object_get(doc, "weight_map");
    enum err error = list_shards(map, &shards, e);
    if (error != OK) {
        return err_prefix(e, error, "%s/%s", path, index_name);
    }
    folder->files = mem_calloc(shards.count, sizeof(struct safetensors *));
    if (!folder->files) {
        return err_set(e, ERR_NOMEM, "%s: no memory to open it", path);
    }
    for (size_t i = 0; i < shards.count && error == OK; i++) {
        error = add_file(folder, path, shards.names[i], e);
    }
    if (error == OK) {
        error = check_map(folder, &shards, map, e);
        error = error == OK ? OK : err_prefix(e, error, "%s", path);
    }
    return error;
}

static enum err open_index(struct hf_folder *folder, const char *path, const char *index,
                           struct errbuf *e)
{
    json_t *doc = NULL;
    enum err error = json_doc_load(index, INDEX_BYTES_MAX, &doc, e);
    if (error == OK) {
        error = open_shards(folder, path, doc, e);
        json_decref(doc);
    }
    return error;
}

enum err hf_folder_open(const char *path, struct hf_folder *folder, struct errbuf *e)
{
    char single[FILE_PATH_BYTES];
    char index[FILE_PATH_BYTES];
    *folder = (struct hf_folder){0};
    enum err error = file_join(single, path, single_name, e);
    error = error == OK ? file_join(index, path, index_name, e) : error;
    if (error != OK) {
        return error;
    }
    if (file_exists(single)) {
        folder->files = mem_calloc(1, sizeof(struct safetensors *));
        error = folder->files ? add_file(folder, path, single_name, e)
                              : err_set(e, ERR_NOMEM, "%s: no memory to open it", path);
    } else if (file_exists(index)) {
        error = open_index(folder, path, index, e);
    } else {
        error = err_set(e, ERR_NOT_FOUND, "%s: neither %s nor %s is there", path, single_name,
                        index_name);
    }
    if (error != OK) {
        hf_folder_close(folder);
    }
    return error;
}

void hf_folder_close(struct hf_folder *folder)
{
    for (size_t i = 0; i < folder->n_files; i++) {
        safetensors_close(&folder->files[i]);
    }
    mem_free(folder->files);
    *folder = (struct hf_folder){0};
}

const struct safetensors_tensor *hf_folder_find(const struct hf_folder *folder, const char *name,
                                                const struct safetensors **file)
{
    for (size_t i = 0; i < folder->n_files; i++) {
        const struct safetensors_tensor *t = safetensors_find(folder->files[i], name);
        if (t) {
            *file = folder->files[i];
            return t;
        }
    }
    return NULL;
}
