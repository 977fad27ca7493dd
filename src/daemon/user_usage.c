#include "daemon/user_usage.h"

#include <stdlib.h>

#include "base/calendar.h"
#include "host/host.h"
#include "policy/quota.h"

static void user_read_quota(struct status_user *user, struct quota *quota)
{
    struct quota_account *account = quota_of_user(quota, user->used.user);
    if (!account)
        return;
    user->sessions = quota_held(account, QUOTA_SESSIONS);
    user->associations = quota_held(account, QUOTA_ASSOCIATIONS);
    quota_close(account);
}

struct status_users *user_usage_read(const struct host *host)
{
    struct status_users *users = calloc(1, sizeof(*users));
    struct usage_row *rows = calloc(STATUS_USERS_MAX, sizeof(*rows));
    if (!users || !rows) {
        free(users);
        free(rows);
        return NULL;
    }
    users->today = calendar_today();
    users->month = calendar_month_of(users->today);
    usage_set_month(host->usage, users->month);
    users->count = usage_list(host->usage, rows, STATUS_USERS_MAX, &users->total);
    for (size_t i = 0; i < users->count; i++) {
        users->list[i].used = rows[i];
        user_read_quota(&users->list[i], host->quota);
    }
    free(rows);
    return users;
}
