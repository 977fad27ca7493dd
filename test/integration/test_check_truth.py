"""The truth table of conesocks check: what is true of a server and its network, and what must be reported about it.

Each row sets up one truth. `wrong` lists all steps that are to be reported as wrong; no other may be."""
import pytest
import servers
from checks import BY_V4, check, crooked, dante, packet_filter  # noqa: F401 (fixtures)
from netns import INET1_OTHER_V4, INET1_V4, INET1_V6, PROXY_V4, PROXY_V6, PROXY_WAN_V4, PROXY_WAN_V6

OTHER_V6 = "fd88::12"
BY_V6 = f"socks5://[{PROXY_V6}]:1080"
V4, V6 = INET1_V4, INET1_V6
NO_UDP_OUT = ("proxy", 'chain o { type filter hook output priority 0; oifname "eth1" meta l4proto udp drop; }')
NO_UDP_IN = ("proxy", "chain i { type filter hook input priority 0; udp dport 30000-30099 drop; }")
REJECTED = ("proxy", "chain i { type filter hook input priority 0; udp dport 30000-30099 reject; }")
NO_STRANGERS = ("proxy", 'chain i { type filter hook input priority 0; iifname "eth1" ct state established,related accept; '
                         'iifname "eth1" meta l4proto udp drop; }')
PORTS = {"ports": "30000-30099"}
OPEN, MODERATE, STRICT = ({"nat_v4": kind} for kind in ("open", "moderate", "strict"))


@pytest.fixture
def both_stun(net, running, tmp_path):
    """A STUN server with two addresses of each IP version."""
    net.inet1.ip(f"address add {OTHER_V6}/64 dev eth0 nodad")
    command = servers.coturn(tmp_path, INET1_V4, INET1_OTHER_V4)
    running(net.inet1, *command, "--listening-ip", INET1_V6, "--listening-ip", OTHER_V6, udp=(f"[{OTHER_V6}]", 3479))
    yield
    net.inet1.ip(f"address del {OTHER_V6}/64 dev eth0")


@pytest.mark.parametrize("server, blocked, stun, types, wrong, words", [
    # conesocks in each mode.
    ({}, None, [V4, V6], OPEN | {"nat_v6": "open"}, {}, "Open: "),
    ({"udp": {"ports": 1080}}, None, [V4], OPEN, {}, "Open: "),
    ({"udp": {"filtering": "address-dependent"}}, None, [V4], MODERATE, {"nat_v4": "only peers"}, "Moderate: "),
    ({"udp": {"enabled": False}}, None, [V4], {}, {"associate": "switched off"}, "No UDP "),
    # What others were seen to do.
    ({"crooked": {"symmetric", "names_asked"}}, None, [V4], STRICT,
     {"origin": "gives the address", "nat_v4": "another port", "hairpin_v4": "does not replace"}, "Strict: "),
    ({"crooked": {"first_only"}}, None, [V4], {}, {"peers_v4": "drops answers from other addresses", "hairpin_v4": "filters"},
     "Games and calls that talk to more"),
    ({"crooked": {"one_socket"}}, None, [V4, V6], OPEN, {"families": "one socket for both"}, "Games and calls that use IPv4 and IPv6"),
    ({"dante": (PROXY_V4, PROXY_WAN_V4)}, None, [V4], MODERATE, {"nat_v4": "only peers"}, "Moderate: "),
    ({"dante": (PROXY_V6, PROXY_WAN_V6)}, None, [V6], {}, {"peers_v6": "drops answers", "hairpin_v6": "filters"}, "Games and calls that talk"),
    # Blocked ways.
    ({}, NO_UDP_OUT, [V4], {}, {"datagram_v4": "cannot send UDP to the internet"}, "No UDP "),
    ({"dante": (PROXY_V4, PROXY_WAN_V4)}, NO_UDP_OUT, [V4], {}, {"datagram_v4": "fails when it should forward"}, "No UDP "),
    ({"udp": PORTS}, NO_UDP_IN, [V4], {}, {"datagram_v4": "between here and the proxy drops UDP"}, None),
    ({"udp": PORTS}, REJECTED, [V4], {}, {"datagram_v4": "is rejected"}, None),
    ({}, NO_STRANGERS, [V4], MODERATE, {"nat_v4": "only peers"}, "Moderate: "),
])
def test_truth(net, start, both_stun, check, crooked, dante, packet_filter, server, blocked, stun, types, wrong, words):  # noqa: F811
    by_v6 = "dante" in server and ":" in server["dante"][0]
    if "crooked" in server:
        crooked(**dict.fromkeys(server["crooked"], True))
    elif "dante" in server:
        dante(*server["dante"])
    else:
        start(server)
    if blocked:
        packet_filter(getattr(net, blocked[0]), blocked[1])
    found = check("--stun", ",".join(stun), proxy=BY_V6 if by_v6 else BY_V4)
    for step, cause in wrong.items():
        assert found.blames(step, cause)
    ignored = {"connect"} if "crooked" in server else set()  # it refuses each CONNECT
    if not (blocked and server.get("udp") == PORTS):  # then the other steps go inside the TCP connection
        reported = {step for step, status in found.statuses().items() if status in ("failed", "warning")}
        assert reported - ignored == set(wrong) - ignored
    for step, kind in types.items():
        assert found.step(step)["data"]["nat_type"] == kind
    assert words is None or found.json["means"].startswith(words), found.json["means"]
