/* scratch.c - mkdtemp and its opposite. */
#include "cli/scratch.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>

enum { FTW_FDS = 16 };

enum err scratch_make(char folder[SCRATCH_BYTES], struct errbuf *e)
{
    (void)snprintf(folder, SCRATCH_BYTES, "/tmp/pft-XXXXXX");
    if (!mkdtemp(folder)) {
        folder[0] = '\0';
        return err_set(e, ERR_IO, "/tmp: no folder can be made there");
    }
    return OK;
}

static int remove_entry(const char *path, const struct stat *info, int type, struct FTW *ftw)
{
    (void)info;
    (void)type;
    (void)ftw;
    return remove(path);
}

void scratch_remove(const char *folder)
{
    if (folder[0] != '\0') {
        (void)nftw(folder, remove_entry, FTW_FDS, FTW_DEPTH | FTW_PHYS);
    }
}
