#include "conf/password_hash.h"

#include <assert.h>
#include <crypt.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/*
 * The methods that resist an attack on a stolen file (crypt(5)), each with a highest cost. A check may take a second or
 * two at most, because logins wait for each other and anybody can start one.
 */

#define SCRYPT_BYTES_MAX  (256U << 20) /* of memory; the time grows with it */
#define BCRYPT_COST_MAX   15
#define SHA512_ROUNDS_MAX 2000000

static const char letters[] = "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

static_assert(sizeof(letters) - 1 == 64, "a letter for each value of six bits");

static unsigned hash_digit(char letter)
{
    const char *found = letter ? strchr(letters, letter) : NULL;
    return found ? (unsigned)(found - letters) : 63;
}

/* Thirty bits, the lowest first. */
static uint64_t hash_number_of_5(const char *text)
{
    uint64_t number = 0;
    for (unsigned i = 0; i < 5 && text[i]; i++)
        number |= (uint64_t)hash_digit(text[i]) << 6 * i;
    return number;
}

/* 128 bytes for each of N blocks of size r. */
static bool scrypt_affordable(unsigned n_log2, uint64_t r, uint64_t p)
{
    return n_log2 <= 30 && r <= SCRYPT_BYTES_MAX && p <= SCRYPT_BYTES_MAX &&
           r * p <= (uint64_t)(SCRYPT_BYTES_MAX / 128) >> n_log2;
}

/* $y$ or $gy$, flavour, log2(N) - 1, r - 1, $: a letter each. A longer field has more parameters. */
static bool yescrypt_affordable(const char *text)
{
    const char *cost = strchr(text + 1, '$') + 1;
    return strcspn(cost, "$") == 3 && scrypt_affordable(hash_digit(cost[1]) + 1, hash_digit(cost[2]) + 1, 1);
}

/* $7$, log2(N), r, p: one letter, five, five. */
static bool scrypt7_affordable(const char *text)
{
    const char *cost = text + strlen("$7$");
    return strcspn(cost, "$") >= 11 &&
           scrypt_affordable(hash_digit(cost[0]), hash_number_of_5(cost + 1), hash_number_of_5(cost + 6));
}

/* $2b$cost$ */
static bool bcrypt_affordable(const char *text)
{
    return atoi(text + strlen("$2b$")) <= BCRYPT_COST_MAX;
}

/* $6$rounds=number$, or none for 5,000. */
static bool sha512_affordable(const char *text)
{
    static const char rounds[] = "$6$rounds=";
    return strncmp(text, rounds, strlen(rounds)) != 0 || strtoul(text + strlen(rounds), NULL, 10) <= SHA512_ROUNDS_MAX;
}

static const struct method {
    const char *prefix;
    size_t tail; /* how long the last field of a whole hash is: crypt_checksalt() looks at the salt only, and a hash cut
                    short would lock its user out without a word */
    bool (*affordable)(const char *text);
} methods[] = {
    {"$y$", 43, yescrypt_affordable}, {"$gy$", 43, yescrypt_affordable}, {"$7$", 43, scrypt7_affordable},
    {"$6$", 86, sha512_affordable},   {"$2b$", 53, bcrypt_affordable},   {"$2y$", 53, bcrypt_affordable},
    {"$2a$", 53, bcrypt_affordable},
};

static const struct method *hash_method(const char *text)
{
    for (size_t i = 0; i < sizeof(methods) / sizeof(methods[0]); i++)
        if (strncmp(text, methods[i].prefix, strlen(methods[i].prefix)) == 0)
            return &methods[i];
    return NULL;
}

const char *password_hash_fault(const char *text)
{
    if (text[0] != '$')
        return "plain text, or a DES hash";
    const struct method *method = hash_method(text);
    if (!method)
        return "a hash of a weak or unknown method";
    const char *tail = strrchr(text, '$') + 1;
    if (strlen(tail) != method->tail)
        return "a hash of the wrong length (cut short?)";
    if (strspn(tail, letters) != strlen(tail) || crypt_checksalt(text) != CRYPT_SALT_OK)
        return "a malformed hash";
    if (!method->affordable(text))
        return "a hash so expensive that each login would delay all others by seconds or minutes";
    return NULL;
}
