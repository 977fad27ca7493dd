/* Addresses. An even first byte: the rest is text to parse. An odd one: two bytes of port and an address to format. */
#include "fuzz.h"

#include "base/netaddr.h"

static void require_properties(const union netaddr *addr)
{
    char *text = malloc(NETADDR_TEXT_MAX); /* no larger than promised */
    REQUIRE(text);
    REQUIRE(strlen(netaddr_format(addr, text)) < NETADDR_TEXT_MAX);
    REQUIRE(strlen(netaddr_format_host(addr, text)) < NETADDR_TEXT_MAX);
    union netaddr again;
    REQUIRE(netaddr_parse(&again, text, netaddr_port(addr)));
    REQUIRE(memcmp(&again, addr, sizeof(again)) == 0);
    free(text);

    size_t len;
    const uint8_t *host = netaddr_host(addr, &len);
    again = netaddr_from_bytes(host, len, netaddr_port(addr));
    REQUIRE(netaddr_equal(&again, addr));

    union netaddr canonical = netaddr_canonical(addr), twice = netaddr_canonical(&canonical);
    REQUIRE(memcmp(&canonical, &twice, sizeof(twice)) == 0);
    union netaddr unmapped = *addr;
    netaddr_unmap(&unmapped);
    twice = netaddr_canonical(&unmapped);
    REQUIRE(memcmp(&canonical, &twice, sizeof(twice)) == 0);
    REQUIRE(netaddr_port(&canonical) == netaddr_port(addr));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    if (data[0] & 1) {
        size_t len = size >= 19 ? 16 : 4;
        if (size < 3 + len)
            return 0;
        uint8_t *host = exact_copy(data + 3, len);
        union netaddr addr = netaddr_from_bytes(host, len, (uint16_t)(data[1] << 8 | data[2]));
        free(host);
        require_properties(&addr);
        return 0;
    }
    char *text = (char *)exact_copy(data, size);
    memmove(text, text + 1, size - 1);
    text[size - 1] = '\0';
    union netaddr addr;
    if (netaddr_parse(&addr, text, data[0]))
        require_properties(&addr);
    free(text);
    return 0;
}
