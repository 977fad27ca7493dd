#include "policy/auth.h"

#include <crypt.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

struct auth {
    const struct config_user *users;
    size_t user_count;
    pthread_t helper;
    pthread_mutex_t lock; /* of all below */
    pthread_cond_t changed;
    struct auth_job *first, **end; /* the queue; `end` is where the next one is put */
    size_t queued;
    bool stopping;
    struct crypt_data crypt; /* the helper's own: 32 KiB */
};

static const struct config_user *find_user(const struct auth *auth, const char *name)
{
    for (size_t i = 0; i < auth->user_count; i++)
        if (strcmp(auth->users[i].name, name) == 0)
            return &auth->users[i];
    return NULL;
}

/* How long it takes must not tell how much of it fits. */
static bool same_hash(const char *a, const char *b)
{
    size_t len = strlen(a);
    if (len != strlen(b)) /* the method's, so no secret */
        return false;
    unsigned char differing = 0;
    for (size_t i = 0; i < len; i++)
        differing |= (unsigned char)(a[i] ^ b[i]);
    return differing == 0;
}

/* An unknown user's password is hashed as well, as the first user's, so that the time tells nothing. */
static bool check(struct auth *auth, const struct auth_job *job)
{
    const struct config_user *user = find_user(auth, job->user);
    if (!user && auth->user_count == 0)
        return false;
    const char *expected = user ? user->password : auth->users[0].password;
    const char *hash = crypt_r(job->password, expected, &auth->crypt);
    bool fits = hash && same_hash(hash, expected);
    explicit_bzero(&auth->crypt, sizeof(auth->crypt));
    return fits && user;
}

static void answer(struct auth_job *job, bool accepted)
{
    explicit_bzero(job->password, sizeof(job->password));
    job->accepted = accepted;
    job->done(job); /* the owner's from here on */
}

/* Waits for a job; `*stopping` tells whether it is too late to check it. NULL: stopping, and no job is left. */
static struct auth_job *take(struct auth *auth, bool *stopping)
{
    pthread_mutex_lock(&auth->lock);
    while (!auth->first && !auth->stopping)
        pthread_cond_wait(&auth->changed, &auth->lock);
    struct auth_job *job = auth->first;
    if (job) {
        auth->first = job->next;
        if (!auth->first)
            auth->end = &auth->first;
        auth->queued--;
    }
    *stopping = auth->stopping;
    pthread_mutex_unlock(&auth->lock);
    return job;
}

static void *help(void *arg)
{
    struct auth *auth = arg;
    struct auth_job *job;
    bool stopping;
    while ((job = take(auth, &stopping)))
        answer(job, !stopping && check(auth, job));
    return NULL;
}

/* Signals are for the main thread: the helper is born with all of them blocked. */
static int start_helper(struct auth *auth)
{
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int error = pthread_create(&auth->helper, NULL, help, auth);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (!error)
        pthread_setname_np(auth->helper, "auth");
    return error;
}

struct auth *auth_new(const struct config_user *users, size_t count)
{
    struct auth *auth = calloc(1, sizeof(*auth));
    if (!auth)
        return NULL;
    auth->users = users;
    auth->user_count = count;
    auth->end = &auth->first;
    pthread_mutex_init(&auth->lock, NULL);
    pthread_cond_init(&auth->changed, NULL);
    int error = start_helper(auth);
    if (error) {
        free(auth);
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
    pthread_cond_destroy(&auth->changed);
    pthread_mutex_destroy(&auth->lock);
    free(auth);
}

bool auth_submit(struct auth *auth, struct auth_job *job)
{
    job->accepted = false;
    job->next = NULL;
    pthread_mutex_lock(&auth->lock);
    bool room = auth->queued < AUTH_QUEUE_MAX;
    if (room) {
        *auth->end = job;
        auth->end = &job->next;
        auth->queued++;
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
