#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/log_impl.h"
#include "base/netaddr.h"

/* ---- escaping ---- */

/* Marks that turn the direction of what follows, and line ends: a line with one shows other than what it says. */
static bool is_layout(const unsigned char *in, size_t len)
{
    if (len == 2)
        return in[0] == 0xd8 && in[1] == 0x9c; /* U+061C */
    if (len != 3 || in[0] != 0xe2)
        return false;
    return (in[1] == 0x80 && (in[2] == 0x8e || in[2] == 0x8f || (in[2] >= 0xa8 && in[2] <= 0xae))) || /* U+200E, 2028 */
           (in[1] == 0x81 && in[2] >= 0xa6 && in[2] <= 0xa9);                                         /* U+2066 */
}

/* Length of the well-formed UTF-8 sequence at `in` (RFC 3629) that shows as itself, or 0. */
static size_t utf8_sequence(const unsigned char *in, size_t len)
{
    size_t need = in[0] >= 0xf0 ? 4 : in[0] >= 0xe0 ? 3 : 2;
    if (in[0] < 0xc2 || in[0] > 0xf4 || len < need)
        return 0;
    for (size_t i = 1; i < need; i++)
        if ((in[i] & 0xc0) != 0x80)
            return 0;
    bool overlong = (in[0] == 0xe0 && in[1] < 0xa0) || (in[0] == 0xf0 && in[1] < 0x90);
    bool surrogate = in[0] == 0xed && in[1] > 0x9f;
    bool beyond = in[0] == 0xf4 && in[1] > 0x8f;
    bool c1_control = in[0] == 0xc2 && in[1] < 0xa0;
    return overlong || surrogate || beyond || c1_control || is_layout(in, need) ? 0 : need;
}

size_t log_escape(char *out, size_t out_size, const char *in, size_t in_len)
{
    const unsigned char *bytes = (const unsigned char *)in;
    size_t used = 0;
    for (size_t i = 0; i < in_len;) {
        bool plain = bytes[i] >= 0x20 && bytes[i] < 0x7f && bytes[i] != '\\';
        size_t take = plain ? 1 : bytes[i] >= 0x80 ? utf8_sequence(bytes + i, in_len - i) : 0;
        size_t room = take ? take : 4;
        if (used + room >= out_size)
            break;
        if (take)
            memcpy(out + used, bytes + i, take);
        else
            snprintf(out + used, out_size - used, "\\x%02x", bytes[i]);
        used += room;
        i += take ? take : 1;
    }
    out[used] = '\0';
    return used;
}

/* ---- fields ---- */

/* Not escaped yet. */
struct text {
    char bytes[1024];
    size_t len;
};

__attribute__((format(printf, 2, 3))) static void text_say(struct text *text, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int n = vsnprintf(text->bytes + text->len, sizeof(text->bytes) - text->len, format, args);
    va_end(args);
    if (n > 0)
        text->len += (size_t)n;
    if (text->len >= sizeof(text->bytes))
        text->len = sizeof(text->bytes) - 1;
}

static void text_say_quoted(struct text *text, const char *value)
{
    text_say(text, "\"");
    for (; *value; value++)
        text_say(text, "%c", *value == '"' ? '\'' : *value);
    text_say(text, "\"");
}

static void text_say_value(struct text *text, const struct log_field *field)
{
    static const union netaddr none;
    char address[NETADDR_TEXT_MAX];
    switch (field->type) {
    case LOG_TEXT:
    case LOG_SENTENCE:
        if (field->text && (field->type == LOG_SENTENCE || strpbrk(field->text, " \"=")))
            text_say_quoted(text, field->text);
        else
            text_say(text, "%s", field->text ? field->text : "-");
        break;
    case LOG_NUMBER:
        text_say(text, "%" PRIu64, field->number);
        break;
    case LOG_SECONDS:
        text_say(text, "%" PRIu64 ".%03" PRIu64, field->number / 1000, field->number % 1000);
        break;
    case LOG_ADDRESS:
        text_say(text, "%s", netaddr_format(field->address ? field->address : &none, address));
        break;
    }
}

static void text_say_fields(struct text *text, const struct log_record *record)
{
    for (size_t i = 0; i < record->field_count; i++) {
        const struct log_field *field = &record->fields[i];
        text_say(text, "%s%s%s%s=", i > 0 ? " " : "", field->group ? field->group : "", field->group ? "_" : "",
                 field->key);
        text_say_value(text, field);
    }
}

size_t log_text(char *line, size_t size, const struct log_record *record)
{
    struct text text = {.len = 0};
    if (record->field_count > 0)
        text_say_fields(&text, record);
    else
        text_say(&text, "%s", record->message);
    if (record->suppressed)
        text_say(&text, " (%" PRIu32 " similar line%s suppressed)", record->suppressed,
                 record->suppressed == 1 ? "" : "s");
    size_t used = (size_t)snprintf(line, size, "%s: ", record->module);
    return used + log_escape(line + used, size - used, text.bytes, text.len);
}
