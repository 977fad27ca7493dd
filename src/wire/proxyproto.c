#include "wire/proxyproto.h"

#include <arpa/inet.h>
#include <string.h>

/* ---- version 1: a line of text ---- */

#define V1_MAX 107 /* with its end, by the specification */

/* The text up to the next space, or to the end; `rest` moves past it. false: there is none, or it does not fit. */
static bool v1_next_word(const char **rest, char *word, size_t size)
{
    size_t len = strcspn(*rest, " ");
    if (len == 0 || len >= size)
        return false;
    memcpy(word, *rest, len);
    word[len] = '\0';
    *rest += len;
    if (**rest == ' ')
        ++*rest;
    return true;
}

/* "0" or a number without leading zeros, to 65535. */
static bool v1_read_port(const char *word, uint16_t *port)
{
    uint32_t value = 0;
    if (word[0] == '0' && word[1] != '\0')
        return false;
    for (; *word; word++) {
        if (*word < '0' || *word > '9')
            return false;
        value = value * 10 + (uint32_t)(*word - '0');
        if (value > UINT16_MAX)
            return false;
    }
    *port = (uint16_t)value;
    return true;
}

static bool v1_read_addresses(const char *rest, int family, struct proxyproto *out)
{
    char source[INET6_ADDRSTRLEN], destination[INET6_ADDRSTRLEN], source_port[6], destination_port[6];
    uint8_t host_len = family == AF_INET ? 4 : 16;
    out->source.host_len = out->destination.host_len = host_len;
    return v1_next_word(&rest, source, sizeof(source)) && v1_next_word(&rest, destination, sizeof(destination)) &&
           v1_next_word(&rest, source_port, sizeof(source_port)) &&
           v1_next_word(&rest, destination_port, sizeof(destination_port)) && *rest == '\0' && rest[-1] != ' ' &&
           inet_pton(family, source, out->source.host) == 1 &&
           inet_pton(family, destination, out->destination.host) == 1 && v1_read_port(source_port, &out->source.port) &&
           v1_read_port(destination_port, &out->destination.port);
}

static bool v2_skip(const char **text, const char *prefix)
{
    size_t len = strlen(prefix);
    if (strncmp(*text, prefix, len) != 0)
        return false;
    *text += len;
    return true;
}

static int proxyproto_decode_v1(const uint8_t *in, size_t len, struct proxyproto *out)
{
    size_t searched = len < V1_MAX ? len : V1_MAX;
    const uint8_t *end = memchr(in, '\n', searched);
    if (!end)
        return searched < V1_MAX ? 0 : PROXYPROTO_E_LONG;
    size_t line_len = (size_t)(end - in);
    char line[V1_MAX];
    if (line_len == 0 || in[line_len - 1] != '\r' || memchr(in, '\0', line_len))
        return PROXYPROTO_E_MALFORMED;
    memcpy(line, in, line_len - 1);
    line[line_len - 1] = '\0';

    const char *rest = line;
    bool known = false, right = v2_skip(&rest, "PROXY ");
    if (right && v2_skip(&rest, "UNKNOWN"))
        right = *rest == '\0' || *rest == ' '; /* what follows is to be ignored */
    else if (right)
        right = known = (v2_skip(&rest, "TCP4 ") && v1_read_addresses(rest, AF_INET, out)) ||
                        (v2_skip(&rest, "TCP6 ") && v1_read_addresses(rest, AF_INET6, out));
    out->announced = known;
    return right ? (int)line_len + 1 : PROXYPROTO_E_MALFORMED;
}

/* ---- version 2: binary ---- */

#define V2_FIXED 16 /* signature, version and command, family, length */

static const uint8_t v2_signature[12] = {'\r', '\n', '\r', '\n', 0, '\r', '\n', 'Q', 'U', 'I', 'T', '\n'};

enum { V2_LOCAL = 0x20, V2_PROXY = 0x21 };                      /* the version is the upper half */
enum { V2_UNSPEC = 0, V2_INET = 1, V2_INET6 = 2, V2_UNIX = 3 }; /* the upper half; the lower is stream or datagram */
enum { V2_TRANSPORT_MAX = 2 };

static uint16_t v2_read_u16(const uint8_t *in)
{
    return (uint16_t)(in[0] << 8 | in[1]);
}

/* `in` are both hosts, then both ports. */
static void v2_take_addresses(const uint8_t *in, uint8_t host_len, struct proxyproto *out)
{
    out->announced = true;
    out->source.host_len = out->destination.host_len = host_len;
    memcpy(out->source.host, in, host_len);
    memcpy(out->destination.host, in + host_len, host_len);
    out->source.port = v2_read_u16(in + 2 * host_len);
    out->destination.port = v2_read_u16(in + 2 * host_len + 2);
}

static int proxyproto_decode_v2(const uint8_t *in, size_t len, struct proxyproto *out)
{
    if (len < V2_FIXED)
        return 0;
    uint8_t command = in[12], family = in[13] >> 4, transport = in[13] & 0x0f;
    size_t rest = v2_read_u16(in + 14), total = V2_FIXED + rest;
    if ((command != V2_LOCAL && command != V2_PROXY) || family > V2_UNIX || transport > V2_TRANSPORT_MAX)
        return PROXYPROTO_E_MALFORMED;
    if (total > PROXYPROTO_MAX)
        return PROXYPROTO_E_LONG;
    uint8_t host_len = family == V2_INET ? 4 : family == V2_INET6 ? 16 : 0;
    if (command == V2_PROXY && host_len && rest < 2u * host_len + 4)
        return PROXYPROTO_E_MALFORMED;
    if (len < total)
        return 0;
    if (command == V2_PROXY && host_len)
        v2_take_addresses(in + V2_FIXED, host_len, out);
    return (int)total;
}

static bool proxyproto_begins(const uint8_t *in, size_t len, const void *signature, size_t signature_len)
{
    return memcmp(in, signature, len < signature_len ? len : signature_len) == 0;
}

int proxyproto_decode(const uint8_t *in, size_t len, struct proxyproto *out)
{
    *out = (struct proxyproto){0};
    if (len == 0)
        return 0;
    if (proxyproto_begins(in, len, v2_signature, sizeof(v2_signature)))
        return proxyproto_decode_v2(in, len, out);
    if (proxyproto_begins(in, len, "PROXY ", 6))
        return proxyproto_decode_v1(in, len, out);
    return PROXYPROTO_E_SIGNATURE;
}
