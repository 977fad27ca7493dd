/* Streams: bytes one way through a connection, and connections that do nothing. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "load.h"
#include "payload.h"

#define PATIENCE_MS 2000
#define SETTLE_US   200000
#define EXCHANGE    64

struct stream {
    struct report *report;
    int from, to;
    uint64_t sent, arrived;
    bool wrong, ended;
    uint8_t *buffer;
};

static int open_pair(const struct settings *settings, int listener, const union netaddr *address, int *target)
{
    int client = client_connect(&settings->proxy, address);
    *target = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    if (*target < 0)
        bench_die(EXIT_SERVER, "accept: %s", strerror(errno));
    return client;
}

static bool give(struct stream *stream)
{
    ssize_t sent = send(stream->from, payload_stream(stream->sent), PAYLOAD_PIECE, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent < 0 && errno != EAGAIN)
        bench_die(EXIT_SERVER, "the stream broke while sending: %s", strerror(errno));
    stream->sent += sent > 0 ? (uint64_t)sent : 0;
    return sent > 0;
}

static bool take(struct stream *stream)
{
    ssize_t got = recv(stream->to, stream->buffer, PAYLOAD_PIECE, MSG_DONTWAIT);
    if (got < 0 && errno != EAGAIN)
        bench_die(EXIT_SERVER, "the stream broke while receiving: %s", strerror(errno));
    stream->ended = got == 0;
    if (got <= 0)
        return false;
    if (!stream->wrong && !payload_stream_check(stream->arrived, stream->buffer, (size_t)got)) {
        stream->wrong = true;
        stream->report->wrong_content++;
        report_wrong("the stream's bytes differ from what was sent, from position %llu on",
                     (unsigned long long)stream->arrived);
    }
    stream->arrived += (uint64_t)got;
    return true;
}

static void turn(struct stream *stream)
{
    bool given = give(stream), taken = take(stream);
    if (given || taken)
        return;
    struct pollfd both[2] = {{.fd = stream->from, .events = POLLOUT}, {.fd = stream->to, .events = POLLIN}};
    if (poll(both, 2, PATIENCE_MS) == 0 || stream->ended)
        bench_die(EXIT_SERVER, "the stream %s after %llu bytes", stream->ended ? "ended" : "stands still",
                  (unsigned long long)stream->arrived);
}

/* The end must arrive too, after every byte. */
static void finish(struct stream *stream)
{
    shutdown(stream->from, SHUT_WR);
    while (!stream->ended && wait_readable(stream->to, PATIENCE_MS))
        take(stream);
    if (!stream->ended || stream->arrived != stream->sent) {
        stream->report->wrong_content++;
        report_wrong("%llu bytes were sent, %llu arrived%s", (unsigned long long)stream->sent,
                     (unsigned long long)stream->arrived, stream->ended ? "" : ", and no end");
    }
}

void load_connect_bulk(const struct load *load, const struct settings *settings, struct report *report)
{
    union netaddr address;
    int listener = target_listen(settings, &address), target;
    int client = open_pair(settings, listener, &address, &target);
    struct stream stream = {.report = report, .buffer = malloc(PAYLOAD_PIECE)};
    if (!stream.buffer)
        bench_die(EXIT_SERVER, "out of memory");
    stream.from = load->down ? target : client;
    stream.to = load->down ? client : target;
    for (uint64_t end = now_ns() + warm_up_ns(settings); now_ns() < end;)
        turn(&stream);

    report_begin(report, settings);
    uint64_t arrived = stream.arrived;
    for (uint64_t end = now_ns() + settings->duration_ns; now_ns() < end;)
        turn(&stream);
    report_end(report, settings);
    report->relayed = report->sent = stream.arrived - arrived;

    finish(&stream);
    free(stream.buffer);
    close(client);
    close(target);
    close(listener);
}

/* A word there and back, so that the connection is in the state that it stays in. */
static void exchange(struct report *report, int client, int target)
{
    char word[EXCHANGE] = "a word", heard[EXCHANGE] = "";
    if (send(client, word, sizeof(word), MSG_NOSIGNAL) != EXCHANGE || !wait_readable(target, PATIENCE_MS) ||
        recv(target, heard, sizeof(heard), MSG_WAITALL) != EXCHANGE ||
        send(target, heard, sizeof(heard), MSG_NOSIGNAL) != EXCHANGE || !wait_readable(client, PATIENCE_MS) ||
        recv(client, heard, sizeof(heard), MSG_WAITALL) != EXCHANGE || memcmp(word, heard, EXCHANGE) != 0) {
        report->wrong_content++;
        report_wrong("a word did not come back as it was sent");
    }
}

void load_connect_idle(const struct load *load, const struct settings *settings, struct report *report)
{
    unsigned count = settings->count ? settings->count : load->count;
    union netaddr address;
    int listener = target_listen(settings, &address);
    int(*pairs)[2] = calloc(count, sizeof(*pairs));
    if (!pairs)
        bench_die(EXIT_SERVER, "out of memory");
    struct usage before = report_before(settings);
    for (unsigned i = 0; i < count; i++)
        pairs[i][0] = open_pair(settings, listener, &address, &pairs[i][1]);
    report_begin(report, settings);
    for (unsigned i = 0; i < count; i++)
        exchange(report, pairs[i][0], pairs[i][1]);
    usleep(SETTLE_US);
    report_end(report, settings);
    report->relayed = count;
    report_each(report, settings, &before, count);
    for (unsigned i = 0; i < count; i++) {
        close(pairs[i][0]);
        close(pairs[i][1]);
    }
    close(listener);
    free(pairs);
}
