/* How large may a datagram be, each way, and from which size on does it come in several packets? */
#include <assert.h>
#include <netinet/ip.h>
#include <stdio.h>
#include <unistd.h>

#include "check/measure.h"
#include "check/steps/steps.h"

#define TRIES      2
#define TRIES_LOSS 4    /* where the step before has seen that some get lost */
#define WAIT_MIN   150  /* ms, and four times what an answer takes */
#define PAID_LEN   1200 /* of the datagrams that pay for a larger one: every path takes them */
#define QUIC_LEN   1200 /* RFC 9000 section 14: QUIC does not work on paths that take less */
#define LARGE_LEN  8192 /* more than this is rarely sent, and some servers' buffers are smaller */
#define HEADERS_V4 28   /* IP and UDP */
#define HEADERS_V6 48

struct sizes {
    struct check_run *check;
    struct check_association association;
    struct server_line line;
    uint32_t seed;
    uint64_t wait;
    struct size_search up, down;
    size_t whole;      /* the largest that reaches the test server in one packet */
    size_t whole_here; /* the largest that reaches us so, from the proxy */
    bool empty;        /* datagrams of 0 bytes pass */
    bool empty_kills;
    unsigned died; /* how often the association did not work any more after a probe of another size */
    bool gone;     /* and a new one does not work either: the test server or the proxy has ended */
};

/* ---- probes ---- */

static bool open_line(struct sizes *sizes)
{
    struct stun_question question = {.once = false};
    uint64_t before = clock_ms();
    sizes->gone = !check_associate(sizes->check, &sizes->association) || !peer_ask(&sizes->line, &question);
    sizes->wait = WAIT_MIN + 4 * (clock_ms() - before);
    return !sizes->gone;
}

/* Asks the test server what it has received. When it does not answer, the probe before has ended the association. */
static bool ask_report(struct sizes *sizes, struct stun_message *report)
{
    struct stun_question question = {.once = false};
    if (peer_ask(&sizes->line, &question)) {
        *report = question.answer;
        return true;
    }
    association_close(&sizes->association);
    sizes->died += open_line(sizes);
    return false;
}

enum passage { PASSED_NEITHER, PASSED_UP, PASSED_BOTH };

static int tries(const struct sizes *sizes)
{
    return sizes->check->lost > 0 ? TRIES_LOSS : TRIES;
}

/* Sends one to be echoed. Without an echo, the test server tells whether it has received it. */
static enum passage probe(struct sizes *sizes, size_t len)
{
    enum passage best = PASSED_NEITHER;
    for (int i = 0; i < tries(sizes) && !sizes->gone; i++) {
        struct stun_message report;
        sizes->seed++;
        if (line_send_pattern(&sizes->line, len, sizes->seed) &&
            line_receive_pattern(&sizes->line, len, sizes->seed, clock_ms() + sizes->wait))
            return PASSED_BOTH;
        if (ask_report(sizes, &report) && report.plain_count > 0 && report.plain_last == len)
            best = PASSED_UP;
    }
    return best;
}

/* Lets the test server send one of that size, after paying for it. */
static bool probe_down(struct sizes *sizes, size_t len)
{
    for (int i = 0; i < tries(sizes) && !sizes->gone; i++) {
        struct stun_question pay = {.request.quiet = true, .len_min = PAID_LEN};
        struct stun_question order = {.request = {.plain = true, .plain_len = (uint16_t)len}, .len_min = PAID_LEN};
        struct stun_message report;
        for (size_t paid = 0; paid < len; paid += PAID_LEN)
            stun_send(&sizes->line, &pay);
        stun_send(&sizes->line, &order);
        if (line_receive_pattern(&sizes->line, len, 0, clock_ms() + sizes->wait))
            return true;
        ask_report(sizes, &report);
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

/* Comes last, because some servers end the association. */
static void probe_empty(struct sizes *sizes)
{
    unsigned died = sizes->died;
    sizes->empty = probe(sizes, 0) == PASSED_BOTH;
    sizes->empty_kills = sizes->died > died;
    sizes->died = died;
}

/* The largest that the test server receives in one packet. */
static void search_whole(struct sizes *sizes)
{
    struct size_search search = {.fails = 0};
    for (size_t len; (len = size_search_next(&search)) != 0;) {
        struct stun_message report = {.fragment = 1};
        bool whole = len <= sizes->up.works && probe(sizes, len) != PASSED_NEITHER && ask_report(sizes, &report) &&
                     report.plain_last == len && report.fragment == 0;
        size_search_tell(&search, len, whole);
    }
    sizes->whole = search.works;
}

/* The largest that reaches us in one packet. */
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

/* The most that fits into one packet on our side, with the SOCKS header for that family; 0: unknown. */
static size_t fits_to_proxy(const struct check_run *check)
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
    int header = check->family == AF_INET ? SOCKS5_UDP_HEADER_V4 : SOCKS5_UDP_HEADER_V6;
    int most = mtu - (v6 ? HEADERS_V6 : HEADERS_V4) - header;
    return most > 0 ? (size_t)most : 0;
}

static size_t largest_both_ways(const struct sizes *sizes)
{
    return sizes->up.works < sizes->down.works ? sizes->up.works : sizes->down.works;
}

/* What came in several pieces did pass, on both sides of the proxy, and some of all that is sent gets lost. */
static bool is_limited_by_loss(const struct sizes *sizes, size_t fits)
{
    size_t works = largest_both_ways(sizes);
    return sizes->check->lost > 0 && fits > 0 && works < SIZE_MOST && works > fits && works > sizes->whole &&
           !sizes->line.cut && !sizes->died;
}

static const char *what_limits(const struct sizes *sizes, size_t works, size_t fits)
{
    if (sizes->line.cut)
        return "the proxy cuts off the end of larger datagrams, which is worse than dropping them: its buffers are too "
               "small";
    if (is_limited_by_loss(sizes, fits))
        return "packet loss (see above): a larger datagram is sent in more packets, and is lost if one of them is lost";
    if (sizes->check->server.own)
        return "the proxy's buffers are too small for larger datagrams";
    if (works > LARGE_LEN)
        return "the proxy's buffers, or a short queue on the way, are too small for larger datagrams";
    if (fits == 0)
        return "IP fragments are dropped on the way, or the proxy's buffers are small";
    if (works == fits)
        return "a firewall or NAT between here and the proxy drops IP fragments, which larger datagrams need";
    if (works > fits)
        return "IP fragments are dropped between the proxy and the test server; between here and the proxy they pass";
    return "a part of the path takes only smaller packets (a tunnel, PPPoE) and drops its \"packet too big\" messages "
           "or the fragments; or the proxy's buffers are small";
}

/* The most that goes in one packet between here and the proxy, on the narrower of the two ways. The way here may have
 * another MTU than ours: what goes whole beyond the proxy, and does not come, shows which. */
static size_t fits_near(const struct sizes *sizes, size_t fits_up)
{
    bool here = sizes->down.works < sizes->up.works && sizes->down.works < sizes->whole;
    return here ? sizes->whole_here : fits_up;
}

static void explain_limit(const struct sizes *sizes, struct check_result *result, size_t fits)
{
    size_t works = largest_both_ways(sizes);
    if (works >= SIZE_MOST) {
        if (!sizes->empty)
            result_cause(result, "the proxy drops empty datagrams, although UDP allows them (RFC 768)");
        return;
    }
    result_cause(result, "%s", what_limits(sizes, works, fits_near(sizes, fits)));
    if (works <= LARGE_LEN && !sizes->line.cut && !sizes->check->server.own && !is_limited_by_loss(sizes, fits))
        result_owner(result, "let IP fragments, ICMP type 3 code 4 and ICMPv6 type 2 pass in the firewalls on that way "
                             "(only the first fragment contains the ports)");
}

static enum check_status judge_sizes(const struct sizes *sizes, size_t fits)
{
    size_t works = largest_both_ways(sizes);
    if (works < QUIC_LEN)
        return CHECK_FAILED;
    if (sizes->empty && is_limited_by_loss(sizes, fits))
        return CHECK_INFO;
    return works < LARGE_LEN || !sizes->empty || sizes->line.cut || sizes->died ? CHECK_WARNING : CHECK_OK;
}

static void say_sizes(const struct sizes *sizes, struct check_result *result, size_t fits)
{
    char pieces[192] = "";
    size_t up = sizes->up.works, down = sizes->down.works, least = largest_both_ways(sizes);
    size_t near = fits && fits < sizes->whole_here ? fits : sizes->whole_here; /* on our side of the proxy */
    const char *empty = sizes->empty         ? ""
                        : sizes->empty_kills ? "; an empty one ends the association"
                                             : "; empty ones are lost";
    const char *died = sizes->died ? "; a larger one ends the association" : "";
    if (sizes->whole < up)
        snprintf(pieces, sizeof(pieces),
                 "; fragmented above %zu bytes between the proxy and the test server, above %zu bytes between here and "
                 "the proxy",
                 sizes->whole, near);
    else if (near < least)
        snprintf(pieces, sizeof(pieces), "; fragmented above %zu bytes between here and the proxy", near);
    if (up == down)
        result_say(result, judge_sizes(sizes, fits), "datagrams of %d to %zu bytes pass both ways%s%s%s",
                   sizes->empty ? 0 : 1, up, pieces, empty, died);
    else
        result_say(result, judge_sizes(sizes, fits),
                   "datagrams of up to %zu bytes reach the test server, up to %zu reach us%s%s%s", up, down, pieces,
                   empty, died);
    result_data(result, "{s:I, s:I, s:I, s:I, s:o, s:b, s:b, s:b}", "largest_up", (json_int_t)up, "largest_down",
                (json_int_t)down, "largest_unfragmented", (json_int_t)sizes->whole, "largest_unfragmented_from_proxy",
                (json_int_t)sizes->whole_here, "largest_unfragmented_to_proxy",
                fits ? json_integer((json_int_t)fits) : json_null(), "empty", sizes->empty, "cut_short",
                sizes->line.cut, "ends_association", sizes->died > 0 || sizes->empty_kills);
    if (result->status == CHECK_WARNING)
        result_means(result,
                     "a few programs that send very large or empty datagrams fail; games, calls and browsers work");
    explain_limit(sizes, result, fits);
}

void step_sizes(struct check_run *check, struct check_result *result)
{
    struct sizes sizes = {.check = check};
    sizes.line = check_line(check, &sizes.association.channel);
    if (open_line(&sizes)) {
        search_both(&sizes);
        search_whole(&sizes);
        search_whole_here(&sizes);
        probe_empty(&sizes);
    }
    association_close(&sizes.association);
    if (sizes.gone)
        result_say(result, CHECK_FAILED, "the test server stopped answering");
    else
        say_sizes(&sizes, result, fits_to_proxy(check));
}
