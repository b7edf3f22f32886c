/* temp_folder.h - a folder of its own for a test, and files in it. */
#ifndef PFT_TEMP_FOLDER_H
#define PFT_TEMP_FOLDER_H

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/check.h"
#include "common/base/file.h"

struct temp_folder {
    char path[64];
};

static inline void temp_folder_make(struct temp_folder *t)
{
    (void)snprintf(t->path, sizeof t->path, "/tmp/pft-test-XXXXXX");
    CHECK(mkdtemp(t->path));
}

/* Path of a name in it; a ring of buffers, so that a few can be used at once. */
static inline const char *temp_folder_file(const struct temp_folder *t, const char *name)
{
    static char paths[4][FILE_PATH_BYTES];
    static unsigned next;
    char *path = paths[next++ % 4];
    CHECK(snprintf(path, FILE_PATH_BYTES, "%s/%s", t->path, name) < FILE_PATH_BYTES);
    return path;
}

static inline const char *temp_folder_write(const struct temp_folder *t, const char *name,
                                            const void *data, size_t bytes)
{
    const char *path = temp_folder_file(t, name);
    FILE *file = fopen(path, "wb");
    CHECK(file && (bytes == 0 || fwrite(data, 1, bytes, file) == bytes) && fclose(file) == 0);
    return path;
}

static inline const char *temp_folder_text(const struct temp_folder *t, const char *name,
                                           const char *text)
{
    return temp_folder_write(t, name, text, strlen(text));
}

/* Removes a folder and all below it. */
static inline void temp_folder_clear(const char *path)
{
    DIR *folder = opendir(path);
    const struct dirent *entry;
    while (folder && (entry = readdir(folder)) != NULL) {
        char inner[FILE_PATH_BYTES];
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) {
            continue;
        }
        CHECK(snprintf(inner, sizeof inner, "%s/%s", path, entry->d_name) < FILE_PATH_BYTES);
        if (unlink(inner) != 0) {
            temp_folder_clear(inner);
        }
    }
    if (folder) {
        (void)closedir(folder);
    }
    (void)rmdir(path);
}

#endif
