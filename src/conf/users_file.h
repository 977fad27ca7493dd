/* Reads the users_file, which has one name:hash or name:hash:key=value,key=value per line. */
#ifndef CONESOCKS_CONF_USERS_FILE_H
#define CONESOCKS_CONF_USERS_FILE_H

#include "conf/document.h"
#include "conf/schema.h"
#include "conf/types.h"

/* Room for as many users with hashes as crypt(3) makes them, of 110 bytes and less, and names of 50. */
#define USERS_FILE_SIZE_MAX ((size_t)64 << 20)
#define USERS_FILE_USERS    400000

/* The keys of the settings that a line may have after its hash, ended by NULL. Their values are those of users[]. */
const char *const *users_file_settings(void);
/* The row of such a key in users[]; NULL: there is none. */
const struct schema_row *users_file_setting(const char *key, size_t len);

/* Appends its users to those of `config`, whose inline_user_count is already set. Errors are reported with the name and
 * line of this file; true: no error. `document` gives the place of the option; NULL: none. `open_fd`: a descriptor of
 * the open file, which the caller keeps, or -1. */
bool users_file_load(struct config *config, int open_fd, yaml_document_t *document, struct report *report);

#endif
