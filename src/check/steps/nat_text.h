/* The words for a NAT's type: what was found, what it rests on, and what to do about it. */
#ifndef CONESOCKS_CHECK_STEPS_NAT_TEXT_H
#define CONESOCKS_CHECK_STEPS_NAT_TEXT_H

#include "check/nat_evidence.h"
#include "check/nat_probe.h"
#include "check/steps/steps.h"

/* What one test server with two addresses or ports has shown. */
void nat_say_probed(const struct check_run *check, const struct nat_probe *probe, const struct nat_verdict *verdict,
                    struct check_result *result);
/* What several servers and strangers have shown. `disguise`: the wrong origin of strangers; AF_UNSPEC: none. */
void nat_say_concluded(const struct check_run *check, const struct nat_evidence *evidence,
                       const struct nat_conclusion *conclusion, const union netaddr *disguise,
                       struct check_result *result);
/* The likely cause and a fix for a proxy of that type. `asked`: the test server; `disguise` as above. */
void nat_explain(const union netaddr *disguise, const union netaddr *asked, const struct nat_verdict *verdict,
                 struct check_result *result);
/* For programs. NULL: it rests on nothing. */
const char *nat_basis_name(enum nat_basis basis);

#endif
