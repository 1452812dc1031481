"""Alert rules and dashboard: promtool reads and runs the rules, and takes every expression of the dashboard;
names agree with the code and with the guide."""

import json
import pathlib
import re
import subprocess
import sys
import tempfile

import yaml

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
RULES = REPOSITORY / "deploy" / "prometheus" / "alerts.yml"
TESTS = REPOSITORY / "deploy" / "prometheus" / "alerts.test.yml"
DASHBOARD = REPOSITORY / "deploy" / "grafana" / "holdfast.json"
GUIDE = REPOSITORY / "docs" / "operations.md"

faults = []


def promtool(*arguments):
    ran = subprocess.run(["promtool", *arguments], capture_output=True, text=True, check=False)
    if ran.returncode != 0:
        faults.append(f"promtool {' '.join(map(str, arguments))}\n{ran.stdout}{ran.stderr}")


def metrics():
    """Names in the table of the code, with what Prometheus makes of a histogram."""
    text = (REPOSITORY / "src" / "telemetry" / "metric.rs").read_text()
    names = set(re.findall(r'pub const \w+: &str = "(holdfast_\w+)";', text))
    return names, names | {name + end for name in names for end in ("_bucket", "_sum", "_count")}


def alarms():
    text = (REPOSITORY / "src" / "telemetry" / "alarm.rs").read_text()
    table = re.search(r"pub const NAMES: &\[&str\] = &\[(.*?)\];", text, re.S)[1]
    return set(re.findall(r'"(\w+)"', table))


def used(text):
    return set(re.findall(r"\bholdfast_\w+", text))


def dashboard_expressions():
    dashboard = json.loads(DASHBOARD.read_text())
    seen = set()
    for panel in dashboard["panels"]:
        if panel["id"] in seen:
            faults.append(f"dashboard: two panels have the number {panel['id']}")
        seen.add(panel["id"])
        for target in panel.get("targets", []):
            yield panel["title"], target["expr"]


def check_dashboard(names, known):
    expressions = list(dashboard_expressions())
    for title, expression in expressions:
        for name in used(expression) - known:
            faults.append(f"dashboard, {title}: there is no metric {name}")
    shown = {re.sub(r"_(bucket|sum|count)$", "", name) for _, expression in expressions for name in used(expression)}
    for name in names - shown - used(" ".join(expression for _, expression in expressions)):
        faults.append(f"dashboard: {name} is nowhere")
    rules = [{"record": f"dashboard:panel{number}", "expr": expression} for number, (_, expression) in enumerate(expressions)]
    with tempfile.NamedTemporaryFile("w", suffix=".yml") as file:
        yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}, file)
        file.flush()
        promtool("check", "rules", file.name)
    return len(expressions)


def anchors():
    """What GitHub makes of the headings, and what stands in code in the first cell of a row."""
    text = re.sub(r"```.*?```", "", GUIDE.read_text(), flags=re.S)
    headings = re.findall(r"^#+ (.+)$", text, re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def check_rules(known):
    promtool("check", "rules", RULES)
    promtool("test", "rules", TESTS)
    rules = [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]
    tested = set(re.findall(r'alertname="(\w+)"', TESTS.read_text()))
    places = anchors()
    watched = set()
    for rule in rules:
        name = rule["alert"]
        for metric in used(rule["expr"]) - known:
            faults.append(f"{name}: there is no metric {metric}")
        watched |= set(re.findall(r'holdfast_alarm\{name="(\w+)"\}', rule["expr"]))
        if name not in tested:
            faults.append(f"{name}: no test has it fire")
        if rule["labels"].get("severity") not in {"page", "ticket"}:
            faults.append(f"{name}: nobody is told")
        guide, _, place = rule["annotations"]["runbook"].partition("#")
        if guide != "docs/operations.md" or place not in places:
            faults.append(f"{name}: {rule['annotations']['runbook']} leads nowhere")
    for alarm in alarms() - watched:
        faults.append(f"the alarm {alarm} has no rule")
    for alarm in watched - alarms():
        faults.append(f"there is no alarm {alarm}")
    for alarm in alarms() - places:
        faults.append(f"docs/operations.md does not say what to do about {alarm}")
    return len(rules)


names, known = metrics()
count = check_rules(known)
expressions = check_dashboard(names, known)
for line in faults:
    print(line, file=sys.stderr)
print(f"{count} alert rules, {expressions} expressions of the dashboard: {len(faults)} faults")
sys.exit(1 if faults else 0)
