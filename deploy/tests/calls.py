"""Compares the policies of service.yaml with the calls that the tests recorded: calls.py FILE.

Each line of FILE is a role, an action, a resource, and the prefix of the partition key or `-`: see tests/it/harness/recorder.rs.
The tests must make exactly the calls that the policies allow.
"""

import re
import sys
from pathlib import Path

import template
from policy import LEADING_KEYS, as_list

ROLES = {"api": "ApiRole", "worker": "WorkerRole", "operator": "OperatorRole"}


def resource(value):
    """The resource of a statement as in FILE, such as `messages/stream/*`."""
    if isinstance(value, str):
        return value
    if "Fn::ImportValue" in value:
        return re.fullmatch(r"\$\{Name\}-(\w+)-table-arn", value["Fn::ImportValue"]["Fn::Sub"])[1]
    text, names = value["Fn::Sub"]
    return text.replace("${Arn}", resource(names["Arn"]))


def allowed_calls():
    resources = template.load("service")["Resources"]
    for role, logical in ROLES.items():
        (policy,) = resources[logical]["Properties"]["Policies"]
        for statement in policy["PolicyDocument"]["Statement"]:
            operator, name = LEADING_KEYS
            condition = statement.get("Condition", {operator: {name: "-"}})
            assert statement["Effect"] == "Allow" and list(condition) == [operator] and list(condition[operator]) == [name], statement
            for action in as_list(statement["Action"]):
                service, action = action.split(":")
                # Calls to the user pool are not recorded: their tests use another server, see scripts/with-cognito.
                if service == "dynamodb":
                    for it in as_list(statement["Resource"]):
                        yield from ((role, action, resource(it), key) for key in as_list(condition[operator][name]))


def main():
    allowed = set(allowed_calls())
    without_keys = {it[:3] for it in allowed if it[3] == "-"}
    recorded = {tuple(line.split()) for line in Path(sys.argv[1]).read_text().splitlines()}
    made = {(*it[:3], "-") if it[:3] in without_keys else it for it in recorded}
    problems = [f"not allowed, but called: {' '.join(it)}" for it in sorted(made - allowed)]
    problems += [f"allowed, but never called: {' '.join(it)}" for it in sorted(allowed - made)]
    if problems:
        sys.exit("\n".join(problems))
    print(f"the tests make the {len(allowed)} calls that the policies of {', '.join(ROLES)} allow, and no other")


if __name__ == "__main__":
    main()
