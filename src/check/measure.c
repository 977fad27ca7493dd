#include "check/measure.h"

#include <stdlib.h>

#include "base/util.h"

/* Where paths and programs have their limits: the least that IPv4 and IPv6 hosts must take, tunnels, Ethernet less this
 * or that header, and powers of two. */
static const uint16_t ladder[] = {1,    508,  1200, 1280,  1400,  1472,  1500,     2048,
                                  4096, 8192, 9000, 16384, 32768, 49152, SIZE_MOST};

#define EXACT_BELOW 2000

size_t size_search_next(const struct size_search *search)
{
    if (search->fails == 0) {
        for (size_t i = 0; i < ARRAY_LEN(ladder); i++)
            if (ladder[i] > search->works)
                return ladder[i];
        return 0;
    }
    size_t gap = search->fails - search->works, good_enough = search->works < EXACT_BELOW ? 1 : search->works / 64;
    return gap <= good_enough ? 0 : search->works + gap / 2;
}

void size_search_tell(struct size_search *search, size_t size, bool passed)
{
    if (passed && size > search->works && (search->fails == 0 || size < search->fails))
        search->works = size;
    if (!passed && size > search->works && (search->fails == 0 || size < search->fails))
        search->fails = size;
}

size_t lifetime_waits(unsigned bound, unsigned waits[LIFETIME_WAITS])
{
    static const unsigned sixteenths[] = {1, 2, 4, 6, 8, 10, 13, 16};
    size_t count = 0;
    for (size_t i = 0; i < ARRAY_LEN(sixteenths); i++) {
        unsigned wait = (bound * sixteenths[i] + 15) / 16;
        if (count == 0 || wait > waits[count - 1])
            waits[count++] = wait;
    }
    /* The nearest one is replaced by RFC 4787's number, which the result names. */
    size_t nearest = 0;
    for (size_t i = 1; i + 1 < count; i++)
        if (abs((int)waits[i] - 120) < abs((int)waits[nearest] - 120))
            nearest = i;
    if (bound > 120)
        waits[nearest] = 120;
    return count;
}

static int ascending(const void *a, const void *b)
{
    uint32_t one = *(const uint32_t *)a, other = *(const uint32_t *)b;
    return one < other ? -1 : one > other;
}

uint32_t median(uint32_t *values, size_t count)
{
    if (count == 0)
        return 0;
    qsort(values, count, sizeof(*values), ascending);
    return count % 2 ? values[count / 2] : (uint32_t)(((uint64_t)values[count / 2 - 1] + values[count / 2]) / 2);
}

uint32_t jitter(const uint32_t *values, size_t count)
{
    uint64_t sum = 0;
    for (size_t i = 1; i < count; i++)
        sum += values[i] > values[i - 1] ? values[i] - values[i - 1] : values[i - 1] - values[i];
    return count < 2 ? 0 : (uint32_t)(sum / (count - 1));
}

void arrivals_note(struct arrivals *arrivals, unsigned number)
{
    if (number >= ARRIVALS_MAX)
        return;
    if (arrivals->times[number] == 0 && number < arrivals->last)
        arrivals->late++;
    if (arrivals->times[number] < UINT8_MAX)
        arrivals->times[number]++;
    if (number > arrivals->last)
        arrivals->last = number;
}

unsigned arrivals_lost(const struct arrivals *arrivals, unsigned sent)
{
    unsigned lost = 0;
    for (unsigned i = 0; i < sent; i++)
        lost += arrivals->times[i] == 0;
    return lost;
}

unsigned arrivals_doubled(const struct arrivals *arrivals, unsigned sent)
{
    unsigned doubled = 0;
    for (unsigned i = 0; i < sent; i++)
        doubled += arrivals->times[i] > 1;
    return doubled;
}
