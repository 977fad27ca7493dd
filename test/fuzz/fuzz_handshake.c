/*
 * A whole negotiation. Input: a byte whose lowest bit says whether the listener has users, a byte that says how many
 * lengths follow, the lengths of the pieces, and the client's bytes. In pieces, byte by byte and in one piece must lead
 * to the same story (support/conversation.h).
 */
#include "fuzz.h"

#include "support/conversation.h"

static struct conversation in_pieces, bytewise, coalesced;

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2 || size - 2 < data[1])
        return 0;
    bool users = data[0] & 1;
    size_t piece_count = data[1];
    const uint8_t *pieces = data + 2, *client = pieces + piece_count;
    size_t total = size - 2 - piece_count, at = 0;

    conversation_begin(&in_pieces, users);
    for (size_t i = 0; i < piece_count && at < total; i++) {
        size_t len = pieces[i] < total - at ? pieces[i] : total - at;
        conversation_hear(&in_pieces, client + at, len);
        at += len;
    }
    conversation_hear(&in_pieces, client + at, total - at);

    conversation_begin(&bytewise, users);
    for (at = 0; at < total; at++)
        conversation_hear(&bytewise, client + at, 1);

    conversation_begin(&coalesced, users);
    conversation_hear(&coalesced, client, total);

    const char *story = conversation_end(&coalesced, total);
    REQUIRE(strcmp(conversation_end(&bytewise, total), story) == 0);
    REQUIRE(strcmp(conversation_end(&in_pieces, total), story) == 0);
    REQUIRE(coalesced.said <= HANDSHAKE_OUTPUT_MAX);
    return 0;
}
