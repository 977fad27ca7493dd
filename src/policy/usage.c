#include "policy/usage.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <search.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"

struct usage_address {
    struct netaddr_subscriber subscriber;
    uint32_t sessions; /* from there */
};

struct usage_account {
    struct usage *usage;
    UT_hash_handle hh;
    /* Under the lock: */
    uint32_t sessions;
    size_t address_count;
    void *addresses;    /* a tree of struct usage_address: clients may choose theirs */
    uint64_t collected; /* of the volume: see usage_collect() */
    /* Any thread counts here. */
    atomic_uint_fast64_t volume, up, down, up_rate, down_rate;
    atomic_bool told;
    char user[];
};

struct usage {
    pthread_mutex_t lock; /* of the table */
    struct usage_account *table;
    atomic_uint_fast32_t month;
};

struct usage *usage_new(void)
{
    struct usage *usage = calloc(1, sizeof(*usage));
    if (usage)
        pthread_mutex_init(&usage->lock, NULL);
    return usage;
}

static void account_forget(struct usage_account *account)
{
    assert(account->sessions == 0 && !account->addresses);
    HASH_DEL(account->usage->table, account);
    free(account);
}

void usage_free(struct usage *usage)
{
    if (!usage)
        return;
    struct usage_account *account, *next;
    HASH_ITER(hh, usage->table, account, next)
    account_forget(account);
    pthread_mutex_destroy(&usage->lock);
    free(usage);
}

/* ---- months ---- */

/* Users without sessions are forgotten: they have used nothing in the month that begins. */
static void usage_begin_month(struct usage *usage, uint32_t month)
{
    struct usage_account *account, *next;
    HASH_ITER(hh, usage->table, account, next)
    {
        account->collected = 0;
        atomic_store(&account->volume, 0);
        atomic_store(&account->told, false);
        if (account->sessions == 0)
            account_forget(account);
    }
    atomic_store(&usage->month, month);
}

void usage_set_month(struct usage *usage, uint32_t month)
{
    if (atomic_load(&usage->month) == month)
        return;
    pthread_mutex_lock(&usage->lock);
    if (atomic_load(&usage->month) != month)
        usage_begin_month(usage, month);
    pthread_mutex_unlock(&usage->lock);
}

uint32_t usage_month(const struct usage *usage)
{
    return (uint32_t)atomic_load(&usage->month);
}

/* ---- sessions ---- */

static struct usage_account *usage_find(const struct usage *usage, const char *user)
{
    struct usage_account *account;
    HASH_FIND_STR(usage->table, user, account);
    return account;
}

/* NULL: no memory. */
static struct usage_account *usage_open(struct usage *usage, const char *user)
{
    struct usage_account *account = usage_find(usage, user);
    const size_t len = strlen(user);
    if (account)
        return account;
    assert(len < sizeof(((struct usage_row *)NULL)->user));
    account = calloc(1, sizeof(*account) + len + 1);
    if (!account)
        return NULL;
    account->usage = usage;
    memcpy(account->user, user, len + 1);
    HASH_ADD_KEYPTR(hh, usage->table, account->user, len, account);
    if (account->hh.tbl)
        return account;
    free(account);
    return NULL;
}

static int addresses_compare(const void *a, const void *b)
{
    const struct usage_address *left = a, *right = b;
    return memcmp(&left->subscriber, &right->subscriber, sizeof(left->subscriber));
}

/* 0 or an errno. */
static int account_add_address(struct usage_account *account, const union netaddr *client, uint32_t most)
{
    const struct usage_address wanted = {.subscriber = netaddr_subscriber(client)};
    struct usage_address **found = tfind(&wanted, &account->addresses, addresses_compare);
    if (found) {
        (*found)->sessions++;
        return 0;
    }
    if (most && account->address_count >= most)
        return EDQUOT;
    struct usage_address *new = malloc(sizeof(*new));
    if (!new || !(found = tsearch(memcpy(new, &wanted, sizeof(wanted)), &account->addresses, addresses_compare))) {
        free(new);
        return ENOMEM;
    }
    new->sessions = 1;
    account->address_count++;
    return 0;
}

static void account_remove_address(struct usage_account *account, const union netaddr *client)
{
    const struct usage_address wanted = {.subscriber = netaddr_subscriber(client)};
    struct usage_address **found = tfind(&wanted, &account->addresses, addresses_compare), *address;
    assert(found && (*found)->sessions > 0);
    address = *found;
    if (--address->sessions > 0)
        return;
    tdelete(address, &account->addresses, addresses_compare);
    free(address);
    assert(account->address_count > 0);
    account->address_count--;
}

/* Keeps nothing of a user who has no sessions and has used nothing. */
static void account_settle(struct usage_account *account)
{
    if (account->sessions == 0 && atomic_load(&account->volume) == 0)
        account_forget(account);
}

int usage_enter(struct usage *usage, struct usage_account **out, const char *user, const union netaddr *client,
                uint32_t addresses)
{
    pthread_mutex_lock(&usage->lock);
    struct usage_account *account = usage_open(usage, user);
    int error = account ? account_add_address(account, client, addresses) : ENOMEM;
    if (!error)
        account->sessions++;
    else if (account)
        account_settle(account);
    pthread_mutex_unlock(&usage->lock);
    *out = error ? NULL : account;
    return error;
}

void usage_leave(struct usage_account *account, const union netaddr *client)
{
    struct usage *usage = account->usage;
    pthread_mutex_lock(&usage->lock);
    account_remove_address(account, client);
    assert(account->sessions > 0);
    account->sessions--;
    account_settle(account);
    pthread_mutex_unlock(&usage->lock);
}

/* ---- counts ---- */

void usage_add(struct usage_account *account, struct usage_bytes bytes)
{
    if (bytes.up + bytes.down == 0)
        return;
    atomic_fetch_add_explicit(&account->up, bytes.up, memory_order_relaxed);
    atomic_fetch_add_explicit(&account->down, bytes.down, memory_order_relaxed);
    atomic_fetch_add_explicit(&account->volume, bytes.up + bytes.down, memory_order_relaxed);
}

void usage_change_rate(struct usage_account *account, struct usage_bytes change)
{
    if (change.up)
        atomic_fetch_add_explicit(&account->up_rate, change.up, memory_order_relaxed);
    if (change.down)
        atomic_fetch_add_explicit(&account->down_rate, change.down, memory_order_relaxed);
}

uint64_t usage_volume(const struct usage_account *account)
{
    return atomic_load_explicit(&account->volume, memory_order_relaxed);
}

bool usage_first_told(struct usage_account *account)
{
    return !atomic_exchange(&account->told, true);
}

/* ---- for the operator ---- */

static struct usage_row account_row(const struct usage_account *account)
{
    struct usage_row row = {
        .addresses = account->address_count,
        .volume = usage_volume(account),
        .bytes = {atomic_load(&account->up), atomic_load(&account->down)},
        .rate = {atomic_load(&account->up_rate), atomic_load(&account->down_rate)},
    };
    memcpy(row.user, account->user, strlen(account->user) + 1);
    return row;
}

static bool row_comes_before(const struct usage_row *a, const struct usage_row *b)
{
    const uint64_t rate_a = a->rate.up + a->rate.down, rate_b = b->rate.up + b->rate.down;
    return rate_a != rate_b ? rate_a > rate_b : a->volume > b->volume;
}

/* Puts it where it belongs among the `count` rows, of which there may be `max`. Returns how many there are then. */
static size_t rows_insert(struct usage_row *rows, size_t count, size_t max, const struct usage_row *row)
{
    size_t at = count;
    while (at > 0 && row_comes_before(row, &rows[at - 1]))
        at--;
    if (at == max)
        return count;
    const size_t kept = count < max ? count : max - 1;
    memmove(&rows[at + 1], &rows[at], (kept - at) * sizeof(*rows));
    rows[at] = *row;
    return kept + 1;
}

size_t usage_list(struct usage *usage, struct usage_row *rows, size_t max, size_t *total)
{
    struct usage_account *account, *next;
    size_t count = 0;
    pthread_mutex_lock(&usage->lock);
    *total = HASH_COUNT(usage->table);
    HASH_ITER(hh, usage->table, account, next)
    {
        const struct usage_row row = account_row(account);
        count = rows_insert(rows, count, max, &row);
    }
    pthread_mutex_unlock(&usage->lock);
    return count;
}

/* ---- between processes ---- */

void usage_collect(struct usage *usage, bool (*take)(void *arg, const char *user, uint64_t volume), void *arg)
{
    struct usage_account *account, *next;
    pthread_mutex_lock(&usage->lock);
    HASH_ITER(hh, usage->table, account, next)
    {
        const uint64_t volume = usage_volume(account);
        if (volume == account->collected)
            continue;
        if (!take(arg, account->user, volume - account->collected))
            break;
        account->collected = volume;
    }
    pthread_mutex_unlock(&usage->lock);
}

void usage_merge(struct usage *usage, uint32_t month, const char *user, uint64_t volume)
{
    pthread_mutex_lock(&usage->lock);
    struct usage_account *account = atomic_load(&usage->month) == month ? usage_open(usage, user) : NULL;
    if (account)
        atomic_fetch_add(&account->volume, volume);
    pthread_mutex_unlock(&usage->lock);
}
