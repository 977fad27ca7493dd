#include "admin/http_request.h"

#include <string.h>
#include <strings.h>

#include "base/netaddr.h"

/* A part of a text, without a NUL. */
struct span {
    const char *text;
    size_t len;
};

static bool span_is(struct span span, const char *word)
{
    return span.len == strlen(word) && memcmp(span.text, word, span.len) == 0;
}

static bool span_is_any_case(struct span span, const char *word)
{
    return span.len == strlen(word) && strncasecmp(span.text, word, span.len) == 0;
}

/* Cuts off the part before `mark` and drops `mark`; without a mark, cuts off everything. */
static struct span span_cut(struct span *rest, char mark)
{
    const char *end = memchr(rest->text, mark, rest->len);
    struct span first = {rest->text, end ? (size_t)(end - rest->text) : rest->len};
    size_t used = first.len + (end ? 1 : 0);
    rest->text += used;
    rest->len -= used;
    return first;
}

/* A line ends with CRLF, or with LF if a person types it. */
static struct span span_cut_line(struct span *rest)
{
    struct span line = span_cut(rest, '\n');
    if (line.len > 0 && line.text[line.len - 1] == '\r')
        line.len--;
    return line;
}

static struct span span_trim(struct span span)
{
    while (span.len > 0 && (span.text[0] == ' ' || span.text[0] == '\t')) {
        span.text++;
        span.len--;
    }
    while (span.len > 0 && (span.text[span.len - 1] == ' ' || span.text[span.len - 1] == '\t'))
        span.len--;
    return span;
}

/* Copies printable ASCII without spaces, which is all that a target or a host may contain. */
static bool span_copy(struct span span, char out[HTTP_REQUEST_TEXT_MAX])
{
    if (span.len >= HTTP_REQUEST_TEXT_MAX)
        return false;
    for (size_t i = 0; i < span.len; i++)
        if (span.text[i] <= ' ' || span.text[i] >= 0x7f)
            return false;
    memcpy(out, span.text, span.len);
    out[span.len] = '\0';
    return true;
}

/* Cuts "http://authority" off an absolute-form target (RFC 9112, section 3.2.2). Leaves the authority empty if the
 * target has none. A user name before the host would hide which host is meant. */
static bool target_cut_authority(struct span *target, struct span *authority)
{
    static const char scheme[] = "http://";
    const size_t scheme_len = sizeof(scheme) - 1;
    *authority = (struct span){0};
    if (target->len < scheme_len || strncasecmp(target->text, scheme, scheme_len) != 0)
        return true;
    target->text += scheme_len;
    target->len -= scheme_len;
    authority->text = target->text;
    while (authority->len < target->len && !strchr("/?", authority->text[authority->len]))
        authority->len++;
    target->text += authority->len;
    target->len -= authority->len;
    return authority->len > 0 && !memchr(authority->text, '@', authority->len);
}

static int request_parse_line(struct span line, struct http_request *request, struct span *authority)
{
    struct span method = span_cut(&line, ' '), target = span_cut(&line, ' ');
    if (!span_is(line, "HTTP/1.1") && !span_is(line, "HTTP/1.0"))
        return line.len > 5 && memcmp(line.text, "HTTP/", 5) == 0 ? 505 : 400;
    request->head_only = span_is(method, "HEAD");
    if (!request->head_only && !span_is(method, "GET"))
        return 405;
    if (!target_cut_authority(&target, authority))
        return 400;
    struct span path = span_cut(&target, '?');
    if (path.len == 0 && authority->len > 0)
        path = (struct span){"/", 1};
    if (path.len == 0 || path.text[0] != '/')
        return 400;
    return span_copy(path, request->path) && span_copy(target, request->query) ? 200 : 414;
}

/* A second Host header is an error: the two could disagree. */
static int request_parse_header(struct span line, struct http_request *request)
{
    struct span name = span_cut(&line, ':');
    if (name.len == 0 || span_trim(name).len != name.len)
        return 400;
    if (!span_is_any_case(name, "Host"))
        return 200;
    return request->host[0] == '\0' && span_copy(span_trim(line), request->host) ? 200 : 400;
}

/* The length up to and with the empty line; 0: not there yet. */
static size_t request_head_len(const char *text, size_t len)
{
    for (size_t i = 1; i < len; i++)
        if (text[i] == '\n' && (text[i - 1] == '\n' || (i > 1 && text[i - 1] == '\r' && text[i - 2] == '\n')))
            return i + 1;
    return 0;
}

int http_request_parse(const char *text, size_t len, struct http_request *request)
{
    struct span rest = {text, request_head_len(text, len)};
    if (rest.len == 0 || rest.len > HTTP_REQUEST_HEAD_MAX)
        return len >= HTTP_REQUEST_HEAD_MAX ? 431 : 0;
    *request = (struct http_request){0};
    struct span authority = {0};
    int status = request_parse_line(span_cut_line(&rest), request, &authority);
    for (struct span line = span_cut_line(&rest); line.len > 0 && status == 200; line = span_cut_line(&rest))
        status = request_parse_header(line, request);
    if (status == 200 && authority.len > 0 && !span_copy(authority, request->host))
        return 414;
    return status;
}

bool http_request_names_address(const struct http_request *request)
{
    char host[HTTP_REQUEST_TEXT_MAX];
    union netaddr address;
    strcpy(host, request->host);
    if (host[0] == '[') {
        char *end = strchr(host, ']');
        if (!end || (end[1] != '\0' && end[1] != ':'))
            return false;
        *end = '\0';
        return netaddr_parse(&address, host + 1, 0) && address.sa.sa_family == AF_INET6;
    }
    host[strcspn(host, ":")] = '\0';
    return strcasecmp(host, "localhost") == 0 || netaddr_parse(&address, host, 0);
}

static bool span_parse_number(struct span digits, uint64_t *number)
{
    *number = 0;
    for (size_t i = 0; i < digits.len; i++)
        if (digits.text[i] < '0' || digits.text[i] > '9' || __builtin_mul_overflow(*number, 10U, number) ||
            __builtin_add_overflow(*number, (uint64_t)(digits.text[i] - '0'), number))
            return false;
    return digits.len > 0;
}

bool http_request_number(const struct http_request *request, const char *key, uint64_t min, uint64_t max,
                         uint64_t *number)
{
    struct span rest = {request->query, strlen(request->query)};
    while (rest.len > 0) {
        struct span value = span_cut(&rest, '&');
        struct span name = span_cut(&value, '=');
        uint64_t given;
        if (!span_is(name, key))
            continue;
        if (!span_parse_number(value, &given) || given < min || given > max)
            return false;
        *number = given;
    }
    return true;
}
