#include "check/peer/stun.h"

#include <arpa/inet.h>
#include <string.h>

#include "base/util.h"

#define COOKIE 0x2112a442u

enum attribute {
    MAPPED_ADDRESS = 0x0001,
    CHANGE_REQUEST = 0x0003,
    SOURCE_ADDRESS = 0x0004,  /* of RFC 3489: the later RESPONSE-ORIGIN */
    CHANGED_ADDRESS = 0x0005, /* likewise: OTHER-ADDRESS */
    ERROR_CODE = 0x0009,
    XOR_MAPPED_ADDRESS = 0x0020,
    RESPONSE_ORIGIN = 0x802b,
    OTHER_ADDRESS = 0x802c,
};

#define FAMILY_V4           1
#define FAMILY_V6           2
#define ADDRESS_HEADER      4 /* a zero, the family, the port */
#define CHANGE_ADDRESS_FLAG 4u
#define CHANGE_PORT_FLAG    2u

static uint16_t get16(const uint8_t *in)
{
    return (uint16_t)(in[0] << 8 | in[1]);
}

static uint32_t get32(const uint8_t *in)
{
    return (uint32_t)get16(in) << 16 | get16(in + 2);
}

static void put16(uint8_t *out, uint16_t value)
{
    out[0] = (uint8_t)(value >> 8);
    out[1] = (uint8_t)value;
}

static void put32(uint8_t *out, uint32_t value)
{
    put16(out, (uint16_t)(value >> 16));
    put16(out + 2, (uint16_t)value);
}

static size_t padded(size_t len)
{
    return (len + 3) & ~(size_t)3;
}

/* ---- addresses ---- */

/* XOR with the cookie and, for IPv6, the transaction: `mask` is those 16 bytes, the message's from its fourth on. NATs
 * that replace addresses wherever they see them do not see this one. */
static void mask_bytes(uint8_t *bytes, size_t len, const uint8_t *mask)
{
    for (size_t i = 0; i < len; i++)
        bytes[i] ^= mask[i];
}

/* `mask` is NULL for an address as it is. */
static bool decode_address(const uint8_t *in, size_t len, const uint8_t *mask, union netaddr *out)
{
    if (len < ADDRESS_HEADER)
        return false;
    size_t host_len = in[1] == FAMILY_V4 ? 4 : in[1] == FAMILY_V6 ? 16 : 0;
    if (host_len == 0 || len != ADDRESS_HEADER + host_len)
        return false;
    uint8_t port[2], host[16];
    memcpy(port, in + 2, sizeof(port));
    memcpy(host, in + ADDRESS_HEADER, host_len);
    if (mask) {
        mask_bytes(port, sizeof(port), mask);
        mask_bytes(host, host_len, mask);
    }
    *out = netaddr_from_bytes(host, host_len, get16(port));
    return true;
}

static size_t encode_address(uint8_t *out, const union netaddr *address, const uint8_t *mask)
{
    size_t host_len;
    const uint8_t *host = netaddr_host(address, &host_len);
    out[0] = 0;
    out[1] = host_len == 4 ? FAMILY_V4 : FAMILY_V6;
    put16(out + 2, netaddr_port(address));
    memcpy(out + ADDRESS_HEADER, host, host_len);
    if (mask) {
        mask_bytes(out + 2, 2, mask);
        mask_bytes(out + ADDRESS_HEADER, host_len, mask);
    }
    return ADDRESS_HEADER + host_len;
}

/* ---- decoding ---- */

/* The addresses by both names. The newer one wins wherever it stands; of two alike the first does. */
struct addresses {
    union netaddr xor_mapped, mapped, response_origin, source, other, changed;
};

static union netaddr *place_of(struct addresses *found, uint16_t type)
{
    switch (type) {
    case XOR_MAPPED_ADDRESS:
        return &found->xor_mapped;
    case MAPPED_ADDRESS:
        return &found->mapped;
    case RESPONSE_ORIGIN:
        return &found->response_origin;
    case SOURCE_ADDRESS:
        return &found->source;
    case OTHER_ADDRESS:
        return &found->other;
    case CHANGED_ADDRESS:
        return &found->changed;
    default:
        return NULL;
    }
}

static bool take_address(struct addresses *found, uint16_t type, const uint8_t *in, size_t len, const uint8_t *mask)
{
    union netaddr *place = place_of(found, type), address;
    if (!place)
        return true; /* an attribute of no interest */
    if (!decode_address(in, len, type == XOR_MAPPED_ADDRESS ? mask : NULL, &address))
        return false;
    if (place->sa.sa_family == AF_UNSPEC)
        *place = address;
    return true;
}

static bool take_attribute(struct stun_message *out, struct addresses *found, uint16_t type, const uint8_t *in,
                           size_t len, const uint8_t *mask)
{
    switch (type) {
    case CHANGE_REQUEST:
        if (len != 4)
            return false;
        out->change_address = (get32(in) & CHANGE_ADDRESS_FLAG) != 0;
        out->change_port = (get32(in) & CHANGE_PORT_FLAG) != 0;
        return true;
    case ERROR_CODE:
        if (len < 4 || (in[2] & 7) < 3 || (in[2] & 7) > 6 || in[3] > 99)
            return false;
        out->error_code = (uint16_t)((in[2] & 7) * 100 + in[3]);
        return true;
    default:
        return take_address(found, type, in, len, mask);
    }
}

static union netaddr either(const union netaddr *newer, const union netaddr *older)
{
    return newer->sa.sa_family != AF_UNSPEC ? *newer : *older;
}

size_t stun_length(const uint8_t *header)
{
    bool is_stun = (header[0] & 0xc0) == 0 && header[3] % 4 == 0 && get32(header + 4) == COOKIE;
    return is_stun ? STUN_HEADER + (size_t)get16(header + 2) : 0;
}

int stun_decode(const uint8_t *in, size_t len, struct stun_message *out)
{
    if (len < STUN_HEADER)
        return STUN_E_SHORT;
    size_t whole = stun_length(in);
    if (whole == 0)
        return STUN_E_NONE;
    if (len < whole)
        return STUN_E_SHORT;
    struct addresses found = {0};
    uint16_t type = get16(in);
    *out = (struct stun_message){0};
    out->class = (enum stun_class)((type >> 7 & 2) | (type >> 4 & 1));
    out->method = (uint16_t)((type >> 2 & 0xf80) | (type >> 1 & 0x70) | (type & 0xf));
    memcpy(out->transaction, in + 8, STUN_TRANSACTION);
    for (size_t at = STUN_HEADER; at < whole;) {
        size_t attribute_len = get16(in + at + 2); /* that is there, as is all padding: `whole` is a multiple of 4 */
        if (attribute_len > whole - at - 4 ||
            !take_attribute(out, &found, get16(in + at), in + at + 4, attribute_len, in + 4))
            return STUN_E_ATTRIBUTE;
        at += 4 + padded(attribute_len);
    }
    out->mapped = either(&found.xor_mapped, &found.mapped);
    out->response_origin = either(&found.response_origin, &found.source);
    out->other_address = either(&found.other, &found.changed);
    return (int)whole;
}

/* ---- encoding ---- */

static size_t put_address(uint8_t *out, uint16_t type, const union netaddr *address, const uint8_t *mask)
{
    if (address->sa.sa_family == AF_UNSPEC)
        return 0;
    size_t len = encode_address(out + 4, address, mask);
    put16(out, type);
    put16(out + 2, (uint16_t)len);
    return 4 + len;
}

/* A type and four bytes. */
static size_t put_word(uint8_t *out, uint16_t type, uint32_t value)
{
    put16(out, type);
    put16(out + 2, 4);
    put32(out + 4, value);
    return 8;
}

size_t stun_encode(uint8_t *out, size_t size, const struct stun_message *in)
{
    uint8_t bytes[STUN_MESSAGE_MAX];
    unsigned method = in->method, class = in->class;
    size_t len = STUN_HEADER;
    put16(bytes, (uint16_t)((method & 0xf80) << 2 | (method & 0x70) << 1 | (method & 0xf) | (class & 2) << 7 |
                            (class & 1) << 4));
    put32(bytes + 4, COOKIE);
    memcpy(bytes + 8, in->transaction, STUN_TRANSACTION);
    if (in->change_address || in->change_port)
        len += put_word(bytes + len, CHANGE_REQUEST,
                        (in->change_address ? CHANGE_ADDRESS_FLAG : 0) | (in->change_port ? CHANGE_PORT_FLAG : 0));
    if (in->error_code)
        len += put_word(bytes + len, ERROR_CODE, (uint32_t)(in->error_code / 100) << 8 | in->error_code % 100u);
    len += put_address(bytes + len, XOR_MAPPED_ADDRESS, &in->mapped, bytes + 4);
    len += put_address(bytes + len, RESPONSE_ORIGIN, &in->response_origin, NULL);
    len += put_address(bytes + len, OTHER_ADDRESS, &in->other_address, NULL);
    put16(bytes + 2, (uint16_t)(len - STUN_HEADER));
    if (len > size)
        return 0;
    memcpy(out, bytes, len);
    return len;
}
