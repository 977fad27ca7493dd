#include "daemon/place.h"

#include <assert.h>
#include <stddef.h>
#include <stdlib.h>

#include "daemon/crew.h"
#include "daemon/listeners.h"
#include "daemon/takeover.h"
#include "daemon/worker.h"
#include "proxy/assoc/handover_link.h"
#include "proxy/assoc/shared_socket.h"

struct place {
    struct host *host;
    struct crew *crew;
    struct crew_round *round;
    int link_fd;                /* -1: no link */
    struct handover_link *link; /* the first worker's; NULL: none */
    int *udp;                   /* free; -1: a worker has adopted it */
    size_t udp_count;
};

/* On the worker's thread. */
static void place_take_worker(struct crew_turn *turn)
{
    struct place *place = turn->arg;
    struct env *env = worker_env(turn->worker);
    if (turn->number == 0 && place->link_fd >= 0)
        place->link = handover_link_new(env, place->link_fd);
    for (size_t i = turn->number; i < place->udp_count; i += crew_size(place->crew))
        shared_socket_adopt(env, place->udp[i]);
    listeners_resume(worker_listeners(turn->worker));
    crew_turn_end(turn);
}

static void place_on_taken(void *arg)
{
    struct place *place = arg;
    free(place->udp);
    place->udp = NULL;
}

void place_take(struct place *place, struct takeover *takeover, bool shares_port)
{
    assert(place->link_fd < 0 && !place->udp);
    if (takeover->udp_count > 0 || shares_port) {
        handover_link_set_previous(place->host, takeover->server);
        place->link_fd = takeover->server;
        takeover->server = -1;
    }
    place->udp = takeover->udp;
    place->udp_count = takeover->udp_count;
    takeover->udp = NULL;
    takeover->udp_count = 0;
    crew_round_begin(place->round, place_take_worker, place_on_taken);
}

struct place *place_new(struct host *host, struct crew *crew)
{
    struct place *place = calloc(1, sizeof(*place));
    struct crew_round *round = place ? crew_round_new(crew, place) : NULL;
    if (!round) {
        free(place);
        return NULL;
    }
    *place = (struct place){.host = host, .crew = crew, .round = round, .link_fd = -1};
    return place;
}

void place_free(struct place *place)
{
    if (!place)
        return;
    crew_round_free(place->round);
    handover_link_free(place->link);
    free(place->udp);
    free(place);
}
