"""Deploys both stacks on an emulator of AWS and runs the server and the worker under their roles: scripts/with-aws-emulator.

It needs the binary in SERVER and a PostgreSQL in DATABASE_URL. docs/DEPLOY.md says what the emulator cannot show.
"""

import base64
import hashlib
import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import urllib.error
import urllib.parse
import urllib.request
import uuid
from pathlib import Path

import boto3

import checks
import template
from checks import check, free_port, until
from policy import Call, Policies, allows, for_emulator, start_proxy, without

REGION, ACCOUNT = "eu-central-1", "000000000000"
TABLE, LEASES = "cruddur-messages", "cruddur-messages-leases"
TABLES_ARN = f"arn:aws:dynamodb:{REGION}:{ACCOUNT}:table"
APP = "https://chat.example.com"
TEMPLATES = "templates"
PASSWORD = "correct horse battery 7"
SERVER = os.environ["SERVER"]
DATABASE = os.environ["DATABASE_URL"]
# The emulator has no such resources.
UNKNOWN_TYPES = {
    "AWS::Cognito::ManagedLoginBranding",
    "AWS::ApplicationAutoScaling::ScalableTarget",
    "AWS::ApplicationAutoScaling::ScalingPolicy",
}


class Emulator:
    def __init__(self, folder):
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        log = open(folder / "emulator.log", "w")
        environment = os.environ | {
            "AUTH": "true", "BIND_HOST": "127.0.0.1", "GATEWAY_PORT": str(self.port), "MINISTACK_REGION": REGION,
            "LOG_LEVEL": "WARNING", "TMPDIR": str(folder),
        }
        command = [Path(sys.executable).parent / "ministack"]
        self.process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, cwd=folder)
        until("the emulator starts", lambda: checks.status(f"{self.url}/_ministack/health") == 200, 60)
        # A request may contain at most 51,200 bytes of a template, so CloudFormation reads templates from this bucket.
        self.client("s3").create_bucket(Bucket=TEMPLATES, CreateBucketConfiguration={"LocationConstraint": REGION})

    def client(self, service, url=None, credentials=("test", "test", None)):
        key, secret, token = credentials
        return boto3.client(
            service, endpoint_url=url or self.url, region_name=REGION, aws_access_key_id=key,
            aws_secret_access_key=secret, aws_session_token=token,
        )

    def deploy(self, name, **parameters):
        """Deploys a template without what the emulator does not know. Returns the outputs and the physical names."""
        stack = template.load(name)
        left_out = [
            logical for logical, resource in stack["Resources"].items()
            # Alarms on more than one metric are unknown as well.
            if resource["Type"] in UNKNOWN_TYPES or "Metrics" in resource.get("Properties", {})
        ]
        for logical in left_out:
            del stack["Resources"][logical]
        # The emulator passes parameters as text, also where an API has numbers.
        numbers = {key: int(it["Default"]) for key, it in stack["Parameters"].items() if it["Type"] == "Number"}
        stack["Resources"] = template.replace_references(stack["Resources"], numbers)
        body = json.dumps(stack)
        # The emulator creates no secret of the master user.
        body = body.replace('["Database", "MasterUserSecret.SecretArn"]', '["DatabaseUserSecret", "Id"]')
        formation = self.client("cloudformation")
        given = [{"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()]
        stack_name = f"cruddur-{name}"
        self.client("s3").put_object(Bucket=TEMPLATES, Key=name, Body=body)
        formation.create_stack(
            StackName=stack_name, TemplateURL=f"{self.url}/{TEMPLATES}/{name}", Parameters=given,
            Capabilities=["CAPABILITY_IAM"],
        )
        describe = lambda: formation.describe_stacks(StackName=stack_name)["Stacks"][0]
        stack = until("the stack is finished", lambda: (it := describe()) and not it["StackStatus"].endswith("PROGRESS") and it)
        events = formation.describe_stack_events(StackName=stack_name)["StackEvents"]
        failures = [(it["LogicalResourceId"], it.get("ResourceStatusReason")) for it in events if "FAILED" in it["ResourceStatus"]]
        resources = formation.describe_stack_resources(StackName=stack_name)["StackResources"]
        note = f"; not deployed: {', '.join(left_out)}" if left_out else ""
        check(f"{name}.yaml deploys ({len(resources)} resources{note})", stack["StackStatus"] == "CREATE_COMPLETE", failures)
        outputs = {it["OutputKey"]: it["OutputValue"] for it in stack["Outputs"]}
        return outputs, {it["LogicalResourceId"]: it["PhysicalResourceId"] for it in resources}


class Role:
    """A role of service.yaml: its policy, its credentials, and the proxy of the processes that run under it."""

    def __init__(self, emulator, name, physical):
        self.emulator, self.name, self.physical = emulator, name, physical
        self.iam = emulator.client("iam")
        self.policy = self.iam.get_role_policy(RoleName=physical, PolicyName="tables")["PolicyDocument"]
        # The template trusts the tasks of ECS only.
        trust = {"Version": "2012-10-17", "Statement": [
            {"Effect": "Allow", "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}, "Action": "sts:AssumeRole"}]}
        self.iam.update_assume_role_policy(RoleName=physical, PolicyDocument=json.dumps(trust))
        arn = self.iam.get_role(RoleName=physical)["Role"]["Arn"]
        assumed = emulator.client("sts").assume_role(RoleArn=arn, RoleSessionName=name)["Credentials"]
        self.credentials = assumed["AccessKeyId"], assumed["SecretAccessKey"], assumed["SessionToken"]
        self.policies = Policies(name, TABLES_ARN)
        self.set_policy(self.policy)
        self.url = start_proxy(self.policies, ("127.0.0.1", emulator.port))

    def set_policy(self, policy):
        with self.policies.lock:
            # The proxy compares no decisions until both have the new policy.
            self.policies.policy = dict(self.policies.policy or policy)
        self.iam.put_role_policy(
            RoleName=self.physical, PolicyName="tables", PolicyDocument=json.dumps(for_emulator(policy))
        )
        with self.policies.lock:
            self.policies.policy, self.policies.denied = policy, set()

    def actions(self):
        return [(it["Sid"], action) for it in self.policy["Statement"] for action in it["Action"]]

    def environment(self):
        key, secret, token = self.credentials
        return {
            "AWS_ACCESS_KEY_ID": key, "AWS_SECRET_ACCESS_KEY": secret, "AWS_SESSION_TOKEN": token, "AWS_REGION": REGION,
            "AWS_ENDPOINT_URL": self.emulator.url, "AWS_ENDPOINT_URL_DYNAMODB": self.url,
            "AWS_ENDPOINT_URL_DYNAMODB_STREAMS": self.url, "AWS_EC2_METADATA_DISABLED": "true",
        }


def task_environment(emulator, name, secret):
    """The environment and the command that a task definition gives to the program, with the addresses of this machine."""
    family = f"cruddur-{name}"
    container = emulator.client("ecs").describe_task_definition(taskDefinition=family)["taskDefinition"]["containerDefinitions"][0]
    environment = {it["name"]: str(it["value"]) for it in container["environment"]}
    # The emulator loses the secrets of a container.
    names = {it["Name"] for it in template.containers()[name]["Secrets"] if "Name" in it}
    check(f"{family} gets the user and the password of PostgreSQL as secrets", names == {"PGUSER", "PGPASSWORD"}, names)
    here = urllib.parse.urlsplit(DATABASE)
    for setting in ("DATABASE_URL", "DATABASE_LISTEN_URL"):
        if setting in environment:
            url = urllib.parse.urlsplit(environment[setting])
            check(f"{family}: {setting} has no password and requires TLS", url.username is None and url.query == "sslmode=require")
            environment[setting] = url._replace(netloc=here.netloc.split("@")[-1], query="sslmode=disable").geturl()
    return environment | {"PGUSER": secret["username"], "PGPASSWORD": secret["password"]}, container["command"]


class Process:
    def __init__(self, folder, role, environment, command):
        self.log = folder / f"{role.name}-{uuid.uuid4().hex[:6]}.log"
        self.metrics = f"127.0.0.1:{free_port()}"
        base = {"PATH": os.environ["PATH"], "RUST_LOG": "info"}
        self.process = subprocess.Popen(
            [SERVER, *command], env=base | environment | role.environment() | {"METRICS_ADDR": self.metrics},
            stdout=subprocess.DEVNULL, stderr=open(self.log, "w"),
        )

    def text(self):
        return self.log.read_text()

    def stop(self):
        """Stops the process as ECS does, and returns the exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(15)


class Api(Process):
    def __init__(self, folder, role, environment, command, wait=True):
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        super().__init__(folder, role, environment | {"LISTEN_ADDR": f"127.0.0.1:{port}"}, command)
        if wait:
            until("the API is ready", lambda: self.status("/health/ready") == 200)

    def status(self, path):
        return checks.status(self.url + path)

    def query(self, token, query, **variables):
        request = urllib.request.Request(
            f"{self.url}/graphql", json.dumps({"query": query, "variables": variables}).encode(),
            {"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
        )
        try:
            return json.load(urllib.request.urlopen(request, timeout=15))
        except urllib.error.HTTPError as error:
            return json.load(error)


SEND = """mutation ($input: CreateMessageInput!) {
  createMessage(input: $input) { message { uuid cursor } messageGroup { uuid } } }"""
LIST = "{ messageGroups { nodes { uuid unreadCount lastMessage { body } } } }"
MARK = "mutation ($input: MarkReadInput!) { markRead(input: $input) { messageGroup { unreadCount } } }"
MESSAGES = "query ($uuid: UUID!) { messageGroup(uuid: $uuid) { unreadCount messages { nodes { cursor body } } } }"
FEED = "{ feed { events { cursor } } }"


def sign_in(emulator, client, name):
    """Signs in on the pages of the user pool, with the authorization code and PKCE. Returns the access token."""
    verifier = secrets.token_urlsafe(48)
    challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
    form = {
        "client_id": client, "redirect_uri": f"{APP}/callback", "scope": "openid profile email", "state": "s",
        "response_type": "code", "code_challenge": challenge, "code_challenge_method": "S256",
    }
    page = urllib.request.urlopen(f"{emulator.url}/oauth2/authorize?{urllib.parse.urlencode(form)}")
    assert b'name="password"' in page.read()

    class Stay(urllib.request.HTTPRedirectHandler):
        def redirect_request(self, *_):
            return None

    login = urllib.parse.urlencode(form | {"username": f"{name}@example.com", "password": PASSWORD}).encode()
    try:
        urllib.request.build_opener(Stay).open(f"{emulator.url}/login", login)
        raise SystemExit("FAILED: the sign-in page does not redirect")
    except urllib.error.HTTPError as error:
        location = error.headers["Location"]
    code = urllib.parse.parse_qs(urllib.parse.urlsplit(location).query)["code"][0]
    exchange = {
        "grant_type": "authorization_code", "client_id": client, "code": code, "redirect_uri": f"{APP}/callback",
        "code_verifier": verifier,
    }
    answer = urllib.request.urlopen(f"{emulator.url}/oauth2/token", urllib.parse.urlencode(exchange).encode())
    return json.load(answer)["access_token"]


def run(role, environment, *command, **more):
    done = subprocess.run(
        [SERVER, *command], env={"PATH": os.environ["PATH"]} | environment | role.environment() | more,
        capture_output=True, text=True, timeout=60,
    )
    return done.returncode, done.stdout + done.stderr


def psql(sql, database, user=None, **environment):
    url = urllib.parse.urlsplit(DATABASE)
    netloc = f"{user}@{url.netloc.split('@')[-1]}" if user else url.netloc
    url = url._replace(netloc=netloc, path=f"/{database}").geturl()
    command = ["psql", "--no-psqlrc", "--quiet", "--set", "ON_ERROR_STOP=1", url]
    done = subprocess.run(command, input=sql, text=True, capture_output=True, env=os.environ | environment)
    check("psql accepts the statements", done.returncode == 0, done.stderr)


def main(folder):
    emulator = Emulator(folder)
    try:
        test(emulator, folder)
    finally:
        emulator.process.terminate()
        emulator.process.wait(15)


def test(emulator, folder):
    data, _ = emulator.deploy("data", AppUrl=APP)
    service, names = emulator.deploy(
        "service", Image="example/cruddur-messaging:1", DomainName="chat.example.com",
        CertificateArn=f"arn:aws:acm:{REGION}:{ACCOUNT}:certificate/1",
    )
    root = emulator.client("dynamodb")
    api_role, worker_role, operator = (Role(emulator, it, names[f"{it}Role"]) for it in ("Api", "Worker", "Operator"))
    secret = json.loads(emulator.client("secretsmanager").get_secret_value(SecretId=data["DatabaseUserSecretArn"])["SecretString"])
    check("the secret has a user and a generated password", secret["username"] == "cruddur_a" and len(secret["password"]) == 40)

    # From empty stacks to running processes, in the order of docs/DEPLOY.md.
    # As in RDS, the master user is not a superuser: it owns the database and may create roles.
    master = "cruddur_admin"
    psql(f"CREATE ROLE {master} LOGIN CREATEDB CREATEROLE;\nCREATE DATABASE cruddur OWNER {master};", "postgres")
    operator_env, _ = task_environment(emulator, "operator", secret)
    operator_env |= {"PGUSER": master, "PGPASSWORD": "unused"}
    status, output = run(operator, operator_env, "ddb", "schema-load", "--prod")
    check("`ddb schema-load --prod` finds the tables of the template as it wants them", status == 0 and "DIFFERS" not in output, output)
    status, output = run(operator, operator_env, "db", "migrate", "--prod")
    check("`db migrate --prod` works as the operator", status == 0, output)
    task = template.load("service")["Resources"]["DatabaseUserTask"]["Properties"]["ContainerDefinitions"][0]
    sql = next(it["Value"] for it in task["Environment"] if it["Name"] == "SQL")
    for register in ("true", "false"):
        psql(sql, "cruddur", master, APP_USER=secret["username"], APP_PASSWORD=secret["password"], REGISTER_USERS=register)
    status, output = run(operator, operator_env, "db", "seed")
    check("`db seed` adds users", status == 0, output)
    pool = emulator.client("cognito-idp")
    for name in ("ana", "ben", "esi"):
        attributes = {"email": f"{name}@example.com", "email_verified": "true", "preferred_username": name, "name": name.title()}
        pool.admin_create_user(
            UserPoolId=data["UserPoolId"], Username=f"{name}@example.com", MessageAction="SUPPRESS",
            UserAttributes=[{"Name": key, "Value": value} for key, value in attributes.items()],
        )
        pool.admin_set_user_password(
            UserPoolId=data["UserPoolId"], Username=f"{name}@example.com", Password=PASSWORD, Permanent=True
        )
    ids = ("db", "update-cognito-user-ids", "--prod")
    operator.set_policy(without(operator.policy, "UsersOfThePool", "cognito-idp:ListUsers"))
    status, output = run(operator, operator_env, *ids)
    check("the operator cannot read the user pool without cognito-idp:ListUsers", status == 1 and "ListUsers" in output, output)
    operator.set_policy(operator.policy)
    status, output = run(operator, operator_env, *ids)
    check("`db update-cognito-user-ids` works as the operator", status in (0, 3), output)
    ana, ben, esi = (sign_in(emulator, data["UserPoolClientId"], it) for it in ("ana", "ben", "esi"))
    check("users sign in with the app client, an authorization code and PKCE", ana.count(".") == 2)

    jwks = f"{emulator.url}/{data['UserPoolId']}/.well-known/jwks.json"
    api_env, api_command = task_environment(emulator, "api", secret)
    worker_env, worker_command = task_environment(emulator, "worker", secret)
    start_api = lambda wait=True: Api(folder, api_role, api_env | {"COGNITO_JWKS_URL": jwks}, api_command, wait)
    start_worker = lambda: Process(folder, worker_role, worker_env, worker_command)
    api, worker = start_api(), start_worker()
    first = lambda token: api.query(token, LIST)["data"]["messageGroups"]["nodes"]

    def send(token, to, body, **more):
        to = {"handle": to} if len(to) < 36 else {"messageGroupUuid": to}
        return api.query(token, SEND, input={"to": to, "body": body} | more)

    # One message, sent twice, between two conversations.
    group = send(ana, "esi", "First")["data"]["createMessage"]["messageGroup"]["uuid"]
    other = send(ana, "ben", "Other")["data"]["createMessage"]["messageGroup"]["uuid"]
    until("the other conversation is first", lambda: [it["uuid"] for it in first(ana)] == [other, group])
    key = str(uuid.uuid4())
    sent = [send(ana, group, "Twice", idempotencyKey=key)["data"]["createMessage"]["message"]["uuid"] for _ in range(2)]
    check("a message that is sent twice with one key is stored once", sent[0] == sent[1], sent)
    until("the conversation moves to the top", lambda: [it["uuid"] for it in first(ana)] == [group, other])
    until("the recipient has two unread messages", lambda: first(esi)[0]["unreadCount"] == 2)
    bodies = [it["body"] for it in api.query(esi, MESSAGES, uuid=group)["data"]["messageGroup"]["messages"]["nodes"]]
    check("both participants see the conversation move, with the message once", sorted(bodies) == ["First", "Twice"], bodies)
    events = len(api.query(esi, FEED)["data"]["feed"]["events"])
    check("the feed has each message once", events == 2, events)
    # Reads that a cache of the first process would save, and one that only a rejected request makes.
    fresh = start_api()
    to_group = {"to": {"messageGroupUuid": other}, "body": "From another process"}
    check("another process finds the conversation", not fresh.query(ben, SEND, input=to_group).get("errors"))
    refused = send(ana, "nobody", "Hello", idempotencyKey=str(uuid.uuid4()))
    check("a message to nobody is rejected", refused["errors"][0]["extensions"]["reason"] == "recipient_not_found", refused)
    check("the other process stops with status 0", fresh.stop() == 0, fresh.text())
    files = []
    for process in (api, worker):
        files.append(process.log.with_suffix(".metrics"))
        files[-1].write_bytes(urllib.request.urlopen(f"http://{process.metrics}/metrics", timeout=5).read())
    done = subprocess.run([sys.executable, template.FOLDER / "tests/metrics.py", *files], capture_output=True, text=True)
    check("both processes export the metrics of the rules and dashboards", done.returncode == 0, done.stdout + done.stderr)
    check("the worker stops with status 0", worker.stop() == 0, worker.text())
    for process in (api, worker):
        check(f"{process.log.name.split('-')[0]}: no permission is missing", "AccessDenied" not in process.text(), process.text())

    refusals(api_role, worker_role)
    remove_from_api(api_role, api, start_api, send, (ana, esi), group)
    remove_from_worker(emulator, worker_role, start_worker, send, first, (ana, ben, esi), root)
    remove_from_operator(operator, operator_env, root, emulator)
    check("the API stops with status 0", api.stop() == 0, api.text())
    # The last step of the rotation of the password in docs/DEPLOY.md.
    psql("GRANT cruddur_a TO CURRENT_USER; DROP OWNED BY cruddur_a; DROP ROLE cruddur_a;", "cruddur", master)

    for role in (api_role, worker_role, operator):
        check(f"{role.name}: the emulator and the policies agree about every call", not role.policies.mismatches, role.policies.mismatches[:3])


def refusals(api_role, worker_role):
    """What the roles must never do."""
    denied = []
    arn = f"{TABLES_ARN}/{TABLE}"
    index = f"{arn}/index/message-group-sk-index"
    for role, call in [
        (api_role, Call("DeleteItem", arn, "GRP#1")),
        (api_role, Call("DeleteItem", arn, "MSG#1")),
        (api_role, Call("Scan", arn)),
        (api_role, Call("Scan", index)),
        (api_role, Call("PutItem", arn, "FEED#1")),
        (api_role, Call("PutItem", arn, "LEGACY")),
        (api_role, Call("UpdateItem", arn, "MSG#1")),
        (api_role, Call("GetItem", arn, "FEED#1")),
        (api_role, Call("GetRecords", f"{arn}/stream/1")),
        *((api_role, Call(it, f"{TABLES_ARN}/{LEASES}", "LEASE#1")) for it in ("GetItem", "Query", "PutItem", "UpdateItem", "DeleteItem")),
        (worker_role, Call("PutItem", arn, "MSG#1")),
        (worker_role, Call("UpdateItem", arn, "MSG#1")),
        (worker_role, Call("DeleteItem", arn, "MSG#1")),
        (worker_role, Call("PutItem", arn, "KEY#1")),
        (worker_role, Call("DeleteItem", arn, "FEED#1")),
        (worker_role, Call("Scan", arn)),
        (worker_role, Call("GetRecords", f"{TABLES_ARN}/other/stream/1")),
    ]:
        denied.append(not allows(role.policy, call))
    check(f"the policies refuse {len(denied)} calls that no process makes", all(denied), denied)
    direct = api_role.emulator.client("dynamodb", credentials=api_role.credentials)
    key = {"pk": {"S": "GRP#1"}, "sk": {"S": "1"}}
    for what, call in {
        "delete": lambda: direct.delete_item(TableName=TABLE, Key=key),
        "scan": lambda: direct.scan(TableName=TABLE),
        "scan the index": lambda: direct.scan(TableName=TABLE, IndexName="message-group-sk-index"),
        "read leases": lambda: direct.get_item(TableName=LEASES, Key=key),
        "list leases": lambda: direct.scan(TableName=LEASES),
        "delete the table": lambda: direct.delete_table(TableName=TABLE),
    }.items():
        try:
            call()
            check(f"the API cannot {what}", False)
        except direct.exceptions.ClientError as error:
            check(f"the API cannot {what}", error.response["Error"]["Code"] == "AccessDeniedException", error)


def remove_from_api(role, api, start_api, send, tokens, group):
    """Removes each action from the role of the API in turn, without a worker, so that rows stay where they are."""
    ana, esi = tokens

    def mark():
        # The row is not at the key of this message, because no worker runs. Therefore the API finds the row in the index.
        cursor = send(ana, group, "Unmoved")["data"]["createMessage"]["message"]["cursor"]
        return api.query(esi, MARK, input={"messageGroupUuid": group, "upTo": cursor})

    effects = {
        # The API caches conversations, so the readiness check is what certainly reads an item.
        "Get": lambda: {"errors": api.status("/health/ready") != 200},
        "Query": lambda: api.query(ana, LIST),
        "QueryIndex": mark,
        "SendMessages": lambda: send(ana, group, "Hello"),
        "MarkRead": mark,
    }
    for sid, action in role.actions():
        role.set_policy(without(role.policy, sid, action))
        if sid == "ChecksAtStartup":
            started = start_api(wait=False)
            line = {"dynamodb:DescribeTable": "checking the table failed"}.get(action, "checking the time to live failed")
            until(f"the API logs `{line}`", lambda: line in started.text())
            started.stop()
        else:
            until(f"Api without {sid} {action}: the request fails", lambda: effects[sid]().get("errors"))
        check(f"Api without {sid} {action}: the call is denied", role.policies.was_denied(action))
        role.set_policy(role.policy)
        if sid != "ChecksAtStartup":
            until("the request succeeds again", lambda: not effects[sid]().get("errors"))


def items_of(root, table, pk):
    """All items of a partition, with the rights of the account."""
    return root.query(TableName=table, KeyConditionExpression="pk = :pk", ExpressionAttributeValues={":pk": {"S": pk}})["Items"]


def remove_from_worker(emulator, role, start_worker, send, first, tokens, root):
    """Removes each action from the role of the worker in turn: what needs it does not happen until the action is back."""
    ana, ben, esi = tokens
    stream = root.describe_table(TableName=TABLE)["Table"]["LatestStreamArn"]
    group = send(ben, "esi", "Before")["data"]["createMessage"]["messageGroup"]["uuid"]
    worker = start_worker()
    until("the worker feeds the new conversation", lambda: first(esi)[0]["uuid"] == group and first(esi)[0]["unreadCount"] == 1)
    assert worker.stop() == 0
    for number, (sid, action) in enumerate(role.actions()):
        what = f"Worker without {sid} {action}"
        # Without leases, the worker creates them again and reads the stream from its oldest record.
        for item in root.scan(TableName=LEASES)["Items"]:
            if item["pk"]["S"] != "STREAM":
                root.delete_item(TableName=LEASES, Key={"pk": item["pk"], "sk": item["sk"]})
        is_lease_removal = (sid, action) == ("Leases", "dynamodb:DeleteItem")
        if is_lease_removal:
            number_of = lambda value: {"N": str(value)}
            root.put_item(TableName=LEASES, Item={
                "pk": {"S": f"LEASE#{stream}"}, "sk": {"S": "shardId-of-a-shard-that-is-gone"},
                "feed_epoch": number_of(1), "counter": number_of(1), "created_at": number_of(1), "step": number_of(1),
                "handled_until": number_of(1), "checkpoint": {"S": "SHARD_END"},
            })
        is_scan = action == "dynamodb:Scan"
        if is_scan:
            root.put_item(TableName=LEASES, Item={
                "pk": {"S": "REPAIR"}, "sk": {"S": "REPAIR"}, "requested": {"N": "1"}, "requested_at": {"N": "1"},
                "epoch": {"N": "0"}, "counter": {"N": "0"},
            })
        body = f"Number {number}"
        sent = send(ana if number % 2 else esi, "esi" if number % 2 else "ana", body)
        check(f"{what}: the API works", not sent.get("errors"), sent)
        moved = sent["data"]["createMessage"]["messageGroup"]["uuid"]
        if sid in ("Get", "Query", "UpdateRows"):
            # A row that is missing from the index: the worker reads the membership, the partition and puts the row again.
            rows = root.query(
                TableName=TABLE, IndexName="message-group-sk-index", KeyConditionExpression="message_group_uuid = :group",
                ExpressionAttributeValues={":group": {"S": moved}},
            )["Items"]
            root.delete_item(TableName=TABLE, Key={"pk": rows[0]["pk"], "sk": rows[0]["sk"]})
        is_moved = lambda: any(it["uuid"] == moved and it["lastMessage"]["body"] == body for it in first(ana)) and any(
            it["uuid"] == moved and it["lastMessage"]["body"] == body for it in first(esi))
        role.set_policy(without(role.policy, sid, action))
        worker = start_worker()
        until(f"{what}: the call is denied", lambda: role.policies.was_denied(action), 45)
        if sid == "CheckAtStartup":
            until(f"{what}: a warning", lambda: "checking the time to live failed" in worker.text())
        elif is_lease_removal:
            until(f"{what}: a warning", lambda: "DeleteItem" in worker.text())
        elif is_scan:
            repair = lambda: root.get_item(TableName=LEASES, Key={"pk": {"S": "REPAIR"}, "sk": {"S": "REPAIR"}})["Item"]
            check(f"{what}: the repair does not end", "completed" not in repair())
        else:
            # Not every denied call is in the log: the worker ignores the result of a check at startup.
            until(f"{what}: the log names the missing permission", lambda: "AccessDenied" in worker.text())
            check(f"{what}: the conversation does not move", not is_moved(), worker.text())
        role.set_policy(role.policy)
        until(f"{what}: the conversation moves when the action is back", is_moved, 30)
        if is_scan:
            until(f"{what}: the repair ends when the action is back", lambda: "completed" in repair(), 30)
        check(f"{what}: something fails until it is back", worker.stop() == 0, worker.text())


def remove_from_operator(role, environment, root, emulator):
    """Removes each action from the role of the operator in turn: a command fails."""
    def drop():
        for name in (TABLE, LEASES):
            try:
                root.update_table(TableName=name, DeletionProtectionEnabled=False)
                root.delete_table(TableName=name)
            except root.exceptions.ResourceNotFoundException:
                pass

    def load():
        run(role, environment, "ddb", "schema-load", "--prod")

    def aside():
        root.put_item(TableName=LEASES, Item={
            "pk": {"S": "ASIDE"}, "sk": {"S": "arn#1"}, "reason": {"S": "a test"}, "message_pk": {"S": f"MSG#{uuid.uuid4()}"},
            "message_sk": {"S": "2026-01-01T00:00:00.000000Z#" + str(uuid.uuid4())}, "set_aside_at": {"S": "2026-01-01T00:00:00Z"},
        })

    def stale_row():
        """Moves a row back to an older key, so that `stream reconcile` has something to move."""
        rows = root.scan(TableName=TABLE, IndexName="message-group-sk-index")["Items"]
        row = rows[0]
        root.delete_item(TableName=TABLE, Key={"pk": row["pk"], "sk": row["sk"]})
        row["sk"]["S"] = "2020-01-01T00:00:00.000000Z#" + row["sk"]["S"].split("#")[1]
        root.put_item(TableName=TABLE, Item=row)

    def unprotect():
        root.update_table(TableName=TABLE, DeletionProtectionEnabled=False)

    def without_time_to_live():
        root.update_time_to_live(TableName=TABLE, TimeToLiveSpecification={"Enabled": False, "AttributeName": "expires_at"})

    schema = ("ddb", "schema-load", "--prod")
    reconcile = ("stream", "reconcile", "--prod", "--reset-feeds")
    cases = {
        ("Schema", "dynamodb:CreateTable"): (drop, schema),
        ("Schema", "dynamodb:UpdateTable"): (unprotect, schema),
        ("Schema", "dynamodb:DeleteTable"): (lambda: None, ("ddb", "drop", "--prod", "--confirm", TABLE)),
        ("SchemaOfMessages", "dynamodb:UpdateContinuousBackups"): (drop, schema),
        ("SchemaOfMessages", "dynamodb:UpdateTimeToLive"): (without_time_to_live, schema),
        ("Items", "dynamodb:GetItem"): (lambda: None, schema),
        ("Items", "dynamodb:Query"): (lambda: None, ("ddb", "patterns", "list-conversations", "ana", "--prod")),
        ("Items", "dynamodb:Scan"): (lambda: None, ("ddb", "scan", "--prod", "--even-in-production", "--limit", "1")),
        ("Items", "dynamodb:PutItem"): (drop, schema),
        ("Items", "dynamodb:UpdateItem"): (lambda: None, reconcile),
        ("Items", "dynamodb:DeleteItem"): (stale_row, ("stream", "reconcile", "--prod")),
        ("Leases", "dynamodb:GetItem"): (lambda: None, ("stream", "status", "--prod")),
        ("Leases", "dynamodb:Query"): (lambda: None, ("stream", "status", "--prod")),
        ("Leases", "dynamodb:DeleteItem"): (aside, ("stream", "set-aside", "replay", "--prod")),
        ("Index", "dynamodb:Query"): (lambda: None, reconcile),
        ("Index", "dynamodb:Scan"): (lambda: None, reconcile),
        ("Stream", "dynamodb:DescribeStream"): (lambda: None, ("stream", "status", "--prod")),
        ("Stream", "dynamodb:GetShardIterator"): (lambda: None, ("stream", "status", "--prod")),
        ("Stream", "dynamodb:GetRecords"): (lambda: None, ("stream", "status", "--prod")),
        ("Names", "dynamodb:ListTables"): (lambda: None, ("ddb", "list-tables", "--prod")),
    }
    # Commands that drop tables are last.
    actions = [it for it in role.actions() if it[1].startswith("dynamodb:")]
    for sid, action in sorted(actions, key=lambda it: cases.get(it, (None,))[0] is drop):
        prepare, command = cases.get((sid, action), (lambda: None, schema))
        prepare()
        role.set_policy(without(role.policy, sid, action))
        status, output = run(role, environment, *command)
        is_denied = role.policies.was_denied(action)
        # `stream status` prints what it can, and the reason for what it cannot.
        shows = status != 0 or "AccessDenied" in output
        check(f"Operator without {sid} {action}: `{' '.join(command[:2])}` fails", shows and is_denied, (status, is_denied, output))
        role.set_policy(role.policy)
        load()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        main(Path(temporary))
    print(f"{checks.passed} passed, 0 failed")
