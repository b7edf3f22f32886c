/* export_text.h - the texts of an exported adapter: chat_template.jinja, pft.json, README.md and
 * adapter_config.json as strings. Pure; export.c writes them. */
#ifndef PFT_EXPORT_TEXT_H
#define PFT_EXPORT_TEXT_H

#include "common/base/err.h"
#include "common/base/str.h"
#include "coordinator/export.h"

/* Each appends one file's text to out; check str_ok afterwards. */
void export_chat_template(const struct export_input *in, struct str *out);
void export_adapter_config(const struct export_input *in, struct str *out);
void export_readme(const struct export_input *in, struct str *out);
/* The worked example renders a prompt as training did. */
MUST_USE enum err export_about(const struct export_input *in, struct str *out, struct errbuf *e);

#endif
