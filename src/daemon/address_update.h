/*
 * Tells every worker when this host's addresses have changed. On the main thread.
 */
#ifndef CONESOCKS_DAEMON_ADDRESS_UPDATE_H
#define CONESOCKS_DAEMON_ADDRESS_UPDATE_H

struct address_update;
struct crew;
struct own_hosts;

/* NULL: no memory. */
struct address_update *address_update_new(const struct crew *crew);
/* After crew_start(). A worker that has not taken the previous set yet gets this one in its place. */
void address_update_send(struct address_update *update, struct own_hosts *hosts);
/* After crew_stop(). NULL is fine. */
void address_update_free(struct address_update *update);

#endif
