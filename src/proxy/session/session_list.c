#include "proxy/session/session_list.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "net/resolver.h"
#include "proxy/assoc/assoc.h"
#include "proxy/env.h"
#include "proxy/session/session_impl.h"

struct session_list *session_list_new(size_t row_max)
{
    struct session_list *list = malloc(sizeof(*list) + row_max * sizeof(list->rows[0]));
    if (list)
        *list = (struct session_list){.row_max = row_max};
    return list;
}

/* ---- a session ---- */

static void row_copy_text(char *out, size_t size, const char *text)
{
    size_t len = text ? strnlen(text, size - 1) : 0;
    if (len)
        memcpy(out, text, len);
    out[len] = '\0';
}

static void row_copy_assoc(struct session_list_row *row, const struct session_view *view, uint64_t now)
{
    row->assoc.flow = *view->flow;
    memcpy(row->assoc.dropped, view->flow->dropped, sizeof(row->assoc.dropped));
    row->assoc.flow.dropped = NULL; /* the association's own */
    row->assoc.idle_ms = assoc_idle_ms(view->assoc, now);
    row->assoc.mapping_count = assoc_mappings(view->assoc, row->assoc.mappings);
    assoc_exits(view->assoc, row->assoc.exits, sizeof(row->assoc.exits));
    row->assoc.filtering = assoc_filtering(view->assoc);
    row->assoc.kernel = view->kernel;
}

static void row_copy_stream(struct session_list_row *row, const struct session_view *view)
{
    row_copy_text(row->stream.destination, sizeof(row->stream.destination), view->destination);
    row->stream.remote = view->remote;
    row->stream.up_bytes = view->up_bytes;
    row->stream.down_bytes = view->down_bytes;
}

static void row_copy(struct session_list_row *row, const struct session *session, uint64_t now)
{
    struct session_view view;
    session_look_at(session, now, &view);
    row->id = view.id;
    row->age_ms = view.age_ms;
    row->kind = view.kind;
    row->client = *view.client;
    /* Before a request, what claims to be a user's name may be anything, even a password. */
    row_copy_text(row->user, sizeof(row->user), view.kind == KIND_NEGOTIATION ? NULL : view.user);
    row_copy_text(row->upstream, sizeof(row->upstream), view.upstream);
    if (view.flow)
        row_copy_assoc(row, &view, now);
    else if (view.kind != KIND_NEGOTIATION)
        row_copy_stream(row, &view);
}

/* ---- a worker's ---- */

/* Past thousands of sessions of other pages, each of which costs a cache miss: so from the nearer end. NULL: none. */
static const struct session *session_list_find_after(const struct env *env, uint64_t after)
{
    const struct session *first = TAILQ_FIRST(&env->sessions), *last = TAILQ_LAST(&env->sessions, session_queue);
    if (!first || last->id <= after)
        return NULL;
    if (after < first->id + (last->id - first->id) / 2) {
        while (first->id <= after)
            first = TAILQ_NEXT(first, link);
        return first;
    }
    for (const struct session *before; (before = TAILQ_PREV(last, session_queue, link)) && before->id > after;)
        last = before;
    return last;
}

void session_list_take(struct session_list *list, const struct env *env, uint64_t after)
{
    const uint64_t now = env_now(env);
    *list = (struct session_list){.row_max = list->row_max, .lookups = resolver_waiting(env->resolver)};
    const union netaddr *servers = resolver_servers(env->resolver, &list->server_count);
    if (list->server_count > SESSION_LIST_SERVERS_MAX)
        list->server_count = SESSION_LIST_SERVERS_MAX;
    memcpy(list->servers, servers, list->server_count * sizeof(servers[0]));
    list->counts = (struct session_list_counts){
        .associations = env->open.associations,
        .streams = env->open.streams,
        .negotiating = env->open.sessions - env->open.associations - env->open.streams,
    };
    const struct session *session = session_list_find_after(env, after);
    for (; session && list->row_count < list->row_max; session = TAILQ_NEXT(session, link)) {
        assert(session->id > after && session->state != SESSION_ENDED);
        row_copy(&list->rows[list->row_count++], session, now);
    }
    list->more = session != NULL;
}

/* ---- all workers' ---- */

/* NULL: there is none, or which comes next is not among the rows. */
static struct session_list *session_list_find_lowest(struct session_list *const *lists, size_t list_count)
{
    struct session_list *lowest = NULL;
    for (size_t i = 0; i < list_count; i++) {
        struct session_list *list = lists[i];
        if (list->merged < list->row_count) {
            if (!lowest || list->rows[list->merged].id < lowest->rows[lowest->merged].id)
                lowest = list;
        } else if (list->more) {
            return NULL;
        }
    }
    return lowest;
}

size_t session_list_merge(struct session_list *const *lists, size_t list_count, const struct session_list_row **rows,
                          size_t max, uint64_t *next)
{
    size_t count = 0;
    bool more = false;
    assert(max > 0);
    for (struct session_list *list; count < max && (list = session_list_find_lowest(lists, list_count));)
        rows[count++] = &list->rows[list->merged++];
    for (size_t i = 0; i < list_count; i++)
        more |= lists[i]->more || lists[i]->merged < lists[i]->row_count;
    *next = more && count ? rows[count - 1]->id : 0;
    return count;
}
