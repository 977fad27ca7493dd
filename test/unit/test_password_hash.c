#include "test.h"

#include <string.h>

#include "base/util.h"
#include "conf/password_hash.h"

/* Row 49: one check at a time, so an entry that takes minutes would keep everybody out. */
static void expensive_hashes_are_refused(void **state)
{
    (void)state;
#define TAIL43 "9WNEpu8Mx2S4KNGvbVWKM6clOSoY6.YEl7AYF4DGV04"
#define TAIL53 "abcdefghijklmnopqrstuuhKF09ZYWwH2zP/0fwE1X8e/Q1YNx/hO"
#define TAIL86 "K4v3HcZ8yAmpRfxML6S46NCcqy9r4/KdbQpFvqSWsBf4dgySOEOo1DHJTrmn2BsJK2aNmPN8Tfb826D2o9.z51"
    static const char *const good[] = {
        "$y$jDT$abcdefgh$" TAIL43, "$gy$jDT$abcdefgh$" TAIL43,      "$7$DU..../....abc$" TAIL43,
        "$2b$15$" TAIL53,          "$6$rounds=2000000$abc$" TAIL86,
    };
    static const char *const bad[] = {
        "$y$jET$abcdefgh$" TAIL43,
        "$y$jzT$abcdefgh$" TAIL43,
        "$gy$jFT$abcdefgh$" TAIL43,
        "$y$j9T1$abcdefgh$" TAIL43, /* more rounds */
        "$7$GU..../....abc$" TAIL43,
        "$7$CU.........abc$" TAIL43 "x",
        "$7$CU...6....0abc$" TAIL43, /* p */
        "$7$Czzzzzzzzzzabc$" TAIL43,
        "$2b$16$" TAIL53,
        "$2a$31$" TAIL53,
        "$6$rounds=2000001$abc$" TAIL86,
        "$6$rounds=999999999$abc$" TAIL86,
    };
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        const char *fault = password_hash_fault(good[i]);
        if (fault)
            fail_msg("%s: %s", good[i], fault);
    }
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        if (!password_hash_fault(bad[i]))
            fail_msg("%s is taken", bad[i]);
    assert_non_null(strstr(password_hash_fault("$2b$31$" TAIL53), "expensive"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(expensive_hashes_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
