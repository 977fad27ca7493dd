#include <jansson.h>
#include <string.h>
#include <unistd.h>

#include "base/log_impl.h"
#include "base/netaddr.h"

/* As the client of a name or the like may have made it, escaped; a longer one is cut, for a line is at most
 * LOG_LINE_MAX. */
#define VALUE_MAX 600
/* A message has no more bytes than this; of quotes, each becomes two. */
#define MESSAGE_MAX 1024

/* The same escapes as in a text: who prints the value gets no control bytes, and it is UTF-8, as JSON has to be. */
static json_t *json_of_text(const char *text, size_t size)
{
    char escaped[MESSAGE_MAX];
    if (!text)
        return json_null();
    size_t len = log_escape(escaped, size, text, strlen(text));
    return json_stringn(escaped, len);
}

static json_t *json_of_address(const union netaddr *address)
{
    char text[NETADDR_TEXT_MAX];
    return address && address->sa.sa_family ? json_string(netaddr_format(address, text)) : json_null();
}

static json_t *json_of_field(const struct log_field *field)
{
    switch (field->type) {
    case LOG_TEXT:
    case LOG_SENTENCE:
        return json_of_text(field->text, VALUE_MAX);
    case LOG_NUMBER:
        return json_integer((json_int_t)field->number);
    case LOG_SECONDS:
        return json_real((double)field->number / 1000);
    case LOG_ADDRESS:
        return json_of_address(field->address);
    }
    return NULL;
}

/* The object that the field is a member of; NULL: no memory. */
static json_t *json_group_of(json_t *line, const struct log_field *field)
{
    json_t *group = field->group ? json_object_get(line, field->group) : line;
    if (group)
        return group;
    group = json_object();
    return json_object_set_new(line, field->group, group) == 0 ? group : NULL;
}

static bool json_add_fields(json_t *line, const struct log_record *record)
{
    for (size_t i = 0; i < record->field_count; i++) {
        const struct log_field *field = &record->fields[i];
        json_t *group = json_group_of(line, field);
        if (!group || json_object_set_new(group, field->key, json_of_field(field)) < 0)
            return false;
    }
    return !record->suppressed || json_object_set_new(line, "held_back", json_integer(record->suppressed)) == 0;
}

static bool json_add_head(json_t *line, const struct log_record *record)
{
    char now[LOG_TIME_MAX];
    return json_object_set_new(line, "time", json_string(log_time(now))) == 0 &&
           json_object_set_new(line, "pid", json_integer(getpid())) == 0 &&
           json_object_set_new(line, "level", json_string(log_level_name(record->level))) == 0 &&
           json_object_set_new(line, "module", json_string(record->module)) == 0 &&
           json_object_set_new(line, "message", json_of_text(record->message, MESSAGE_MAX)) == 0;
}

size_t log_json(char *line, size_t size, const struct log_record *record)
{
    const size_t flags = JSON_COMPACT | JSON_REAL_PRECISION(15);
    json_t *object = json_object();
    size_t len = 0;
    if (object && json_add_head(object, record) && json_add_fields(object, record))
        len = json_dumpb(object, line, size, flags);
    if (len > size && json_object_clear(object) == 0 && json_add_head(object, record)) /* which fits */
        len = json_dumpb(object, line, size, flags);
    json_decref(object);
    return len <= size ? len : 0;
}
