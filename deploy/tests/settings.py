"""Checks that the settings in the templates and in compose.yaml are settings of the program, and that the user pool redirects to
the pages of the web client: settings.py SERVER."""

import re
import subprocess
import sys

import yaml

import template

# Settings of the AWS SDK and of the PostgreSQL client, which no --help lists.
LIBRARIES = {
    "AWS_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL_DYNAMODB", "PGUSER", "PGPASSWORD",
    "PGSSLROOTCERT",
}
# Settings that a later version of the program knows. This list must be empty in a release.
PLANNED: set[str] = set()


def settings_of(server, command):
    shown = subprocess.run([server, *command, "--help"], capture_output=True, text=True, check=True).stdout
    return set(re.findall(r"\[env: ([A-Z0-9_]+)", shown))


def redirect_problems():
    """Cognito redirects only to registered addresses, and `dev` to all of its own, so no other test notices a missing one."""
    paths = dict(re.findall(r"const (\w+)_PATH = '(.+)';", (template.FOLDER.parent / "web/src/auth.ts").read_text()))
    client = template.load("data")["Resources"]["UserPoolClient"]["Properties"]
    registered = {"CALLBACK": client["CallbackURLs"], "SIGNED_OUT": client["LogoutURLs"]}
    missing = [it for it, urls in registered.items() if {"Fn::Sub": "${AppUrl}" + paths[it]} not in urls]
    return [f"data.yaml: the user pool does not redirect to {paths[it]}" for it in missing]


def main(server):
    problems, count = redirect_problems(), 0
    of_program = {
        "api": settings_of(server, ["serve"]), "worker": settings_of(server, ["worker"]),
        "operator": settings_of(server, ["stream", "status"]) | settings_of(server, ["db", "update-cognito-user-ids"]),
    }
    for name, container in template.containers().items():
        known = of_program[name] | LIBRARIES | PLANNED
        for setting in container["Environment"] + container["Secrets"]:
            # A secret that depends on a condition is the second element of Fn::If.
            setting = setting if "Name" in setting else setting["Fn::If"][1]
            count += 1
            if setting["Name"] not in known:
                problems.append(f"service.yaml: {name} has no setting {setting['Name']}")
    compose = yaml.safe_load((template.FOLDER / "compose.yaml").read_text())
    known = of_program["api"] | settings_of(server, ["ddb", "schema-load"]) | LIBRARIES
    for name in compose["services"]["server"]["environment"]:
        count += 1
        if name not in known:
            problems.append(f"compose.yaml: the program has no setting {name}")
    if problems:
        sys.exit("\n".join(problems))
    print(f"{count} settings are settings of the program, and the user pool redirects to the pages of the web client")


if __name__ == "__main__":
    main(sys.argv[1])
