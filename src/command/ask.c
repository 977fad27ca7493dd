#include "command/ask.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "command/http_get.h"
#include "command/terminal.h"

#define TIMEOUT_MS 5000 /* for one page */
#define PAGE       1000 /* sessions of a page; the server gives no more */
/* For all pages together: more than any server has. */
#define PAGES_MAX 1000
#define BYTES_MAX ((size_t)256 << 20)

/* ---- members ---- */

json_t *ask_member(const json_t *object, const char *keys)
{
    for (;;) {
        size_t len = strcspn(keys, ".");
        json_t *member = json_object_getn(object, keys, len);
        if (!keys[len] || !member)
            return member;
        object = member;
        keys += len + 1;
    }
}

const char *ask_text(const json_t *object, const char *keys)
{
    return json_string_value(ask_member(object, keys));
}

uint64_t ask_number(const json_t *object, const char *keys)
{
    json_int_t number = json_integer_value(ask_member(object, keys));
    return number > 0 ? (uint64_t)number : 0;
}

/* ---- asking ---- */

static bool ask_is_status(const json_t *page)
{
    const json_t *sessions = ask_member(page, "sessions");
    size_t i;
    json_t *session;
    json_array_foreach(sessions, i, session) if (!json_is_object(session)) return false;
    return ask_text(page, "version") && ask_text(page, "state") && json_is_array(sessions);
}

/* Quotes the first line of the server's own text. */
static char *ask_explain_refusal(const struct ask_place *place, const struct http_reply *reply)
{
    reply->body[strcspn(reply->body, "\r\n")] = '\0';
    char *words = reply->status == 404 ? NULL : terminal_escape(reply->body);
    char *error = words ? ask_place_say(place, "refused with HTTP status %d: %.200s", reply->status, words)
                        : ask_place_say(place, "the program that answers there is not conesocks: it has no /status");
    free(words);
    return error;
}

/* Adds the size of the answer to `*bytes`. */
static json_t *ask_page(const struct ask_place *place, uint64_t after, unsigned limit, size_t *bytes, char **error)
{
    char path[64];
    struct http_reply reply;
    const struct http_server server = {.socket = place->socket, .host = place->host, .port = place->port};
    snprintf(path, sizeof(path), "/status?after=%llu&limit=%u", (unsigned long long)after, limit);
    int failed = http_get(&server, path, TIMEOUT_MS, &reply);
    if (failed) {
        *error = ask_place_explain(place, failed);
        return NULL;
    }
    json_t *page = NULL;
    *bytes += reply.body_len;
    if (reply.status != 200) {
        *error = ask_explain_refusal(place, &reply);
    } else if (!(page = json_loadb(reply.body, reply.body_len, 0, NULL)) || !ask_is_status(page)) {
        *error = ask_place_say(
            place,
            "the program that answers there is not conesocks, or a different version: its /status cannot be read");
        json_decref(page);
        page = NULL;
    }
    free(reply.body);
    return page;
}

/* Appends the sessions of the other pages. false: `*error` says why. */
static bool ask_add_pages(const struct ask_place *place, json_t *whole, size_t bytes, char **error)
{
    json_t *all = ask_member(whole, "sessions");
    uint64_t after = 0, next;
    for (unsigned pages = 1; (next = ask_number(whole, "next")) > 0; pages++) {
        if (next <= after || pages >= PAGES_MAX || bytes > BYTES_MAX) {
            *error = ask_place_say(place, "the list of sessions does not end");
            return false;
        }
        after = next;
        json_t *page = ask_page(place, after, PAGE, &bytes, error);
        if (!page)
            return false;
        json_array_extend(all, ask_member(page, "sessions"));
        json_object_set(whole, "next", ask_member(page, "next"));
        json_decref(page);
    }
    return true;
}

json_t *ask_status(const struct ask_place *place, enum ask_sessions sessions, char **error)
{
    bool all = sessions == ASK_ALL_SESSIONS;
    *error = NULL;
    size_t bytes = 0;
    json_t *whole = ask_page(place, 0, all ? PAGE : 1, &bytes, error);
    if (whole && all && !ask_add_pages(place, whole, bytes, error)) {
        json_decref(whole);
        whole = NULL;
    }
    if (!whole && !*error)
        *error = strdup("out of memory");
    return whole;
}
