"""Runs the program of an image as the task definitions do: image.py ROOT IMAGE.

ROOT is the mounted file system of the image, and IMAGE the output of `buildah inspect`. The process runs in ROOT, which is
read-only, as the user of the image and without privileges. It gets neither /proc nor /dev nor a writable folder.
"""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import checks
import template
from checks import check, free_port, until

# In a mount namespace. sh, setpriv and chroot each replace themselves by the next program, so the process id stays the same.
START = """
mount --bind "$1" "$1"
mount -o remount,bind,ro "$1"
root=$1 user=$2
shift 2
exec setpriv --no-new-privs chroot --userspec="$user" --groups= "$root" "$@"
"""
TIMEOUT = 30


def start(root, config, command, **settings):
    environment = dict(it.split("=", 1) for it in config.get("Env") or [])
    return subprocess.Popen(
        ["unshare", "--mount", "sh", "-euc", START, "sh", root, config["User"], *config["Entrypoint"], *command],
        env={"PATH": os.environ["PATH"]} | environment | settings, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )


def health(root, config, metrics, expected):
    """Runs the health check of the image. Returns whether it exits with the expected status, and its output."""
    process = start(root, config | {"Entrypoint": config["Healthcheck"]["Test"][1:]}, [], METRICS_ADDR=metrics)
    output = process.communicate(timeout=TIMEOUT)
    return process.returncode == expected, (process.returncode, output)


def main():
    root, config = sys.argv[1], json.loads(Path(sys.argv[2]).read_text())["Docker"]["config"]
    user, _, group = config["User"].partition(":")
    check(f"the image has the user {config['User']}, a number that is not 0", user.isdigit() and group.isdigit() and int(user) and int(group))
    containers = template.containers()
    for it in containers.values():
        confined = it["ReadonlyRootFilesystem"] is True and it["LinuxParameters"]["Capabilities"]["Drop"] == ["ALL"]
        check(f"{it['Name']}: the task has this user, a read-only file system and no capabilities", confined and it["User"] == user, it)

    test = (config.get("Healthcheck") or {}).get("Test")
    tests = {name: it.get("HealthCheck", {}).get("Command") for name, it in containers.items()}
    check("the image has a health check, which the tasks of API and worker also have",
          test and tests == {"api": test, "worker": test, "operator": None}, (test, tests))

    process = start(root, config, config["Cmd"])
    output, errors = process.communicate(timeout=TIMEOUT)
    name = " ".join([*config["Entrypoint"], *config["Cmd"]])
    check(f"`{name}` without settings exits with status 2", process.returncode == 2, (process.returncode, output, errors))
    is_one_line = output == "" and re.fullmatch(r"[^\n]*\b[A-Z]+(_[A-Z]+)+\b[^\n]*\n", errors)
    check("it prints one line, which names a setting", is_one_line, (output, errors))
    print(f"     {errors.strip()}")

    api = containers["api"]
    # Nothing listens on port 9. The process starts without its stores and is not ready.
    nowhere, port, metrics = "127.0.0.1:9", free_port(), f"0.0.0.0:{free_port()}"
    process = start(
        root, config, api["Command"], LISTEN_ADDR=f"127.0.0.1:{port}", METRICS_ADDR=metrics, AWS_REGION="eu-central-1",
        AWS_ACCESS_KEY_ID="test", AWS_SECRET_ACCESS_KEY="test", AWS_ENDPOINT_URL=f"http://{nowhere}",
        DATABASE_URL=f"postgresql://x@{nowhere}/x", AWS_COGNITO_USER_POOL_ID="eu-central-1_test",
        AWS_COGNITO_USER_POOL_CLIENT_ID="test", COGNITO_JWKS_URL=f"http://{nowhere}/keys",
    )
    try:
        responds = lambda: checks.status(f"http://127.0.0.1:{port}/health/live") == 200
        until("the program responds or exits", lambda: responds() or process.poll() is not None, TIMEOUT)
        is_running = process.poll() is None
        check(f"`{' '.join(api['Command'])}` with settings responds", is_running, is_running or process.communicate())
        proc = Path("/proc") / str(process.pid)
        state = dict(line.split(":\t", 1) for line in (proc / "status").read_text().splitlines() if ":\t" in line)
        mounts = [line.split() for line in (proc / "mountinfo").read_text().splitlines()]
        options = [it[5].split(",") for it in mounts if it[4] == "/"][-1]
        check(f"its user is {user} and its group {group}", state["Uid"].split() == [user] * 4 and state["Gid"].split() == [group] * 4, state)
        check("it has no capabilities and no other groups", int(state["CapEff"], 16) == 0 and not state["Groups"].strip(), state)
        check("its file system is the image and read-only", os.path.samefile(proc / "root", root) and "ro" in options, options)
        check("its health check succeeds", *health(root, config, metrics, 0))
        process.send_signal(signal.SIGTERM)
        check("it stops with status 0", process.wait(TIMEOUT) == 0, process.communicate())
        check("its health check fails afterwards", *health(root, config, metrics, 1))
    finally:
        process.kill()


if __name__ == "__main__":
    main()
