#include "check/proxy_url.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/netaddr.h"

static bool url_read_port(const char *text, uint16_t *port)
{
    char *end;
    if (!isdigit((unsigned char)*text))
        return false;
    unsigned long value = strtoul(text, &end, 10);
    if (*end || value == 0 || value > UINT16_MAX)
        return false;
    *port = (uint16_t)value;
    return true;
}

/* Rejects only what would end in another part of the URL than meant: the resolver checks the rest. */
static bool is_host_text(const char *text)
{
    for (; *text; text++)
        if (!isgraph((unsigned char)*text) || strchr("/@[]?#", *text))
            return false;
    return true;
}

const char *host_port_parse(const char *text, char *host, uint16_t *port)
{
    union netaddr address;
    size_t len = strlen(text), host_len = len;
    const char *from = text, *colon = strrchr(text, ':'), *bracket = strchr(text, ']');
    if (*text == '[') {
        if (!bracket || (bracket[1] && bracket[1] != ':'))
            return "write an IPv6 address in brackets: [2001:db8::1]:1080";
        from++;
        host_len = (size_t)(bracket - from);
        colon = bracket[1] ? bracket + 1 : NULL;
    } else if (colon && strchr(text, ':') != colon) {
        colon = NULL; /* a bare IPv6 address */
    } else if (colon) {
        host_len = (size_t)(colon - text);
    }
    if (host_len == 0)
        return "the host is missing";
    if (host_len > 255)
        return "the host name is too long (at most 255 bytes)";
    memcpy(host, from, host_len);
    host[host_len] = '\0';
    if (strchr(host, ':') && !netaddr_parse(&address, host, 0))
        return "this is no IPv6 address";
    if (!is_host_text(host))
        return "the host name contains an invalid character";
    return !colon || url_read_port(colon + 1, port) ? NULL : "a port is a number from 1 to 65535";
}

static int hex_digit(char digit)
{
    return isdigit((unsigned char)digit) ? digit - '0' : tolower((unsigned char)digit) - 'a' + 10;
}

/* Percent-decodes up to 255 bytes. */
static const char *url_decode(const char *from, const char *end, uint8_t *out, uint8_t *out_len)
{
    size_t len = 0;
    for (; from < end; from++) {
        if (len == UINT8_MAX)
            return "the user name or password is too long (at most 255 bytes)";
        uint8_t byte = (uint8_t)*from;
        if (*from == '%') {
            if (end - from < 3 || !isxdigit((unsigned char)from[1]) || !isxdigit((unsigned char)from[2]))
                return "% must be followed by two hexadecimal digits; write % itself as %25";
            byte = (uint8_t)(hex_digit(from[1]) << 4 | hex_digit(from[2]));
            from += 2;
        }
        out[len++] = byte;
    }
    *out_len = (uint8_t)len;
    return NULL;
}

static const char *read_login(const char *text, const char *end, struct proxy_url *url)
{
    const char *colon = memchr(text, ':', (size_t)(end - text));
    const char *wrong = url_decode(text, colon ? colon : end, url->user, &url->user_len);
    if (!wrong && url->user_len == 0)
        wrong = "the user is missing before the @";
    if (!wrong && colon)
        wrong = url_decode(colon + 1, end, url->password, &url->password_len);
    url->has_password = colon != NULL;
    return wrong;
}

const char *proxy_url_parse(const char *text, struct proxy_url *url)
{
    *url = (struct proxy_url){.port = PROXY_URL_PORT};
    const char *scheme_end = strstr(text, "://");
    if (scheme_end) {
        size_t len = (size_t)(scheme_end - text);
        bool known = (len == 6 && strncasecmp(text, "socks5", len) == 0) ||
                     (len == 7 && strncasecmp(text, "socks5h", len) == 0) ||
                     (len == 5 && strncasecmp(text, "socks", len) == 0);
        if (!known)
            return "only SOCKS5 can be tested: write socks5://HOST:PORT";
        text = scheme_end + 3;
    }
    const char *at = strrchr(text, '@');
    if (at) {
        const char *wrong = read_login(text, at, url);
        if (wrong)
            return wrong;
        text = at + 1;
    }
    char place[300];
    size_t len = strlen(text);
    if (len > 0 && text[len - 1] == '/')
        len--;
    if (len >= sizeof(place))
        return "the host name is too long (at most 255 bytes)";
    memcpy(place, text, len);
    place[len] = '\0';
    return host_port_parse(place, url->host, &url->port);
}
