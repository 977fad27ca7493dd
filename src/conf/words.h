/*
 * The words for what users choose between: the configuration, the log, the status and `explain` all write them, and
 * each takes them from here, so that a search for one of them finds it everywhere.
 */
#ifndef CONESOCKS_CONF_WORDS_H
#define CONESOCKS_CONF_WORDS_H

#include <stdbool.h>

#include "conf/types.h"

/* In the order of the enum, ended by NULL. */
extern const char *const config_filtering_words[];
extern const char *const config_command_words[];

/* "endpoint-independent"; also for CONFIG_FILTERING_INHERITED, which is that by default. */
const char *config_filtering_word(enum config_filtering filtering);
/* "connect", "bind" or "udp" */
const char *config_command_word(enum config_command command);
/* The same for a session, whose datagrams may come inside the control connection: "udp-over-tcp". */
const char *config_session_word(enum config_command command, bool over_tcp);
/* false: `word` is none of them. */
bool config_command_read(const char *word, enum config_command *command);

#endif
