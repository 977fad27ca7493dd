/*
 * Encodes and decodes SOCKS5 messages: RFC 1928 (requests, replies, the UDP header), RFC 1929 (user name and password),
 * and the frames of "UDP in TCP", an extension that hev-socks5-tunnel and hev-socks5-tproxy use.
 *
 * It needs <stdint.h> and <stddef.h> only: no allocation, no descriptor, no clock.
 *
 * A decoder gets the bytes that have come so far, and returns
 *   > 0  the length of the message, which the struct now describes,
 *   0    the bytes are the beginning of a message: more are needed (never for a datagram),
 *   < 0  one of enum socks5_error; do not use the struct.
 * Decoded hosts, names and passwords point into the input.
 *
 * An encoder writes at most `size` bytes and returns the length. 0: it does not fit, or the protocol has no such
 * message (an empty name, for example).
 */
#ifndef CONESOCKS_SOCKS5_H
#define CONESOCKS_SOCKS5_H

#include <stddef.h>
#include <stdint.h>

#define SOCKS5_VERSION          5
#define SOCKS5_PASSWORD_VERSION 1 /* RFC 1929 section 2 */

/* The longest of each message, in bytes. */
#define SOCKS5_GREETING_MAX   257
#define SOCKS5_PASSWORD_MAX   513
#define SOCKS5_REQUEST_MAX    262
#define SOCKS5_UDP_HEADER_MAX 262
#define SOCKS5_FRAME_MAX      65790
/* The length of a UDP header with an IP address. */
#define SOCKS5_UDP_HEADER_V4 10
#define SOCKS5_UDP_HEADER_V6 22

enum socks5_error {
    SOCKS5_E_VERSION = -1,  /* the first byte is not this protocol's version */
    SOCKS5_E_RESERVED = -2, /* RSV is not 0 */
    SOCKS5_E_ATYP = -3,     /* an address type that RFC 1928 section 5 does not define */
    SOCKS5_E_EMPTY = -4,    /* a name, a user name or a list of methods of length 0 */
    SOCKS5_E_SHORT = -5,    /* a datagram that ends inside its header */
    SOCKS5_E_LENGTH = -6,   /* a frame's HDRLEN is not the length of its header */
};

enum socks5_method { /* RFC 1928 section 3 */
                     SOCKS5_METHOD_NONE = 0x00,
                     SOCKS5_METHOD_GSSAPI = 0x01,
                     SOCKS5_METHOD_PASSWORD = 0x02,
                     SOCKS5_METHOD_NO_ACCEPTABLE = 0xff,
};

enum socks5_command { /* RFC 1928 section 4; any other byte is decoded, too: the caller refuses it */
                      SOCKS5_COMMAND_CONNECT = 0x01,
                      SOCKS5_COMMAND_BIND = 0x02,
                      SOCKS5_COMMAND_UDP_ASSOCIATE = 0x03,
                      SOCKS5_COMMAND_UDP_IN_TCP = 0x05, /* the extension: datagrams as frames, see below */
};

enum socks5_reply { /* RFC 1928 section 6 */
                    SOCKS5_REPLY_SUCCEEDED = 0x00,
                    SOCKS5_REPLY_GENERAL_FAILURE = 0x01,
                    SOCKS5_REPLY_NOT_ALLOWED = 0x02,
                    SOCKS5_REPLY_NETWORK_UNREACHABLE = 0x03,
                    SOCKS5_REPLY_HOST_UNREACHABLE = 0x04,
                    SOCKS5_REPLY_CONNECTION_REFUSED = 0x05,
                    SOCKS5_REPLY_TTL_EXPIRED = 0x06,
                    SOCKS5_REPLY_COMMAND_NOT_SUPPORTED = 0x07,
                    SOCKS5_REPLY_ADDRESS_TYPE_NOT_SUPPORTED = 0x08,
};

enum socks5_atyp { /* RFC 1928 section 5 */
                   SOCKS5_ATYP_IPV4 = 0x01,
                   SOCKS5_ATYP_NAME = 0x03,
                   SOCKS5_ATYP_IPV6 = 0x04,
};

/* An address. `host`: 4 or 16 bytes in network order, or a name of 1 to 255 bytes without a final NUL. `port` is in
 * host order. */
struct socks5_addr {
    uint8_t atyp;
    uint8_t host_len;
    uint16_t port;
    const uint8_t *host;
};

struct socks5_greeting { /* RFC 1928 section 3, client */
    const uint8_t *methods;
    uint8_t method_count;
};

struct socks5_password { /* RFC 1929 section 2, client; neither ends with a NUL. An empty password is legal. */
    const uint8_t *user, *password;
    uint8_t user_len, password_len;
};

struct socks5_request { /* RFC 1928 section 4 */
    uint8_t command;
    struct socks5_addr destination;
};

struct socks5_reply_message { /* RFC 1928 section 6 */
    uint8_t code;
    struct socks5_addr bound;
};

struct socks5_udp_header { /* RFC 1928 section 7 */
    uint8_t fragment;
    struct socks5_addr destination; /* from a client. To a client: where the datagram came from */
};

/*
 * A datagram on the control connection, in both directions, after a request with SOCKS5_COMMAND_UDP_IN_TCP:
 *
 *   MSGLEN (2), HDRLEN (1), ATYP (1), address, port (2), payload
 *
 * HDRLEN counts all before the payload, with MSGLEN and itself. MSGLEN counts the payload alone. The README of
 * hev-socks5-core can be understood otherwise, but its programs do that. HDRLEN is one byte: a name has at most 248
 * bytes.
 */
struct socks5_frame {
    struct socks5_addr destination; /* from a client. To a client: where the datagram came from */
    uint16_t payload_len;
    const uint8_t *payload;
};

int socks5_greeting_decode(const uint8_t *in, size_t len, struct socks5_greeting *out);
int socks5_choice_decode(const uint8_t *in, size_t len, uint8_t *method);
int socks5_password_decode(const uint8_t *in, size_t len, struct socks5_password *out);
int socks5_password_status_decode(const uint8_t *in, size_t len, uint8_t *status); /* 0 = accepted */
int socks5_request_decode(const uint8_t *in, size_t len, struct socks5_request *out);
int socks5_reply_decode(const uint8_t *in, size_t len, struct socks5_reply_message *out);
/* Returns the header's length; the payload follows, and may be empty. Any FRAG is decoded: the caller drops it. */
int socks5_udp_header_decode(const uint8_t *in, size_t len, struct socks5_udp_header *out);
/* Finds a bad header before the payload has come. */
int socks5_frame_decode(const uint8_t *in, size_t len, struct socks5_frame *out);
/* The length of the frame that begins so; 0: more bytes are needed to know. */
size_t socks5_frame_length(const uint8_t *in, size_t len);

size_t socks5_greeting_encode(uint8_t *out, size_t size, const struct socks5_greeting *in);
size_t socks5_choice_encode(uint8_t *out, size_t size, uint8_t method);
size_t socks5_password_encode(uint8_t *out, size_t size, const struct socks5_password *in);
size_t socks5_password_status_encode(uint8_t *out, size_t size, uint8_t status);
size_t socks5_request_encode(uint8_t *out, size_t size, const struct socks5_request *in);
size_t socks5_reply_encode(uint8_t *out, size_t size, const struct socks5_reply_message *in);
size_t socks5_udp_header_encode(uint8_t *out, size_t size, const struct socks5_udp_header *in);
/* All but the payload, which the caller sends next. */
size_t socks5_frame_header_encode(uint8_t *out, size_t size, const struct socks5_frame *in);

#endif
