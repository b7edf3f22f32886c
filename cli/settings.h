/* settings.h - pft config: the keys of a config as help, sample file or docs page, and a check of
 * a config file. */
#ifndef PFT_SETTINGS_H
#define PFT_SETTINGS_H

/* argv[0] is "config"; returns the exit code (0 fine, 1 failed, 2 wrong usage). */
int cli_config(int argc, char **argv);

#endif
