/* file.h - whole files in and out, the crash-safe way. Blocks on the disk; never on the loop thread
 * after start-up. Symbolic links are followed (model caches are full of them), but what they lead
 * to must be a regular file. */
#ifndef PFT_FILE_H
#define PFT_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/err.h"

enum { FILE_PATH_BYTES = 4096 };

struct file_map {
    const uint8_t *data; /* read-only; valid until file_unmap */
    size_t bytes;
};

/* Reads a regular file of at most limit bytes; *data is NUL-terminated, owned by the caller
 * (mem_free), *bytes without the NUL. A FIFO, folder, device or larger file is refused by name. */
MUST_USE enum err file_read(const char *path, size_t limit, char **data, size_t *bytes,
                            struct errbuf *e);

/* Maps a regular file read-only and privately. An empty file gives data NULL, bytes 0. */
MUST_USE enum err file_map(const char *path, struct file_map *map, struct errbuf *e);
void file_unmap(struct file_map *map);

/* Opens a regular file for file_read_at; fd is closed with close(2). Same refusals. */
MUST_USE enum err file_open(const char *path, int *fd, size_t *bytes, struct errbuf *e);

/* Reads exactly bytes at offset; path is for the message. A file that ends earlier is ERR_IO with
 * the offset. Safe from any thread at once on one fd. */
MUST_USE enum err file_read_at(int fd, const char *path, uint64_t offset, void *out, size_t bytes,
                               struct errbuf *e);

/* Writes a temporary file beside path, fsyncs it, renames it over path and fsyncs the folder: after
 * a crash path holds the old or the new content, whole. A link stays, what it leads to is replaced;
 * a device or FIFO stays and is written to. */
MUST_USE enum err file_write_atomic(const char *path, const void *data, size_t bytes,
                                    struct errbuf *e);

/* fsync. Any failure is ERR_IO, "no space" too: what is on the disk is unknown then, and a second
 * fsync that works would prove nothing. */
MUST_USE enum err file_sync(int fd, const char *path, struct errbuf *e);

/* fsync of a folder, so that names made in it survive a crash. */
MUST_USE enum err file_sync_folder(const char *path, struct errbuf *e);

/* mkdir -p with mode 0700; fine when it is there already. */
MUST_USE enum err file_make_folder(const char *path, struct errbuf *e);

bool file_exists(const char *path);

/* out = folder "/" name; ERR_RANGE when it would not fit. An absolute name stands alone. */
MUST_USE enum err file_join(char out[FILE_PATH_BYTES], const char *folder, const char *name,
                            struct errbuf *e);

/* out = path without links and dots; ERR_NOT_FOUND when there is no such file. */
MUST_USE enum err file_absolute(char out[FILE_PATH_BYTES], const char *path, struct errbuf *e);

/* out = the folder part of path ("." when it has none). */
void file_folder_of(char out[FILE_PATH_BYTES], const char *path);

#endif
