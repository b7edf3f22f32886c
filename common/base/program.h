/* program.h - how each of the three programs begins and ends, whatever shell, service manager or
 * program started it. Owns: descriptors 0 to 2 at the start, stdout at the end. Main thread. */
#ifndef PFT_PROGRAM_H
#define PFT_PROGRAM_H

#include <stdbool.h>

/* First thing in main. A closed standard stream is opened on /dev/null, so that no file or socket
 * takes its number. "--with-parent PID" in front (what pft puts before the words of its children)
 * is taken out of argv: SIGTERM comes when that process is gone, be it by kill -9; false: it is
 * gone already. At exit stdout is flushed; where that or an earlier write failed, a program that
 * would have ended with 0 says so as `name` and ends with 1. */
bool program_begin(const char *name, int *argc, char ***argv);

/* From now on SIGTSTP (Ctrl-Z) stops the process with its clock (clock_pause), SIGCONT continues
 * it. Not for pft, which stops its children first. */
void program_pauses(void);

#endif
