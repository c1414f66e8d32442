"""Checks that every metric in the rules, the dashboards and the alarms is one of the server: metrics.py [FILE …]. It also
compares the number of metrics of the alarms with costs.py.

Without files, the names are those in src/metrics.rs. The files are responses of /metrics of running processes.
"""

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml

import template

sys.path.append(str(template.FOLDER))
import costs

ROOT = template.FOLDER.parent
NAME = re.compile(r"\b((?:consumer|live|http|graphql|dynamodb|postgres|feed|limits|cache|clock|websocket)_[a-z_]+)\b")
SERIES = re.compile(r"_(bucket|sum|count)$")
# Labels, and a metric that CloudWatch counts in the log.
NOT_METRICS = set()


def declared():
    """The names in src/metrics.rs. They are string constants, or the second element of a tuple of `Count::ALL`."""
    source = (ROOT / "src/metrics.rs").read_text()
    return set(re.findall(r'"([a-z]+(?:_[a-z]+)+)"', source)) - {"consumer_unnamed_total"}


def exported(files):
    return {SERIES.sub("", it) for file in files for it in re.findall(r"^# TYPE (\S+)", Path(file).read_text(), re.M)}


def expressions():
    """All PromQL expressions with their places."""
    for group in yaml.safe_load((template.FOLDER / "prometheus/rules.yaml").read_text())["groups"]:
        for rule in group["rules"]:
            yield f"rules.yaml: {rule['alert']}", rule["expr"]
    for panel in json.loads((template.FOLDER / "grafana/dashboard.json").read_text())["panels"]:
        for target in panel.get("targets", []):
            yield f"dashboard.json: {panel['title']}", target["expr"]


def alarms():
    return [it["Properties"] for it in template.load("service")["Resources"].values() if it["Type"] == "AWS::CloudWatch::Alarm"]


def names_of_collector():
    """The metrics that the collector keeps, and those that alarms and the dashboard of CloudWatch use."""
    resources = template.load("service")["Resources"]
    config = yaml.safe_load(resources["CollectorConfig"]["Properties"]["Value"]["Fn::Sub"].replace("${", "").replace("}'", "'"))
    scrape = config["receivers"]["prometheus"]["config"]["scrape_configs"][0]
    kept = scrape["metric_relabel_configs"][0]["regex"]
    own = {it["MetricName"] for it in alarms() if it.get("Namespace") == {"Ref": "Name"}} - {"internal_errors"}
    board = json.dumps(resources["Dashboard"])
    return kept, own | {it for it in NAME.findall(board) if "role" in board}


def main(files):
    known = declared()
    problems, used = [], set()
    for where, expression in expressions():
        # Labels and their values are not metrics.
        bare = re.sub(r"\{[^}]*\}|\b(by|ignoring|on)\s*\([^)]*\)", " ", expression)
        for name in NAME.findall(bare):
            used.add(SERIES.sub("", name))
            if SERIES.sub("", name) not in known:
                problems.append(f"{where}: the server has no metric {name}")
    kept, in_cloudwatch = names_of_collector()
    for name in in_cloudwatch:
        if name not in known or not re.fullmatch(kept, name):
            problems.append(f"service.yaml: {name} is not a metric of the server that the collector keeps")
    collected = {name for name in known if re.fullmatch(kept, name)}
    for name in sorted(known - used):
        problems.append(f"dashboard.json has no panel for {name}")
    # An alarm on an expression has several metrics.
    count = sum("MetricName" in it or sum("MetricStat" in metric for metric in it["Metrics"]) for it in alarms())
    if count != costs.ALARMS:
        problems.append(f"the alarms in service.yaml have {count} metrics, and costs.py has {costs.ALARMS}")
    if files:
        seen = exported(files)
        # A counter with labels appears when it counts for the first time.
        optional = {"feed_resets_total", "graphql_subscriptions_total", "graphql_subscription_events_total", "websocket_closed_total"}
        for name in sorted((used | collected) - seen - optional):
            problems.append(f"no process exports {name}")
        for name in sorted(seen - known):
            problems.append(f"src/metrics.rs has no name {name}, which a process exports")
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as rules:
        # promtool parses the expressions of the dashboard as rules.
        rule = [{"record": f"panel:{number}", "expr": it.replace("$__rate_interval", "5m").replace("$__range", "1h")}
                for number, (_, it) in enumerate(expressions())]
        yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rule}]}, rules)
        rules.flush()
        done = subprocess.run(["promtool", "check", "rules", rules.name], capture_output=True, text=True)
        if done.returncode != 0:
            problems.append(done.stdout + done.stderr)
    if problems:
        sys.exit("\n".join(problems))
    print(f"{len(used)} metrics in rules and dashboard, {len(collected)} in CloudWatch: all are metrics of the server")


if __name__ == "__main__":
    main(sys.argv[1:])
