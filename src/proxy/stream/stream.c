#include "proxy/stream/stream.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "net/sock.h"
#include "policy/rates.h"
#include "policy/rules.h"
#include "proxy/client_terms.h"
#include "proxy/permit.h"
#include "proxy/stream/stream_impl.h"

/* ---- life ---- */

struct stream *stream_new(struct env *env, enum config_command command, const struct proxy_client *client,
                          const struct socks5_addr *destination, const struct stream_hooks *hooks)
{
    union netaddr asked;
    char name[NAME_TEXT_MAX] = "";
    const enum address_kind kind = address_read(destination, &asked, name);
    assert(command == CONFIG_COMMAND_CONNECT || command == CONFIG_COMMAND_BIND);
    if (kind != ADDRESS_NAME)
        name[0] = '\0';
    if (kind == ADDRESS_BAD)
        snprintf(name, sizeof(name), "%.*s", destination->host_len, (const char *)destination->host);
    const size_t name_size = strlen(name) + 1;
    struct stream *stream = calloc(1, sizeof(*stream) + name_size);
    if (!stream)
        return NULL;
    stream->env = env;
    stream->hooks = *hooks;
    stream->command = command;
    stream->client = client->peer;
    stream->asked_kind = kind;
    stream->asked = kind == ADDRESS_IP ? asked : (union netaddr){0};
    stream->port = destination->port;
    stream->remote_fd = -1;
    memcpy(stream->name, name, name_size);
    if (!stream_begin_reaching(stream, client)) {
        free(stream);
        return NULL;
    }
    env->open.streams++;
    return stream;
}

void stream_free(struct stream *stream)
{
    if (!stream)
        return;
    assert(stream->env->open.streams > 0);
    stream->env->open.streams--;
    assert(!stream->reaching || !stream->up.stream); /* it does one or the other */
    stream_stop_reaching(stream);
    stream_stop_relay(stream);
    if (stream->remote_fd >= 0) {
        if (stream_is_complete(stream))
            close(stream->remote_fd);
        else
            sock_abort(stream->remote_fd);
    }
    rates_free(stream->rates);
    free(stream->early);
    free(stream->upstream);
    free(stream);
}

bool stream_keep_early(struct stream *stream, const uint8_t *bytes, size_t len)
{
    assert(!stream->early && !stream->up.stream && len > 0);
    stream->early = malloc(len);
    if (!stream->early)
        return false;
    memcpy(stream->early, bytes, len);
    stream->early_len = len;
    return true;
}

/* ---- other rules ---- */

bool stream_may_relay(const struct stream *stream, const struct subject *subject)
{
    if (stream->remote.sa.sa_family == AF_UNSPEC)
        return permit_unresolved(stream->env, subject, stream->name, stream->port, 1);
    return permit(stream->env, subject, stream_name(stream), &stream->remote, 1, NULL);
}

bool stream_review(struct stream *stream, const struct proxy_client *client)
{
    struct subject subject;
    if (stream->reaching)
        return stream_review_reaching(stream);
    if (!client_subject_init(&subject, stream->env, client, stream->command))
        return false;
    bool may = stream_may_relay(stream, &subject);
    subject_deinit(&subject);
    return may;
}

/* ---- what it is ---- */

const char *stream_destination(const struct stream *stream, char text[static STREAM_DESTINATION_MAX])
{
    if (stream->asked_kind == ADDRESS_IP)
        return netaddr_format(&stream->asked, text);
    snprintf(text, STREAM_DESTINATION_MAX, "%s:%u", stream->name, stream->port);
    return text;
}

size_t stream_descriptors(const struct stream *stream)
{
    const size_t held = stream->remote_fd >= 0 ? 1 : 0;
    if (stream->reaching)
        return held + stream_reaching_descriptors(stream);
    return held + pump_descriptors(&stream->up.pump) + pump_descriptors(&stream->down.pump);
}

enum config_command stream_command(const struct stream *stream)
{
    return stream->command;
}

const char *stream_upstream(const struct stream *stream)
{
    return stream->upstream;
}

int stream_reach_error(const struct stream *stream)
{
    return stream->unreached;
}

bool stream_is_unresolved(const struct stream *stream)
{
    return stream->unresolved;
}

union netaddr stream_remote(const struct stream *stream)
{
    return stream->remote;
}

uint64_t stream_up_bytes(const struct stream *stream)
{
    return stream->up.pump.bytes;
}

uint64_t stream_down_bytes(const struct stream *stream)
{
    return stream->down.pump.bytes;
}
