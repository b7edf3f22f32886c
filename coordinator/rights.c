/* rights.c - the table of roles. */
#include "coordinator/rights.h"

#include <string.h>

bool rights_connect(const char *domain, enum key_role role)
{
    if (strcmp(domain, RIGHTS_JOBS) == 0 || strcmp(domain, RIGHTS_TENSORS) == 0) {
        return role == KEY_WORKER;
    }
    return strcmp(domain, RIGHTS_STATUS) == 0 && (role == KEY_OBSERVER || role == KEY_OPERATOR);
}

bool rights_command(enum key_role role, enum status_command command)
{
    bool reads = command == STATUS_ASK || command == STATUS_JOBS || command == STATUS_READ;
    return role == KEY_OPERATOR || (reads && role == KEY_OBSERVER);
}
