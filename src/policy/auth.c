#include "policy/auth.h"

#include <assert.h>
#include <crypt.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/util.h"
#include "policy/throttle.h"

struct auth_queue {
    struct auth_job *first, **end; /* `end` is where the next one is put */
    size_t count;
};

struct auth {
    uint8_t key[LOGIN_KEY_LEN]; /* of all proofs, never written anywhere */
    pthread_t helper;
    pthread_mutex_t lock; /* of all below */
    pthread_cond_t changed;
    struct auth_queue queues[2]; /* of unknown and of known addresses */
    unsigned turn;               /* which of them is next */
    struct login_cache *known;   /* addresses */
    struct throttle *throttle;
    bool stopping;
    /* The helper's own: */
    struct login_cache *cache; /* many first logins at once, of one client or over several workers, cost one check */
    struct crypt_data crypt;   /* 32 KiB */
};

/* For a name that no user has: another user, always the same one for the same name. So the check takes as long as that
 * of a user may take, whichever hash methods there are. */
static const struct config_user *auth_stand_in(const struct auth *auth, const struct users *users, const char *name)
{
    const struct login_proof digest = login_proof_make(auth->key, name, "", "");
    uint32_t number;
    memcpy(&number, digest.mac, sizeof(number));
    return &users->list[number % users->count];
}

/* The user whose hash a password is compared with; `*known`: whether the name is that user's. NULL: no users at all. */
static const struct config_user *auth_find_user(const struct auth *auth, const struct users *users, const char *name,
                                                bool *known)
{
    const struct config_user *found = users_find(users, name);
    *known = found != NULL;
    return found || users->count == 0 ? found : auth_stand_in(auth, users, name);
}

/* The time that it takes must not show how much of it is equal. */
static bool same_hash(const char *a, const char *b)
{
    size_t len = strlen(a);
    if (len != strlen(b)) /* which depends on the method, so it is no secret */
        return false;
    unsigned char differing = 0;
    for (size_t i = 0; i < len; i++)
        differing |= (unsigned char)(a[i] ^ b[i]);
    return differing == 0;
}

static bool auth_check_hash(struct auth *auth, const char *password, const char *expected)
{
    const char *hash = crypt_r(password, expected, &auth->crypt);
    bool fits = hash && same_hash(hash, expected);
    explicit_bzero(&auth->crypt, sizeof(auth->crypt));
    return fits;
}

static enum auth_verdict auth_check(struct auth *auth, struct auth_job *job)
{
    bool known;
    const struct config_user *user = auth_find_user(auth, job->users, job->user, &known);
    if (!user)
        return AUTH_WRONG;
    const struct login_proof proof = auth_proof(auth, job->users, job->user, job->password);
    job->right_until_ms = login_cache_find(auth->cache, &proof, job->now_ms);
    if (job->right_until_ms)
        return AUTH_RIGHT;
    bool fits = auth_check_hash(auth, job->password, user->password);
    if (!fits || !known)
        return AUTH_WRONG;
    job->right_until_ms = job->now_ms + job->remember_ms;
    login_cache_add(auth->cache, &proof, job->right_until_ms);
    return AUTH_RIGHT;
}

/* ---- who has to wait ---- */

/* A network that has failed too often may also have users who have logged in before: those may still try. Under the
 * lock. */
static enum auth_block auth_find_block(const struct auth *auth, const union netaddr *client, uint64_t now_ms)
{
    if (throttle_blocks(auth->throttle, THROTTLE_ADDRESS, client, now_ms))
        return AUTH_ADDRESS_BLOCKED;
    if (!throttle_blocks(auth->throttle, THROTTLE_NETWORK, client, now_ms))
        return AUTH_NOT_BLOCKED;
    const struct login_proof address = login_proof_of_address(auth->key, client);
    return login_cache_find(auth->known, &address, now_ms) ? AUTH_NOT_BLOCKED : AUTH_NETWORK_BLOCKED;
}

enum auth_block auth_blocks(struct auth *auth, const union netaddr *client, uint64_t now_ms)
{
    pthread_mutex_lock(&auth->lock);
    enum auth_block block = auth_find_block(auth, client, now_ms);
    pthread_mutex_unlock(&auth->lock);
    return block;
}

static enum auth_block auth_note_failure(struct auth *auth, const struct auth_job *job)
{
    pthread_mutex_lock(&auth->lock);
    throttle_fail(auth->throttle, &job->client, job->now_ms);
    enum auth_block block = auth_find_block(auth, &job->client, job->now_ms);
    pthread_mutex_unlock(&auth->lock);
    return block;
}

void auth_limit_failures(struct auth *auth, uint32_t per_minute)
{
    pthread_mutex_lock(&auth->lock);
    throttle_set(auth->throttle, per_minute);
    pthread_mutex_unlock(&auth->lock);
}

static void auth_remember_address(struct auth *auth, const struct auth_job *job)
{
    const struct login_proof address = login_proof_of_address(auth->key, &job->client);
    pthread_mutex_lock(&auth->lock);
    login_cache_add(auth->known, &address, job->now_ms + AUTH_KNOWN_MS);
    pthread_mutex_unlock(&auth->lock);
}

static void auth_job_answer(struct auth_job *job, enum auth_verdict verdict)
{
    explicit_bzero(job->password, sizeof(job->password));
    assert(job->done && job->verdict == AUTH_UNCHECKED);
    job->verdict = verdict;
    job->done(job); /* from here on it is the owner's */
}

static void auth_queue_push(struct auth_queue *queue, struct auth_job *job)
{
    *queue->end = job;
    queue->end = &job->next;
    queue->count++;
}

static struct auth_job *auth_queue_pop(struct auth_queue *queue)
{
    struct auth_job *job = queue->first;
    if (!job)
        return NULL;
    queue->first = job->next;
    if (!queue->first)
        queue->end = &queue->first;
    assert(queue->count > 0);
    queue->count--;
    return job;
}

/* From both queues by turns. */
static struct auth_job *auth_next_job(struct auth *auth)
{
    auth->turn = !auth->turn;
    struct auth_job *job = auth_queue_pop(&auth->queues[auth->turn]);
    return job ? job : auth_queue_pop(&auth->queues[!auth->turn]);
}

/* Waits for a job; `*stopping`: it is too late to check it. NULL: stopping, and no job is left. */
static struct auth_job *auth_wait_for_job(struct auth *auth, bool *stopping)
{
    pthread_mutex_lock(&auth->lock);
    struct auth_job *job;
    while (!(job = auth_next_job(auth)) && !auth->stopping)
        pthread_cond_wait(&auth->changed, &auth->lock);
    *stopping = auth->stopping;
    pthread_mutex_unlock(&auth->lock);
    return job;
}

/* All checks are made here, one after the other, so none is made for an address that has just failed too often. */
static enum auth_verdict auth_judge(struct auth *auth, struct auth_job *job)
{
    if (auth_blocks(auth, &job->client, job->now_ms) != AUTH_NOT_BLOCKED)
        return AUTH_THROTTLED;
    enum auth_verdict verdict = auth_check(auth, job);
    if (verdict == AUTH_RIGHT)
        auth_remember_address(auth, job);
    if (verdict == AUTH_WRONG)
        job->block = auth_note_failure(auth, job);
    return verdict;
}

static void *auth_helper_run(void *arg)
{
    struct auth *auth = arg;
    struct auth_job *job;
    bool stopping;
    pthread_setname_np(pthread_self(), "auth"); /* the sandbox forbids naming other threads */
    while ((job = auth_wait_for_job(auth, &stopping))) {
        bool spare = stopping || atomic_load(&job->abandoned);
        auth_job_answer(job, spare ? AUTH_UNCHECKED : auth_judge(auth, job));
    }
    return NULL;
}

/* Signals are for the main thread, so the helper starts with all of them blocked. */
static int auth_start_helper(struct auth *auth)
{
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int error = pthread_create(&auth->helper, NULL, auth_helper_run, auth);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return error;
}

/* After the helper has ended, or before it was started. */
static void auth_discard(struct auth *auth)
{
    pthread_cond_destroy(&auth->changed);
    pthread_mutex_destroy(&auth->lock);
    login_cache_free(auth->cache);
    login_cache_free(auth->known);
    throttle_free(auth->throttle);
    explicit_bzero(auth, sizeof(*auth));
    free(auth);
}

static int auth_set_up(struct auth *auth)
{
    auth->cache = login_cache_new();
    auth->known = login_cache_new();
    auth->throttle = throttle_new(0);
    if (!auth->cache || !auth->known || !auth->throttle)
        return ENOMEM;
    if (getrandom(auth->key, sizeof(auth->key), 0) != sizeof(auth->key))
        return errno;
    return auth_start_helper(auth);
}

struct auth *auth_new(void)
{
    struct auth *auth = calloc(1, sizeof(*auth));
    if (!auth)
        return NULL;
    for (size_t i = 0; i < ARRAY_LEN(auth->queues); i++)
        auth->queues[i].end = &auth->queues[i].first;
    pthread_mutex_init(&auth->lock, NULL);
    pthread_cond_init(&auth->changed, NULL);
    int error = auth_set_up(auth);
    if (error) {
        auth_discard(auth);
        errno = error;
        return NULL;
    }
    return auth;
}

void auth_free(struct auth *auth)
{
    if (!auth)
        return;
    pthread_mutex_lock(&auth->lock);
    auth->stopping = true;
    pthread_cond_signal(&auth->changed);
    pthread_mutex_unlock(&auth->lock);
    pthread_join(auth->helper, NULL);
    assert(auth->queues[0].count + auth->queues[1].count == 0); /* all are answered */
    auth_discard(auth);
}

struct login_proof auth_proof(const struct auth *auth, const struct users *users, const char *user,
                              const char *password)
{
    /* Not with the stand-in's hash: it may be that of a user who was removed, and whom a cache still remembers. */
    const struct config_user *found = users_find(users, user);
    return login_proof_make(auth->key, user, found ? found->password : "", password);
}

bool auth_knows(struct auth *auth, const union netaddr *client, uint64_t now_ms)
{
    const struct login_proof address = login_proof_of_address(auth->key, client);
    pthread_mutex_lock(&auth->lock);
    bool known = login_cache_find(auth->known, &address, now_ms) != 0;
    pthread_mutex_unlock(&auth->lock);
    return known;
}

bool auth_submit(struct auth *auth, struct auth_job *job)
{
    job->verdict = AUTH_UNCHECKED;
    job->block = AUTH_NOT_BLOCKED;
    job->known = auth_knows(auth, &job->client, job->now_ms);
    job->next = NULL;
    pthread_mutex_lock(&auth->lock);
    struct auth_queue *queue = &auth->queues[job->known];
    bool room = queue->count < AUTH_QUEUE_MAX;
    if (room) {
        auth_queue_push(queue, job);
        pthread_cond_signal(&auth->changed);
    }
    pthread_mutex_unlock(&auth->lock);
    return room;
}

char *auth_hash_password(const char *password)
{
    char *setting = crypt_gensalt_ra("$y$", 0, NULL, 0);
    if (!setting)
        return NULL;
    void *data = NULL;
    int size = 0;
    const char *hash = crypt_ra(password, setting, &data, &size);
    char *copy = hash ? strdup(hash) : NULL;
    int saved = errno;
    if (data)
        explicit_bzero(data, (size_t)size);
    free(data);
    free(setting);
    errno = saved;
    return copy;
}
