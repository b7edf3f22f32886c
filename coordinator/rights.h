/* rights.h - which role of key may do what. Pure. */
#ifndef PFT_RIGHTS_H
#define PFT_RIGHTS_H

#include <stdbool.h>

#include "common/net/key_file.h"
#include "common/wire/status_message.h"

/* ZAP domains of the three sockets. */
#define RIGHTS_JOBS "jobs"
#define RIGHTS_TENSORS "tensors"
#define RIGHTS_STATUS "status"

/* May a key of that role use that socket? No to any domain that is not one of the above. */
bool rights_connect(const char *domain, enum key_role role);
/* May it give that command over the status socket? What only reads is an observer's too. */
bool rights_command(enum key_role role, enum status_command command);

#endif
