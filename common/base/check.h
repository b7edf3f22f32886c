/* check.h - CHECK for bugs: always on, prints the condition and a backtrace, aborts.
 * Never for what a file, a flag or a peer can cause: those are enum err. */
#ifndef PFT_CHECK_H
#define PFT_CHECK_H

_Noreturn void check_failed(const char *condition, const char *file, int line);

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            check_failed(#condition, __FILE__, __LINE__);                                          \
        }                                                                                          \
    } while (0)

#endif
