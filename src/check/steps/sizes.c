/* How large may a datagram be, each way, and from where on does it come in pieces? */
#include <netinet/ip.h>
#include <stdio.h>
#include <unistd.h>

#include "check/measure.h"
#include "check/peer/peer_ask.h"
#include "check/steps/steps.h"

#define TRIES      2
#define TRIES_LOSS 4    /* where the step before has seen that some get lost */
#define WAIT_MIN   150  /* ms, and four times what an answer takes */
#define PAID_LEN   1200 /* of the datagrams that pay for a larger one: every path takes them */
#define QUIC_LEN   1200 /* RFC 9000 section 14: paths that take less are of no use to it */
#define HEADERS_V4 28   /* IP and UDP */
#define HEADERS_V6 48

struct sizes {
    struct check *check;
    struct association association;
    struct peer_line line;
    uint32_t seed;
    uint64_t wait;
    struct size_search up, down;
    size_t whole;      /* the largest that reaches the far end in one packet */
    size_t whole_here; /* the largest that reaches us so, from the proxy */
    bool empty;        /* those of 0 bytes pass */
    bool empty_kills;
    unsigned died; /* how often the association did not work any more after a probe of another size */
    bool gone;     /* and a new one does not either: the far end, or the proxy, has ended */
};

/* ---- probes ---- */

static const struct peer_request report = {.delay_s = 0};

static bool open_line(struct sizes *sizes)
{
    struct peer_answer answer;
    uint64_t before = clock_ms();
    sizes->gone = !check_associate(sizes->check, &sizes->association) || !peer_ask(&sizes->line, &report, &answer);
    sizes->wait = WAIT_MIN + 4 * (clock_ms() - before);
    return !sizes->gone;
}

/* What the far end says it has got. Where nothing is said any more, the probe before has ended the association. */
static bool ask_report(struct sizes *sizes, struct peer_answer *answer)
{
    if (peer_ask(&sizes->line, &report, answer))
        return true;
    association_close(&sizes->association);
    sizes->died += open_line(sizes);
    return false;
}

enum passage { PASSED_NEITHER, PASSED_UP, PASSED_BOTH };

static int tries(const struct sizes *sizes)
{
    return sizes->check->lost > 0 ? TRIES_LOSS : TRIES;
}

/* Sends one and has it echoed. Where no echo comes, the far end tells whether it has got it. */
static enum passage probe(struct sizes *sizes, size_t len)
{
    enum passage best = PASSED_NEITHER;
    for (int i = 0; i < tries(sizes) && !sizes->gone; i++) {
        struct peer_answer answer;
        sizes->seed++;
        if (peer_send_pattern(&sizes->line, len, sizes->seed) &&
            peer_hear_pattern(&sizes->line, len, sizes->seed, clock_ms() + sizes->wait))
            return PASSED_BOTH;
        if (ask_report(sizes, &answer) && answer.plain_count > 0 && answer.plain_last == len)
            best = PASSED_UP;
    }
    return best;
}

/* Has the far end send one of that size, after paying for it. */
static bool probe_down(struct sizes *sizes, size_t len)
{
    for (int i = 0; i < tries(sizes) && !sizes->gone; i++) {
        struct peer_request pay = {.quiet = true}, order = {.plain = true, .plain_len = (uint16_t)len};
        struct peer_answer answer;
        for (size_t paid = 0; paid < len; paid += PAID_LEN)
            peer_say(&sizes->line, &pay, PAID_LEN);
        peer_say(&sizes->line, &order, PAID_LEN);
        if (peer_hear_pattern(&sizes->line, len, 0, clock_ms() + sizes->wait))
            return true;
        ask_report(sizes, &answer);
    }
    return false;
}

static void search_both(struct sizes *sizes)
{
    for (size_t len; (len = size_search_next(&sizes->up)) != 0;) {
        enum passage passage = probe(sizes, len);
        bool down = passage == PASSED_BOTH || (passage == PASSED_NEITHER && probe_down(sizes, len));
        size_search_tell(&sizes->up, len, passage != PASSED_NEITHER);
        size_search_tell(&sizes->down, len, down);
    }
    for (size_t len; (len = size_search_next(&sizes->down)) != 0;)
        size_search_tell(&sizes->down, len, probe_down(sizes, len));
}

/* Last, for some servers take it for the end of all. */
static void probe_empty(struct sizes *sizes)
{
    unsigned died = sizes->died;
    sizes->empty = probe(sizes, 0) == PASSED_BOTH;
    sizes->empty_kills = sizes->died > died;
    sizes->died = died;
}

/* The largest of those that pass which the far end has got in one packet. */
static void search_whole(struct sizes *sizes)
{
    struct size_search search = {.fails = 0};
    for (size_t len; (len = size_search_next(&search)) != 0;) {
        struct peer_answer answer = {.fragment = 1};
        bool whole = len <= sizes->up.works && probe(sizes, len) != PASSED_NEITHER && ask_report(sizes, &answer) &&
                     answer.plain_last == len && answer.fragment == 0;
        size_search_tell(&search, len, whole);
    }
    sizes->whole = search.works;
}

/* And of those that come here. */
static void search_whole_here(struct sizes *sizes)
{
    struct size_search search = {.fails = 0};
    for (size_t len; (len = size_search_next(&search)) != 0;) {
        bool came = len <= sizes->down.works &&
                    (len <= sizes->up.works ? probe(sizes, len) == PASSED_BOTH : probe_down(sizes, len));
        size_search_tell(&search, len, came && sizes->line.room->fragment == 0);
    }
    sizes->whole_here = search.works;
}

/* ---- what it means ---- */

/* The most that fits into one packet on our side, with the SOCKS header for that family; 0: it cannot be told. */
static size_t fits_to_proxy(const struct check *check, int family)
{
    const union netaddr *relay = &check->association.channel.relay;
    bool v6 = relay->sa.sa_family == AF_INET6;
    int mtu = 0, fd = socket(relay->sa.sa_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    socklen_t len = sizeof(mtu);
    if (fd < 0)
        return 0;
    if (connect(fd, &relay->sa, netaddr_len(relay)) < 0 ||
        getsockopt(fd, v6 ? IPPROTO_IPV6 : IPPROTO_IP, v6 ? IPV6_MTU : IP_MTU, &mtu, &len) < 0)
        mtu = 0;
    close(fd);
    int header = family == AF_INET ? SOCKS5_UDP_HEADER_V4 : SOCKS5_UDP_HEADER_V6;
    int most = mtu - (v6 ? HEADERS_V6 : HEADERS_V4) - header;
    return most > 0 ? (size_t)most : 0;
}

static size_t smaller(const struct sizes *sizes)
{
    return sizes->up.works < sizes->down.works ? sizes->up.works : sizes->down.works;
}

/* What came in several pieces did pass, on both sides of the proxy, and some of all that is sent gets lost. */
static bool is_for_losses(const struct sizes *sizes, size_t fits)
{
    size_t works = smaller(sizes);
    return sizes->check->lost > 0 && fits > 0 && works < SIZE_MOST && works > fits && works > sizes->whole &&
           !sizes->line.cut && !sizes->died;
}

static const char *whose_limit(const struct sizes *sizes, size_t works, size_t fits)
{
    if (sizes->line.cut)
        return "the proxy cuts larger ones short, which is worse than to drop them: its buffers are too small";
    if (is_for_losses(sizes, fits))
        return "what gets lost (Loss): a larger one comes in more pieces, and without one of them it is lost";
    if (sizes->check->far_end.own)
        return "the proxy's own buffers: not every server is made for larger ones";
    if (works > 8192)
        return "the proxy's own buffers, or a short queue on the way: not all are made for larger ones";
    if (fits == 0)
        return "fragments of IP packets are dropped on the way, or the server's buffers are small";
    if (works == fits)
        return "what takes more than one packet between here and the proxy is lost: fragments are dropped there, by a "
               "firewall or a NAT";
    if (works > fits)
        return "fragments pass between here and the proxy; they are dropped between the proxy and the far end";
    return "a part of the path takes smaller packets (a tunnel, PPPoE), and its \"packet too big\" messages or the "
           "fragments are dropped; or the proxy's buffers are small";
}

/* The most that goes in one packet between here and the proxy, on the narrower of the two ways. The way here may have
 * another MTU than ours: what goes whole beyond the proxy, and does not come, shows which. */
static size_t fits_near(const struct sizes *sizes, size_t fits_up)
{
    bool here = sizes->down.works < sizes->up.works && sizes->down.works < sizes->whole;
    return here ? sizes->whole_here : fits_up;
}

static void explain(const struct sizes *sizes, struct check_result *result, size_t fits)
{
    size_t works = smaller(sizes);
    if (works >= SIZE_MOST) {
        if (!sizes->empty)
            result_cause(result,
                         "the proxy drops datagrams without a payload, which are as good as any other (RFC 768)");
        return;
    }
    result_cause(result, "%s", whose_limit(sizes, works, fits_near(sizes, fits)));
    if (works <= 8192 && !sizes->line.cut && !sizes->check->far_end.own && !is_for_losses(sizes, fits))
        result_fix(result,
                   "let IP fragments pass in the firewalls on that way (only the first of them has the ports), and "
                   "ICMP type 3 code 4 and ICMPv6 type 2");
}

static enum check_status judge(const struct sizes *sizes, size_t fits)
{
    size_t works = smaller(sizes);
    if (works < QUIC_LEN)
        return CHECK_FAILED;
    if (sizes->empty && is_for_losses(sizes, fits))
        return CHECK_INFO;
    return works < 8192 || !sizes->empty || sizes->line.cut || sizes->died ? CHECK_WARNING : CHECK_OK;
}

static void add_data(const struct sizes *sizes, struct check_result *result, size_t fits)
{
    result_data(result, "largest_up", json_integer((json_int_t)sizes->up.works));
    result_data(result, "largest_down", json_integer((json_int_t)sizes->down.works));
    result_data(result, "largest_unfragmented", json_integer((json_int_t)sizes->whole));
    result_data(result, "largest_unfragmented_from_proxy", json_integer((json_int_t)sizes->whole_here));
    result_data(result, "largest_unfragmented_to_proxy", fits ? json_integer((json_int_t)fits) : json_null());
    result_data(result, "empty", json_boolean(sizes->empty));
    result_data(result, "cut_short", json_boolean(sizes->line.cut));
    result_data(result, "ends_association", json_boolean(sizes->died > 0 || sizes->empty_kills));
}

static void describe(const struct sizes *sizes, struct check_result *result, size_t fits)
{
    char pieces[128] = "";
    size_t near = fits && fits < sizes->whole_here ? fits : sizes->whole_here; /* on our side of the proxy */
    if (sizes->whole < sizes->up.works)
        snprintf(pieces, sizeof(pieces), "; above %zu in pieces beyond the proxy, above %zu between it and here",
                 sizes->whole, near);
    else if (near < smaller(sizes))
        snprintf(pieces, sizeof(pieces), "; above %zu in pieces between the proxy and here", near);
    const char *empty = sizes->empty         ? ""
                        : sizes->empty_kills ? "; an empty one ends the association"
                                             : "; empty ones are lost";
    const char *died = sizes->died ? "; a larger one ends the association" : "";
    if (sizes->up.works == sizes->down.works)
        result_say(result, judge(sizes, fits), "%d to %zu bytes arrive exactly, both ways%s%s%s", sizes->empty ? 0 : 1,
                   sizes->up.works, pieces, empty, died);
    else
        result_say(result, judge(sizes, fits), "up to %zu bytes arrive at the far end, up to %zu here%s%s%s",
                   sizes->up.works, sizes->down.works, pieces, empty, died);
    add_data(sizes, result, fits);
    explain(sizes, result, fits);
}

void step_sizes(struct check *check, int family, struct check_result *result)
{
    struct sizes sizes = {.check = check};
    sizes.line = (struct peer_line){.channel = &sizes.association.channel,
                                    .to = *io_of_family(&check->far_end.addresses, family),
                                    .key = check->far_end.key,
                                    .rtt_ms = check->answer.rtt_ms,
                                    .room = &check->datagram};
    if (open_line(&sizes)) {
        search_both(&sizes);
        search_whole(&sizes);
        search_whole_here(&sizes);
        probe_empty(&sizes);
    }
    association_close(&sizes.association);
    if (sizes.gone)
        result_say(result, CHECK_FAILED, "the far end does not answer any more");
    else
        describe(&sizes, result, fits_to_proxy(check, family));
}
