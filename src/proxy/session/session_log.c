#include "proxy/session/session_log.h"

#include <assert.h>
#include <stddef.h>

#define LOG_MODULE "session"
#include "base/log.h"
#include "base/util.h"
#include "proxy/assoc/assoc.h"
#include "proxy/session/advertised.h"
#include "proxy/session/login.h"
#include "proxy/session/session_impl.h"
#include "proxy/session/session_view.h"

/* Each is filled in once, whatever it is written as. */
struct fields {
    struct log_field list[18 + DROP_REASON_COUNT];
    size_t count;
};

static void fields_add(struct fields *fields, struct log_field field)
{
    fields->list[fields->count++] = field;
}

static void fields_add_text(struct fields *fields, const char *key, const char *text)
{
    fields_add(fields, (struct log_field){.key = key, .type = LOG_TEXT, .text = text});
}

static void fields_add_number(struct fields *fields, const char *key, uint64_t number)
{
    fields_add(fields, (struct log_field){.key = key, .type = LOG_NUMBER, .number = number});
}

static void fields_add_address(struct fields *fields, const char *key, const union netaddr *address)
{
    fields_add(fields, (struct log_field){.key = key, .type = LOG_ADDRESS, .address = address});
}

/* NULL while no socket is open. */
static const union netaddr *opened_external(const union netaddr *external)
{
    return netaddr_port(external) ? external : NULL;
}

static void fields_add_assoc(struct fields *fields, const struct session_view *view)
{
    const struct assoc_flow *flow = view->flow;
    fields_add_address(fields, "relay", &flow->relay);
    fields_add_address(fields, "client_udp", &flow->client);
    struct assoc_mapping mappings[CONFIG_CLIENT_PORTS_MAX];
    const size_t client_ports = assoc_mappings(view->assoc, mappings);
    if (client_ports > 1)
        fields_add_number(fields, "client_ports", client_ports);
    fields_add_address(fields, "external_v4", opened_external(&flow->external[FAMILY_V4]));
    fields_add_address(fields, "external_v6", opened_external(&flow->external[FAMILY_V6]));
    fields_add_number(fields, "up_datagrams", flow->up_datagrams);
    fields_add_number(fields, "up_bytes", flow->up_bytes);
    fields_add_number(fields, "down_datagrams", flow->down_datagrams);
    fields_add_number(fields, "down_bytes", flow->down_bytes);
    const uint64_t by_kernel = view->kernel.up_datagrams + view->kernel.down_datagrams;
    if (by_kernel)
        fields_add_number(fields, "kernel", by_kernel);
    for (int i = 0; i < DROP_REASON_COUNT; i++)
        if (flow->dropped[i])
            fields_add(fields, (struct log_field){.group = "dropped",
                                                  .key = drop_reason_name((enum drop_reason)i),
                                                  .type = LOG_NUMBER,
                                                  .number = flow->dropped[i]});
    if (view->upstream)
        fields_add_text(fields, "upstream", view->upstream);
}

static void fields_add_stream(struct fields *fields, const struct session_view *view, enum socks5_reply reply)
{
    fields_add_text(fields, "destination", view->destination[0] ? view->destination : NULL);
    if (view->upstream)
        fields_add_text(fields, "upstream", view->upstream);
    fields_add_address(fields, "via", &view->remote);
    fields_add_number(fields, "reply", reply);
    fields_add_number(fields, "up_bytes", view->up_bytes);
    fields_add_number(fields, "down_bytes", view->down_bytes);
}

static void session_log_write(const struct session *session, const char *why, uint64_t now, uint32_t suppressed)
{
    struct fields fields = {.count = 0};
    struct session_view view;
    session_look_at(session, now, &view);
    fields_add_number(&fields, "id", view.id);
    fields_add_address(&fields, "client", view.client);
    fields_add_text(&fields, "user", view.user);
    fields_add_text(&fields, "command", view.kind == KIND_NEGOTIATION ? "none" : session_kind_word(view.kind));
    if (view.flow)
        fields_add_assoc(&fields, &view);
    else if (view.kind != KIND_NEGOTIATION)
        fields_add_stream(&fields, &view, session->reply);
    fields_add(&fields, (struct log_field){.key = "seconds", .type = LOG_SECONDS, .number = view.age_ms});
    fields_add(&fields, (struct log_field){.key = "why", .type = LOG_SENTENCE, .text = why});
    assert(fields.count <= ARRAY_LEN(fields.list));
    log_record(&(struct log_record){.level = LOG_LEVEL_INFO,
                                    .module = LOG_MODULE,
                                    .message = "session ended",
                                    .fields = fields.list,
                                    .field_count = fields.count,
                                    .suppressed = suppressed});
}

void session_log_end(const struct session *session, const char *why)
{
    struct env *env = session->env;
    const uint64_t now = env_now(env);
    uint32_t suppressed = 0;
    /* Without a request, or with none granted and no login, anybody can cause the line, as often as they like. */
    const bool is_stranger = !session->user && session->reply == SOCKS5_REPLY_NOT_ALLOWED;
    const bool has_asked = (session->stream || session->assoc) && !is_stranger;
    struct log_limit *limit = session->user && env->logins ? logins_failed_log(env->logins) : &env->strangers_log;
    if (!log_enabled(LOG_LEVEL_INFO) || (!has_asked && !log_limit_pass(limit, now, &suppressed)))
        return;
    session_log_write(session, why, now, suppressed);
    if (session->assoc && session->granted)
        advertised_review(env, &session->peer, assoc_flow(session->assoc));
}
