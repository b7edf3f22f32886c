/* sim_gate.c - a simulated run has no keys. */
#include "tests/support/no_keys.h"
