/* sim_vfs.c - SQLite's files on the simulated disk. One connection at a time, so shared memory and
 * locks are of the connection alone: a process that died left no lock, as with the real ones. */
#include <fcntl.h>
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>

#include "common/base/check.h"
#include "common/base/mem.h"
#include "common/base/rng.h"
#include "tests/sim/sim.h"

enum { REGIONS = 8, VFS_PATH = 128 };

struct vfs_file {
    sqlite3_file base; /* first */
    int inode;         /* -1: a temporary one */
    uint64_t life;
    uint8_t *temporary;
    size_t temporary_bytes, temporary_capacity;
    bool made; /* its name is not hard yet */
    bool delete_on_close;
    char path[VFS_PATH];
    void *regions[REGIONS];
};

static struct vfs_file *of(sqlite3_file *file)
{
    return (struct vfs_file *)file;
}

/* Handles of a process that is gone do nothing more. */
static bool current(const struct vfs_file *f)
{
    return f->life == sim.nodes[0].life;
}

static int on_unmap(sqlite3_file *file, int delete_it)
{
    (void)delete_it;
    for (int i = 0; i < REGIONS; i++) {
        mem_free(of(file)->regions[i]);
        of(file)->regions[i] = NULL;
    }
    return SQLITE_OK;
}

static int on_close(sqlite3_file *file)
{
    struct vfs_file *f = of(file);
    (void)on_unmap(file, 0);
    mem_free(f->temporary);
    if (f->inode >= 0 && f->delete_on_close && current(f)) {
        (void)sim_disk_unlink(f->path);
    }
    return SQLITE_OK;
}

static int on_read(sqlite3_file *file, void *out, int bytes, sqlite3_int64 at)
{
    struct vfs_file *f = of(file);
    long n = 0;
    if (f->inode < 0) {
        size_t end = (size_t)at + (size_t)bytes;
        n = (size_t)at >= f->temporary_bytes ? 0
            : end <= f->temporary_bytes      ? bytes
                                             : (long)(f->temporary_bytes - (size_t)at);
        memcpy(out, f->temporary ? f->temporary + at : (uint8_t *)out, (size_t)n);
    } else {
        n = current(f) ? sim_disk_read(f->inode, (uint64_t)at, out, (size_t)bytes) : -1;
    }
    if (n < 0) {
        return SQLITE_IOERR_READ;
    }
    if (n < bytes) {
        memset((uint8_t *)out + n, 0, (size_t)(bytes - n));
        return SQLITE_IOERR_SHORT_READ;
    }
    return SQLITE_OK;
}

static int on_write(sqlite3_file *file, const void *data, int bytes, sqlite3_int64 at)
{
    struct vfs_file *f = of(file);
    if (f->inode < 0) {
        size_t end = (size_t)at + (size_t)bytes;
        void *grown = f->temporary;
        CHECK(mem_grow(&grown, &f->temporary_capacity, end, 1, 1u << 28) == OK);
        f->temporary = grown;
        memcpy(f->temporary + at, data, (size_t)bytes);
        f->temporary_bytes = end > f->temporary_bytes ? end : f->temporary_bytes;
        return SQLITE_OK;
    }
    long n = current(f) ? sim_disk_write(f->inode, (uint64_t)at, data, (size_t)bytes) : -5;
    if (n == bytes) {
        return SQLITE_OK;
    }
    return n >= 0 || n == -28 ? SQLITE_FULL : SQLITE_IOERR_WRITE; /* short, ENOSPC; anything else */
}

static int on_truncate(sqlite3_file *file, sqlite3_int64 bytes)
{
    struct vfs_file *f = of(file);
    if (f->inode < 0) {
        f->temporary_bytes = (size_t)bytes;
        return SQLITE_OK;
    }
    return current(f) && sim_disk_truncate(f->inode, (uint64_t)bytes) == 0 ? SQLITE_OK
                                                                           : SQLITE_IOERR_TRUNCATE;
}

static void folder_of(const char *path, char folder[VFS_PATH])
{
    (void)snprintf(folder, VFS_PATH, "%.*s", (int)(strrchr(path, '/') - path), path);
}

static int on_sync(sqlite3_file *file, int flags)
{
    struct vfs_file *f = of(file);
    char folder[VFS_PATH];
    (void)flags;
    if (f->inode < 0) {
        return SQLITE_OK;
    }
    if (!current(f) || sim_disk_sync(f->inode) != 0) {
        return SQLITE_IOERR_FSYNC;
    }
    if (f->made) { /* as SQLite's own VFS does for a file that it made */
        folder_of(f->path, folder);
        if (sim_disk_sync_folder(folder) != 0) {
            return SQLITE_IOERR_DIR_FSYNC;
        }
        f->made = false;
    }
    return SQLITE_OK;
}

static int on_size(sqlite3_file *file, sqlite3_int64 *bytes)
{
    struct vfs_file *f = of(file);
    *bytes =
        f->inode < 0 ? (sqlite3_int64)f->temporary_bytes : (sqlite3_int64)sim_disk_bytes(f->inode);
    return SQLITE_OK;
}

static int on_lock(sqlite3_file *file, int level)
{
    (void)file;
    (void)level;
    return SQLITE_OK;
}

static int on_reserved(sqlite3_file *file, int *reserved)
{
    (void)file;
    *reserved = 0;
    return SQLITE_OK;
}

static int on_control(sqlite3_file *file, int op, void *argument)
{
    (void)file;
    (void)op;
    (void)argument;
    return SQLITE_NOTFOUND;
}

static int on_sector(sqlite3_file *file)
{
    (void)file;
    return 512;
}

static int on_device(sqlite3_file *file)
{
    (void)file;
    return 0;
}

static int on_map(sqlite3_file *file, int region, int bytes, int extend, void volatile **out)
{
    struct vfs_file *f = of(file);
    *out = NULL;
    if (region >= REGIONS) {
        return SQLITE_FULL;
    }
    if (!f->regions[region] && extend) {
        f->regions[region] = mem_calloc(1, (size_t)bytes);
        CHECK(f->regions[region] != NULL);
    }
    *out = f->regions[region];
    return SQLITE_OK;
}

static int on_shared_lock(sqlite3_file *file, int offset, int n, int flags)
{
    (void)file;
    (void)offset;
    (void)n;
    (void)flags;
    return SQLITE_OK;
}

static void on_barrier(sqlite3_file *file)
{
    (void)file;
}

static const sqlite3_io_methods methods = {.iVersion = 2,
                                           .xClose = on_close,
                                           .xRead = on_read,
                                           .xWrite = on_write,
                                           .xTruncate = on_truncate,
                                           .xSync = on_sync,
                                           .xFileSize = on_size,
                                           .xLock = on_lock,
                                           .xUnlock = on_lock,
                                           .xCheckReservedLock = on_reserved,
                                           .xFileControl = on_control,
                                           .xSectorSize = on_sector,
                                           .xDeviceCharacteristics = on_device,
                                           .xShmMap = on_map,
                                           .xShmLock = on_shared_lock,
                                           .xShmBarrier = on_barrier,
                                           .xShmUnmap = on_unmap};

static int on_open(sqlite3_vfs *vfs, const char *path, sqlite3_file *file, int flags, int *out)
{
    struct vfs_file *f = of(file);
    bool folder;
    uint64_t bytes;
    (void)vfs;
    memset(f, 0, sizeof *f);
    f->inode = -1;
    f->life = sim.nodes[0].life;
    if (path) {
        bool there = sim_disk_exists(path, &folder, &bytes);
        f->inode = sim_disk_open(path, flags & SQLITE_OPEN_CREATE ? O_CREAT : 0);
        if (f->inode < 0 || (there && folder)) {
            f->base.pMethods = NULL;
            return f->inode == -28 ? SQLITE_FULL : SQLITE_CANTOPEN;
        }
        f->made = !there;
        f->delete_on_close = (flags & SQLITE_OPEN_DELETEONCLOSE) != 0;
        (void)snprintf(f->path, sizeof f->path, "%s", path);
    }
    if (out) {
        *out = flags;
    }
    f->base.pMethods = &methods;
    return SQLITE_OK;
}

static int on_delete(sqlite3_vfs *vfs, const char *path, int sync_folder)
{
    char folder[VFS_PATH];
    (void)vfs;
    int code = sim_disk_unlink(path);
    if (code != 0) {
        return code == -2 ? SQLITE_IOERR_DELETE_NOENT : SQLITE_IOERR_DELETE;
    }
    folder_of(path, folder);
    return sync_folder && sim_disk_sync_folder(folder) != 0 ? SQLITE_IOERR_DIR_FSYNC : SQLITE_OK;
}

static int on_access(sqlite3_vfs *vfs, const char *path, int flags, int *out)
{
    bool folder;
    uint64_t bytes;
    (void)vfs;
    *out = sim_disk_exists(path, &folder, &bytes) &&
           (flags != SQLITE_ACCESS_EXISTS || bytes > 0 || folder);
    return SQLITE_OK;
}

static int on_full_path(sqlite3_vfs *vfs, const char *path, int room, char *out)
{
    (void)vfs;
    return snprintf(out, (size_t)room, "%s", path) < room ? SQLITE_OK : SQLITE_CANTOPEN;
}

static int on_random(sqlite3_vfs *vfs, int bytes, char *out)
{
    (void)vfs;
    for (int i = 0; i < bytes; i++) {
        out[i] = (char)rng_at(sim.plan.seed, (uint64_t)i);
    }
    return bytes;
}

static int on_sleep(sqlite3_vfs *vfs, int microseconds)
{
    (void)vfs;
    return microseconds;
}

static int on_time(sqlite3_vfs *vfs, sqlite3_int64 *out)
{
    (void)vfs;
    /* Julian day in ms; the wall clock begins at the end of 2023 and jumps with the seed. */
    *out = 212570000000000LL + (sqlite3_int64)((sim.now + sim.wall_offset_ns) / SIM_MS);
    return SQLITE_OK;
}

static int on_day(sqlite3_vfs *vfs, double *out)
{
    sqlite3_int64 ms = 0;
    (void)on_time(vfs, &ms);
    *out = (double)ms / 86400000.0;
    return SQLITE_OK;
}

static int on_last_error(sqlite3_vfs *vfs, int bytes, char *out)
{
    (void)vfs;
    (void)bytes;
    (void)out;
    return 0;
}

/* SQLite's own random numbers begin anew with every seed. */
void sim_vfs_reset(void)
{
    CHECK(sqlite3_test_control(SQLITE_TESTCTRL_PRNG_RESET) == SQLITE_OK);
}

void sim_vfs_register(void)
{
    static sqlite3_vfs vfs = {.iVersion = 2,
                              .szOsFile = sizeof(struct vfs_file),
                              .mxPathname = VFS_PATH - 1,
                              .zName = "sim",
                              .xOpen = on_open,
                              .xDelete = on_delete,
                              .xAccess = on_access,
                              .xFullPathname = on_full_path,
                              .xRandomness = on_random,
                              .xSleep = on_sleep,
                              .xCurrentTime = on_day,
                              .xGetLastError = on_last_error,
                              .xCurrentTimeInt64 = on_time};
    CHECK(sqlite3_vfs_register(&vfs, 1) == SQLITE_OK);
}
