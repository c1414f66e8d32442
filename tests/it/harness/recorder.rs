//! Records which calls to DynamoDB each role makes. `scripts/with-recorded-calls` compares them with the policies of the roles.

use std::collections::HashSet;
use std::fs::OpenOptions;
use std::io::Write;
use std::sync::{LazyLock, Mutex};

use serde_json::Value;

/// The roles in `deploy/service.yaml`.
pub const API: &str = "api";
pub const WORKER: &str = "worker";
pub const OPERATOR: &str = "operator";

/// The role under which the templates run a process with these arguments. Empty for a server with a consumer of its own, which
/// they do not run.
pub fn role_of(arguments: &[&str]) -> &'static str {
    match arguments {
        ["serve", "--no-worker", ..] => API,
        ["serve", ..] => "",
        ["worker", ..] => WORKER,
        _ => OPERATOR,
    }
}

/// Appends a line `ROLE ACTION RESOURCE KEY` to the file in `RECORD_CALLS`, once for each action that the call needs. `KEY` is
/// the prefix of the partition key, or `-`.
pub fn record(role: &str, operation: &str, request: &[u8]) {
    static RECORDED: LazyLock<Mutex<HashSet<String>>> = LazyLock::new(Mutex::default);
    let Some(file) = std::env::var_os("RECORD_CALLS") else { return };
    let request: Value = serde_json::from_slice(request).expect("a request in JSON");
    for (action, target) in actions(operation, &request) {
        let line = format!("{role} {action} {} {}\n", resource(&action, target), key_prefix(target));
        if RECORDED.lock().expect("the recorded calls").insert(line.clone()) {
            let opened = OpenOptions::new().create(true).append(true).open(&file);
            opened.and_then(|mut it| it.write_all(line.as_bytes())).expect("the file in RECORD_CALLS");
        }
    }
}

/// The actions that IAM checks, each with the part of the request that names its resource.
fn actions<'a>(operation: &str, request: &'a Value) -> Vec<(String, &'a Value)> {
    if operation != "TransactWriteItems" {
        return vec![(operation.to_owned(), request)];
    }
    // A transaction needs the actions of its items.
    let items = request["TransactItems"].as_array().expect("items").iter();
    let writes = items.flat_map(|item| item.as_object().expect("an item"));
    writes.map(|(kind, write)| (format!("{kind}Item"), write)).collect()
}

fn resource(action: &str, target: &Value) -> String {
    // A shard iterator does not name its stream, but only the messages table has one.
    if action == "GetRecords" {
        return "messages/stream/*".to_owned();
    }
    let stream = target["StreamArn"].as_str().and_then(|arn| arn.split('/').nth(1));
    let table = match target["TableName"].as_str().or(stream) {
        Some(name) if name.ends_with("-leases") => "leases",
        Some(_) => "messages",
        None => "*",
    };
    match target["IndexName"].as_str() {
        Some(index) => format!("{table}/index/{index}"),
        None if stream.is_some() => format!("{table}/stream/*"),
        None => table.to_owned(),
    }
}

/// The part of the partition key that is the same for all items of a kind, such as `MSG#*`.
fn key_prefix(target: &Value) -> String {
    // A Query of the index has a message group as its key (`:group`), which has no prefix.
    let keys = [&target["Item"]["pk"], &target["Key"]["pk"], &target["ExpressionAttributeValues"][":pk"]];
    match keys.iter().find_map(|key| key["S"].as_str()) {
        Some(key) => key.split_once('#').map_or(key.to_owned(), |(kind, _)| format!("{kind}#*")),
        None => "-".to_owned(),
    }
}
