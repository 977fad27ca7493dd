#include "check/peer/stun.h"

#include <assert.h>
#include <string.h>

#include "base/util.h"

#define COOKIE 0x2112a442u

enum stun_attribute {
    MAPPED_ADDRESS = 0x0001,
    CHANGE_REQUEST = 0x0003,
    SOURCE_ADDRESS = 0x0004,  /* of RFC 3489: the later RESPONSE-ORIGIN */
    CHANGED_ADDRESS = 0x0005, /* likewise: OTHER-ADDRESS */
    ERROR_CODE = 0x0009,
    XOR_MAPPED_ADDRESS = 0x0020,
    RESPONSE_ORIGIN = 0x802b,
    OTHER_ADDRESS = 0x802c,
    /* Ours, from the range that other programs skip. */
    PEER_ORDER = 0xc5c1, /* flags, delay in seconds (2), length of plain bytes (2) */
    PEER_COUNT = 0xc5c2, /* count of plain datagrams (4), length of the last (2), its largest fragment or 0 (2) */
};

#define FAMILY_V4           1
#define FAMILY_V6           2
#define ATTRIBUTE_HEADER    4
#define ADDRESS_HEADER      4 /* a zero, the family, the port */
#define CHANGE_ADDRESS_FLAG 4u
#define CHANGE_PORT_FLAG    2u
#define ORDER_QUIET         0x01
#define ORDER_PLAIN         0x02
#define ORDER_LEN           5
#define COUNT_LEN           8

static uint16_t read_u16(const uint8_t *in)
{
    return (uint16_t)(in[0] << 8 | in[1]);
}

static uint32_t read_u32(const uint8_t *in)
{
    return (uint32_t)read_u16(in) << 16 | read_u16(in + 2);
}

static void write_u16(uint8_t *out, uint32_t value)
{
    out[0] = (uint8_t)(value >> 8);
    out[1] = (uint8_t)value;
}

static void write_u32(uint8_t *out, uint32_t value)
{
    write_u16(out, value >> 16);
    write_u16(out + 2, value);
}

static size_t padded(size_t len)
{
    return (len + 3) & ~(size_t)3;
}

/* XOR with the cookie and, for IPv6, the transaction: `mask` is those 16 bytes, the message's from its fourth on. NATs
 * that replace addresses wherever they see them do not see this one. NULL: none. */
static void mask_address(uint8_t *value, size_t host_len, const uint8_t *mask)
{
    for (size_t i = 0; mask && i < 2; i++)
        value[2 + i] ^= mask[i];
    for (size_t i = 0; mask && i < host_len; i++)
        value[ADDRESS_HEADER + i] ^= mask[i];
}

/* ---- decoding ---- */

/* The addresses by both names. The newer one wins wherever it stands; of two alike the first does. */
enum { MAPPED, RESPONSE_FROM, OTHER, ADDRESS_KINDS };
struct stun_addresses {
    union netaddr newer[ADDRESS_KINDS], older[ADDRESS_KINDS];
};
static const uint16_t newer_types[ADDRESS_KINDS] = {XOR_MAPPED_ADDRESS, RESPONSE_ORIGIN, OTHER_ADDRESS};
static const uint16_t older_types[ADDRESS_KINDS] = {MAPPED_ADDRESS, SOURCE_ADDRESS, CHANGED_ADDRESS};

static union netaddr *address_place(struct stun_addresses *found, uint16_t type)
{
    for (size_t i = 0; i < ADDRESS_KINDS; i++)
        if (type == newer_types[i] || type == older_types[i])
            return type == newer_types[i] ? &found->newer[i] : &found->older[i];
    return NULL;
}

static bool decode_address(struct stun_addresses *found, uint16_t type, const uint8_t *in, size_t len,
                           const uint8_t *mask)
{
    union netaddr *place = address_place(found, type);
    uint8_t value[ADDRESS_HEADER + 16];
    if (!place)
        return true; /* an attribute of no interest */
    size_t host_len = len < ADDRESS_HEADER ? 0 : in[1] == FAMILY_V4 ? 4 : in[1] == FAMILY_V6 ? 16 : 0;
    if (host_len == 0 || len != ADDRESS_HEADER + host_len)
        return false;
    memcpy(value, in, len);
    mask_address(value, host_len, type == XOR_MAPPED_ADDRESS ? mask : NULL);
    if (place->sa.sa_family == AF_UNSPEC)
        *place = netaddr_from_bytes(value + ADDRESS_HEADER, host_len, read_u16(value + 2));
    return true;
}

static bool decode_attribute(struct stun_message *out, struct stun_addresses *found, uint16_t type, const uint8_t *in,
                             size_t len, const uint8_t *mask)
{
    switch (type) {
    case CHANGE_REQUEST:
        if (len != 4)
            return false;
        out->change_address = (read_u32(in) & CHANGE_ADDRESS_FLAG) != 0;
        out->change_port = (read_u32(in) & CHANGE_PORT_FLAG) != 0;
        return true;
    case ERROR_CODE:
        if (len < 4 || (in[2] & 7) < 3 || (in[2] & 7) > 6 || in[3] > 99)
            return false;
        out->error_code = (uint16_t)((in[2] & 7) * 100 + in[3]);
        return true;
    case PEER_ORDER:
        if (len != ORDER_LEN)
            return true; /* another program's attribute, by chance of this number */
        out->quiet = in[0] & ORDER_QUIET;
        out->plain = in[0] & ORDER_PLAIN;
        out->delay_s = read_u16(in + 1);
        out->plain_len = read_u16(in + 3);
        return true;
    case PEER_COUNT:
        if (len != COUNT_LEN)
            return true;
        out->plain_count = read_u32(in);
        out->plain_last = read_u16(in + 4);
        out->fragment = read_u16(in + 6);
        return true;
    default:
        return decode_address(found, type, in, len, mask);
    }
}

static union netaddr known_address(const struct stun_addresses *found, size_t kind)
{
    const union netaddr *newer = &found->newer[kind];
    return newer->sa.sa_family != AF_UNSPEC ? *newer : found->older[kind];
}

size_t stun_length(const uint8_t *header)
{
    bool is_stun = (header[0] & 0xc0) == 0 && header[3] % 4 == 0 && read_u32(header + 4) == COOKIE;
    return is_stun ? STUN_HEADER + (size_t)read_u16(header + 2) : 0;
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
    struct stun_addresses found = {0};
    uint16_t type = read_u16(in);
    *out = (struct stun_message){0};
    out->class = (enum stun_class)((type >> 7 & 2) | (type >> 4 & 1));
    out->method = (uint16_t)((type >> 2 & 0xf80) | (type >> 1 & 0x70) | (type & 0xf));
    memcpy(out->transaction, in + 8, STUN_TRANSACTION);
    for (size_t at = STUN_HEADER; at < whole;) {
        assert(whole - at >= ATTRIBUTE_HEADER); /* `whole` is a multiple of 4, so is every step */
        size_t value_len = read_u16(in + at + 2);
        const uint8_t *value = in + at + ATTRIBUTE_HEADER;
        if (value_len > whole - at - ATTRIBUTE_HEADER ||
            !decode_attribute(out, &found, read_u16(in + at), value, value_len, in + 4))
            return STUN_E_ATTRIBUTE;
        at += ATTRIBUTE_HEADER + padded(value_len);
    }
    out->mapped = known_address(&found, MAPPED);
    out->response_origin = known_address(&found, RESPONSE_FROM);
    out->other_address = known_address(&found, OTHER);
    return (int)whole;
}

/* ---- encoding ---- */

uint8_t *stun_add_attribute(uint8_t *message, size_t *len, size_t size, uint16_t type, size_t value_len)
{
    size_t whole = ATTRIBUTE_HEADER + padded(value_len);
    assert(*len >= STUN_HEADER && *len % 4 == 0 && *len <= size);
    if (whole > size - *len)
        return NULL;
    uint8_t *at = message + *len;
    memset(at, 0, whole);
    write_u16(at, type);
    write_u16(at + 2, (uint32_t)value_len);
    *len += whole;
    return at + ATTRIBUTE_HEADER;
}

void stun_set_length(uint8_t *message, size_t len)
{
    write_u16(message + 2, (uint32_t)(len - STUN_HEADER));
}

/* A message being written into room that is enough for all. */
struct stun_draft {
    uint8_t bytes[STUN_MESSAGE_MAX];
    size_t len;
};

static uint8_t *draft_add(struct stun_draft *draft, uint16_t type, size_t value_len)
{
    uint8_t *value = stun_add_attribute(draft->bytes, &draft->len, sizeof(draft->bytes), type, value_len);
    assert(value);
    return value;
}

static void draft_add_address(struct stun_draft *draft, uint16_t type, const union netaddr *address)
{
    size_t host_len;
    const uint8_t *host = netaddr_host(address, &host_len);
    if (!host)
        return;
    uint8_t *value = draft_add(draft, type, ADDRESS_HEADER + host_len);
    value[1] = host_len == 4 ? FAMILY_V4 : FAMILY_V6;
    write_u16(value + 2, netaddr_port(address));
    memcpy(value + ADDRESS_HEADER, host, host_len);
    mask_address(value, host_len, type == XOR_MAPPED_ADDRESS ? draft->bytes + 4 : NULL);
}

static void draft_add_peer_attributes(struct stun_draft *draft, const struct stun_message *in)
{
    if (in->quiet || in->plain || in->delay_s || in->plain_len) {
        uint8_t *value = draft_add(draft, PEER_ORDER, ORDER_LEN);
        value[0] = (uint8_t)((in->quiet ? ORDER_QUIET : 0) | (in->plain ? ORDER_PLAIN : 0));
        write_u16(value + 1, in->delay_s);
        write_u16(value + 3, in->plain_len);
    }
    if (in->plain_count || in->plain_last || in->fragment) {
        uint8_t *value = draft_add(draft, PEER_COUNT, COUNT_LEN);
        write_u32(value, in->plain_count);
        write_u16(value + 4, in->plain_last);
        write_u16(value + 6, in->fragment);
    }
}

size_t stun_encode(uint8_t *out, size_t size, const struct stun_message *in)
{
    struct stun_draft draft = {.len = STUN_HEADER};
    unsigned method = in->method, class = in->class;
    assert(method <= 0xfff && class <= STUN_ERROR);
    write_u16(draft.bytes,
              (method & 0xf80) << 2 | (method & 0x70) << 1 | (method & 0xf) | (class & 2) << 7 | (class & 1) << 4);
    write_u32(draft.bytes + 4, COOKIE);
    memcpy(draft.bytes + 8, in->transaction, STUN_TRANSACTION);
    if (in->change_address || in->change_port)
        write_u32(draft_add(&draft, CHANGE_REQUEST, 4),
                  (in->change_address ? CHANGE_ADDRESS_FLAG : 0) | (in->change_port ? CHANGE_PORT_FLAG : 0));
    if (in->error_code)
        write_u32(draft_add(&draft, ERROR_CODE, 4), (uint32_t)(in->error_code / 100) << 8 | in->error_code % 100u);
    draft_add_address(&draft, XOR_MAPPED_ADDRESS, &in->mapped);
    draft_add_address(&draft, RESPONSE_ORIGIN, &in->response_origin);
    draft_add_address(&draft, OTHER_ADDRESS, &in->other_address);
    draft_add_peer_attributes(&draft, in);
    stun_set_length(draft.bytes, draft.len);
    if (draft.len > size)
        return 0;
    memcpy(out, draft.bytes, draft.len);
    return draft.len;
}
