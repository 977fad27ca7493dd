/*
 * All ports of the range are on a circle of positions, in three zones: from `head` on those that have rested, in no
 * order; then those that rest, in the order in which they were put back; then those in use. To change its zone, a port
 * swaps positions with the one at the zone's edge, and the edge moves by one.
 *
 * A page of the circle is allocated when it is first written to; until then each of its ports is at its own number.
 */
#include "net/port_table.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#define PAGE_SLOTS 64u

/* All zero: nothing has happened. */
struct port_slot {
    uint16_t port_mask;  /* of this position: the port that is there, XOR the position */
    uint16_t place_mask; /* of this port: its position, XOR the port */
    uint32_t quiet_from_s;
};

static_assert(sizeof(struct port_slot) == 8, "a page is half a kilobyte");

struct port_page {
    struct port_slot slots[PAGE_SLOTS];
};

struct port_table {
    uint16_t first; /* within the table a port is its distance from this one */
    uint32_t total, head, rested, resting;
    size_t page_count; /* of those that are allocated */
    struct port_page *pages[];
};

struct port_table *port_table_new(uint16_t first, uint16_t last)
{
    assert(first <= last);
    const uint32_t total = (uint32_t)last - first + 1;
    const size_t pages = (total + PAGE_SLOTS - 1) / PAGE_SLOTS;
    struct port_table *table = calloc(1, sizeof(*table) + pages * sizeof(struct port_page *));
    if (!table)
        return NULL;
    table->first = first;
    table->total = table->rested = total;
    return table;
}

static size_t count_pages(const struct port_table *table)
{
    return (table->total + PAGE_SLOTS - 1) / PAGE_SLOTS;
}

void port_table_free(struct port_table *table)
{
    if (!table)
        return;
    for (size_t i = 0; i < count_pages(table); i++)
        free(table->pages[i]);
    free(table);
}

/* ---- slots ---- */

static struct port_slot read_slot(const struct port_table *table, uint32_t i)
{
    const struct port_page *page = table->pages[i / PAGE_SLOTS];
    return page ? page->slots[i % PAGE_SLOTS] : (struct port_slot){0};
}

static struct port_slot *slot_at(struct port_table *table, uint32_t i)
{
    return &table->pages[i / PAGE_SLOTS]->slots[i % PAGE_SLOTS];
}

static bool allocate_slot(struct port_table *table, uint32_t i)
{
    struct port_page **page = &table->pages[i / PAGE_SLOTS];
    if (*page)
        return true;
    *page = calloc(1, sizeof(**page));
    table->page_count += *page != NULL;
    return *page != NULL;
}

static uint32_t position_at(const struct port_table *table, uint32_t distance)
{
    assert(table->head < table->total);
    return (table->head + distance) % table->total;
}

static uint32_t port_at(const struct port_table *table, uint32_t at)
{
    return read_slot(table, at).port_mask ^ at;
}

static uint32_t position_of(const struct port_table *table, uint32_t port)
{
    return read_slot(table, port).place_mask ^ port;
}

static void port_set_position(struct port_table *table, uint32_t port, uint32_t at)
{
    assert(port < table->total && at < table->total);
    slot_at(table, at)->port_mask = (uint16_t)(port ^ at);
    slot_at(table, port)->place_mask = (uint16_t)(port ^ at);
}

static void ports_swap(struct port_table *table, uint32_t a, uint32_t b)
{
    const uint32_t at_a = port_at(table, a), at_b = port_at(table, b);
    port_set_position(table, at_a, b);
    port_set_position(table, at_b, a);
}

/* ---- zones ---- */

static uint32_t quiet_from(const struct port_table *table, uint32_t distance)
{
    return read_slot(table, port_at(table, position_at(table, distance))).quiet_from_s;
}

static bool has_rested(uint32_t quiet_from_s, struct port_time time)
{
    return (uint64_t)quiet_from_s + time.rest_s <= time.now_s;
}

/* Moves the ports that have rested by now to their zone, by moving its edge. */
static void table_let_rest(struct port_table *table, struct port_time time)
{
    uint32_t first = 0, end = table->resting; /* the first that still has to rest is between them */
    if (end == 0 || !has_rested(quiet_from(table, table->rested), time))
        return; /* all but once a second */
    while (first < end) {
        const uint32_t middle = first + (end - first) / 2;
        if (has_rested(quiet_from(table, table->rested + middle), time))
            first = middle + 1;
        else
            end = middle;
    }
    assert(first <= table->resting);
    table->rested += first;
    table->resting -= first;
}

/* Takes the port at `at`, which is not in use; the port at the head gets its position. What is allocated here is all
 * that putting the port back writes to. */
static int table_take_at(struct port_table *table, uint32_t at)
{
    const uint32_t head = table->head;
    if (!allocate_slot(table, at) || !allocate_slot(table, head) || !allocate_slot(table, port_at(table, at)) ||
        !allocate_slot(table, port_at(table, head)))
        return -ENOMEM;
    ports_swap(table, at, head);
    table->head = position_at(table, 1);
    return 0;
}

int port_table_take(struct port_table *table, struct port_time time, uint32_t random, uint16_t *port, bool *early)
{
    table_let_rest(table, time);
    if (table->rested + table->resting == 0)
        return -EADDRINUSE;
    const bool none_rested = table->rested == 0;
    const uint32_t at = position_at(table, none_rested ? 0 : random % table->rested);
    const uint32_t taken = port_at(table, at);
    int error = table_take_at(table, at);
    if (error)
        return error;
    table->rested -= !none_rested;
    table->resting -= none_rested;
    *port = (uint16_t)(table->first + taken);
    *early = none_rested;
    return 0;
}

int port_table_take_one(struct port_table *table, struct port_time time, uint16_t port)
{
    assert(port >= table->first && (uint32_t)port - table->first < table->total);
    const uint32_t at = position_of(table, (uint32_t)port - table->first);
    table_let_rest(table, time);
    if ((at + table->total - table->head) % table->total >= table->rested)
        return -EADDRINUSE;
    int error = table_take_at(table, at);
    table->rested -= !error;
    return error;
}

void port_table_put(struct port_table *table, struct port_time time, uint16_t port, uint32_t quiet_from_s)
{
    const uint32_t idle = table->rested + table->resting, i = (uint32_t)port - table->first;
    assert(idle < table->total && (position_of(table, i) + table->total - table->head) % table->total >= idle);
    if (quiet_from_s == 0 || has_rested(quiet_from_s, time)) {
        const uint32_t before_head = position_at(table, table->total - 1);
        ports_swap(table, position_of(table, i), before_head);
        table->head = before_head;
        table->rested++;
        return;
    }
    /* They are in the order in which their rest ends, as table_let_rest() needs it. */
    const uint32_t last = table->resting ? quiet_from(table, idle - 1) : 0;
    ports_swap(table, position_of(table, i), position_at(table, idle));
    slot_at(table, i)->quiet_from_s = quiet_from_s > last ? quiet_from_s : last;
    table->resting++;
}

/* ---- counts ---- */

uint32_t port_table_total(const struct port_table *table)
{
    return table->total;
}

uint32_t port_table_used(const struct port_table *table)
{
    assert(table->rested + table->resting <= table->total);
    return table->total - table->rested - table->resting;
}

uint32_t port_table_resting(struct port_table *table, struct port_time time)
{
    table_let_rest(table, time);
    return table->resting;
}

size_t port_table_memory(const struct port_table *table)
{
    return sizeof(*table) + count_pages(table) * sizeof(struct port_page *) +
           table->page_count * sizeof(struct port_page);
}
