"""Evaluates the policies of a role for calls to DynamoDB, and a proxy that does so for each call of a process.

The emulator evaluates actions and tables, but neither `dynamodb:LeadingKeys` nor the ARNs of streams. The proxy denies what only
these two forbid, and compares the decisions of the emulator with its own for everything else.
"""

import copy
import fnmatch
import http.client
import http.server
import json
import re
import threading

TRANSACTION_ACTIONS = {"Put": "PutItem", "Update": "UpdateItem", "Delete": "DeleteItem", "ConditionCheck": "ConditionCheckItem"}
STREAM_CALLS = {"DescribeStream", "GetShardIterator", "GetRecords"}
LEADING_KEYS = ("ForAllValues:StringLike", "dynamodb:LeadingKeys")


class Call:
    """One action on one resource. `key` is the partition key, or `None` if the action has none."""

    def __init__(self, action, resource, key=None):
        self.action, self.resource, self.key = f"dynamodb:{action}", resource, key


def as_list(value):
    return value if isinstance(value, list) else [value]


def holds(statement, call):
    """Whether the condition of a statement holds. An action without keys fulfils a condition on keys, as in IAM."""
    for operator, tests in statement.get("Condition", {}).items():
        for name, patterns in tests.items():
            if (operator, name) != LEADING_KEYS:
                raise ValueError(f"the condition {operator} {name} is not known here")
            if call.key is not None and not any(fnmatch.fnmatchcase(call.key, it) for it in as_list(patterns)):
                return False
    return True


def allows(policy, call, with_conditions=True):
    """Whether a policy allows a call. Without conditions, the ARN of a stream does not count either, as in the emulator."""
    for statement in policy["Statement"]:
        any_resource = not with_conditions and call.action.split(":")[1] in STREAM_CALLS
        if (
            statement["Effect"] == "Allow"
            and call.action in as_list(statement["Action"])
            and (any_resource or any(fnmatch.fnmatchcase(call.resource, it) for it in as_list(statement["Resource"])))
            and (not with_conditions or holds(statement, call))
        ):
            return True
    return False


def for_emulator(policy):
    """The policy with any stream, because the emulator does not know the ARN of a stream in its evaluation."""
    policy = copy.deepcopy(policy)
    for statement in policy["Statement"]:
        if set(as_list(statement["Action"])) <= {f"dynamodb:{it}" for it in STREAM_CALLS}:
            statement["Resource"] = "*"
    return policy


def without(policy, sid, action):
    """The policy without one action of one statement."""
    policy = copy.deepcopy(policy)
    for statement in policy["Statement"]:
        if statement["Sid"] == sid:
            statement["Action"] = [it for it in as_list(statement["Action"]) if it != action]
    policy["Statement"] = [it for it in policy["Statement"] if it["Action"]]
    return policy


class Policies:
    """The policy of one role, the actions that were denied, and the calls about which the emulator decided otherwise."""

    def __init__(self, role, tables_arn):
        self.role, self.tables_arn, self.policy = role, tables_arn, None
        self.denied, self.mismatches, self.iterators = set(), [], {}
        self.lock = threading.Lock()

    def calls(self, operation, body):
        """The actions that a request needs."""
        table = f"{self.tables_arn}/{body.get('TableName', '')}"
        if operation == "TransactWriteItems":
            for item in body["TransactItems"]:
                for kind, write in item.items():
                    key = write.get("Item") or write.get("Key")
                    yield Call(TRANSACTION_ACTIONS[kind], f"{self.tables_arn}/{write['TableName']}", key["pk"]["S"])
        elif operation in ("DescribeStream", "GetShardIterator"):
            yield Call(operation, body["StreamArn"])
        elif operation == "GetRecords":
            yield Call(operation, self.iterators.get(body["ShardIterator"], "unknown"))
        elif operation in ("GetItem", "UpdateItem", "DeleteItem"):
            yield Call(operation, table, body["Key"]["pk"]["S"])
        elif operation == "PutItem":
            yield Call(operation, table, body["Item"]["pk"]["S"])
        elif operation in ("Query", "Scan"):
            index = f"/index/{body['IndexName']}" if "IndexName" in body else ""
            key = None
            if operation == "Query":
                value = re.search(r"=\s*(:\w+)", body["KeyConditionExpression"]).group(1)
                key = body["ExpressionAttributeValues"][value]["S"]
            yield Call(operation, table + index, key)
        elif operation == "ListTables":
            yield Call(operation, "*")
        else:
            yield Call(operation, table)

    def note_iterators(self, request, response):
        stream = request.get("StreamArn") or self.iterators.get(request.get("ShardIterator"))
        for name in ("ShardIterator", "NextShardIterator"):
            if stream and response.get(name):
                self.iterators[response[name]] = stream

    def was_denied(self, action):
        return action in self.denied


def with_index_status(answer):
    """Adds the status of indexes, which the emulator omits and `ddb schema-load` waits for."""
    answer = json.loads(answer)
    for index in answer["Table"].get("GlobalSecondaryIndexes", []):
        index.setdefault("IndexStatus", "ACTIVE")
    return json.dumps(answer).encode()


def start_proxy(policies, upstream):
    """Starts the proxy of one role. Returns its address."""

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_):
            pass

        def answer(self, status, headers, body):
            self.send_response_only(status)
            for name, value in headers:
                if name.lower() not in ("content-length", "transfer-encoding", "connection"):
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self):
            raw = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            operation = self.headers.get("X-Amz-Target", "").rsplit(".", 1)[-1]
            body = json.loads(raw or b"{}")
            with policies.lock:
                calls = list(policies.calls(operation, body))
                policy = policies.policy
            refused = [it for it in calls if not allows(policy, it)]
            refused_by_emulator = [it for it in calls if not allows(policy, it, with_conditions=False)]
            if refused and not refused_by_emulator:
                policies.denied.update(it.action for it in refused)
                text = f"User is not authorized to perform: {refused[0].action} on resource: {refused[0].resource}"
                error = {"__type": "com.amazon.coral.service#AccessDeniedException", "Message": text}
                self.answer(400, [("Content-Type", "application/x-amz-json-1.0")], json.dumps(error).encode())
                return
            upstream_connection = http.client.HTTPConnection(*upstream, timeout=30)
            try:
                upstream_connection.putrequest("POST", self.path, skip_host=True, skip_accept_encoding=True)
                for name, value in self.headers.items():
                    upstream_connection.putheader(name, value)
                upstream_connection.endheaders(raw)
                response = upstream_connection.getresponse()
                answered = response.read()
            finally:
                upstream_connection.close()
            is_denied = response.status >= 400 and b"AccessDenied" in answered
            with policies.lock:
                # A call that runs while the policy changes may see either.
                if is_denied != bool(refused_by_emulator) and policy is policies.policy:
                    policies.mismatches.append((operation, [vars(it) for it in calls], answered[:300]))
                if refused_by_emulator:
                    policies.denied.update(it.action for it in refused_by_emulator)
                elif operation in STREAM_CALLS and response.status == 200:
                    policies.note_iterators(body, json.loads(answered))
            headers = response.getheaders()
            if operation == "DescribeTable" and response.status == 200:
                headers, answered = [it for it in headers if it[0].lower() != "x-amz-crc32"], with_index_status(answered)
            self.answer(response.status, headers, answered)

    class Server(http.server.ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_):
            # A process that stops closes its connections.
            pass

    server = Server(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_port}"
