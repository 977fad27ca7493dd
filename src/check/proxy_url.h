/* Parses a proxy's URL, socks5://user:password@host:port, of which all but the host may be left out. */
#ifndef CONESOCKS_CHECK_PROXY_URL_H
#define CONESOCKS_CHECK_PROXY_URL_H

#include <stdbool.h>
#include <stdint.h>

#define PROXY_URL_PORT 1080

struct proxy_url {
    char host[256]; /* a name or an address, without brackets */
    uint16_t port;
    uint8_t user[255], password[255]; /* percent-decoded, not ended by NUL */
    uint8_t user_len, password_len;
    bool has_password; /* an empty one counts */
};

/* NULL, or what is wrong with the text, in words. */
const char *proxy_url_parse(const char *text, struct proxy_url *url);
/* "host", "host:port", "[v6]", "[v6]:port" and a bare v6 literal; `port` is what holds when there is none. NULL, or
 * what is wrong. `host` has room for 256 bytes. */
const char *host_port_parse(const char *text, char *host, uint16_t *port);

#endif
