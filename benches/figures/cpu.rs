//! CPU time of a request, compared in the same run with a bare handler that makes the same call to DynamoDB.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, bail};
use cruddur_messaging::messages_table::{Created, Membership, Message, MessagesTable, SortKey};
use cruddur_messaging::model::{MessageGroupUuid, MessageUuid, Participant, User, UserUuid};
use cruddur_messaging::users::Users;
use futures::{StreamExt, stream};
use serde_json::json;
use uuid::Uuid;

use super::{Caller, cpu_time, free_port, interrupt};

/// Number of conversations of the user.
pub const GROUPS: usize = 25;
const WARM_UP: usize = 500;
/// Number of rounds. Server and bare handler take turns, so that other load of the machine affects both. Odd, for a median.
const ROUNDS: usize = 25;
const REQUESTS: usize = 400;
/// Number of requests in a profile.
const RECORDED: usize = 5_000;
const LIST: &str = "{ messageGroups(first: 20) { nodes { uuid participants { uuid handle displayName } lastMessageAt \
                    lastMessage { uuid body } } } }";
const SEND: &str = "mutation ($group: UUID!, $body: String!) { createMessage(input: { to: { messageGroupUuid: $group }, \
                    body: $body }) { message { uuid createdAt } } }";
const SEND_WITH_KEY: &str = "mutation ($group: UUID!, $body: String!, $key: UUID!) { createMessage(input: \
                             { to: { messageGroupUuid: $group }, body: $body, idempotencyKey: $key }) \
                             { message { uuid createdAt } } }";
const BODY: &str = "A message of a length that people write to each other on an ordinary day.";

/// Creates conversations of the user with other users of PostgreSQL.
pub async fn prepare(
    table: &MessagesTable,
    users: &Users,
    handle: &str,
    count: usize,
) -> anyhow::Result<Vec<MessageGroupUuid>> {
    let owner = users.by_handle(handle).await?.context("the user")?;
    let owner = Participant::from(&*owner);
    let mut groups = Vec::new();
    for number in 0..count {
        let (handle, display_name) = (format!("{handle}-{number}"), format!("Other {number}"));
        let other = User { uuid: UserUuid(Uuid::new_v4()), handle, display_name };
        users.seed(&other, "other@example.com", "MOCK").await?;
        let other = Participant::from(&other);
        let (group, uuid) = (MessageGroupUuid(Uuid::new_v4()), MessageUuid(Uuid::new_v4()));
        let created_at = chrono::Utc::now();
        let sort_key = SortKey::of_message(created_at, uuid);
        let message = Message { uuid, group, author: owner.clone(), body: BODY.to_owned(), created_at, sort_key };
        let membership = Membership::begin(group, [owner.clone(), other]);
        match table.create_conversation(None, &membership, &message, &message).await? {
            Created::Done => groups.push(group),
            other => bail!("the conversation was not created: {other:?}"),
        }
    }
    Ok(groups)
}

/// Prints the CPU time of both requests, of the server and of the bare handler. With `profiles`, records profiles in that folder.
pub async fn compare(
    served: &Child,
    caller: &Caller,
    bare: &Path,
    dynamodb: &str,
    (user, groups): (UserUuid, &[MessageGroupUuid]),
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
    tokio::time::timeout(Duration::from_secs(20), up).await.context("the bare handler does not respond")?;
    let list = async || caller.ask(LIST, json!({})).await.map(drop);
    let bare_list = async || {
        get().await?.bytes().await?;
        Ok(())
    };
    // In turns, because the embedded engine becomes slower with the number of messages of a group.
    let turn = AtomicUsize::new(0);
    let group = || groups[turn.fetch_add(1, Ordering::Relaxed) % groups.len()].to_string();
    let send = async || caller.ask(SEND, json!({ "group": group(), "body": BODY })).await.map(drop);
    let bare_put = async || {
        let request = http.post(format!("http://{address}/put/{}", group())).json(&json!({ "body": BODY }));
        request.send().await?.error_for_status()?.bytes().await?;
        Ok(())
    };
    let (ours, theirs) = (Asked { child: served, ask: &list }, Asked { child: &handler, ask: &bare_list });
    compare_one("messageGroups(first: 20) with participants", "list", &ours, &theirs, profiles).await?;
    let (ours, theirs) = (Asked { child: served, ask: &send }, Asked { child: &handler, ask: &bare_put });
    compare_one("createMessage", "send", &ours, &theirs, profiles).await?;
    let send_with_key = async || {
        let variables = json!({ "group": group(), "body": BODY, "key": Uuid::new_v4() });
        caller.ask(SEND_WITH_KEY, variables).await.map(drop)
    };
    let (ours, theirs) = (Asked { child: served, ask: &send_with_key }, Asked { child: &handler, ask: &bare_put });
    compare_one("createMessage with an idempotency key", "send-key", &ours, &theirs, profiles).await?;
    interrupt(handler)
}

/// A process and a request that is sent to it repeatedly.
struct Asked<'a, A> {
    child: &'a Child,
    ask: &'a A,
}

impl<A: AsyncFn() -> anyhow::Result<()>> Asked<'_, A> {
    async fn many(&self, count: usize) -> anyhow::Result<()> {
        let answers = stream::iter(0..count).map(|_| (self.ask)()).buffer_unordered(8);
        answers.fold(Ok(()), async |all, one| all.and(one)).await
    }

    /// Average CPU time of the process for a request, in microseconds.
    async fn cpu_time(&self, count: usize) -> anyhow::Result<f64> {
        let before = cpu_time(self.child)?;
        self.many(count).await?;
        Ok((cpu_time(self.child)?.saturating_sub(before)).as_secs_f64() * 1e6 / count as f64)
    }

    async fn record(&self, file: PathBuf) -> anyhow::Result<()> {
        let recorder = record(self.child, &file)?;
        self.many(RECORDED).await?;
        interrupt(recorder)
    }
}

async fn compare_one(
    what: &str,
    name: &str,
    ours: &Asked<'_, impl AsyncFn() -> anyhow::Result<()>>,
    theirs: &Asked<'_, impl AsyncFn() -> anyhow::Result<()>>,
    profiles: Option<&Path>,
) -> anyhow::Result<()> {
    ours.many(WARM_UP).await?;
    theirs.many(WARM_UP).await?;
    if let Some(folder) = profiles {
        ours.record(folder.join(name)).await?;
        return theirs.record(folder.join(format!("{name}-bare"))).await;
    }
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        rounds.push((ours.cpu_time(REQUESTS).await?, theirs.cpu_time(REQUESTS).await?));
    }
    let sorted = |of: fn(&(f64, f64)) -> f64| {
        let mut numbers: Vec<f64> = rounds.iter().map(of).collect();
        numbers.sort_by(f64::total_cmp);
        numbers
    };
    let (ours, theirs, ratios) = (sorted(|it| it.0), sorted(|it| it.1), sorted(|it| it.0 / it.1));
    println!(
        "CPU of {what}: {:.0} µs a request; bare handler {:.0} µs; {:.2} times ({:.2} to {:.2} in {ROUNDS} rounds)",
        ours[ROUNDS / 2],
        theirs[ROUNDS / 2],
        ratios[ROUNDS / 2],
        ratios[0],
        ratios[ROUNDS - 1],
    );
    Ok(())
}

/// Samples the stacks of a process until it is interrupted.
fn record(child: &Child, file: &Path) -> anyhow::Result<Child> {
    let mut perf = Command::new("perf");
    perf.args(["record", "--quiet", "--freq", "499", "--call-graph", "dwarf,32768", "--pid", &child.id().to_string()]);
    perf.arg("--output").arg(file).stderr(Stdio::null()).spawn().context("perf")
}
