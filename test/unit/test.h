/* What every unit test includes, in the order that cmocka needs. */
#ifndef CONESOCKS_TEST_UNIT_TEST_H
#define CONESOCKS_TEST_UNIT_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* Ends a test that this system cannot run. cmocka's own skip() says "not ok # SKIP" in TAP, which meson takes for a
 * failure, so such a test counts as passed and says why in its output. */
#define SKIP_TEST(why)                                                                                                 \
    do {                                                                                                               \
        print_message("# skipped: %s\n", why);                                                                         \
        return;                                                                                                        \
    } while (0)

#endif
