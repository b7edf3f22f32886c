/* sqlite_faults.h - the faults of disk_faults.h and mem_fail_after, for SQLite: its own file layer
 * with write, truncate and sync in front, and an allocator that counts along with ours. */
#ifndef PFT_SQLITE_FAULTS_H
#define PFT_SQLITE_FAULTS_H

#include <sqlite3.h>
#include <stdlib.h>

#include "common/base/check.h"
#include "tests/support/disk_faults.h"

static struct {
    sqlite3_vfs vfs;
    sqlite3_vfs *plain;
    /* SQLite has one set of methods for the database and one for what needs no locks. */
    struct {
        sqlite3_io_methods ours;
        const sqlite3_io_methods *plain;
    } kinds[4];
    sqlite3_mem_methods memory;
    unsigned long allocation; /* the n-th from now on fails; 0: none */
    bool allocation_failed;
} sqlite_faults;

static const sqlite3_io_methods *sqlite_plain(const sqlite3_file *file)
{
    for (size_t i = 0; i < 4; i++) {
        if (file->pMethods == &sqlite_faults.kinds[i].ours) {
            return sqlite_faults.kinds[i].plain;
        }
    }
    CHECK(!"a file of ours");
}

static int sqlite_write(sqlite3_file *file, const void *data, int bytes, sqlite3_int64 at)
{
    const sqlite3_io_methods *plain = sqlite_plain(file);
    if (disk_in_part() || !disk_must_fail(DISK_WRITE)) {
        return plain->xWrite(file, data, bytes, at);
    }
    (void)plain->xWrite(file, data, bytes / 2, at);
    return disk_faults.errnum == ENOSPC ? SQLITE_FULL : SQLITE_IOERR_WRITE;
}

static int sqlite_truncate(sqlite3_file *file, sqlite3_int64 bytes)
{
    return disk_must_fail(DISK_TRUNCATE) ? SQLITE_IOERR_TRUNCATE
                                         : sqlite_plain(file)->xTruncate(file, bytes);
}

static int sqlite_sync(sqlite3_file *file, int flags)
{
    (void)file;
    (void)flags;
    return disk_must_fail(DISK_SYNC) ? SQLITE_IOERR_FSYNC : SQLITE_OK;
}

static int sqlite_open(sqlite3_vfs *self, const char *path, sqlite3_file *file, int flags, int *out)
{
    (void)self;
    int code = sqlite_faults.plain->xOpen(sqlite_faults.plain, path, file, flags, out);
    for (size_t i = 0; code == SQLITE_OK && i < 4; i++) {
        if (sqlite_faults.kinds[i].plain && sqlite_faults.kinds[i].plain != file->pMethods) {
            continue;
        }
        if (!sqlite_faults.kinds[i].plain) {
            sqlite_faults.kinds[i].plain = file->pMethods;
            sqlite_faults.kinds[i].ours = *file->pMethods;
            sqlite_faults.kinds[i].ours.xWrite = sqlite_write;
            sqlite_faults.kinds[i].ours.xTruncate = sqlite_truncate;
            sqlite_faults.kinds[i].ours.xSync = sqlite_sync;
        }
        file->pMethods = &sqlite_faults.kinds[i].ours;
        break;
    }
    return code;
}

/* Without the sync of the folder, for the same reason as in disk_faults.h. */
static int sqlite_delete(sqlite3_vfs *self, const char *path, int sync)
{
    (void)self;
    (void)sync;
    return sqlite_faults.plain->xDelete(sqlite_faults.plain, path, 0);
}

static bool sqlite_no_memory(void)
{
    if (sqlite_faults.allocation == 0 || --sqlite_faults.allocation > 0) {
        return false;
    }
    sqlite_faults.allocation_failed = true;
    return true;
}

static void *sqlite_allocate(int bytes)
{
    return sqlite_no_memory() ? NULL : sqlite_faults.memory.xMalloc(bytes);
}

static void *sqlite_reallocate(void *block, int bytes)
{
    return sqlite_no_memory() ? NULL : sqlite_faults.memory.xRealloc(block, bytes);
}

/* Once, before SQLite is used. */
static inline void sqlite_faults_install(void)
{
    sqlite3_mem_methods counted;
    CHECK(sqlite3_config(SQLITE_CONFIG_GETMALLOC, &sqlite_faults.memory) == SQLITE_OK);
    counted = sqlite_faults.memory;
    counted.xMalloc = sqlite_allocate;
    counted.xRealloc = sqlite_reallocate;
    CHECK(sqlite3_config(SQLITE_CONFIG_MALLOC, &counted) == SQLITE_OK);
    CHECK(sqlite3_config(SQLITE_CONFIG_LOOKASIDE, 0, 0) == SQLITE_OK);
    sqlite_faults.plain = sqlite3_vfs_find(NULL);
    sqlite_faults.vfs = *sqlite_faults.plain;
    sqlite_faults.vfs.zName = "faults";
    sqlite_faults.vfs.xOpen = sqlite_open;
    sqlite_faults.vfs.xDelete = sqlite_delete;
    CHECK(sqlite3_vfs_register(&sqlite_faults.vfs, 1) == SQLITE_OK);
}

/* The n-th allocation of SQLite from now on fails once; 0: none. */
static inline void sqlite_fail_allocation(unsigned long n)
{
    sqlite_faults.allocation = n;
    sqlite_faults.allocation_failed = false;
}

#endif
