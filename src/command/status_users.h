/* Prints the users of a /status as a table: who is connected, how much they use, and who is near a limit. */
#ifndef CONESOCKS_COMMAND_STATUS_USERS_H
#define CONESOCKS_COMMAND_STATUS_USERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include <jansson.h>

/* How many users are configured, listed (connected, or active this month), connected, and near a limit. */
struct user_counts {
    size_t total, listed, connected, near;
};

struct user_counts status_users_count(const json_t *status);
/* At most `rows` users, the busiest first, without a title. Nothing if none is listed. false: out of memory. */
bool status_users_print(const json_t *status, FILE *out, size_t width, size_t rows);

#endif
