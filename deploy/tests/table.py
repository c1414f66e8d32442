"""Compares the tables of data.yaml with those that `ddb schema-load --prod` creates: table.py SERVER.

The command runs with an endpoint that has no tables and accepts every request, so that each request can be compared.
"""

import http.server
import json
import os
import subprocess
import sys
import threading

import template


def of_template():
    """What the template creates with its default parameters: the requests in the form of the API."""
    stack = template.load("data")
    values = {name: it.get("Default") for name, it in stack["Parameters"].items()}

    def resolve(value):
        if isinstance(value, dict):
            if "Ref" in value:
                return None if value["Ref"] == "AWS::NoValue" else values[value["Ref"]]
            if "Fn::Sub" in value:
                text = value["Fn::Sub"]
                for name, it in values.items():
                    text = text.replace("${%s}" % name, str(it))
                return text
            if "Fn::If" in value:
                condition, then, otherwise = value["Fn::If"]
                assert condition == "IsProvisioned", condition
                return resolve(then if values["BillingMode"] == "PROVISIONED" else otherwise)
            return {key: resolve(it) for key, it in value.items()}
        return [resolve(it) for it in value] if isinstance(value, list) else value

    tables = {}
    for logical in ("MessagesTable", "LeasesTable"):
        resource = stack["Resources"][logical]
        assert resource["DeletionPolicy"] == resource["UpdateReplacePolicy"] == "Retain", logical
        table = resolve(resource["Properties"])
        for setting in ("TimeToLiveSpecification", "PointInTimeRecoverySpecification"):
            table.setdefault(setting, None)
        if "StreamSpecification" in table:
            # CloudFormation enables a stream that has a view type.
            table["StreamSpecification"]["StreamEnabled"] = True
        tables[table["TableName"]] = table
    return tables


def of_calls(calls):
    """What the command creates, from its requests."""
    tables = {}
    for operation, body in calls:
        if operation == "CreateTable":
            body["TimeToLiveSpecification"] = body["PointInTimeRecoverySpecification"] = None
            tables[body["TableName"]] = body
        elif operation == "UpdateTimeToLive":
            tables[body["TableName"]]["TimeToLiveSpecification"] = body["TimeToLiveSpecification"]
        elif operation == "UpdateContinuousBackups":
            tables[body["TableName"]]["PointInTimeRecoverySpecification"] = body["PointInTimeRecoverySpecification"]
    return tables


def in_order(value):
    """The value with lists whose order has no meaning in one order."""
    if isinstance(value, dict):
        return {
            key: sorted(it, key=json.dumps) if key == "AttributeDefinitions" else in_order(it) for key, it in sorted(value.items())
        }
    return [in_order(it) for it in value] if isinstance(value, list) else value


def calls_of(command):
    """Runs the command with an endpoint that creates each table at once, and returns its requests."""
    calls, tables = [], {}

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_):
            pass

        def do_POST(self):
            operation = self.headers.get("X-Amz-Target", "").rsplit(".", 1)[-1]
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if operation:
                body = json.loads(body)
                calls.append((operation, body))
                status, answer = self.respond(operation, body)
            else:
                # The command asks STS for the account, and also runs without an answer.
                status, answer = 403, {}
            answer = json.dumps(answer).encode()
            self.send_response_only(status)
            self.send_header("Content-Type", "application/x-amz-json-1.0")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def respond(self, operation, body):
            name = body.get("TableName")
            missing = {"__type": "com.amazonaws.dynamodb.v20120810#ResourceNotFoundException"}
            if operation == "CreateTable":
                description = {
                    "TableName": name, "TableStatus": "ACTIVE", "TableArn": f"arn:aws:dynamodb:eu-central-1:000000000000:table/{name}",
                    "KeySchema": body["KeySchema"], "AttributeDefinitions": body["AttributeDefinitions"],
                    "GlobalSecondaryIndexes": [it | {"IndexStatus": "ACTIVE"} for it in body.get("GlobalSecondaryIndexes", [])],
                }
                tables[name] = description
                return 200, {"TableDescription": description}
            if name not in tables:
                return 400, missing
            if operation == "DescribeTable":
                return 200, {"Table": tables[name]}
            if operation == "DescribeTimeToLive":
                return 200, {"TimeToLiveDescription": {"TimeToLiveStatus": "DISABLED"}}
            if operation == "UpdateTimeToLive":
                return 200, {"TimeToLiveSpecification": body["TimeToLiveSpecification"]}
            if operation == "DescribeContinuousBackups":
                off = {"PointInTimeRecoveryStatus": "DISABLED"}
                return 200, {"ContinuousBackupsDescription": {"ContinuousBackupsStatus": "ENABLED", "PointInTimeRecoveryDescription": off}}
            if operation == "Scan":
                return 200, {"Items": [], "Count": 0, "ScannedCount": 0}
            return 200, {}

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    environment = {
        "PATH": os.environ["PATH"], "AWS_REGION": "eu-central-1", "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_ENDPOINT_URL_DYNAMODB": f"http://127.0.0.1:{server.server_port}", "AWS_ENDPOINT_URL": f"http://127.0.0.1:{server.server_port}",
    }
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)} fails: {done.stdout}{done.stderr}")
    return calls


def main():
    ours, theirs = of_template(), of_calls(calls_of([sys.argv[1], "ddb", "schema-load", "--prod"]))
    differences = [f"tables: {sorted(ours)} in the template, {sorted(theirs)} of the command"] if set(ours) != set(theirs) else []
    for name in sorted(set(ours) & set(theirs)):
        for key in sorted(set(ours[name]) | set(theirs[name])):
            left, right = (in_order({key: it[name].get(key)})[key] for it in (ours, theirs))
            if left != right:
                differences.append(f"{name}: {key} is {json.dumps(left)} in the template, {json.dumps(right)} of the command")
    if differences:
        sys.exit("\n".join(differences))
    count = sum(len(it) for it in ours.values())
    print(f"the template and `ddb schema-load --prod` agree about {count} properties of {', '.join(sorted(ours))}")


if __name__ == "__main__":
    main()
