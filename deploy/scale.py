#!/usr/bin/env python3
"""Computes the numbers of docs/SCALE.md: deploy/scale.py prints them as Markdown, and --check FILE checks that they are there.

It uses the units and assumptions of costs.py. The limits of AWS are those of the documentation of DynamoDB and RDS.
"""

import math
import random
import sys
from pathlib import Path

from costs import CONNECTIONS_OF_TASK, MESSAGES_OF_USER, PEAK, REQUESTS, SECONDS, SHARE_CONNECTED, write_units

# A partition of DynamoDB: write units and read units per second.
PARTITION_WRITES, PARTITION_READS = 1_000, 3_000
# One message in the list of a user: the row is deleted and put again in a transaction. One entry in the feed of a user.
ROW_UNITS, ENTRY_UNITS = 4, 2
# The consumer: reads of a busy shard per second, renewals of a lease per second, and the sizes of a lease and of a hint in bytes.
READS, RENEWALS, LEASE_BYTES, HINT_BYTES = 5, 1 / 2.2, 300, 53
# Shards roll over every four hours and stay listed for a day. `DescribeStream` returns 100 shards, at most 10 times a second.
LISTED_FOR_OPEN, SHARDS_OF_PAGE, DESCRIBES, LISTING_SECONDS = 7, 100, 10, 10
# Connections of an API process to PostgreSQL, and what RDS allows by default for each class.
CONNECTIONS, MAX_CONNECTIONS = 11, {"db.t4g.micro": 112, "db.m7g.large": 900, "db.m7g.4xlarge": 5_000}
# The default quota of write units per second for a table. The addresses for tasks in the two /24 subnets of service.yaml: AWS uses
# five of a subnet, and the load balancer eight.
TABLE_WRITES, ADDRESSES = 40_000, 2 * (256 - 5 - 8)
# Bytes per second of notifications that an instance can send, besides its other work: half of the network of db.m7g.large.
NOTIFY_BYTES = 50e6


class Users:
    def __init__(self, users):
        self.users = users
        self.messages = users * MESSAGES_OF_USER
        self.peak = self.messages / SECONDS * PEAK
        self.connected = users * SHARE_CONNECTED
        self.api_tasks = max(1, math.ceil(self.connected / CONNECTIONS_OF_TASK))
        self.gigabytes = self.messages * (12 * 500 + 2 * 500 + 350) / 1e9 + users * 28e-6
        self.partitions = max(4, math.ceil(self.gigabytes / 10), math.ceil(self.peak * write_units() / PARTITION_WRITES))


def sizes():
    columns = [Users(it) for it in (1_000, 1_000_000, 100_000_000)]
    number = lambda it: f"{it:,.0f}" if it >= 10 else f"{it:.2g}" if it >= 0.01 else "0"
    rows = {
        "messages a month": [it.messages for it in columns],
        "messages per second at the peak": [it.peak for it in columns],
        "write units per second at the peak": [it.peak * write_units() for it in columns],
        "requests per second at the peak": [it.peak * REQUESTS for it in columns],
        "connected users": [it.connected for it in columns],
        f"API tasks, for {CONNECTIONS_OF_TASK:,} connections each": [it.api_tasks for it in columns],
        "GB in the table after a year": [it.gigabytes for it in columns],
        "partitions of the table, and shards": [it.partitions for it in columns],
        "read units per second for the regular checks of feeds": [it.connected / 60 for it in columns],
        "MB of notifications per second that PostgreSQL sends": [it.peak * 2 * HINT_BYTES * it.api_tasks / 1e6 for it in columns],
    }
    lines = ["| | " + " | ".join(f"{it.users:,} users" for it in columns) + " |", "|---|" + "--:|" * len(columns)]
    return "\n".join(lines + [f"| {name} | " + " | ".join(map(number, values)) + " |" for name, values in rows.items()])


def moves_for_a_message(rate, conversations, seconds=2_000):
    """Simulates one user who gets `rate` messages per second in random conversations: moves for each message."""
    generator, messages, moves = random.Random(7), 0, 0
    for _ in range(seconds * READS):
        batch = set()
        # The number of arrivals in a batch, by waiting times.
        time = generator.expovariate(rate)
        while time < 1 / READS:
            messages += 1
            batch.add(generator.randrange(conversations))
            time += generator.expovariate(rate)
        moves += len(batch)
    return moves / messages


def hot_user():
    lines = ["| messages per second to one user | conversations | moves for a message | units per second in the user's list | in the user's feed |",
             "|--:|--:|--:|--:|--:|"]
    for rate, conversations in ((20, 1), (20, 1_000), (100, 10_000), (250, 10_000), (250, 50)):
        moves = moves_for_a_message(rate, conversations, 400)
        lines.append(f"| {rate} | {conversations:,} | {moves:.2f} | {rate * moves * ROW_UNITS:,.0f} | {rate * moves * ENTRY_UNITS:,.0f} |")
    return "\n".join(lines)


def limits():
    """The number at which each bottleneck appears."""
    by_listing = DESCRIBES * LISTING_SECONDS * SHARDS_OF_PAGE / LISTED_FOR_OPEN
    lease_writes = PARTITION_WRITES / (RENEWALS + READS)
    lease_writes_slow = PARTITION_WRITES / (RENEWALS + 1)
    lease_reads = PARTITION_READS / (2 * 0.5 * LEASE_BYTES * LISTED_FOR_OPEN / 4096)
    # Notifications: messages per second for which each task gets each hint, with the tasks that so many users need.
    tasks_of_rate = Users(1_000_000).connected / Users(1_000_000).peak / CONNECTIONS_OF_TASK
    notify = math.sqrt(NOTIFY_BYTES / (2 * HINT_BYTES * tasks_of_rate))
    users_of_rate = SECONDS / (MESSAGES_OF_USER * PEAK)
    lines = ["| limit | number |", "|---|--:|"]
    rows = [
        ("messages per second to or from one user, in different conversations (list)", PARTITION_WRITES / ROW_UNITS),
        ("messages per second to or from one user, in different conversations (feed)", PARTITION_WRITES / ENTRY_UNITS),
        ("messages per second of one conversation (its partition)", PARTITION_WRITES),
        ("worker processes × open shards (`DescribeStream`)", by_listing),
        ("busy shards (writes to the partition of leases)", lease_writes),
        ("the same with a checkpoint a second", lease_writes_slow),
        ("worker processes × open shards (reads of the partition of leases)", lease_reads),
        ("messages per second (notifications of PostgreSQL)", notify),
        ("users (notifications of PostgreSQL)", notify * users_of_rate),
        ("users (default quota of write units of a table)", TABLE_WRITES / write_units() * users_of_rate),
        ("API and worker tasks (addresses of the public subnets)", ADDRESSES),
    ]
    for instance, connections in MAX_CONNECTIONS.items():
        tasks = (connections - 10) // CONNECTIONS
        rows.append((f"API tasks (connections to {instance})", tasks))
        rows.append((f"users (connections to {instance})", tasks * CONNECTIONS_OF_TASK / SHARE_CONNECTED))
    return "\n".join(lines + [f"| {name} | {value:,.0f} |" for name, value in rows])


def main(arguments):
    tables = [sizes(), hot_user(), limits()]
    if arguments[:1] == ["--check"]:
        text = Path(arguments[1]).read_text()
        missing = [it for it in tables if it not in text]
        if missing:
            sys.exit(f"{arguments[1]} does not have what deploy/scale.py prints:\n{missing[0]}")
        print(f"the numbers in {arguments[1]} are up to date")
        return
    print("\n\n".join(tables))


if __name__ == "__main__":
    main(sys.argv[1:])
