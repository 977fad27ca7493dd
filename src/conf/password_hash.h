/* Which crypt(3) hashes may stand for a password. */
#ifndef CONESOCKS_CONF_PASSWORD_HASH_H
#define CONESOCKS_CONF_PASSWORD_HASH_H

/* What `text` is instead of a hash that is whole, strong and affordable (without quoting it); NULL: it is one. */
const char *password_hash_fault(const char *text);

#endif
