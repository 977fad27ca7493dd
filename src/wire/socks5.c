#include "conesocks/socks5.h"

#include <assert.h>
#include <string.h>

/* The lengths in the header, from RFC 1928 and RFC 1929. */
static_assert(SOCKS5_GREETING_MAX == 2 + 255, "VER NMETHODS METHODS");
static_assert(SOCKS5_PASSWORD_MAX == 1 + 1 + 255 + 1 + 255, "VER ULEN UNAME PLEN PASSWD");
static_assert(SOCKS5_REQUEST_MAX == 4 + 1 + 255 + 2, "VER CMD RSV ATYP, a name, a port");
static_assert(SOCKS5_UDP_HEADER_MAX == SOCKS5_REQUEST_MAX, "RSV FRAG ATYP, a name, a port");
static_assert(SOCKS5_UDP_HEADER_V4 == 4 + 4 + 2 && SOCKS5_UDP_HEADER_V6 == 4 + 16 + 2, "RSV FRAG ATYP, address, port");

/*
 * ATYP, address, port: the tail of requests, replies and UDP headers (RFC 1928 section 5). `in` starts at ATYP.
 * One comparison, of `len` with the whole length, guards every byte that is read or pointed to after it.
 */
static int addr_decode(const uint8_t *in, size_t len, struct socks5_addr *out)
{
    size_t host_at = 1, host_len;
    if (len < 1)
        return 0;
    switch (in[0]) {
    case SOCKS5_ATYP_IPV4:
        host_len = 4;
        break;
    case SOCKS5_ATYP_IPV6:
        host_len = 16;
        break;
    case SOCKS5_ATYP_NAME:
        if (len < 2)
            return 0;
        if (in[1] == 0)
            return SOCKS5_E_EMPTY;
        host_len = in[1];
        host_at = 2;
        break;
    default:
        return SOCKS5_E_ATYP;
    }
    size_t port_at = host_at + host_len;
    if (len < port_at + 2)
        return 0;
    out->atyp = in[0];
    out->host_len = (uint8_t)host_len;
    out->port = (uint16_t)(in[port_at] << 8 | in[port_at + 1]);
    out->host = in + host_at;
    return (int)port_at + 2;
}

static size_t addr_encode(uint8_t *out, size_t size, const struct socks5_addr *in)
{
    size_t host_at = 1, host_len = in->host_len;
    switch (in->atyp) {
    case SOCKS5_ATYP_IPV4:
        if (host_len != 4)
            return 0;
        break;
    case SOCKS5_ATYP_IPV6:
        if (host_len != 16)
            return 0;
        break;
    case SOCKS5_ATYP_NAME:
        if (host_len == 0)
            return 0;
        host_at = 2;
        break;
    default:
        return 0;
    }
    size_t port_at = host_at + host_len;
    if (size < port_at + 2)
        return 0;
    out[0] = in->atyp;
    if (in->atyp == SOCKS5_ATYP_NAME)
        out[1] = in->host_len;
    memcpy(out + host_at, in->host, host_len);
    out[port_at] = (uint8_t)(in->port >> 8);
    out[port_at + 1] = (uint8_t)in->port;
    return port_at + 2;
}

/* Requests and replies have one form: VER, a byte of meaning, RSV, an address. RSV is not checked: nothing was ever
 * defined there, and refusing a client for it would help nobody. */
static int message_decode(const uint8_t *in, size_t len, uint8_t *meaning, struct socks5_addr *addr)
{
    if (len < 1)
        return 0;
    if (in[0] != SOCKS5_VERSION)
        return SOCKS5_E_VERSION;
    if (len < 4)
        return 0;
    *meaning = in[1];
    int n = addr_decode(in + 3, len - 3, addr);
    return n > 0 ? 3 + n : n;
}

static size_t message_encode(uint8_t *out, size_t size, uint8_t meaning, const struct socks5_addr *addr)
{
    if (size < 3)
        return 0;
    size_t n = addr_encode(out + 3, size - 3, addr);
    if (n == 0)
        return 0;
    out[0] = SOCKS5_VERSION;
    out[1] = meaning;
    out[2] = 0;
    return 3 + n;
}

/* The choice of a method and the status of a login: a version and one byte. */
static int pair_decode(const uint8_t *in, size_t len, uint8_t version, uint8_t *value)
{
    if (len < 1)
        return 0;
    if (in[0] != version)
        return SOCKS5_E_VERSION;
    if (len < 2)
        return 0;
    *value = in[1];
    return 2;
}

static size_t pair_encode(uint8_t *out, size_t size, uint8_t version, uint8_t value)
{
    if (size < 2)
        return 0;
    out[0] = version;
    out[1] = value;
    return 2;
}

int socks5_greeting_decode(const uint8_t *in, size_t len, struct socks5_greeting *out)
{
    if (len < 1)
        return 0;
    if (in[0] != SOCKS5_VERSION)
        return SOCKS5_E_VERSION;
    if (len < 2)
        return 0;
    if (in[1] == 0)
        return SOCKS5_E_EMPTY;
    if (len < 2 + (size_t)in[1])
        return 0;
    out->method_count = in[1];
    out->methods = in + 2;
    return 2 + in[1];
}

size_t socks5_greeting_encode(uint8_t *out, size_t size, const struct socks5_greeting *in)
{
    size_t need = 2 + (size_t)in->method_count;
    if (in->method_count == 0 || size < need)
        return 0;
    out[0] = SOCKS5_VERSION;
    out[1] = in->method_count;
    memcpy(out + 2, in->methods, in->method_count);
    return need;
}

int socks5_choice_decode(const uint8_t *in, size_t len, uint8_t *method)
{
    return pair_decode(in, len, SOCKS5_VERSION, method);
}

size_t socks5_choice_encode(uint8_t *out, size_t size, uint8_t method)
{
    return pair_encode(out, size, SOCKS5_VERSION, method);
}

int socks5_password_decode(const uint8_t *in, size_t len, struct socks5_password *out)
{
    if (len < 1)
        return 0;
    if (in[0] != SOCKS5_PASSWORD_VERSION)
        return SOCKS5_E_VERSION;
    if (len < 2)
        return 0;
    if (in[1] == 0)
        return SOCKS5_E_EMPTY;
    size_t password_at = 3 + (size_t)in[1];
    if (len < password_at)
        return 0;
    size_t password_len = in[password_at - 1];
    if (len < password_at + password_len)
        return 0;
    out->user = in + 2;
    out->user_len = in[1];
    out->password = in + password_at;
    out->password_len = (uint8_t)password_len;
    return (int)(password_at + password_len);
}

size_t socks5_password_encode(uint8_t *out, size_t size, const struct socks5_password *in)
{
    size_t password_at = 3 + (size_t)in->user_len;
    size_t need = password_at + in->password_len;
    if (in->user_len == 0 || size < need)
        return 0;
    out[0] = SOCKS5_PASSWORD_VERSION;
    out[1] = in->user_len;
    memcpy(out + 2, in->user, in->user_len);
    out[password_at - 1] = in->password_len;
    if (in->password_len > 0) /* an empty password may be NULL */
        memcpy(out + password_at, in->password, in->password_len);
    return need;
}

int socks5_password_status_decode(const uint8_t *in, size_t len, uint8_t *status)
{
    return pair_decode(in, len, SOCKS5_PASSWORD_VERSION, status);
}

size_t socks5_password_status_encode(uint8_t *out, size_t size, uint8_t status)
{
    return pair_encode(out, size, SOCKS5_PASSWORD_VERSION, status);
}

int socks5_request_decode(const uint8_t *in, size_t len, struct socks5_request *out)
{
    return message_decode(in, len, &out->command, &out->destination);
}

size_t socks5_request_encode(uint8_t *out, size_t size, const struct socks5_request *in)
{
    return message_encode(out, size, in->command, &in->destination);
}

int socks5_reply_decode(const uint8_t *in, size_t len, struct socks5_reply_message *out)
{
    return message_decode(in, len, &out->code, &out->bound);
}

size_t socks5_reply_encode(uint8_t *out, size_t size, const struct socks5_reply_message *in)
{
    return message_encode(out, size, in->code, &in->bound);
}

int socks5_udp_header_decode(const uint8_t *in, size_t len, struct socks5_udp_header *out)
{
    if (len < 4)
        return SOCKS5_E_SHORT;
    if (in[0] != 0 || in[1] != 0)
        return SOCKS5_E_RESERVED;
    out->fragment = in[2];
    int n = addr_decode(in + 3, len - 3, &out->destination);
    if (n <= 0)
        return n == 0 ? SOCKS5_E_SHORT : n;
    return 3 + n;
}

size_t socks5_udp_header_encode(uint8_t *out, size_t size, const struct socks5_udp_header *in)
{
    if (size < 3)
        return 0;
    size_t n = addr_encode(out + 3, size - 3, &in->destination);
    if (n == 0)
        return 0;
    out[0] = 0;
    out[1] = 0;
    out[2] = in->fragment;
    return 3 + n;
}

/* ---- UDP in TCP ---- */

#define FRAME_LENGTHS 3 /* MSGLEN and HDRLEN */

size_t socks5_frame_length(const uint8_t *in, size_t len)
{
    return len < FRAME_LENGTHS ? 0 : (size_t)(in[0] << 8 | in[1]) + in[2];
}

int socks5_frame_decode(const uint8_t *in, size_t len, struct socks5_frame *out)
{
    if (len < FRAME_LENGTHS)
        return 0;
    size_t header_len = in[2], frame_len = socks5_frame_length(in, len);
    if (header_len < FRAME_LENGTHS)
        return SOCKS5_E_LENGTH;
    size_t at_hand = len < header_len ? len : header_len;
    int n = addr_decode(in + FRAME_LENGTHS, at_hand - FRAME_LENGTHS, &out->destination);
    if (n < 0)
        return n;
    if (n == 0 && at_hand < header_len)
        return 0;
    if (n == 0 || FRAME_LENGTHS + (size_t)n != header_len)
        return SOCKS5_E_LENGTH;
    if (len < frame_len)
        return 0;
    out->payload = in + header_len;
    out->payload_len = (uint16_t)(frame_len - header_len);
    return (int)frame_len;
}

size_t socks5_frame_header_encode(uint8_t *out, size_t size, const struct socks5_frame *in)
{
    if (size < FRAME_LENGTHS)
        return 0;
    size_t n = addr_encode(out + FRAME_LENGTHS, size - FRAME_LENGTHS, &in->destination);
    size_t header_len = FRAME_LENGTHS + n;
    if (n == 0 || header_len > UINT8_MAX)
        return 0;
    out[0] = (uint8_t)(in->payload_len >> 8);
    out[1] = (uint8_t)in->payload_len;
    out[2] = (uint8_t)header_len;
    return header_len;
}
