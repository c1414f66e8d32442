//! CPU time of a request, beside a bare handler that makes the same call to DynamoDB, in the same run.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};
use cruddur_messaging::messages_table::{Created, Membership, Message, MessagesTable, SortKey};
use cruddur_messaging::model::{MessageGroupUuid, MessageUuid, Participant, User, UserUuid};
use cruddur_messaging::users::Users;
use futures::{StreamExt, stream};
use serde_json::json;
use uuid::Uuid;

use super::{Caller, free_port, interrupt};

const GROUPS: usize = 25;
const WARM_UP: usize = 500;
const REQUESTS: usize = 5_000;
const LIST: &str = "{ messageGroups(first: 20) { nodes { uuid participants { uuid handle displayName } lastMessageAt \
                    lastMessage { uuid body } } } }";
const SEND: &str = "mutation ($group: UUID!, $body: String!) { createMessage(input: { to: { messageGroupUuid: $group }, \
                    body: $body }) { message { uuid createdAt } } }";
const BODY: &str = "A message of a length that people write to each other on an ordinary day.";

/// Begins conversations of the user with others whom PostgreSQL knows; the last one's group.
pub async fn prepare(table: &MessagesTable, users: &Users, handle: &str) -> anyhow::Result<MessageGroupUuid> {
    let owner = users.by_handle(handle).await?.context("the user")?;
    let owner = Participant::from(&*owner);
    let mut last = None;
    for number in 0..GROUPS {
        let (handle, display_name) = (format!("other-{number}"), format!("Other {number}"));
        let other = User { uuid: UserUuid(Uuid::new_v4()), handle, display_name };
        users.seed(&other, "other@example.com", "MOCK").await?;
        let other = Participant::from(&other);
        let (group, uuid) = (MessageGroupUuid(Uuid::new_v4()), MessageUuid(Uuid::new_v4()));
        let created_at = chrono::Utc::now();
        let sort_key = SortKey::of_message(created_at, uuid);
        let message = Message { uuid, group, author: owner.clone(), body: BODY.to_owned(), created_at, sort_key };
        let membership = Membership::begin(group, [owner.clone(), other]);
        match table.create_conversation(None, &membership, &message, &message).await? {
            Created::Done => last = Some(group),
            other => bail!("not begun: {other:?}"),
        }
    }
    last.context("no conversation")
}

/// Prints the CPU time of both requests, of the server and of the bare handler; with `profiles`, records there where it
/// goes.
pub async fn compare(
    served: &Child,
    caller: &Caller,
    bare: &Path,
    dynamodb: &str,
    (user, group): (UserUuid, MessageGroupUuid),
    profiles: Option<&Path>,
) -> anyhow::Result<()> {
    let address = format!("127.0.0.1:{}", free_port()?);
    let handler = Command::new(bare).args([&address, dynamodb]).spawn().context("the bare handler")?;
    let http = reqwest::Client::new();
    let get = async || http.get(format!("http://{address}/list/{user}")).send().await?.error_for_status();
    let up = async {
        while get().await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), up).await.context("the bare handler does not answer")?;
    let list = async || caller.ask(LIST, json!({})).await.map(drop);
    let bare_list = async || {
        get().await?.bytes().await?;
        Ok(())
    };
    let send = async || caller.ask(SEND, json!({ "group": group.to_string(), "body": BODY })).await.map(drop);
    let bare_put = async || {
        let request = http.post(format!("http://{address}/put/{group}")).json(&json!({ "body": BODY }));
        request.send().await?.error_for_status()?.bytes().await?;
        Ok(())
    };
    let file = |name: &str| profiles.map(|folder| folder.join(name));
    let ours = cpu_of(served, &list, file("list")).await?;
    let theirs = cpu_of(&handler, &bare_list, file("list-bare")).await?;
    tell("messageGroups(first: 20) with participants", ours, theirs);
    let ours = cpu_of(served, &send, file("send")).await?;
    let theirs = cpu_of(&handler, &bare_put, file("send-bare")).await?;
    tell("createMessage", ours, theirs);
    interrupt(handler)
}

fn tell(what: &str, ours: f64, theirs: f64) {
    println!("CPU of {what}: {ours:.0} µs a request; bare handler {theirs:.0} µs; {:.2} times", ours / theirs);
}

/// CPU time of a process for one of many requests, in microseconds.
async fn cpu_of(
    child: &Child,
    ask: &impl AsyncFn() -> anyhow::Result<()>,
    profile: Option<PathBuf>,
) -> anyhow::Result<f64> {
    let many = async |count: usize| {
        let answers = stream::iter(0..count).map(|_| ask()).buffer_unordered(8);
        answers.fold(Ok(()), async |all, one| all.and(one)).await
    };
    many(WARM_UP).await?;
    let recorder = profile.map(|file| record(child, &file)).transpose()?;
    let before = ticks(child)?;
    many(REQUESTS).await?;
    if let Some(recorder) = recorder {
        interrupt(recorder)?;
    }
    // A tick is a hundredth of a second everywhere Linux runs. Source: proc(5), times(2).
    Ok((ticks(child)? - before) as f64 * 1e4 / REQUESTS as f64)
}

/// Samples a process's stacks until it is interrupted.
fn record(child: &Child, file: &Path) -> anyhow::Result<Child> {
    let mut perf = Command::new("perf");
    perf.args(["record", "--quiet", "--freq", "499", "--call-graph", "dwarf,32768", "--pid", &child.id().to_string()]);
    perf.arg("--output").arg(file).stderr(Stdio::null()).spawn().context("perf")
}

/// User and system time. Source: proc(5), fields 14 and 15 of `stat`.
fn ticks(child: &Child) -> anyhow::Result<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", child.id()))?;
    let behind_name = stat.rsplit_once(')').context("no name")?.1;
    let fields: Vec<&str> = behind_name.split_whitespace().collect();
    let field = |index: usize| fields.get(index).context("too few fields")?.parse::<u64>().context("not a number");
    Ok(field(11)? + field(12)?)
}
