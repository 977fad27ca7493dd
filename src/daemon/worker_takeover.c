#include "daemon/worker_takeover.h"

#include <assert.h>
#include <stddef.h>
#include <stdlib.h>

#include "daemon/crew.h"
#include "daemon/listeners.h"
#include "daemon/takeover.h"
#include "daemon/worker.h"
#include "proxy/assoc/handover_link.h"
#include "proxy/assoc/shared_socket.h"

struct worker_takeover {
    struct host *host;
    struct crew *crew;
    struct crew_round *round;
    int link_fd;                /* -1: no link */
    struct handover_link *link; /* the first worker's; NULL: none */
    int *udp;                   /* sockets that the workers adopt; free */
    size_t udp_count;
};

/* On the worker's thread. */
static void worker_takeover_adopt(struct crew_turn *turn)
{
    struct worker_takeover *worker_takeover = turn->arg;
    struct env *env = worker_env(turn->worker);
    if (turn->number == 0 && worker_takeover->link_fd >= 0)
        worker_takeover->link = handover_link_new(env, worker_takeover->link_fd);
    for (size_t i = turn->number; i < worker_takeover->udp_count; i += crew_size(worker_takeover->crew))
        shared_socket_adopt(env, worker_takeover->udp[i]);
    listeners_resume(worker_listeners(turn->worker));
    crew_turn_end(turn);
}

static void worker_takeover_on_joined(void *arg)
{
    struct worker_takeover *worker_takeover = arg;
    free(worker_takeover->udp);
    worker_takeover->udp = NULL;
}

void worker_takeover_begin(struct worker_takeover *worker_takeover, struct takeover *takeover, bool shares_port)
{
    assert(worker_takeover->link_fd < 0 && !worker_takeover->udp);
    if (takeover->udp_count > 0 || shares_port) {
        handover_link_set_previous(worker_takeover->host, takeover->server);
        worker_takeover->link_fd = takeover->server;
        takeover->server = -1;
    }
    worker_takeover->udp = takeover->udp;
    worker_takeover->udp_count = takeover->udp_count;
    takeover->udp = NULL;
    takeover->udp_count = 0;
    crew_round_begin(worker_takeover->round, worker_takeover_adopt, worker_takeover_on_joined);
}

struct worker_takeover *worker_takeover_new(struct host *host, struct crew *crew)
{
    struct worker_takeover *worker_takeover = calloc(1, sizeof(*worker_takeover));
    struct crew_round *round = worker_takeover ? crew_round_new(crew, worker_takeover) : NULL;
    if (!round) {
        free(worker_takeover);
        return NULL;
    }
    *worker_takeover = (struct worker_takeover){.host = host, .crew = crew, .round = round, .link_fd = -1};
    return worker_takeover;
}

void worker_takeover_free(struct worker_takeover *worker_takeover)
{
    if (!worker_takeover)
        return;
    crew_round_free(worker_takeover->round);
    handover_link_free(worker_takeover->link);
    free(worker_takeover->udp);
    free(worker_takeover);
}
