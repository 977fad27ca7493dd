/* Checks a crypt(3) hash: whether it is complete, strong, and not too expensive to verify. */
#ifndef CONESOCKS_CONF_PASSWORD_HASH_H
#define CONESOCKS_CONF_PASSWORD_HASH_H

/* What is wrong with the hash, without quoting it; NULL: nothing. */
const char *password_hash_fault(const char *text);

#endif
