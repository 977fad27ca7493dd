#include "proxy/assoc/kernel_reason.h"

#include <assert.h>

const char *kernel_reason_word(enum kernel_reason reason)
{
    static const char *const words[] = {
#define X(enumerator, word, meaning) word,
        KERNEL_REASONS(X)
#undef X
    };
    assert(reason < KERNEL_REASON_COUNT);
    return words[reason];
}

const char *kernel_reason_meaning(enum kernel_reason reason)
{
    static const char *const meanings[] = {
#define X(enumerator, word, meaning) meaning,
        KERNEL_REASONS(X)
#undef X
    };
    assert(reason < KERNEL_REASON_COUNT);
    return meanings[reason];
}

enum kernel_reason kernel_reason_of(const struct config *config, const struct terms *terms)
{
    if (terms->upstream)
        return KERNEL_REASON_UPSTREAM;
    if (config_shared_port(config))
        return KERNEL_REASON_SHARED_PORT;
    if (config->udp.client_ports > 1)
        return KERNEL_REASON_CLIENT_PORTS;
    if (terms->interface || terms->mark)
        return KERNEL_REASON_EGRESS;
    return config->udp.df == CONFIG_DF_PROBE ? KERNEL_REASON_PROBE : KERNEL_REASON_NONE;
}
