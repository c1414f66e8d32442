"""What several deployment tests need: checks that print a line, and processes that listen on a free port."""

import socket
import time
import urllib.error
import urllib.request

passed = 0


def check(what, condition, detail=""):
    global passed
    if not condition:
        raise SystemExit(f"FAILED: {what}\n{detail}")
    passed += 1
    print(f"ok   {what}", flush=True)


def until(what, condition, seconds=20):
    """Waits until the condition returns something, and returns that."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.1)
    raise SystemExit(f"FAILED: {what} within {seconds} s")


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def status(url):
    """Returns the status of a response, or `None` without a response."""
    try:
        return urllib.request.urlopen(url, timeout=5).status
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return None
