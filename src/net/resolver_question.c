#include "net/resolver_question.h"

#include <assert.h>
#include <errno.h>
#include <event2/event.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "net/resolver_exchange.h"
#include "net/resolver_name.h"

#define LOG_MODULE "resolver"
#include "base/log.h"
#include "base/metrics.h"
#include "base/util.h"

/* One server is asked twice, several are asked once each. Many questions that were answered at once earn another send
 * for one that is lost again: few are lost for good, yet names that nobody answers no more than double the questions.
 */
#define SENDS_MAX  RESOLVER_SENDS_MAX
#define SPARE_COST 8
#define SPARE_MAX  (8 * SPARE_COST)

/* How long an answer may take before the question is sent again: that is no harm for one that takes longer. */
#define PATIENCE_MS 1000

/* Aliases that a server leaves to us. One that resolves follows them by itself. */
#define ALIASES_MAX 8

/* A server with so many misses is silent. One miss may be a lost datagram, or a name whose own servers are slow. */
#define MISSES_MAX      2
#define PROBE_PERIOD_MS 10000

struct asked {
    struct resolver_question *question;
    struct name_server *server;
    struct exchange exchange;
    unsigned sends;
    bool useless; /* it has answered, but not with what the name is */
};

struct resolver_question {
    struct name_servers *servers;
    resolver_question_done *done;
    void *arg;
    struct event timer; /* when it is looked at again */
    uint64_t deadline_ms;
    uint32_t ttl_s; /* the least of the aliases followed so far */
    int family;
    unsigned sends, sends_max, aliases;
    struct asked *latest;            /* that it was sent to since it was looked at; NULL: none */
    struct resolver_answer *partial; /* what fitted into a datagram, while TCP brings the rest; NULL: nothing */
    size_t asked_count;
    struct asked asked[SENDS_MAX]; /* in the order in which they are asked */
    char name[NAME_TEXT_MAX + 1];
};

/* ---- servers ---- */

struct name_servers *name_servers_new(struct event_base *base, const union netaddr *addresses, size_t count,
                                      struct metrics *metrics, struct descriptor_reserve *reserve)
{
    assert(count > 0);
    struct name_servers *servers = calloc(1, sizeof(*servers) + count * sizeof(servers->list[0]));
    if (!servers)
        return NULL;
    servers->base = base;
    servers->metrics = metrics;
    servers->reserve = reserve;
    servers->count = count;
    for (size_t i = 0; i < count; i++)
        servers->list[i].address = addresses[i];
    return servers;
}

static bool server_is_silent(const struct name_server *server)
{
    return server->misses >= MISSES_MAX;
}

static void server_miss(struct name_server *server, unsigned misses, const char *why)
{
    char text[NETADDR_TEXT_MAX];
    bool was_silent = server_is_silent(server);
    server->misses += server->misses < MISSES_MAX ? misses : 0;
    if (was_silent || !server_is_silent(server))
        return;
    server->probe_ms = clock_ms() + PROBE_PERIOD_MS;
    log_debug("the name server %s does not answer (%s): others are asked first", netaddr_format(&server->address, text),
              why);
}

/* ---- the end ---- */

static void question_close(struct resolver_question *question)
{
    for (size_t i = 0; i < question->asked_count; i++)
        exchange_close(&question->asked[i].exchange);
    free(question->partial);
    question->partial = NULL;
}

void resolver_question_free(struct resolver_question *question)
{
    if (!question)
        return;
    event_del(&question->timer);
    question_close(question);
    free(question);
}

static void question_finish(struct resolver_question *question, const struct resolver_answer *answer)
{
    struct resolver_answer copy = *answer; /* it may be the question's own */
    if (copy.ttl_s > question->ttl_s)
        copy.ttl_s = question->ttl_s;
    resolver_question_done *done = question->done;
    void *arg = question->arg;
    resolver_question_free(question);
    done(arg, &copy);
}

static bool question_has(const struct resolver_question *question, bool (*property)(const struct asked *))
{
    for (size_t i = 0; i < question->asked_count; i++)
        if (property(&question->asked[i]))
            return true;
    return false;
}

static bool asked_is_open(const struct asked *asked)
{
    return exchange_is_open(&asked->exchange);
}

static bool asked_is_useless(const struct asked *asked)
{
    return asked->useless;
}

static bool asked_is_new(const struct asked *asked)
{
    return asked->sends == 0;
}

static void question_give_up(struct resolver_question *question)
{
    if (question->partial) {
        question_finish(question, question->partial);
        return;
    }
    bool answered = question_has(question, asked_is_useless);
    const struct resolver_answer failed = {.status = answered ? RESOLVER_FAILED : RESOLVER_TIMED_OUT};
    question_finish(question, &failed);
}

/* ---- sending ---- */

/* Until the question is looked at again. */
static void question_wait(struct resolver_question *question)
{
    uint64_t now = clock_ms();
    uint64_t wait = question->deadline_ms > now ? question->deadline_ms - now : 0;
    if (wait > PATIENCE_MS)
        wait = PATIENCE_MS;
    const struct timeval timeout = timeval_from_ms(wait);
    event_add(&question->timer, &timeout);
}

/* The one that was asked least, the first of those; NULL: all have answered, but not with what the name is. */
static struct asked *question_pick(struct resolver_question *question)
{
    struct asked *pick = NULL;
    for (size_t i = 0; i < question->asked_count; i++) {
        struct asked *asked = &question->asked[i];
        if (!asked->useless && (!pick || asked->sends < pick->sends))
            pick = asked;
    }
    return pick;
}

static bool asked_send(struct asked *asked)
{
    struct resolver_question *question = asked->question;
    char text[NETADDR_TEXT_MAX];
    asked->sends++;
    question->sends++;
    question->latest = asked;
    if (question->servers->metrics)
        metrics_add(&question->servers->metrics->lookup_questions_total, 1);
    if (exchange_send(&asked->exchange))
        return true;
    log_debug("cannot ask the name server %s: %s", netaddr_format(&asked->server->address, text), strerror(errno));
    return false;
}

/* Asks a silent server whether it is back, next to one that answers, so that nobody waits for it. */
static void question_probe(struct resolver_question *question)
{
    for (size_t i = 1; i < question->asked_count && question->sends < SENDS_MAX; i++) {
        struct asked *asked = &question->asked[i];
        if (!server_is_silent(asked->server) || clock_ms() < asked->server->probe_ms)
            continue;
        asked->server->probe_ms = clock_ms() + PROBE_PERIOD_MS;
        question->sends_max += question->sends_max < SENDS_MAX;
        asked_send(asked);
    }
}

/* Asks the next one; at once another one when the question cannot leave. */
static void question_send(struct resolver_question *question, bool first)
{
    struct asked *pick = question_pick(question);
    while (pick && question->sends < question->sends_max && !asked_send(pick)) {
        pick = question_pick(question);
        if (pick && pick->sends > 0)
            break; /* in a while: what is short now may not be then */
    }
    if (first)
        question_probe(question);
    question_wait(question);
}

/* Allows one send more when all are used up, and other questions have earned one. */
static void question_take_spare(struct resolver_question *question)
{
    unsigned *spare = &question->servers->spare;
    if (question->sends < question->sends_max || question->sends_max == SENDS_MAX || question->partial ||
        *spare < SPARE_COST)
        return;
    *spare -= SPARE_COST;
    question->sends_max++;
}

static void question_on_timer(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct resolver_question *question = arg;
    bool first = question->sends == 0;
    if (question->latest && asked_is_open(question->latest) && !question->partial)
        server_miss(question->latest->server, 1, "in time");
    question->latest = NULL;
    question_take_spare(question);
    if (clock_ms() >= question->deadline_ms || question->partial)
        question_give_up(question);
    else if (question->sends < question->sends_max && question_pick(question))
        question_send(question, first);
    else if (!question_has(question, asked_is_open))
        question_give_up(question);
    else
        question_wait(question);
}

/* ---- answers ---- */

static void question_begin(struct resolver_question *question);

/* A server has nothing to offer: the next one, if there is one that was not asked yet. */
static void question_turn_to_others(struct resolver_question *question)
{
    if (question_has(question, asked_is_new) && question->sends < question->sends_max)
        question_send(question, false);
    else if (!question_pick(question) ||
             (question->sends >= question->sends_max && !question_has(question, asked_is_open)))
        question_give_up(question);
    else
        question_wait(question);
}

static void question_keep_partial(struct resolver_question *question, const struct resolver_answer *answer)
{
    if (answer->count == 0 || question->partial)
        return;
    question->partial = malloc(sizeof(*question->partial));
    if (question->partial)
        *question->partial = *answer;
    question->sends_max = question->sends; /* the rest of it comes over TCP, or not at all */
    question_wait(question);
}

static void question_answered(struct asked *asked, const struct resolver_answer *answer)
{
    struct resolver_question *question = asked->question;
    if (question->sends == 1 && question->servers->spare < SPARE_MAX)
        question->servers->spare++;
    if (answer->status == RESOLVER_FAILED) {
        asked->useless = true;
        question_turn_to_others(question);
    } else if (!answer->alias[0]) {
        question_finish(question, answer);
    } else if (question->aliases++ < ALIASES_MAX && resolver_name_valid(answer->alias, strlen(answer->alias))) {
        question_close(question);
        if (question->ttl_s > answer->ttl_s)
            question->ttl_s = answer->ttl_s;
        strcpy(question->name, answer->alias);
        question_begin(question);
    } else {
        const struct resolver_answer failed = {.status = RESOLVER_FAILED};
        question_finish(question, &failed);
    }
}

static void question_lost(struct asked *asked)
{
    struct resolver_question *question = asked->question;
    if (asked->exchange.tcp) {
        asked->useless = true;
    } else {
        if (errno == ECONNREFUSED)
            server_miss(asked->server, MISSES_MAX, strerror(errno));
        question->sends_max += question->sends_max < SENDS_MAX; /* this one has reached nobody */
    }
    if (question->partial && asked->exchange.tcp)
        question_give_up(question);
    else
        question_turn_to_others(question);
}

static void asked_on_exchange(struct exchange *exchange, enum exchange_event event,
                              const struct resolver_answer *answer)
{
    struct asked *asked = container_of(exchange, struct asked, exchange);
    if (event == EXCHANGE_LOST) {
        question_lost(asked);
        return;
    }
    asked->server->misses = 0;
    if (event == EXCHANGE_TRUNCATED)
        question_keep_partial(asked->question, answer);
    else
        question_answered(asked, answer);
}

/* ---- the beginning ---- */

static void question_add(struct resolver_question *question, struct name_server *server)
{
    struct asked *asked = &question->asked[question->asked_count++];
    *asked = (struct asked){.question = question, .server = server};
    asked->exchange = (struct exchange){
        .base = question->servers->base,
        .server = &server->address,
        .name = question->name,
        .family = question->family,
        .reserve = question->servers->reserve,
        .done = asked_on_exchange,
        .fd = -1,
    };
}

/* Chooses the servers: in their order, but for the silent ones. The timer, at once, asks the first. */
static void question_begin(struct resolver_question *question)
{
    struct name_servers *servers = question->servers;
    question->asked_count = 0;
    for (int silent = 0; silent < 2; silent++)
        for (size_t i = 0; i < servers->count && question->asked_count < SENDS_MAX; i++)
            if (server_is_silent(&servers->list[i]) == silent)
                question_add(question, &servers->list[i]);
    question->sends = 0;
    question->sends_max = question->asked_count > 1 ? (unsigned)question->asked_count : 2;
    question->latest = NULL;
    event_active(&question->timer, EV_TIMEOUT, 0);
}

struct resolver_question *resolver_question_ask(struct name_servers *servers, const char *name, int family,
                                                uint64_t timeout_ms, resolver_question_done *done, void *arg)
{
    assert(strlen(name) <= NAME_TEXT_MAX);
    struct resolver_question *question = calloc(1, sizeof(*question));
    if (!question)
        return NULL;
    question->servers = servers;
    question->done = done;
    question->arg = arg;
    question->family = family;
    question->ttl_s = UINT32_MAX;
    question->deadline_ms = clock_ms() + timeout_ms;
    strcpy(question->name, name);
    evtimer_assign(&question->timer, servers->base, question_on_timer, question);
    question_begin(question);
    return question;
}
