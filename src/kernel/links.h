/*
 * The interfaces that the program is attached to: Ethernet, up, and with an address at the time of the start.
 */
#ifndef CONESOCKS_KERNEL_LINKS_H
#define CONESOCKS_KERNEL_LINKS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LINKS_MAX      64
#define LINKS_NAME_MAX 16

struct links {
    size_t count;
    struct {
        uint32_t index;
        char name[LINKS_NAME_MAX];
    } list[LINKS_MAX];
};

/* Finds those of this host. 0 or a negative errno. */
int links_read(struct links *links);
bool links_have(const struct links *links, uint32_t index);
/* "eth0 eth1", cut where the text is full. */
void links_format(const struct links *links, char *text, size_t size);

#endif
