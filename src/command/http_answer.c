#include "command/http_answer.h"

#include <string.h>
#include <strings.h>

#define UNKNOWN_LENGTH ((size_t)-1) /* the body ends with the connection */

static bool answer_is_digit(char byte)
{
    return byte >= '0' && byte <= '9';
}

/* "HTTP/1.1 200 OK"; 0: not a status line. */
static int answer_read_status(const char *line, size_t len)
{
    static const char version[] = "HTTP/1.";
    size_t at = sizeof(version) - 1;
    if (len < at + 5 || memcmp(line, version, at) != 0 || (line[at] != '0' && line[at] != '1') || line[at + 1] != ' ')
        return 0;
    const char *code = line + at + 2;
    if (!answer_is_digit(code[0]) || code[0] == '0' || !answer_is_digit(code[1]) || !answer_is_digit(code[2]) ||
        (len > at + 5 && code[3] != ' '))
        return 0;
    return (code[0] - '0') * 100 + (code[1] - '0') * 10 + (code[2] - '0');
}

/* A length above HTTP_BODY_MAX becomes HTTP_BODY_MAX + 1. */
static bool answer_read_length(const char *text, size_t len, size_t *length)
{
    *length = 0;
    for (size_t i = 0; i < len; i++) {
        if (!answer_is_digit(text[i]))
            return false;
        if (*length <= HTTP_BODY_MAX)
            *length = *length * 10 + (size_t)(text[i] - '0');
    }
    if (*length > HTTP_BODY_MAX)
        *length = HTTP_BODY_MAX + 1;
    return len > 0;
}

/* The value of the header line, without spaces around it; NULL: the line has another name. */
static const char *answer_header_value(const char *line, size_t len, const char *name, size_t *value_len)
{
    size_t name_len = strlen(name);
    if (len <= name_len || line[name_len] != ':' || strncasecmp(line, name, name_len) != 0)
        return NULL;
    const char *value = line + name_len + 1, *end = line + len;
    while (value < end && (*value == ' ' || *value == '\t'))
        value++;
    while (end > value && (end[-1] == ' ' || end[-1] == '\t'))
        end--;
    *value_len = (size_t)(end - value);
    return value;
}

/* Reads the lines after the first. false: they do not tell where the body ends. */
static bool answer_read_headers(const char *lines, const char *end, size_t *length)
{
    *length = UNKNOWN_LENGTH;
    while (lines < end) {
        const char *next = memmem(lines, (size_t)(end - lines), "\r\n", 2);
        size_t len = (size_t)((next ? next : end) - lines), value_len;
        const char *value = answer_header_value(lines, len, "Content-Length", &value_len);
        size_t said;
        if (value && (!answer_read_length(value, value_len, &said) || (*length != UNKNOWN_LENGTH && *length != said)))
            return false;
        if (value)
            *length = said;
        if (answer_header_value(lines, len, "Transfer-Encoding", &value_len)) /* not in HTTP/1.0 */
            return false;
        lines += len + 2;
    }
    return true;
}

static enum http_progress answer_read_body(struct http_answer *answer, size_t have, size_t length, bool ended)
{
    if (length == UNKNOWN_LENGTH ? have > HTTP_BODY_MAX : length > HTTP_BODY_MAX)
        return HTTP_TOO_LARGE;
    answer->body_len = length == UNKNOWN_LENGTH || have < length ? have : length;
    if (length == UNKNOWN_LENGTH)
        return ended ? HTTP_COMPLETE : HTTP_MORE;
    return have >= length ? HTTP_COMPLETE : ended ? HTTP_CUT_SHORT : HTTP_MORE;
}

enum http_progress http_answer_read(const char *bytes, size_t len, bool ended, struct http_answer *answer)
{
    static const char start[] = "HTTP/1.";
    size_t compare = len < sizeof(start) - 1 ? len : sizeof(start) - 1;
    if (!bytes || len == 0)
        return ended ? HTTP_CUT_SHORT : HTTP_MORE;
    if (memcmp(bytes, start, compare) != 0)
        return HTTP_WRONG;
    const char *blank = memmem(bytes, len < HTTP_HEAD_MAX ? len : HTTP_HEAD_MAX, "\r\n\r\n", 4);
    if (!blank)
        return len >= HTTP_HEAD_MAX ? HTTP_WRONG : ended ? HTTP_CUT_SHORT : HTTP_MORE;
    const char *line_end = memmem(bytes, (size_t)(blank + 2 - bytes), "\r\n", 2);
    size_t length;
    *answer = (struct http_answer){.status = answer_read_status(bytes, (size_t)(line_end - bytes)), .body = blank + 4};
    if (answer->status == 0 || !answer_read_headers(line_end + 2, blank + 2, &length))
        return HTTP_WRONG;
    return answer_read_body(answer, (size_t)(bytes + len - answer->body), length, ended);
}
