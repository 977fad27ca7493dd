/* Rules. Each byte is a choice that a list of rules, or a request, is made of: against the model. */
#include "fuzz.h"

#include "support/rules_model.h"

#define REQUESTS_MAX 64

static void require_agreement(const struct sample *sample, const struct rules *rules, struct choices *choices)
{
    struct request request;
    struct subject subject;
    sample_client(&request, choices);
    REQUIRE(subject_init(&subject, rules, &request.client, request.user, request.listener, request.command));
    for (int i = 0; i < REQUESTS_MAX && choices->left > 0; i++) {
        sample_destination(&request, choices);
        const char *difference = model_differs(sample, &subject, &request);
        if (difference)
            fprintf(stderr, "request %d: %s\n", i, difference);
        REQUIRE(!difference);
    }
    subject_deinit(&subject);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct sample sample;
    struct choices choices = {.bytes = data, .left = size};
    if (size == 0)
        return 0;
    sample_rules(&sample, pick(&choices, SAMPLE_RULES_MAX + 1), &choices);
    struct rules *rules = rules_compile(sample.rules, sample.count);
    REQUIRE(rules);
    require_agreement(&sample, rules, &choices);
    rules_free(rules);
    return 0;
}
