#include "net/resolver_message.h"

#include <arpa/nameser.h>
#include <resolv.h>
#include <string.h>

#define TTL_MAX_S          86400
#define NEGATIVE_TTL_MAX_S 60
#define NEGATIVE_TTL_S     5 /* when the answer does not contain how long the name will not exist */

/* Bound the work that one packet can cause: what comes after them is ignored. */
#define RECORDS_MAX 512
#define ALIASES_MAX 16

static ns_type record_type_of(int family)
{
    return family == AF_INET6 ? ns_t_aaaa : ns_t_a;
}

static uint8_t *question_put16(uint8_t *out, unsigned value)
{
    out[0] = (uint8_t)(value >> 8);
    out[1] = (uint8_t)value;
    return out + 2;
}

size_t resolver_question_write(uint8_t out[RESOLVER_QUESTION_MAX], uint16_t id, const char *name, int family)
{
    const uint8_t header[NS_HFIXEDSZ] = {(uint8_t)(id >> 8),
                                         (uint8_t)id, [2] = 1 /* recursion desired */, [5] = 1 /* question */};
    memcpy(out, header, sizeof(header));
    int len = dn_comp(name, out + sizeof(header), RESOLVER_QUESTION_MAX - NS_HFIXEDSZ - NS_QFIXEDSZ, NULL, NULL);
    if (len <= 0)
        return 0;
    uint8_t *end = question_put16(out + sizeof(header) + len, record_type_of(family));
    return (size_t)(question_put16(end, ns_c_in) - out);
}

/* A server that cannot read a question does not repeat it. */
static bool packet_repeats_question(ns_msg *message, const char *name, int family)
{
    ns_rr question;
    if (ns_msg_count(*message, ns_s_qd) == 0)
        return ns_msg_getflag(*message, ns_f_rcode) != ns_r_noerror;
    return ns_parserr(message, ns_s_qd, 0, &question) == 0 && ns_rr_type(question) == record_type_of(family) &&
           ns_rr_class(question) == ns_c_in && strcasecmp(ns_rr_name(question), name) == 0;
}

static void answer_lower_ttl(struct resolver_answer *answer, uint32_t ttl)
{
    if (ttl > INT32_MAX) /* RFC 2181 */
        ttl = 0;
    if (ttl < answer->ttl_s)
        answer->ttl_s = ttl;
}

/* Takes `owner`'s addresses and the name that it is an alias of. */
static void answer_take_records(struct resolver_answer *answer, ns_msg *message, const char *owner, int family,
                                char target[NS_MAXDNAME])
{
    const size_t len = family == AF_INET6 ? NS_IN6ADDRSZ : NS_INADDRSZ;
    target[0] = '\0';
    for (int i = 0; i < ns_msg_count(*message, ns_s_an) && i < RECORDS_MAX; i++) {
        ns_rr record;
        if (ns_parserr(message, ns_s_an, i, &record) != 0)
            return; /* what came before is good */
        if (ns_rr_class(record) != ns_c_in || strcasecmp(ns_rr_name(record), owner) != 0)
            continue;
        if (ns_rr_type(record) == record_type_of(family) && ns_rr_rdlen(record) == len) {
            answer_lower_ttl(answer, ns_rr_ttl(record));
            if (answer->count < RESOLVER_ADDRESSES_MAX)
                answer->addresses[answer->count++] = netaddr_from_bytes(ns_rr_rdata(record), len, 0);
        } else if (ns_rr_type(record) == ns_t_cname &&
                   ns_name_uncompress(ns_msg_base(*message), ns_msg_end(*message), ns_rr_rdata(record), target,
                                      NS_MAXDNAME) >= 0) {
            answer_lower_ttl(answer, ns_rr_ttl(record));
        }
    }
}

/* Follows the aliases from `name` to the addresses. false: they lead nowhere. */
static bool answer_follow_aliases(struct resolver_answer *answer, ns_msg *message, const char *name, int family)
{
    char owner[NS_MAXDNAME], target[NS_MAXDNAME];
    strcpy(owner, name);
    for (int i = 0; i <= ALIASES_MAX; i++) {
        answer_take_records(answer, message, owner, family, target);
        if (answer->count > 0)
            return true;
        if (!target[0]) {
            if (strcasecmp(owner, name) != 0 && strlen(owner) <= NAME_TEXT_MAX)
                strcpy(answer->alias, owner);
            return true;
        }
        strcpy(owner, target);
    }
    return false;
}

/* How long a name will not exist (RFC 2308). false: the answer does not contain it. */
static bool answer_read_negative_ttl(struct resolver_answer *answer, ns_msg *message)
{
    for (int i = 0; i < ns_msg_count(*message, ns_s_ns) && i < RECORDS_MAX; i++) {
        ns_rr record;
        if (ns_parserr(message, ns_s_ns, i, &record) != 0)
            return false;
        const size_t minimum = 4; /* the last field */
        if (ns_rr_type(record) != ns_t_soa || ns_rr_rdlen(record) < minimum)
            continue;
        answer_lower_ttl(answer, ns_rr_ttl(record));
        answer_lower_ttl(answer, (uint32_t)ns_get32(ns_rr_rdata(record) + ns_rr_rdlen(record) - minimum));
        return true;
    }
    return false;
}

/* A server that does not resolve for others answers with nothing at all. */
static bool packet_is_referral(ns_msg *message)
{
    return ns_msg_count(*message, ns_s_an) == 0 && !ns_msg_getflag(*message, ns_f_aa) &&
           !ns_msg_getflag(*message, ns_f_ra);
}

static void answer_read_records(struct resolver_answer *answer, ns_msg *message, const char *name, int family)
{
    int rcode = ns_msg_getflag(*message, ns_f_rcode);
    if (rcode != ns_r_noerror && rcode != ns_r_nxdomain)
        return;
    if (!answer_follow_aliases(answer, message, name, family))
        return;
    if (answer->count > 0) {
        answer->status = RESOLVER_FOUND;
        return;
    }
    if (answer->truncated)
        return;
    bool negative = answer_read_negative_ttl(answer, message);
    if (!negative && rcode == ns_r_noerror && packet_is_referral(message))
        return;
    if (negative || rcode == ns_r_nxdomain)
        answer->alias[0] = '\0'; /* the server has followed it to the end */
    if (!answer->alias[0])
        answer_lower_ttl(answer, negative ? NEGATIVE_TTL_MAX_S : NEGATIVE_TTL_S);
    answer->status = RESOLVER_NOT_FOUND;
}

bool resolver_answer_read(struct resolver_answer *answer, const uint8_t *packet, size_t len, uint16_t id,
                          const char *name, int family)
{
    *answer = (struct resolver_answer){.status = RESOLVER_FAILED, .ttl_s = TTL_MAX_S};
    ns_msg message;
    if (len < NS_HFIXEDSZ || len > NS_MAXMSG || ns_get16(packet) != id)
        return false;
    const bool is_answer = packet[2] & 0x80;
    answer->truncated = packet[2] & 0x02;
    if (ns_initparse(packet, (int)len, &message) != 0)
        return is_answer && answer->truncated; /* cut in the middle of a record */
    if (!is_answer || ns_msg_getflag(message, ns_f_opcode) != ns_o_query ||
        !packet_repeats_question(&message, name, family))
        return false;
    answer_read_records(answer, &message, name, family);
    return true;
}
