#include "policy/quota.h"

#include <assert.h>
#include <pthread.h>
#include <search.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

/* Compared before the key, so that no user's name can be a client's address. */
enum account_owner { OWNER_CLIENT, OWNER_USER };

struct quota_account {
    struct quota *quota;
    LIST_ENTRY(quota_account) link; /* of all that are open, under the lock */
    uint32_t openings;              /* under the lock */
    atomic_uint held[QUOTA_KINDS];
    uint8_t owner, key_len;
    char key[];
};

/* A tree, not a hash table: strangers choose their addresses, and must not be able to make it slow. */
struct quota {
    pthread_mutex_t lock; /* of the tree; counting takes none */
    void *accounts;
    LIST_HEAD(, quota_account) open;
    size_t size;
    struct quota_heaviest heaviest[QUOTA_KINDS]; /* under the lock: as of the last comparison */
    uint64_t compared_ms[QUOTA_KINDS];
    struct quota_account *of_all;
};

static struct quota_account *account_new(struct quota *quota, enum account_owner owner, const void *key, size_t key_len)
{
    struct quota_account *account = calloc(1, sizeof(*account) + key_len);
    if (!account)
        return NULL;
    account->quota = quota;
    account->owner = (uint8_t)owner;
    assert(key_len <= UINT8_MAX);
    account->key_len = (uint8_t)key_len;
    memcpy(account->key, key, key_len);
    return account;
}

static int accounts_compare(const void *a, const void *b)
{
    const struct quota_account *left = a, *right = b;
    if (left->owner != right->owner)
        return left->owner < right->owner ? -1 : 1;
    if (left->key_len != right->key_len)
        return left->key_len < right->key_len ? -1 : 1;
    return memcmp(left->key, right->key, left->key_len);
}

struct quota *quota_new(void)
{
    struct quota *quota = calloc(1, sizeof(*quota));
    if (!quota)
        return NULL;
    pthread_mutex_init(&quota->lock, NULL);
    LIST_INIT(&quota->open);
    quota->of_all = account_new(quota, OWNER_USER, "", 0);
    if (quota->of_all)
        return quota;
    quota_free(quota);
    return NULL;
}

void quota_free(struct quota *quota)
{
    if (!quota)
        return;
    tdestroy(quota->accounts, free);
    free(quota->of_all);
    pthread_mutex_destroy(&quota->lock);
    free(quota);
}

static struct quota_account *account_open(struct quota *quota, enum account_owner owner, const void *key,
                                          size_t key_len)
{
    struct quota_account *new = account_new(quota, owner, key, key_len), *account = NULL;
    if (!new)
        return NULL;
    pthread_mutex_lock(&quota->lock);
    struct quota_account **found = tsearch(new, &quota->accounts, accounts_compare);
    if (found) {
        account = *found;
        account->openings++;
        if (account == new) {
            LIST_INSERT_HEAD(&quota->open, new, link);
            quota->size++;
        }
    }
    pthread_mutex_unlock(&quota->lock);
    if (account != new)
        free(new);
    return account;
}

struct quota_account *quota_of_all(struct quota *quota)
{
    return quota->of_all;
}

struct quota_account *quota_of_client(struct quota *quota, const union netaddr *client)
{
    const struct netaddr_subscriber key = netaddr_subscriber(client);
    return account_open(quota, OWNER_CLIENT, &key, sizeof(key));
}

struct quota_account *quota_of_user(struct quota *quota, const char *user)
{
    return account_open(quota, OWNER_USER, user, strnlen(user, UINT8_MAX));
}

void quota_close(struct quota_account *account)
{
    if (!account)
        return;
    struct quota *quota = account->quota;
    pthread_mutex_lock(&quota->lock);
    assert(account->openings > 0 && account != quota->of_all);
    bool last = --account->openings == 0;
    if (last) {
        tdelete(account, &quota->accounts, accounts_compare);
        LIST_REMOVE(account, link);
        for (int kind = 0; kind < QUOTA_KINDS; kind++)
            if (quota->heaviest[kind].account == account)
                quota->compared_ms[kind] = 0;
        assert(quota->size > 0);
        quota->size--;
    }
    pthread_mutex_unlock(&quota->lock);
    for (int kind = 0; last && kind < QUOTA_KINDS; kind++)
        assert(quota_held(account, (enum quota_kind)kind) == 0);
    if (last)
        free(account);
}

bool quota_take(struct quota_account *account, enum quota_kind kind, uint32_t limit)
{
    unsigned held = atomic_load(&account->held[kind]);
    do
        if (limit && held >= limit)
            return false;
    while (!atomic_compare_exchange_weak(&account->held[kind], &held, held + 1));
    return true;
}

void quota_give_back(struct quota_account *account, enum quota_kind kind)
{
    const unsigned held = atomic_fetch_sub(&account->held[kind], 1);
    assert(held > 0);
}

uint32_t quota_held(const struct quota_account *account, enum quota_kind kind)
{
    return atomic_load(&account->held[kind]);
}

void quota_add(struct quota_account *account, enum quota_kind kind, uint32_t count)
{
    atomic_fetch_add(&account->held[kind], count);
}

void quota_subtract(struct quota_account *account, enum quota_kind kind, uint32_t count)
{
    const unsigned held = atomic_fetch_sub(&account->held[kind], count);
    assert(held >= count);
}

/* ---- who holds most ---- */

static void account_name(const struct quota_account *account, char name[QUOTA_NAME_MAX])
{
    char host[NETADDR_TEXT_MAX];
    if (account->owner == OWNER_USER) {
        snprintf(name, QUOTA_NAME_MAX, "user %.*s", account->key_len, account->key);
        return;
    }
    struct netaddr_subscriber key;
    memcpy(&key, account->key, sizeof(key));
    const union netaddr client = netaddr_of_subscriber(&key);
    snprintf(name, QUOTA_NAME_MAX, "client %s%s", netaddr_format_host(&client, host),
             client.sa.sa_family == AF_INET6 ? "/64" : "");
}

static void quota_compare_all(struct quota *quota, enum quota_kind kind)
{
    struct quota_heaviest *heaviest = &quota->heaviest[kind];
    const struct quota_account *account, *found = NULL;
    *heaviest = (struct quota_heaviest){0};
    LIST_FOREACH(account, &quota->open, link)
    {
        uint32_t held = quota_held(account, kind);
        heaviest->of_all += held;
        if (held <= heaviest->held)
            continue;
        heaviest->held = held;
        found = account;
    }
    heaviest->account = found;
    if (found)
        account_name(found, heaviest->name);
}

void quota_find_heaviest(struct quota *quota, enum quota_kind kind, uint64_t now_ms, struct quota_heaviest *heaviest)
{
    enum { COMPARED_FOR_MS = 100 };
    pthread_mutex_lock(&quota->lock);
    const struct quota_heaviest *before = &quota->heaviest[kind];
    bool has_shrunk =
        quota->compared_ms[kind] && before->account && quota_held(before->account, kind) < before->held / 2;
    if (quota->compared_ms[kind] == 0 || has_shrunk || now_ms - quota->compared_ms[kind] >= COMPARED_FOR_MS) {
        quota_compare_all(quota, kind);
        quota->compared_ms[kind] = now_ms;
    }
    *heaviest = quota->heaviest[kind];
    if (heaviest->account)
        heaviest->held = quota_held(heaviest->account, kind);
    pthread_mutex_unlock(&quota->lock);
}

size_t quota_size(struct quota *quota)
{
    pthread_mutex_lock(&quota->lock);
    size_t size = quota->size;
    pthread_mutex_unlock(&quota->lock);
    return size;
}
