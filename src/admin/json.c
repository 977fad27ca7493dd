#include "admin/json.h"

#include <stdlib.h>
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
    /* Not json_dumps(): without memory it may leave out a name and continue. */
    size_t size = json ? json_dumpb(json, NULL, 0, JSON_COMPACT) : 0;
    char *text = size ? malloc(size + 1) : NULL;
    if (text && json_dumpb(json, text, size, JSON_COMPACT) == size) {
        text[size] = '\0';
    } else {
        free(text);
        text = NULL;
    }
    json_decref(json);
    return text;
}
