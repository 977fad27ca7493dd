#include "proxy/session/session_view.h"

#include <assert.h>

#include "conf/words.h"
#include "proxy/assoc/assoc.h"
#include "proxy/session/session_impl.h"
#include "proxy/session/session_user.h"
#include "proxy/stream/stream.h"

const char *session_kind_word(enum session_kind kind)
{
    switch (kind) {
    case KIND_CONNECT:
        return config_command_word(CONFIG_COMMAND_CONNECT);
    case KIND_BIND:
        return config_command_word(CONFIG_COMMAND_BIND);
    case KIND_ASSOCIATION:
    case KIND_ASSOCIATION_OVER_TCP:
        return config_session_word(CONFIG_COMMAND_UDP, kind == KIND_ASSOCIATION_OVER_TCP);
    default:
        assert(kind == KIND_NEGOTIATION);
        return "negotiation";
    }
}

static void view_assoc(struct session_view *view, struct assoc *assoc)
{
    view->kind = assoc_is_over_tcp(assoc) ? KIND_ASSOCIATION_OVER_TCP : KIND_ASSOCIATION;
    view->assoc = assoc;
    view->flow = assoc_flow(assoc);
    view->kernel = assoc_kernel_use(assoc);
    view->upstream = assoc_upstream(assoc);
    view->up_bytes = view->flow->up_bytes;
    view->down_bytes = view->flow->down_bytes;
}

static void view_stream(struct session_view *view, const struct stream *stream, bool tells_destinations)
{
    view->kind = stream_command(stream) == CONFIG_COMMAND_BIND ? KIND_BIND : KIND_CONNECT;
    view->upstream = stream_upstream(stream);
    view->up_bytes = stream_up_bytes(stream);
    view->down_bytes = stream_down_bytes(stream);
    if (!tells_destinations)
        return;
    stream_destination(stream, view->destination);
    view->remote = stream_remote(stream);
}

void session_look_at(const struct session *session, uint64_t now_ms, struct session_view *view)
{
    *view = (struct session_view){
        .id = session->id,
        .age_ms = now_ms - session->started_ms,
        .kind = KIND_NEGOTIATION,
        .client = &session->peer,
        .user = session_user_name(session->user),
    };
    assert(!session->stream || !session->assoc);
    if (session->assoc)
        view_assoc(view, session->assoc);
    else if (session->stream)
        view_stream(view, session->stream, session->env->config->log.destinations);
}
