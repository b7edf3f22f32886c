/* trial_command.h - the part of pft eval that tries the inference of values on simulated users.
 * Place: eval_command.c hands over when the words ask for it. */
#ifndef PFT_TRIAL_COMMAND_H
#define PFT_TRIAL_COMMAND_H

#include <stdbool.h>

/* Do the words ask for --readout inferred, or history? */
bool trial_asked_for(int argc, char **argv);

/* As the functions of cli.h. */
int cli_trial(int argc, char **argv);

#endif
