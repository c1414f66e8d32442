//! Compares the cost of requests in small and large data: a conversation of 100 messages and a user with 100 conversations, and
//! a conversation of 1,000,000 messages and a user with 100,000 conversations. Fails if a cost grows by more than 10 %.
//!
//! CPU time is that of the server process; the engine, which becomes slower with its data, is in this process. Units are those
//! that DynamoDB's responses report to the server, which counts them in its metrics.

use std::path::Path;
use std::process::Child;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use anyhow::{Context, bail};
use chrono::{DateTime, TimeDelta, Utc};
use cruddur_messaging::embedded::dynamodb::EmbeddedDynamoDb;
use cruddur_messaging::messages_table::attributes::Item;
use cruddur_messaging::messages_table::items::{from_group_row, from_membership, from_message, from_pair};
use cruddur_messaging::messages_table::{Fed, GroupRow, Membership, Message, SortKey};
use cruddur_messaging::model::{MessageGroupUuid, MessageUuid, NameCopy, Participant, User, UserUuid};
use cruddur_messaging::users::Users;
use futures::{StreamExt, stream};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{Caller, Stores, TABLE, cpu_time, free_port, interrupt, serve_command, token, units, until_ready};

/// Number of messages and of conversations in the small data.
const SMALL: usize = 100;
/// Maximum growth of a cost.
const LIMIT: f64 = 1.10;
/// Number of rounds, in which the small and the large data take turns. Odd, for a median.
const ROUNDS: usize = 9;
const REQUESTS: usize = 300;
const FIRST_CONTACTS: usize = 60;
/// Number of users in PostgreSQL with whom each user has conversations, for the newest conversations.
const PARTNERS: usize = 25;
/// Number of items in one transaction of the engine.
const CHUNK: usize = 10_000;
const BODY: &str = "A message of a length that people write to each other on an ordinary day.";

const MESSAGES: &str = "query ($group: UUID!) { messages(messageGroupUuid: $group, last: 40) { nodes { uuid body createdAt \
                        author { uuid handle } } } }";
const GROUPS: &str = "{ messageGroups(first: 20) { nodes { uuid participants { uuid handle } lastMessageAt \
                      lastMessage { uuid body } } } }";
const UNKNOWN: &str = "query ($group: UUID!) { messageGroup(uuid: $group) { uuid } }";
const SEND: &str = "mutation ($to: MessageRecipient!, $body: String!) { createMessage(input: { to: $to, body: $body }) \
                    { message { uuid createdAt } } }";

/// Size of the large data.
pub struct Size {
    pub messages: usize,
    pub conversations: usize,
}

/// A user, with a conversation of many messages and with many conversations.
struct Side {
    owner: Participant,
    partners: Vec<Participant>,
    /// Handles of users to whom the owner has not written.
    strangers: Vec<String>,
    next_stranger: AtomicUsize,
    group: MessageGroupUuid,
    caller: Caller,
}

/// The cost of a request.
#[derive(Clone, Copy, Debug)]
struct Cost {
    microseconds: f64,
    read_units: f64,
    write_units: f64,
}

type Request = (&'static str, Box<dyn Fn(&Side) -> (&'static str, Value)>, usize);

fn requests() -> Vec<Request> {
    let to_group = |side: &Side| json!({ "to": { "messageGroupUuid": side.group.to_string() }, "body": BODY });
    let to_handle = |handle: &str| json!({ "to": { "handle": handle }, "body": BODY });
    let next_stranger = |side: &Side| side.next_stranger.fetch_add(1, Ordering::Relaxed);
    vec![
        (
            "messages(last: 40)",
            Box::new(|side: &Side| (MESSAGES, json!({ "group": side.group.to_string() }))) as Box<_>,
            REQUESTS,
        ),
        ("messageGroups(first: 20)", Box::new(|_: &Side| (GROUPS, json!({}))), REQUESTS),
        ("messageGroup(uuid:), unknown", Box::new(|_: &Side| (UNKNOWN, json!({ "group": Uuid::new_v4() }))), REQUESTS),
        ("createMessage by uuid", Box::new(move |side: &Side| (SEND, to_group(side))), REQUESTS),
        (
            "createMessage by handle",
            Box::new(move |side: &Side| (SEND, to_handle(&side.partners[0].names.handle))),
            REQUESTS,
        ),
        (
            "createMessage, first contact",
            Box::new(move |side: &Side| (SEND, to_handle(&side.strangers[next_stranger(side)]))),
            FIRST_CONTACTS,
        ),
    ]
}

/// Measures, prints a table, and fails if a cost grows.
pub async fn run(production: &Path, large: Size) -> anyhow::Result<()> {
    let (Stores { engine, postgres, issuer, jwks_url }, _, users) = Stores::start().await?;
    let (port, metrics) = (free_port()?, format!("127.0.0.1:{}", free_port()?));
    let url = format!("http://127.0.0.1:{port}");
    let small_size = Size { messages: SMALL, conversations: SMALL };
    let mut sides = Vec::new();
    for (handle, size) in [("ana", &small_size), ("ben", &large)] {
        let caller =
            Caller { http: reqwest::Client::new(), url: format!("{url}/graphql"), token: token(&issuer, handle)? };
        let side = Side::new(&users, handle, caller).await?;
        let begin = Instant::now();
        side.fill(&engine.dynamodb, size)?;
        let Size { messages, conversations } = size;
        let seconds = begin.elapsed().as_secs_f64();
        println!("{messages} messages in a conversation, {conversations} conversations: written in {seconds:.0} s");
        sides.push(side);
    }
    users.close().await;
    let [small, large] = sides.try_into().ok().context("two sides")?;

    let mut command = serve_command(production, engine.dynamodb.url(), postgres.url(), &jwks_url);
    command.arg("--no-worker").env("LISTEN_ADDR", format!("127.0.0.1:{port}")).env("METRICS_ADDR", &metrics);
    let child = command.spawn()?;
    let measured = async {
        until_ready(&small.caller.http, &url).await?;
        compare(&child, &metrics, &small, &large).await
    };
    let grown = measured.await;
    interrupt(child)?;
    match grown?.as_slice() {
        [] => Ok(()),
        grown => bail!("grew by more than {:.0} %: {}", (LIMIT - 1.0) * 100.0, grown.join(", ")),
    }
}

/// Prints the costs. Returns those that grow.
async fn compare(child: &Child, metrics: &str, small: &Side, large: &Side) -> anyhow::Result<Vec<String>> {
    println!("{:<30} {:>24} {:>24} {:>9}", "request", "read / write units", "CPU time in µs", "growth");
    let mut grown = Vec::new();
    for (name, request, count) in requests() {
        for side in [small, large] {
            side.many(&request, count).await?;
        }
        let mut rounds = Vec::new();
        for _ in 0..ROUNDS {
            let small = small.cost(child, metrics, &request, count).await?;
            rounds.push((small, large.cost(child, metrics, &request, count).await?));
        }
        let median = |of: &dyn Fn(&(Cost, Cost)) -> f64| {
            let mut values: Vec<f64> = rounds.iter().map(of).collect();
            values.sort_by(f64::total_cmp);
            values[ROUNDS / 2]
        };
        let read = (median(&|it| it.0.read_units), median(&|it| it.1.read_units));
        let write = (median(&|it| it.0.write_units), median(&|it| it.1.write_units));
        let cpu = (median(&|it| it.0.microseconds), median(&|it| it.1.microseconds));
        let ratio = median(&|it| it.1.microseconds / it.0.microseconds);
        println!(
            "{name:<30} {:>24} {:>24} {:>8.1}%",
            format!("{} / {} → {} / {}", read.0, write.0, read.1, write.1),
            format!("{:.0} → {:.0}", cpu.0, cpu.1),
            (ratio - 1.0) * 100.0
        );
        for (what, has_grown) in [
            ("read units", read.1 > read.0 * LIMIT),
            ("write units", write.1 > write.0 * LIMIT),
            ("CPU time", ratio > LIMIT),
        ] {
            if has_grown {
                grown.push(format!("{what} of {name}"));
            }
        }
    }
    Ok(grown)
}

impl Side {
    async fn new(users: &Users, handle: &str, caller: Caller) -> anyhow::Result<Self> {
        let owner = users.by_handle(handle).await?.context("a seeded user")?;
        let mut added = Vec::new();
        for number in 0..PARTNERS + (ROUNDS + 1) * FIRST_CONTACTS {
            let (handle, display_name) = (format!("{handle}-friend-{number:04}"), format!("Friend {number:04}"));
            let user = User { uuid: UserUuid(Uuid::new_v4()), handle, display_name };
            users.seed(&user, "friend@example.com", "MOCK").await?;
            added.push(user);
        }
        let (partners, strangers) = added.split_at(PARTNERS);
        Ok(Self {
            owner: Participant::from(&*owner),
            partners: partners.iter().map(Participant::from).collect(),
            strangers: strangers.iter().map(|user| user.handle.clone()).collect(),
            next_stranger: AtomicUsize::new(0),
            group: MessageGroupUuid(Uuid::new_v4()),
            caller,
        })
    }

    fn fill(&self, dynamodb: &EmbeddedDynamoDb, size: &Size) -> anyhow::Result<()> {
        let begin: DateTime<Utc> = DateTime::from_timestamp(1_500_000_000, 0).context("a time")?;
        let at = |number: usize| begin + TimeDelta::seconds(i64::try_from(number).unwrap_or_default());
        let [owner, partner] = [&self.owner, &self.partners[0]];
        let message = |number: usize| {
            let (uuid, created_at) = (MessageUuid(Uuid::new_v4()), at(number));
            let author = if number.is_multiple_of(2) { owner } else { partner };
            let sort_key = SortKey::of_message(created_at, uuid);
            Message { uuid, group: self.group, author: author.clone(), body: BODY.to_owned(), created_at, sort_key }
        };
        let mut number = 0;
        while number < size.messages {
            let end = size.messages.min(number + CHUNK);
            dynamodb.import(TABLE, (number..end).map(|number| from_message(&message(number))))?;
            number = end;
        }
        let newest = message(size.messages);
        let membership = Membership::begin(self.group, [owner.clone(), partner.clone()]);
        let items =
            [from_message(&newest), from_membership(&membership), from_pair(&membership.participants, self.group)];
        dynamodb.import(TABLE, items.into_iter().chain(membership.rows(&newest).iter().map(from_group_row)))?;

        // Newer than the conversation above.
        let conversation = |number: usize| -> Item {
            let uuid = MessageUuid(Uuid::new_v4());
            let is_new = number + PARTNERS > size.conversations;
            let stranger = || Participant {
                uuid: UserUuid(Uuid::new_v4()),
                names: NameCopy { handle: format!("gone-{number:010}"), display_name: "Gone".to_owned() }.into(),
            };
            from_group_row(&GroupRow {
                owner: owner.uuid,
                group: MessageGroupUuid(Uuid::new_v4()),
                other: if is_new { self.partners[number % PARTNERS].clone() } else { stranger() },
                body: BODY.to_owned(),
                author: Some(owner.uuid),
                sort_key: SortKey::of_message(at(size.messages + 1 + number), uuid),
                fed: Fed::default(),
                reading: None,
            })
        };
        let mut number = 1;
        while number < size.conversations {
            let end = size.conversations.min(number + CHUNK);
            dynamodb.import(TABLE, (number..end).map(conversation))?;
            number = end;
        }
        Ok(())
    }

    async fn many(&self, request: &impl Fn(&Self) -> (&'static str, Value), count: usize) -> anyhow::Result<()> {
        let answers = stream::iter(0..count).map(|_| {
            let (query, variables) = request(self);
            async move { self.caller.ask(query, variables).await.map(drop) }
        });
        answers.buffer_unordered(4).fold(Ok(()), async |all, one| all.and(one)).await
    }

    /// The cost of each of `count` requests.
    async fn cost(
        &self,
        child: &Child,
        metrics: &str,
        request: &impl Fn(&Self) -> (&'static str, Value),
        count: usize,
    ) -> anyhow::Result<Cost> {
        let units_before = units(&self.caller.http, metrics).await?;
        let before = cpu_time(child)?;
        self.many(request, count).await?;
        let cpu = cpu_time(child)?.saturating_sub(before);
        let units = units(&self.caller.http, metrics).await?;
        let each = |all: f64| all / count as f64;
        Ok(Cost {
            microseconds: each(cpu.as_secs_f64() * 1e6),
            read_units: each(units.0 - units_before.0),
            write_units: each(units.1 - units_before.1),
        })
    }
}
