/* config_docs.c - docs/config.md, from the table of keys in config.c. */
#include "coordinator/config.h"

void config_docs(struct str *out)
{
    str_add(out, "# Settings of a run\n\n"
                 "Written by `pft config docs` from the table in `coordinator/config.c`; a test "
                 "checks that it is fresh.\n\n"
                 "A config is a YAML file of sections and keys; every key has a default. `--set "
                 "KEY=VALUE` changes one. A key\nthat is not listed here, or a value out of its "
                 "bounds, is refused with file, line and the nearest valid name.\nPaths count from "
                 "the config's folder (those of `--set` from the current one) and may begin with a "
                 "variable:\n`$PFT_VCD_DIR/vcd_train.json`; one that `--set` replaces is not "
                 "looked at. `null` and `~` stand for nothing. Anchors, aliases,\ntags and "
                 "duplicate keys are refused.\n\n");
    conf_docs(config_schema(), out);
}
