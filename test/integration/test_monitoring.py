"""The alerts and the dashboard in config/: that they are right by themselves, and about what /metrics has."""
import json
import re
from pathlib import Path

import pytest
import yaml

CONFIG = Path(__file__).resolve().parents[2] / "config"
RULES, DASHBOARD = (CONFIG / "monitoring" / name for name in ("prometheus-rules.yaml", "grafana-dashboard.json"))
METRIC = re.compile(r"\b(?:conesocks|process)_[a-z_]+")

UP, DOWN = {"up": "1x60"}, {"up": "0x60"}
TRAFFIC = {"conesocks_udp_up_datagrams_total": "0+60000x60", "conesocks_udp_down_datagrams_total": "0+60000x60",
           "conesocks_udp_dropped_total{reason='send_full'}": "0+60x60", "conesocks_lookups_total": "0+600x60",
           "conesocks_lookups_failed_total": "0+12x60", "process_open_fds": "700x60", "process_max_fds": "1000x60",
           "conesocks_accept_failed_total": "0x60", "conesocks_limited_descriptors_total": "0x60", "conesocks_auth_throttled_total": "0+1x60",
           "process_start_time_seconds": "1700000000x60", "conesocks_reloads_failed_total": "0x60",
           "conesocks_kernel_path_configured": "1x60", "conesocks_kernel_path_active": "1x60"}
# What makes each alert fire within the hour, beside traffic as usual.
TROUBLE = {
    "ConesocksDown": DOWN,
    "ConesocksRestarts": {"process_start_time_seconds": "1700000000+60x60"},
    "ConesocksReloadFailed": {"conesocks_reloads_failed_total": "0x50 1x10"},
    "ConesocksSendBufferFull": {"conesocks_udp_dropped_total{reason='send_full'}": "0+1500x60"},
    "ConesocksNoExternalSocket": {"conesocks_udp_dropped_total{reason='no_socket'}": "0+120x60"},
    "ConesocksNoPortLeft": {"conesocks_associations_without_port_total": "0x55 3x5"},
    "ConesocksPortRangeFull": {"conesocks_ports_full": "0x55 1x5"},
    "ConesocksPortsReusedEarly": {"conesocks_ports_reused_early_total": "0+60x60"},
    "ConesocksLimitReached": {"conesocks_limited_sessions_total": "0x60",
                              "conesocks_limited_associations_total": "0x55 3x5"},
    "ConesocksMemoryShort": {"conesocks_limited_memory_total": "0x55 3x5", "conesocks_shed_streams_total": "0x60"},
    "ConesocksResolverFails": {"conesocks_lookups_failed_total": "0+400x60"},
    "ConesocksDescriptorsShort": {"process_open_fds": "900x60"},
    "ConesocksKernelPathInactive": {"conesocks_kernel_path_active": "1x50 0x10"},
    "ConesocksLoginsThrottled": {"conesocks_auth_throttled_total": "0+10x60"},
    "ConesocksUpstreamFails": {"conesocks_upstream_requests_total": "0+60x60",
                               "conesocks_upstream_failed_total": "0+50x60"},
}


def rules():
    return yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"][0]["rules"]


def expressions():
    """{where it stands: PromQL} of the dashboard, with Grafana's variables filled in."""
    board = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    found = {panel["title"] + target["refId"]: target["expr"]
             for panel in board["panels"] for target in panel.get("targets", ())}
    found |= {each["name"]: each["expr"] for each in board["annotations"]["list"]}
    return {where: expr.replace("$__rate_interval", "1m").replace("$instance", ".*") for where, expr in found.items()}


def promtool(net, path, *command):
    result = net.proxy.run("promtool", *command, str(path))
    assert result.returncode == 0, result.stdout


def test_promtool_accepts_the_rules(net):
    promtool(net, RULES, "check", "rules")
    for rule in rules():
        assert len(rule["annotations"]["description"]) > 60, f"{rule['alert']} does not say what to do"


def test_the_dashboard_asks_in_promql(net, tmp_path):
    """As rules, for promtool reads no dashboards."""
    recorded = [{"record": f"e{number}", "expr": expr} for number, expr in enumerate(expressions().values())]
    path = tmp_path / "expressions.yaml"
    path.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": recorded}]}), encoding="utf-8")
    promtool(net, path, "check", "rules", "--lint=none")


def test_the_dashboard_is_in_order():
    """Each panel has an id and a place of its own, and asks the data source that was chosen at the import."""
    panels = json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]
    taken = [(x, y) for place in (panel["gridPos"] for panel in panels)
             for x in range(place["x"], place["x"] + place["w"]) for y in range(place["y"], place["y"] + place["h"])]
    assert len(set(taken)) == len(taken) and max(x for x, _ in taken) < 24
    assert len({panel["id"] for panel in panels}) == len(panels)
    for panel in panels:
        assert panel["type"] == "row" or panel["datasource"]["uid"] == "${datasource}"


def test_named_metrics_exist(net, serve):
    serve({"admin": {"port": 1081}})
    metrics = net.proxy.run("curl", "--silent", "http://127.0.0.1:1081/metrics").stdout
    known = set(re.findall(r"^# TYPE (\S+)", metrics, re.MULTILINE))
    named = {name for expr in [*expressions().values(), *(rule["expr"] for rule in rules())]
             for name in METRIC.findall(expr)}
    assert len(named) > 40 and named <= known
    reasons = set(re.findall(r'reason="(\w+)"', " ".join(rule["expr"] for rule in rules())))
    assert reasons and reasons <= set(re.findall(r'conesocks_udp_dropped_total\{reason="(\w+)"', metrics))


def series(values):
    """As promtool wants them, of one instance."""
    named = []
    for name, value in values.items():
        bare, _, labels = name.partition("{")
        labels = ",".join(filter(None, ['job="conesocks",instance="proxy"', labels.rstrip("}").replace("'", '"')]))
        named.append({"series": f"{bare}{{{labels}}}", "values": value})
    return named


@pytest.mark.parametrize("alert", TROUBLE)
def test_alerts(net, tmp_path, alert):
    """Each fires when it should, and none of them as long as all goes well."""
    rule = next(rule for rule in rules() if rule["alert"] == alert)
    labels = {"job": "conesocks", "instance": "proxy", **rule["labels"]}
    if alert == "ConesocksNoExternalSocket":
        labels["reason"] = "no_socket"
    fires = {"exp_labels": labels, "exp_annotations": rule["annotations"]}
    wanted = {each["alert"]: [fires] if each["alert"] == alert else [] for each in rules()}
    quiet = {"conesocks_lookups_total": "0+0.5x60", "conesocks_lookups_failed_total": "0+0.5x60"}  # a mistyped name, at night
    hours = ((UP | TRAFFIC, dict.fromkeys(wanted, [])), (UP | TRAFFIC | quiet, dict.fromkeys(wanted, [])),
             (UP | TRAFFIC | TROUBLE[alert], wanted))
    tests = [{"interval": "1m", "input_series": series(values),
              "alert_rule_test": [{"eval_time": "60m", "alertname": name, "exp_alerts": alerts}
                                  for name, alerts in expected.items()]}
             for values, expected in hours]
    path = tmp_path / "test.yaml"
    path.write_text(json.dumps({"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": tests}),
                    encoding="utf-8")
    promtool(net, path, "test", "rules")


def test_every_alert_has_a_test():
    assert set(TROUBLE) == {rule["alert"] for rule in rules()}
