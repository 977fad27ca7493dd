#include "admin/request.h"

#include <string.h>
#include <strings.h>

#include "base/netaddr.h"

/* Part of a text, not ended by NUL. */
struct span {
    const char *text;
    size_t len;
};

static bool is(struct span span, const char *word)
{
    return span.len == strlen(word) && memcmp(span.text, word, span.len) == 0;
}

static bool is_any_case(struct span span, const char *word)
{
    return span.len == strlen(word) && strncasecmp(span.text, word, span.len) == 0;
}

/* Cuts off what comes before `mark`, which goes; all, where there is none. */
static struct span cut(struct span *rest, char mark)
{
    const char *end = memchr(rest->text, mark, rest->len);
    struct span first = {rest->text, end ? (size_t)(end - rest->text) : rest->len};
    size_t used = first.len + (end ? 1 : 0);
    rest->text += used;
    rest->len -= used;
    return first;
}

/* A line's end is CRLF or, from who writes by hand, LF. */
static struct span cut_line(struct span *rest)
{
    struct span line = cut(rest, '\n');
    if (line.len > 0 && line.text[line.len - 1] == '\r')
        line.len--;
    return line;
}

static struct span trim(struct span span)
{
    while (span.len > 0 && (span.text[0] == ' ' || span.text[0] == '\t')) {
        span.text++;
        span.len--;
    }
    while (span.len > 0 && (span.text[span.len - 1] == ' ' || span.text[span.len - 1] == '\t'))
        span.len--;
    return span;
}

/* Printable ASCII without spaces, which is all that a target and a host consist of. */
static bool copy(struct span span, char out[REQUEST_TEXT_MAX])
{
    if (span.len >= REQUEST_TEXT_MAX)
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
static bool cut_authority(struct span *target, struct span *authority)
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

static int parse_request_line(struct span line, struct request *request, struct span *authority)
{
    struct span method = cut(&line, ' '), target = cut(&line, ' ');
    if (!is(line, "HTTP/1.1") && !is(line, "HTTP/1.0"))
        return line.len > 5 && memcmp(line.text, "HTTP/", 5) == 0 ? 505 : 400;
    request->head_only = is(method, "HEAD");
    if (!request->head_only && !is(method, "GET"))
        return 405;
    if (!cut_authority(&target, authority))
        return 400;
    struct span path = cut(&target, '?');
    if (path.len == 0 && authority->len > 0)
        path = (struct span){"/", 1};
    if (path.len == 0 || path.text[0] != '/')
        return 400;
    return copy(path, request->path) && copy(target, request->query) ? 200 : 414;
}

/* Two hosts are two opinions on whom this is for. */
static int parse_header(struct span line, struct request *request)
{
    struct span name = cut(&line, ':');
    if (name.len == 0 || trim(name).len != name.len)
        return 400;
    if (!is_any_case(name, "Host"))
        return 200;
    return request->host[0] == '\0' && copy(trim(line), request->host) ? 200 : 400;
}

/* Where the empty line ends; 0: there is none yet. */
static size_t head_len(const char *text, size_t len)
{
    for (size_t i = 1; i < len; i++)
        if (text[i] == '\n' && (text[i - 1] == '\n' || (i > 1 && text[i - 1] == '\r' && text[i - 2] == '\n')))
            return i + 1;
    return 0;
}

int request_parse(const char *text, size_t len, struct request *request)
{
    struct span rest = {text, head_len(text, len)};
    if (rest.len == 0 || rest.len > REQUEST_HEAD_MAX)
        return len >= REQUEST_HEAD_MAX ? 431 : 0;
    *request = (struct request){0};
    struct span authority = {0};
    int status = parse_request_line(cut_line(&rest), request, &authority);
    for (struct span line = cut_line(&rest); line.len > 0 && status == 200; line = cut_line(&rest))
        status = parse_header(line, request);
    if (status == 200 && authority.len > 0 && !copy(authority, request->host))
        return 414;
    return status;
}

bool request_names_address(const struct request *request)
{
    char host[REQUEST_TEXT_MAX];
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

static bool parse_number(struct span digits, uint64_t *number)
{
    *number = 0;
    for (size_t i = 0; i < digits.len; i++)
        if (digits.text[i] < '0' || digits.text[i] > '9' || __builtin_mul_overflow(*number, 10U, number) ||
            __builtin_add_overflow(*number, (uint64_t)(digits.text[i] - '0'), number))
            return false;
    return digits.len > 0;
}

bool request_number(const struct request *request, const char *key, uint64_t min, uint64_t max, uint64_t *number)
{
    struct span rest = {request->query, strlen(request->query)};
    while (rest.len > 0) {
        struct span value = cut(&rest, '&');
        struct span name = cut(&value, '=');
        uint64_t given;
        if (!is(name, key))
            continue;
        if (!parse_number(value, &given) || given < min || given > max)
            return false;
        *number = given;
    }
    return true;
}
