#include "admin/status_users.h"

#include <assert.h>

#include "admin/json.h"
#include "base/calendar.h"
#include "base/util.h"
#include "policy/snapshot.h"
#include "policy/user_limits.h"

/* Access that ends within so many days is shown as near its end. */
#define NEAR_DAYS 7
/* A limit is near when so many percent of it are used. */
#define NEAR_PERCENT 80

/* 0: there is no limit. */
static unsigned near_percent(uint64_t used, uint64_t limit)
{
    return limit ? (unsigned)((double)used * 100 / (double)limit) : 0;
}

/* The name of the limit of which most is used, if that is near; NULL: none is. */
static const char *user_near(const struct status_user *user, const struct user_limits *limits, uint32_t days_left)
{
    const uint64_t rate = user->used.rate.up > user->used.rate.down ? user->used.rate.up : user->used.rate.down;
    const struct {
        const char *name;
        unsigned percent;
    } uses[] = {
        {"volume", near_percent(user->used.volume, limits->volume)},
        {"sessions", near_percent(user->sessions, limits->sessions)},
        {"associations", near_percent(user->associations, limits->associations)},
        {"addresses", near_percent(user->used.addresses, limits->addresses)},
        {"bandwidth", near_percent(rate, limits->bandwidth)},
    };
    const char *nearest = NULL;
    unsigned highest = NEAR_PERCENT - 1;
    for (size_t i = 0; i < ARRAY_LEN(uses); i++) {
        if (uses[i].percent <= highest)
            continue;
        highest = uses[i].percent;
        nearest = uses[i].name;
    }
    return nearest ? nearest : days_left < NEAR_DAYS ? "expires" : NULL;
}

static json_t *limit_or_null(uint64_t limit)
{
    return limit ? json_number(limit) : json_null();
}

static json_t *user_limits_json(const struct user_limits *limits)
{
    json_t *json = json_object();
    json = json_with_key(json, "sessions", limit_or_null(limits->sessions));
    json = json_with_key(json, "associations", limit_or_null(limits->associations));
    json = json_with_key(json, "addresses", limit_or_null(limits->addresses));
    return json_with_key(json, "bandwidth", limit_or_null(limits->bandwidth));
}

static json_t *day_or_null(uint32_t day)
{
    char text[CALENDAR_DAY_TEXT_MAX];
    return day ? json_string(calendar_format_day(day, text)) : json_null();
}

static json_t *user_json(const struct status_user *user, const struct status_users *users,
                         const struct snapshot *snapshot)
{
    const struct config_user *entry = users_find(&snapshot->users, user->used.user);
    const struct user_limits limits = user_limits_find(snapshot->config, entry);
    const uint32_t expires = entry ? entry->expires : 0;
    const uint32_t days_left = !expires ? UINT32_MAX : expires > users->today ? expires - users->today : 0;
    const char *near = user_near(user, &limits, days_left);
    char month[CALENDAR_MONTH_TEXT_MAX];
    json_t *json = json_object();
    json = json_with_key(json, "name", json_chosen(user->used.user));
    json = json_with_key(json, "sessions", json_number(user->sessions));
    json = json_with_key(json, "associations", json_number(user->associations));
    json = json_with_key(json, "addresses", json_number(user->used.addresses));
    json = json_with_key(json, "up_bytes", json_number(user->used.bytes.up));
    json = json_with_key(json, "down_bytes", json_number(user->used.bytes.down));
    json = json_with_key(json, "up_bytes_per_second", json_number(user->used.rate.up));
    json = json_with_key(json, "down_bytes_per_second", json_number(user->used.rate.down));
    json = json_with_key(json, "volume_bytes", json_number(user->used.volume));
    json = json_with_key(json, "volume_limit", limit_or_null(limits.volume));
    json = json_with_key(json, "month", json_string(calendar_format_month(users->month, month)));
    json = json_with_key(json, "expires", day_or_null(expires));
    json = json_with_key(json, "limits", user_limits_json(&limits));
    return json_with_key(json, "near", near ? json_string(near) : json_null());
}

json_t *status_users_json(const struct status_users *users, const struct snapshot *snapshot)
{
    json_t *list = json_array();
    assert(users->count <= STATUS_USERS_MAX && users->count <= users->total);
    for (size_t i = 0; i < users->count; i++)
        list = json_with(list, user_json(&users->list[i], users, snapshot));
    json_t *json = json_object();
    json = json_with_key(json, "total", json_number(users->total));
    return json_with_key(json, "list", list);
}
