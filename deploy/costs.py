#!/usr/bin/env python3
"""Computes what an installation costs a month: deploy/costs.py prints the table of docs/DEPLOY.md as Markdown.

`deploy/costs.py --check FILE …` checks that the files contain the tables.
"""

import math
import sys
from pathlib import Path

HOURS, SECONDS = 730, 730 * 3600

# List prices of us-east-1 in US dollars, without taxes, as of March 2026. Sources:
#   https://aws.amazon.com/dynamodb/pricing/        https://aws.amazon.com/fargate/pricing/
#   https://aws.amazon.com/elasticloadbalancing/pricing/   https://aws.amazon.com/rds/postgresql/pricing/
#   https://aws.amazon.com/cognito/pricing/         https://aws.amazon.com/cloudwatch/pricing/
#   https://aws.amazon.com/vpc/pricing/             https://aws.amazon.com/ec2/pricing/on-demand/ (data transfer)
#   https://aws.amazon.com/secrets-manager/pricing/ https://aws.amazon.com/route53/pricing/
PRICES = {
    "write units, million": 0.625,
    "read units, million": 0.125,
    "table storage, GB": 0.25,
    "table recovery, GB": 0.20,
    "stream reads, 100,000": 0.02,
    "vCPU, hour": 0.04048,
    "memory, GB hour": 0.004445,
    "public IPv4 address, hour": 0.005,
    "load balancer, hour": 0.0225,
    "LCU, hour": 0.008,
    "db.t4g.micro, hour": 0.016,
    "db.t4g.medium, hour": 0.065,
    "db.m7g.large, hour": 0.168,
    "database storage, GB": 0.115,
    "active user (Essentials)": 0.015,
    "log, GB": 0.50,
    "metric": 0.30,
    "alarm": 0.10,
    "secret": 0.40,
    "hosted zone": 0.50,
    "data transfer, GB": 0.09,
}
# The monthly amounts that are free without a time limit.
FREE = {
    "table storage, GB": 25,
    "stream reads": 2_500_000,
    "active users": 10_000,
    "log, GB": 5,
    "metrics": 10,
    "alarms": 10,
    "data transfer, GB": 100,
}
# Provisioned units of each kind that are free, and of the default size: table, index and consumer's table with 5 each.
FREE_UNITS, DEFAULT_UNITS = 25, 3 * 5

# Write units, as tests/it/units.rs counts them. A conversation is moved once for each message: messages rarely share a batch.
MESSAGE, KEY, MOVE_AND_FEEDS, MARK_READ = 1, 1, 16, 2
FIRST_MESSAGE, FIRST_FEEDS = 12, 10
# The part of MOVE_AND_FEEDS in the table; the rest is in the index.
MOVE_IN_TABLE = 12

# Assumptions about use. SHARE_FIRST: messages that start a conversation. REQUESTS: requests for each message, of all kinds.
# READ_UNITS of each message: 2 for lists and pages, 1.5 for the feeds of connected users, 1.5 for the consumer.
SHARE_FIRST, MARKS_FOR_MESSAGE, REQUESTS, READ_UNITS = 0.01, 0.5, 10, 5
MESSAGES_OF_USER, SHARE_CONNECTED, PEAK = 100, 0.05, 5
# Bytes of items with their overhead: a message of about 100 characters, a feed entry, a key.
MESSAGE_BYTES, ENTRY_BYTES, KEY_BYTES, ROW_BYTES = 500, 500, 350, 700
REQUEST_LOG_BYTES, RESPONSE_BYTES = 400, 4_000
# One unit of the load balancer (LCU) is 25 new connections a second, 3,000 active connections, or 1 GB an hour.
CONNECTIONS_OF_LCU = 3_000
# A partition of a table has at most this many GB, and each partition has one shard. A shard is read 4 times a second, and
# almost 5 times while each read returns messages.
PARTITION_GB, READS_OF_SHARD, READS_OF_BUSY_SHARD = 10, 4, 5
# `serve` accepts 10,000 connections. A worker moves about 300 conversations per second (README.md).
CONNECTIONS_OF_TASK, MOVES_OF_WORKER = 8_000, 250
# Metrics: 4 of the API, 5 of the worker, and `internal_errors`. An alarm costs as much as it has metrics: deploy/tests/metrics.py
# compares ALARMS with service.yaml.
METRICS, ALARMS, ALARMS_OF_AUTOSCALING = 10, 20, 2


def write_units():
    """Write units for one message, on average."""
    later = MESSAGE + KEY + MOVE_AND_FEEDS
    first = FIRST_MESSAGE + KEY + FIRST_FEEDS
    return (1 - SHARE_FIRST) * later + SHARE_FIRST * first + MARKS_FOR_MESSAGE * MARK_READ


class Size:
    def __init__(self, name, messages, api, worker, database, on_demand=True):
        self.name, self.messages, self.on_demand, self.database = name, messages, on_demand, database
        self.users = messages / MESSAGES_OF_USER
        self.connected = self.users * SHARE_CONNECTED
        self.rate = messages / SECONDS
        (self.api_tasks, self.api_cpu, self.api_memory), (self.worker_tasks, self.worker_cpu, self.worker_memory) = api, worker
        # After a year: messages stay, feed entries and keys stay for 30 days.
        self.gigabytes = messages * (12 * MESSAGE_BYTES + 2 * ENTRY_BYTES + KEY_BYTES) / 1e9 + self.users * 20 * ROW_BYTES * 2 / 1e9
        self.shards = max(1 if not on_demand else 4, math.ceil(self.gigabytes / PARTITION_GB))

    def costs(self):
        price = PRICES
        writes, reads = self.messages * write_units(), self.messages * READ_UNITS
        # Each connected user: one read a minute. Each task reads the leases twice a second.
        reads += self.connected * SECONDS / 60
        lease_pages = math.ceil(self.shards * 300 / 4096)
        reads += (self.worker_tasks * 2 * 0.5 * lease_pages) * SECONDS
        # Leases are renewed every 2.2 s. A checkpoint follows each batch with messages; for other batches, one in 5 s is enough.
        checkpoints = min(READS_OF_BUSY_SHARD, self.rate / self.shards) + 0.2
        lease_writes = self.shards * (1 / 2.2 + checkpoints) * SECONDS
        if self.on_demand:
            tables = (writes + lease_writes) / 1e6 * price["write units, million"] + reads / 1e6 * price["read units, million"]
        else:
            assert DEFAULT_UNITS <= FREE_UNITS
            tables = 0.0
        stored = max(0, self.gigabytes - FREE["table storage, GB"]) * price["table storage, GB"]
        stored += self.gigabytes * price["table recovery, GB"]
        stream = max(0, self.shards * READS_OF_SHARD * SECONDS - FREE["stream reads"]) / 1e5 * price["stream reads, 100,000"]
        task = lambda cpu, memory: (cpu * price["vCPU, hour"] + memory * price["memory, GB hour"]) * HOURS
        tasks = self.api_tasks * task(self.api_cpu, self.api_memory) + self.worker_tasks * task(self.worker_cpu, self.worker_memory)
        addresses = (self.api_tasks + self.worker_tasks + 2) * price["public IPv4 address, hour"] * HOURS
        transfer = self.messages * REQUESTS * RESPONSE_BYTES / 1e9
        lcus = max(self.connected / CONNECTIONS_OF_LCU, transfer / HOURS)
        balancer = (price["load balancer, hour"] + lcus * price["LCU, hour"]) * HOURS
        instance, copies, gigabytes = self.database
        database = (price[f"{instance}, hour"] * HOURS + gigabytes * price["database storage, GB"]) * copies
        sign_in = max(0, self.users - FREE["active users"]) * price["active user (Essentials)"]
        log = max(0, self.messages * REQUESTS * REQUEST_LOG_BYTES / 1e9 - FREE["log, GB"]) * price["log, GB"]
        alarms = ALARMS + ALARMS_OF_AUTOSCALING
        watching = log + max(0, METRICS - FREE["metrics"]) * price["metric"] + max(0, alarms - FREE["alarms"]) * price["alarm"]
        return {
            "DynamoDB: units": tables,
            "DynamoDB: storage after a year, and recovery": stored,
            "DynamoDB Streams": stream,
            "Fargate": tasks,
            "public IPv4 addresses": addresses,
            "load balancer": balancer,
            "PostgreSQL": database,
            "Cognito (Essentials)": sign_in,
            "CloudWatch": watching,
            "data transfer": max(0, transfer - FREE["data transfer, GB"]) * price["data transfer, GB"],
            "secrets, hosted zone": 2 * price["secret"] + price["hosted zone"],
        }


SIZES = [
    Size("free tier", 100_000, (1, 0.25, 0.5), (1, 0.25, 0.5), ("db.t4g.micro", 1, 20), on_demand=False),
    Size("1 million", 1_000_000, (2, 0.25, 0.5), (2, 0.25, 0.5), ("db.t4g.micro", 2, 20)),
    Size("100 million", 100_000_000, (7, 1, 2), (3, 1, 2), ("db.m7g.large", 2, 100)),
]


def free_tier_messages():
    """Messages a month that the write units of the default size allow at the peak."""
    # Half of the units of a read marker are of the index.
    in_table = MESSAGE + KEY + MOVE_IN_TABLE + MARKS_FOR_MESSAGE * MARK_READ / 2
    in_index = MOVE_AND_FEEDS - MOVE_IN_TABLE
    return 5 / max(in_table, in_index) * SECONDS / PEAK


def table():
    columns = [(size, size.costs()) for size in SIZES]
    number = lambda value: f"{value:,.0f}" if value >= 10 else f"{value:,.2f}"
    lines = ["| | " + " | ".join(size.name for size in SIZES) + " |", "|---|" + "--:|" * len(SIZES)]
    facts = {
        "messages a month": [f"{it.messages:,}" for it in SIZES],
        "active users": [f"{it.users:,.0f}" for it in SIZES],
        "messages per second at the peak": [f"{it.rate * PEAK:,.1f}" for it in SIZES],
        "connected users at the peak": [f"{it.connected:,.0f}" for it in SIZES],
        "GB in the table after a year": [f"{it.gigabytes:,.1f}" for it in SIZES],
        "API tasks": [f"{it.api_tasks} × {it.api_cpu} vCPU, {it.api_memory} GB" for it in SIZES],
        "worker tasks": [f"{it.worker_tasks} × {it.worker_cpu} vCPU, {it.worker_memory} GB" for it in SIZES],
        "PostgreSQL": [f"{it.database[0]}{', with a standby' if it.database[1] == 2 else ''}" for it in SIZES],
    }
    lines += ["| " + " | ".join([name, *values]) + " |" for name, values in facts.items()]
    for name in columns[0][1]:
        lines.append("| " + " | ".join([f"{name}, $", *(number(costs[name]) for _, costs in columns)]) + " |")
    totals = [sum(costs.values()) for _, costs in columns]
    lines.append("| " + " | ".join(["**total, $**", *(f"**{number(it)}**" for it in totals)]) + " |")
    without = [sum(costs.values()) - costs["Cognito (Essentials)"] for _, costs in columns]
    per_million = [it / size.messages * 1e6 for it, size in zip(without, SIZES)]
    lines.append("| " + " | ".join(["a million messages, without Cognito, $", *(number(it) for it in per_million)]) + " |")
    return "\n".join(lines)


def check_sizes():
    """The tasks of each size suffice for its peak."""
    for size in SIZES:
        assert size.connected <= size.api_tasks * CONNECTIONS_OF_TASK, size.name
        assert size.rate * PEAK <= size.worker_tasks * MOVES_OF_WORKER, size.name
    assert SIZES[0].messages <= free_tier_messages()


def main(arguments):
    check_sizes()
    if arguments[:1] == ["--check"]:
        for file in arguments[1:]:
            if table() not in Path(file).read_text():
                sys.exit(f"{file} does not have the table that deploy/costs.py prints")
        print(f"the table of costs is up to date in {', '.join(arguments[1:])}")
        return
    print(table())
    print()
    print(f"{write_units():.2f} write units for a message; the default capacity is enough for {free_tier_messages():,.0f} messages a month")


if __name__ == "__main__":
    main(sys.argv[1:])
