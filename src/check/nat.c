#include "check/nat.h"

#include <assert.h>

#include "base/util.h"

static bool is_mapping_known(const union netaddr *mapped)
{
    return mapped->sa.sa_family != AF_UNSPEC;
}

static bool mappings_differ(const union netaddr *one, const union netaddr *two)
{
    return is_mapping_known(one) && is_mapping_known(two) && !netaddr_equal(one, two);
}

static enum nat_behaviour judge_mapping(const union netaddr mapped[NAT_PLACES])
{
    const union netaddr *primary = &mapped[NAT_PRIMARY], *port = &mapped[NAT_OTHER_PORT];
    const union netaddr *address = &mapped[NAT_OTHER_ADDRESS], *both = &mapped[NAT_OTHER_BOTH];
    if (!is_mapping_known(primary))
        return NAT_UNKNOWN;
    if (mappings_differ(primary, port) || mappings_differ(address, both))
        return NAT_ADDRESS_AND_PORT_DEPENDENT;
    if (mappings_differ(primary, address) ||
        mappings_differ(primary, both)) /* whether ports matter, too, the others tell */
        return is_mapping_known(port) || (is_mapping_known(address) && is_mapping_known(both)) ? NAT_ADDRESS_DEPENDENT
                                                                                               : NAT_DEPENDENT;
    return is_mapping_known(address) || is_mapping_known(both) ? NAT_ENDPOINT_INDEPENDENT : NAT_UNKNOWN;
}

static enum nat_behaviour judge_filtering(const struct nat_observations *seen)
{
    bool other_both_filtered = seen->from_other_both == NAT_SILENT && seen->proof_other_both == NAT_ARRIVED;
    bool other_port_filtered = seen->from_other_port == NAT_SILENT && seen->proof_other_port == NAT_ARRIVED;
    if (seen->from_other_both == NAT_ARRIVED)
        return NAT_ENDPOINT_INDEPENDENT;
    if (other_port_filtered)
        return NAT_ADDRESS_AND_PORT_DEPENDENT;
    if (other_both_filtered)
        return seen->from_other_port == NAT_ARRIVED ? NAT_ADDRESS_DEPENDENT : NAT_DEPENDENT;
    return NAT_UNKNOWN;
}

enum nat_type nat_judge_type(enum nat_behaviour mapping, enum nat_behaviour filtering)
{
    if (mapping == NAT_UNKNOWN)
        return NAT_TYPE_UNKNOWN;
    if (mapping != NAT_ENDPOINT_INDEPENDENT)
        return NAT_STRICT;
    if (filtering == NAT_UNKNOWN)
        return NAT_TYPE_UNKNOWN;
    return filtering == NAT_ENDPOINT_INDEPENDENT ? NAT_OPEN : NAT_MODERATE;
}

struct nat_verdict nat_judge(const struct nat_observations *seen)
{
    struct nat_verdict verdict = {.mapping = judge_mapping(seen->mapped), .filtering = judge_filtering(seen)};
    verdict.type = nat_judge_type(verdict.mapping, verdict.filtering);
    return verdict;
}

const char *nat_behaviour_name(enum nat_behaviour behaviour)
{
    static const char *const names[] = {"unknown", "endpoint-independent", "address-dependent",
                                        "address-and-port-dependent", "destination-dependent"};
    static_assert(ARRAY_LEN(names) == NAT_BEHAVIOURS, "each has a name");
    assert(behaviour < NAT_BEHAVIOURS);
    return names[behaviour];
}

const char *nat_cone_name(const struct nat_verdict *verdict)
{
    if (verdict->type == NAT_STRICT)
        return "Symmetric";
    if (verdict->type == NAT_OPEN)
        return "Full cone";
    if (verdict->type == NAT_TYPE_UNKNOWN)
        return "Unknown";
    return verdict->filtering == NAT_ADDRESS_DEPENDENT            ? "Restricted cone"
           : verdict->filtering == NAT_ADDRESS_AND_PORT_DEPENDENT ? "Port-restricted cone"
                                                                  : "Restricted or port-restricted cone";
}

const char *nat_type_name(enum nat_type type)
{
    static const char *const names[] = {"unknown", "Open / A / 1", "Moderate / B / 2", "Strict / C / 3"};
    static_assert(ARRAY_LEN(names) == NAT_TYPES, "each has a name");
    assert(type < NAT_TYPES);
    return names[type];
}
