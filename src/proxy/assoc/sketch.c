#include "proxy/assoc/sketch.h"

#define BITS 64

void sketch_add_name(uint64_t *sketch, const char *name, uint16_t port)
{
    uint64_t hash = port;
    for (; *name; name++)
        hash = sketch_mix(hash + (uint8_t)*name);
    sketch_add_hash(sketch, sketch_mix(hash));
}

uint32_t sketch_estimate(uint64_t sketch)
{
    /* While `set` of 64 bits are set, it takes 64 / (64 - set) destinations on average to set one more. */
    double count = 0;
    for (int set = 0; set < __builtin_popcountll(sketch); set++)
        count += (double)BITS / (BITS - set);
    return (uint32_t)(count + 0.5);
}
