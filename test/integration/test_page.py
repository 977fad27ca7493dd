"""The status page in a real browser: that it tells the truth, asks nobody else and can be read by everybody.

Most of it is shown by a stand-in for the server, which can say what a proxy in a test would hardly get to.
"""
import re
import time

import admin_mock
import pytest
import socks5
from admin_mock import negotiation, session, stream, user
from browser import DESKTOP, PHONE, Browser
from conftest import ALICE, USERS
from daemon import wait_until
from netns import CLIENT_V4, PROXY_V4
from selenium.webdriver.common.keys import Keys
from socks5 import Association

LOOPBACK = "127.0.0.1"
# What clients may call themselves, and what it would do if it were HTML.
HOSTILE = ["<img src=x onerror=document.title='taken'>", "</td></table><script>document.title='taken'</script>",
           "&lt;b&gt; ${1+1} {{7*7}}", "\u202egnitirw tfel ot thgir", "x" * 255, "line\nbreak\u0000nul\u001b[31mred"]


@pytest.fixture(scope="module")
def browser(network):
    with network.proxy.enter():
        shown = Browser()
        yield shown
        shown.quit()


@pytest.fixture
def admin(net):
    shown = admin_mock.Admin(net.proxy.listen(LOOPBACK, timeout=None))
    yield shown
    shown.stop()


@pytest.fixture
def opened(browser, admin):
    """opened(...) shows the stand-in's page."""
    def run(state="running", **options):
        browser.open(admin.url, **options)
        browser.wait(state, "#state")
        return browser

    yield run
    browser.driver.get("about:blank")


def test_a_real_proxy(browser, net, serve, peer, web):
    """Row 50, 51: what is done is seen, and moves; the name of who does it is text; no password is anywhere."""
    hash_of_password = USERS[0]["password"]
    proxy = serve({"listen": [{"address": PROXY_V4, "port": 1080}], "admin": {"port": 1081},
                   "users": [{"name": HOSTILE[0], "password": hash_of_password}]})
    browser.open("http://127.0.0.1:1081/")
    browser.wait("No associations yet.")
    association = Association(net.client, (PROXY_V4, 1080), user=HOSTILE[0], password=ALICE[1])
    port = association.external(peer)[1]
    row = wait_until(browser.rows, "the association")[0]
    client = "%s:%d" % association.control.getsockname()
    assert row["Client"] == [HOSTILE[0], client] and row["Peers"][0] == "1"
    assert row["Relay"] == ["%s:%d" % association.relay, "from port %d" % association.udp.getsockname()[1]]
    assert row["External"] == [f"port {port}", ""]
    assert association.alive(peer, 99)
    wait_until(lambda: browser.rows()[0]["Up"][1] not in ("0 B", row["Up"][1]), "bytes from the client")
    assert browser.rows()[0]["Down"][1] != "0 B"
    association.send_raw(b"no header")
    browser.wait("From a client, with no valid SOCKS5 UDP header.", "#drops")
    assert browser.rows()[0]["Dropped"] == ["1", "bad_header 1"]
    wait_until(lambda: "At most 0" not in browser.find("#datagrams svg").get_attribute("aria-label"), "history")
    assert "M" in browser.find("#datagrams .area.udp").get_attribute("d")
    _, reply = socks5.connect(net.client, (PROXY_V4, 1080), web, user=HOSTILE[0], password=ALICE[1])
    assert reply.code == 0
    net.client.connect(CLIENT_V4, (PROXY_V4, 1080))
    browser.find("#tab-streams").click()
    wait_until(lambda: sorted(row["Kind"][0] for row in browser.rows()) == ["CONNECT", "logging in"], "both")
    assert "%s:%d" % web in browser.text("#sessions")
    assert hash_of_password not in browser.driver.page_source
    assert browser.complaints() == []
    assert {url.split("?")[0].rsplit("/", 1)[1] for url in browser.requests() if url.startswith("http")} <= {
        "", "status", "history"}
    proxy.process.terminate()
    browser.wait("No answer since", "#banners")


def busy(admin, count=3):
    """Associations, and ten minutes in which something happened."""
    admin.sessions = [session(number) for number in range(1, count + 1)]
    admin.history["samples"] = [[1000 * n, 40_000 * n, 9000, 90_000, 30, 100, n % 7, 4, 0] for n in range(120)]


def test_empty_states_help(admin, opened):
    browser = opened()
    browser.wait("No associations yet.")
    assert browser.text("#sessions pre") == "conesocks check --proxy socks5://USER@10.77.0.1:1080"
    assert "No datagram has been dropped" in browser.text(".drops")
    browser.find("#tab-streams").click()
    assert "curl --proxy socks5h://USER:PASSWORD@10.77.0.1:1080" in browser.text("#sessions")
    browser.find("#filter").send_keys("nobody")
    assert "Nothing matches." in browser.text("#sessions")


def test_command_to_copy_for_one_machine(admin, opened):
    admin.status["listeners"] = [{"address": "0.0.0.0:1080", "login": False, "proxy_protocol": False}]
    browser = opened()
    browser.wait("No associations yet.")
    assert browser.text("#sessions pre") == "conesocks check --proxy socks5://127.0.0.1:1080"


def test_values_move(admin, opened):
    """A rate is what was moved between two answers, and figures change where they stand."""
    busy(admin, 1)
    browser = opened()
    wait_until(browser.rows, "the association")
    row = browser.run("return (window.row = document.querySelector('#sessions tbody tr')).innerText")
    assert "10.77.0.1:30001" in row and "10.88.0.1:31001" in row and "from port 40001" in row
    assert browser.rows()[0]["Down"][1] == "11.7 KiB"
    admin.sessions = [session(1, down_bytes=12_000 + 4_000_000, down_datagrams=5020, dropped={"rate": 7, "refused": 9})]
    wait_until(lambda: "bit/s" in browser.rows()[0]["Down"][0], "a rate")
    assert browser.rows()[0]["Down"][1] == "3.8 MiB"
    assert browser.rows()[0]["Dropped"] == ["16", "refused 9, rate 7"]
    assert browser.run("return window.row === document.querySelector('#sessions tbody tr')"), "rows are made anew each time"
    admin.sessions = []
    browser.wait("No associations yet.")


@pytest.mark.parametrize("filtering, name, console, means", [
    ("endpoint-independent", "Full cone", "Open Type 1 A", "Any host can send"),
    ("address-dependent", "Address-restricted cone", "Moderate Type 2 B", "Only hosts"),
    ("address-and-port-dependent", "Port-restricted cone", "Moderate Type 2 B", "Only the exact ports")])
def test_nat_in_words(admin, opened, filtering, name, console, means):
    admin.status["udp"]["filtering"] = filtering
    browser = opened()
    browser.wait(name, ".nat")
    assert console in " ".join(browser.text(".nat").split())
    assert means in browser.text(".nat")
    assert "conesocks check" in browser.text(".nat"), "it does not say that the path may add to this"


def test_the_filtering_of_a_session_is_shown_where_it_differs(admin, opened):
    strict = "address-and-port-dependent"
    admin.sessions = [session(1), session(2, filtering=strict), session(3, filtering="upstream", upstream="vpn")]
    browser = opened()
    wait_until(lambda: len(browser.rows()) == 3, "the associations")
    assert [row["External"][1] for row in browser.rows()] == ["", "port-restricted", ""]
    admin.status["udp"]["filtering"] = strict
    wait_until(lambda: [row["External"][1] for row in browser.rows()] == ["full cone", "", ""], "the other way round")


def test_several_ports_and_upstreams_of_an_association(admin, opened):
    ports = [{"client_udp": f"10.77.0.1:{port}", "external": [f"10.88.0.1:{31000 + port}"]} for port in (5000, 5001)]
    admin.sessions = [session(1, client_ports=ports), session(2, other_upstreams="vpn, none"),
                      session(3, upstream="office", other_upstreams="vpn")]
    browser = opened()
    wait_until(lambda: len(browser.rows()) == 3, "the associations")
    first, second, third = browser.rows()
    assert first["Relay"][1] == "from ports 5000, 5001"
    assert second["Client"][1] == "via vpn, none" and third["Client"][1] == "via office, vpn"


def test_users_come_first(admin, opened):
    """Who uses what, and who is near which limit. The busiest of the month is the first."""
    gib = 1 << 30
    admin.status["users"] = {"total": 5, "list": [
        user("bob", sessions=3, down_bytes_per_second=250_000, up_bytes_per_second=1000, volume_bytes=2 * gib),
        user("alice", volume_bytes=95 * gib, volume_limit=100 * gib, near="volume", sessions=0),
        user("eve", volume_bytes=gib, volume_limit=gib, near="volume", limits={"sessions": 20, "addresses": 1}),
        user(HOSTILE[0], expires="2020-01-31", near="expires", volume_bytes=0)]}
    browser = opened()
    wait_until(lambda: len(browser.rows("users")) == 4, "the users")
    assert browser.run("return document.querySelector('main > :not([hidden])').id") == "users"
    alice, bob, eve, gone = browser.rows("users")
    assert alice["User"] == ["alice", "", "95 % of the volume"] and alice["This month"][:2] == ["95 GiB", "of 100 GiB"]
    assert bob["User"][0] == "bob" and bob["Down"][0] == "2 Mbit/s" and bob["Up"][0] == "8 kbit/s"
    assert eve["User"][2] == "volume used up" and eve["Sessions"] == ["1", "of 20"] and eve["Addresses"] == ["1", "of 1"]
    assert gone["User"] == [HOSTILE[0], "", "expired"] and gone["Expires"] == ["2020-01-31", "expired"]
    assert "5" in browser.text("#users-title") and "3 connected · 3 near a limit" in browser.text("#users")
    assert "1 other did not connect" in browser.text("#users")
    assert len(browser.all("#users .badge.bad")) == 2 and len(browser.all("#users .gauge.full")) == 1
    next(head for head in browser.all("#users th button") if head.text == "Down").click()
    assert browser.rows("users")[0]["User"][0] == "bob"


def test_many_users(admin, opened):
    admin.status["users"] = {"total": 30, "list": [user(f"user{number}") for number in range(30)]}
    browser = opened()
    wait_until(lambda: len(browser.rows("users")) == 12, "some of the users")
    browser.find("#all-users").click()
    assert len(browser.rows("users")) == 30 and browser.text("#all-users") == "Show fewer"
    assert "Expires" not in browser.rows("users")[0], "a column without content"


def test_without_users_sessions_come_first(admin, opened):
    for users in None, {"total": 0, "list": []}:
        admin.status["users"] = users
        admin.sessions = [stream(1, user=None)]
        browser = opened()
        wait_until(browser.rows, "the streams, since there are no associations")
        assert "sessions" in browser.run("return document.querySelector('main > :not([hidden])').className")
        assert browser.rows()[0]["Client"][0] == "10.77.0.2:20001"


@pytest.mark.parametrize("dropped, mood", [(0, ""), (99, ""), (1000, ""), (5000, "wary"), (50_000, "bad")])
def test_few_drops_are_no_fault(admin, opened, dropped, mood):
    """So many drops among a million datagrams in ten minutes."""
    admin.history["samples"] = [[0, 0, 0, 0, 500_000, 499_990, dropped, 0, 0]]
    browser = opened()
    browser.wait(f"{dropped:,} in 10 minutes", "[data-is=dropped-note]")
    assert browser.find("#dropped").get_attribute("class").split() == ["figure", mood][:2 if mood else 1]


def test_the_scale_has_a_least_range(admin, opened):
    """A few bytes do not fill the chart."""
    admin.history["samples"] = [[1, 0, 0, 1, 0, 0, 0, 0, 0]] * 3
    browser = opened()
    scale = "return [...document.querySelectorAll('#throughput .grid .end')].map(text => text.textContent)"
    wait_until(lambda: browser.run(scale)[:2] == ["2 kbit/s", "2 kbit/s"], "the scale")


def test_no_udp(admin, opened):
    admin.status["udp"]["enabled"] = False
    browser = opened()
    browser.wait("No UDP", ".nat")
    assert "consoles" not in browser.text(".nat")
    assert "UDP is disabled" in browser.text("#sessions")


def test_charts(admin, opened):
    """The newest sample is shown, and each of the others to whoever asks by key."""
    busy(admin)
    browser = opened()
    chart = browser.find("#throughput svg")
    browser.wait("144 kbit/s", "#throughput .legend")  # 90,000 bytes in five seconds
    assert len(browser.find("#throughput .edge").get_attribute("d").split("L")) == 120
    assert "UDP to clients 144 kbit/s" in chart.get_attribute("aria-valuetext")
    assert "over the last ten minutes. At most 7.8 Mbit/s to clients" in chart.get_attribute("aria-label")
    assert "7.6 Mbit/s" in browser.text("#throughput .legend")  # 119 * 40,000 bytes
    chart.send_keys(Keys.HOME)
    assert "9 min 55 s ago" in browser.text("#throughput figcaption")
    assert "7.6 M" not in browser.text("#throughput .legend")
    chart.send_keys(Keys.ARROW_RIGHT, Keys.ARROW_RIGHT)
    assert "9 min 45 s ago" in browser.text("#throughput figcaption")
    assert "128 kbit/s" in browser.text("#throughput .legend")  # 2 * 40,000 bytes
    chart.send_keys(Keys.ESCAPE)
    assert "7.6 Mbit/s" in browser.text("#throughput .legend")


def test_hostile_names(admin, opened):
    """Row 51: what a client calls itself is text, whatever it looks like; so is what it asks for, and an error that
    quotes it."""
    admin.sessions = [session(number, user=name, upstream=name) for number, name in enumerate(HOSTILE, 1)]
    admin.sessions += [stream(number, user=name, destination=name) for number, name in enumerate(HOSTILE, 11)]
    admin.status["configuration"].update(last_error=HOSTILE[0], file=HOSTILE[1])
    admin.status["drops"] = [{"reason": HOSTILE[0], "count": 1, "means": HOSTILE[1], "advice": HOSTILE[0]}]
    browser = opened(size=PHONE)
    for tab, column, line in ("#tab-associations", "Client", 0), ("#tab-streams", "Destination", 0):
        browser.find(tab).click()
        wait_until(browser.rows, "the sessions")
        shown = browser.run("return [...document.querySelectorAll(`#sessions td[data-label=${arguments[0]}]`)].map("
                            "cell => cell.children[arguments[1]].textContent)", column, line)
        for name in HOSTILE:
            assert any(name in text for text in shown)
        assert browser.widest() <= PHONE[0] and browser.widest("#sessions") <= PHONE[0]
    assert HOSTILE[0] in browser.text("#banners") and HOSTILE[1] in browser.text(".setup")
    assert not browser.all("img") and browser.driver.title.startswith("conesocks")
    assert browser.complaints() == []


def test_the_content_security_policy_blocks_scripts(admin, opened):
    """That nothing was ever run above is worth something only if the policy would tell."""
    browser = opened()
    browser.run("document.body.insertAdjacentHTML('beforeend', \"<img src=x onerror='window.taken = true'>\")")
    browser.run("document.body.append(Object.assign(document.createElement('script'), {text: 'window.taken = true'}))")
    wait_until(lambda: any("Content Security Policy" in line for line in browser.complaints()), "a complaint")
    assert browser.run("return window.taken") is None


def test_asks_no_other_host(admin, opened):
    busy(admin)
    browser = opened()
    wait_until(lambda: admin.asked.get("/history", 0) > 1, "the second history")
    asked = [url for url in browser.requests() if not url.startswith("data:")]
    assert set(asked) == {admin.url, f"{admin.url}status?limit=500", f"{admin.url}history"}
    assert browser.complaints() == []


@pytest.mark.parametrize("width", [320, 360, 820, 1024, 1120, 1280])
def test_fits_the_screen(admin, opened, width):
    """Nothing scrolls sideways."""
    admin_mock.crowd(admin)
    browser = opened(size=(width, 740))
    for tab in browser.all("[role=tab]"):
        tab.click()
        wait_until(browser.rows, "the sessions")
        assert browser.widest() <= width and browser.widest("#sessions") <= width


def test_dark_and_light(admin, opened):
    """Both can be read, by everybody, in every mood."""
    admin_mock.crowd(admin)
    admin.status["configuration"]["last_error"] = "conesocks.yaml:3:9: expected a port"
    browser = opened()
    wait_until(browser.rows, "the sessions")
    grounds = set()
    for state in "running", "draining":
        admin.status["state"] = state
        browser.wait(state, "#state")
        for dark in False, True:
            browser.look(dark=dark)
            grounds.add(browser.run("return getComputedStyle(document.body).backgroundColor"))
            assert browser.pale() == []
    assert len(grounds) == 2


def test_a_silent_server_is_shown(admin, opened, net):
    busy(admin)
    browser = opened()
    wait_until(browser.rows, "the sessions")
    port = admin.stop()
    browser.wait("No answer since", "#banners")
    assert browser.text("#state") == "no answer"
    assert browser.rows(), "what was known is gone"
    assert browser.pale() == []
    again = admin_mock.Admin(net.proxy.listen(LOOPBACK, port, timeout=None))
    again.status.update(pid=4712, started="2026-03-02T08:30:00Z")
    again.sessions = [session(2)]
    browser.wait("running", "#state")
    assert browser.text("#banners") == "" and browser.text("[data-is=process]").startswith("4712")
    assert [row["Down"][0] for row in browser.rows()] == ["–"], "numbers of two processes were mixed"
    again.stop()


def test_a_refused_request_is_shown(admin, opened):
    browser = opened()
    admin.refusal = "no memory\n"
    browser.wait("HTTP status 503: no memory", "#banners")
    admin.refusal = None
    browser.wait("running", "#state")


def test_warnings_are_at_the_top(admin, opened):
    admin.status["state"] = "draining"
    admin.status["configuration"].update(last_error="conesocks.yaml:3:9: expected a port", reloads_failed=1)
    admin.status["memory"]["level"] = "critical"
    admin.status["limits"][1].update(used=3990, refused=3)
    admin.history["samples"] = [[0] * 7 + [10, 9]]
    browser = opened(state="draining")
    browser.wait("Draining: new clients are refused", "#banners")
    assert "conesocks.yaml:3:9: expected a port" in browser.text("#banners")
    assert "Memory is critical" in browser.text("#banners")
    assert "3,990 of 4,000 associations are open (limits.associations); refused since the start: 3." in browser.text("#banners")
    assert "3 times refused" in browser.text("#limits") and browser.all("#limits .near")
    browser.wait("Most lookups fail", "#resolver-verdict")


def test_refused_logins_and_limits_are_shown(admin, opened):
    """By a limit that one user has and the others have not, and for a wrong password."""
    admin.status["limits"].append({"name": "associations_per_user", "limit": None, "used": None, "refused": 2})
    admin.status["totals"]["auth_failed_total"] = 6
    browser = opened()
    browser.wait("6 failed logins since the start", "[data-is=limits-logins]")
    assert re.search("associations per user.*for some users.*2 times refused", browser.text("#limits"), re.DOTALL)
    assert "associations per user" not in browser.text("[data-is=limits-none]")


def test_the_kernel_path_is_shown(admin, opened):
    admin.status["kernel_path"] = {"active": False, "why_not": "udp.kernel_path is off", "interfaces": None,
                                   "slots_used": 0, "slots": 0, "passed": {}}
    inactive = {"active": False, "why_not": "inactive", "up_datagrams": 0, "down_datagrams": 0}
    admin.sessions = [session(1, kernel_path=inactive)]
    browser = opened()
    browser.wait("none: udp.kernel_path is off", "[data-is=kernel-path]")
    assert browser.rows()[0]["External"] == ["10.88.0.1:31001", ""]
    admin.status["kernel_path"] = {"active": True, "why_not": None, "interfaces": "eth0", "slots_used": 1,
                                   "slots": 16384, "passed": {"joined": 12, "new": 3}}
    admin.status["totals"] |= {"udp_up_datagrams_total": 60, "udp_down_datagrams_total": 40,
                               "udp_kernel_up_datagrams_total": 50, "udp_kernel_down_datagrams_total": 25}
    admin.sessions[0]["kernel_path"] = {"active": True, "why_not": None, "up_datagrams": 50, "down_datagrams": 25}
    browser.wait("75 % of all datagrams", "[data-is=kernel-path]")
    assert "1 of 16,384 slots" in browser.text("[data-is=kernel-path]")
    assert "joined 12, new 3" in browser.text("[data-is=kernel-path]")
    wait_until(lambda: "in the kernel" in browser.rows()[0]["External"][1], "the path of the association")


def test_a_hidden_page_asks_nothing(admin, opened):
    """Then nothing is asked; and at once when somebody does again."""
    browser = opened()
    browser.driver.minimize_window()
    wait_until(lambda: browser.run("return document.hidden"), "the page to be hidden")
    time.sleep(0.5)  # what was under way ends
    asked = admin.asked["/status"]
    time.sleep(3)
    assert admin.asked["/status"] == asked
    browser.driver.set_window_rect(0, 0, *DESKTOP)
    wait_until(lambda: admin.asked["/status"] > asked, "the next poll")


def test_sorts_and_filters(admin, opened):
    admin.sessions = [session(1, user="alice"), session(2, user="bob", client="10.77.0.9:1"),
                      session(3, user="carol", client="10.77.0.10:1", dropped={"refused": 4})]
    browser = opened(size=DESKTOP)

    def users():
        return [row["Client"][0] for row in browser.rows()]

    wait_until(lambda: len(users()) == 3, "the sessions")
    dropped = next(head for head in browser.all("th button") if head.text.startswith("Dropped"))
    dropped.send_keys(Keys.ENTER)  # by key as well as by hand
    assert users()[0] == "carol"
    assert browser.find("th[aria-sort=descending]").text.startswith("Dropped")
    dropped.send_keys(Keys.ENTER)
    assert users()[2] == "carol"
    next(head for head in browser.all("th button") if head.text == "Client").click()
    assert users() == ["alice", "bob", "carol"]  # 10.77.0.9 comes before 10.77.0.10
    browser.find("#filter").send_keys("10.77.0.10 REFUSED")
    assert users() == ["carol"]
    browser.find("#filter").clear()


def test_tabs_by_key(admin, opened):
    admin.sessions = [session(1), stream(2), negotiation(3)]
    browser = opened()
    wait_until(browser.rows, "the sessions")
    browser.find("#tab-associations").send_keys(Keys.ARROW_RIGHT)
    assert browser.driver.switch_to.active_element.get_attribute("id") == "tab-streams"
    assert sorted(row["Kind"][0] for row in browser.rows()) == ["CONNECT", "logging in"]
    assert browser.find("#tab-streams").get_attribute("aria-selected") == "true"


def test_thousands(admin, opened):
    """6,000 associations: all are told of, a part at a time, and few are drawn."""
    admin.sessions = [session(number) for number in range(1, 6001)]
    browser = opened()
    browser.wait("1–12 of 6,000 associations", "#pager")
    assert "each one is updated every 24 s" in browser.text("#pager")
    assert len(browser.rows()) == 12
    assert browser.run("return document.getElementsByTagName('*').length") < 1500
    browser.find("#filter").send_keys("10.88.0.1:36999")
    wait_until(lambda: len(browser.rows()) == 1, "one of the last")
    assert browser.rows()[0]["External"][0] == "10.88.0.1:36999"
    browser.find("#filter").clear()
    browser.find("#filter").send_keys("10.88")
    browser.find("#next").click()
    browser.wait("13–24 of 6,000", "#pager")


def test_thousands_for_real(browser, net, serve, lan):
    """More than the page asks for at a time: it goes round, and drops those that have gone."""
    serve({"admin": {"port": 1081}})
    browser.open("http://127.0.0.1:1081/")
    opened = [Association(net.client, lan, bind=False) for _ in range(1100)]
    browser.wait("of 1,100 associations", "#pager")
    browser.find("#filter").send_keys("%s:%d" % opened[777].control.getsockname())
    wait_until(lambda: len(browser.rows()) == 1, "one of them")
    assert browser.rows()[0]["Relay"] == ["%s:%d" % opened[777].relay, "no datagram yet"]
    for association in opened[:1000]:
        association.close()
    browser.find("#filter").clear()
    browser.find("#filter").send_keys("10.77")
    browser.wait("of 100 associations", "#pager")
    assert browser.complaints() == []
