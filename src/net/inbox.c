#include "net/inbox.h"

#include <assert.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

struct inbox {
    struct event wake;
    int fd;
    pthread_mutex_t lock;
    struct inbox_item *first, **last;
};

static void inbox_run_items(struct inbox *inbox)
{
    pthread_mutex_lock(&inbox->lock);
    struct inbox_item *item = inbox->first;
    inbox->first = NULL;
    inbox->last = &inbox->first;
    pthread_mutex_unlock(&inbox->lock);
    while (item) {
        struct inbox_item *next = item->next;
        item->run(item);
        item = next;
    }
}

static void inbox_on_wake(evutil_socket_t fd, short what, void *arg)
{
    (void)what;
    eventfd_t count;
    (void)eventfd_read(fd, &count);
    inbox_run_items(arg);
}

struct inbox *inbox_new(struct event_base *base)
{
    struct inbox *inbox = calloc(1, sizeof(*inbox));
    if (!inbox)
        return NULL;
    inbox->fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (inbox->fd < 0) {
        free(inbox);
        return NULL;
    }
    pthread_mutex_init(&inbox->lock, NULL);
    inbox->last = &inbox->first;
    event_assign(&inbox->wake, base, inbox->fd, EV_READ | EV_PERSIST, inbox_on_wake, inbox);
    if (event_add(&inbox->wake, NULL) < 0) { /* no memory: nobody would ever hear what is posted */
        inbox_free(inbox);
        return NULL;
    }
    return inbox;
}

void inbox_free(struct inbox *inbox)
{
    inbox_run_items(inbox);
    assert(!inbox->first); /* nobody posts any more */
    event_del(&inbox->wake);
    close(inbox->fd);
    pthread_mutex_destroy(&inbox->lock);
    free(inbox);
}

void inbox_post(struct inbox *inbox, struct inbox_item *item)
{
    assert(item->run);
    item->next = NULL;
    pthread_mutex_lock(&inbox->lock);
    *inbox->last = item;
    inbox->last = &item->next;
    pthread_mutex_unlock(&inbox->lock);
    (void)eventfd_write(inbox->fd, 1);
}
