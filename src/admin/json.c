#include "admin/json.h"

#include <string.h>

#include "base/log.h"

static json_t *unless(int failed, json_t *json)
{
    if (!failed)
        return json;
    json_decref(json);
    return NULL;
}

json_t *json_with(json_t *array, json_t *value)
{
    return unless(json_array_append_new(array, value), array);
}

json_t *json_with_key(json_t *object, const char *key, json_t *value)
{
    return unless(json_object_set_new(object, key, value), object);
}

json_t *json_number(uint64_t value)
{
    return json_integer((json_int_t)value);
}

json_t *json_chosen(const char *text)
{
    char escaped[4 * 1024];
    if (!text || !*text)
        return json_null();
    log_escape(escaped, sizeof(escaped), text, strlen(text));
    return json_string(escaped);
}

json_t *json_address(const union netaddr *addr)
{
    char text[NETADDR_TEXT_MAX];
    return addr->sa.sa_family == AF_UNSPEC ? json_null() : json_string(netaddr_format(addr, text));
}

char *json_text(json_t *json)
{
    char *text = json ? json_dumps(json, JSON_COMPACT) : NULL;
    json_decref(json);
    return text;
}
