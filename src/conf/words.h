/*
 * The words for commands and filtering modes. The configuration, the log, the status and `explain` all take them from
 * here, so that the same thing has the same word everywhere.
 */
#ifndef CONESOCKS_CONF_WORDS_H
#define CONESOCKS_CONF_WORDS_H

#include <stdbool.h>

#include "conf/types.h"

/* In the order of the enum, ended by NULL. */
extern const char *const config_filtering_words[];
extern const char *const config_command_words[];

/* "endpoint-independent" and so on; CONFIG_FILTERING_INHERITED has the word of the default. */
const char *config_filtering_word(enum config_filtering filtering);
/* "connect", "bind" or "udp" */
const char *config_command_word(enum config_command command);
/* The same, but "udp-over-tcp" for a session whose datagrams come inside the control connection. */
const char *config_session_word(enum config_command command, bool over_tcp);
/* false: `word` is not a command. */
bool config_command_read(const char *word, enum config_command *command);

#endif
