/* An association in the world with a kernel path. */
#ifndef CONESOCKS_TEST_SIM_KERNEL_ASSOCIATION_H
#define CONESOCKS_TEST_SIM_KERNEL_ASSOCIATION_H

#include "association.h"
#include "kernel_world.h"

static inline int begin_with_path(void **state)
{
    begin(state);
    kernel_world_begin();
    return 0;
}

/* The next datagrams to the server are for the kernel. */
static inline void establish(void)
{
    for (int i = 0; i < 3; i++) {
        from_client(&server, "hello");
        expect_up(&server, "hello");
    }
    assert_int_equal(kernel_world_slots(), 1);
    assert_int_equal(assoc_kernel_use(assoc).reason, KERNEL_REASON_NONE);
    (void)kernel_world_calls();
}

static inline void send_twice(const union netaddr *to)
{
    from_client(to, "one");
    from_client(to, "two");
    while (world_next_sent())
        ;
}

#endif
