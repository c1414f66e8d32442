//! Two servers that are killed in turn, while clients send with idempotency keys and repeat every request that fails: each
//! message is stored once, and each feed has it once.

use std::collections::{BTreeMap, HashSet};
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use cruddur_messaging::embedded::postgres::EmbeddedPostgres;
use cruddur_messaging::users::Users;
use futures::future::join_all;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::harness::client::MESSAGES;
use crate::harness::fault_proxy::Fault::{LoseAnswer, Pass};
use crate::harness::process::{Running, configured, listening, token_for};
use crate::harness::{
    Client, DEADLINE, TestUser, World, embedded_postgres, eventually, eventually_within, shared, test, user,
};

const CREATE: &str = "mutation ($input: CreateMessageInput!) {
    createMessage(input: $input) { message { uuid body } messageGroup { uuid } }
}";
/// How long a client waits for a response before it repeats the request.
const PATIENCE: Duration = Duration::from_secs(3);
const USERS: usize = 4;
const SERVERS: usize = 2;
/// Number of messages between two kills.
const BETWEEN_KILLS: usize = 40;

/// A server process with a PostgreSQL of its own, because the embedded one has only one connection.
struct Process {
    postgres: EmbeddedPostgres,
    running: Running,
}

fn serve(world: &World, postgres: &EmbeddedPostgres, jwks_url: &str) -> (Running, SocketAddr) {
    let mut command = configured(&["serve"], world.proxy.url(), postgres.url(), jwks_url);
    command.env("AWS_ENDPOINT_URL", world.proxy.url()).env("MESSAGES_PER_MINUTE", "0");
    let mut running = Running::start(&mut command);
    let address = tokio::task::block_in_place(|| running.wait_for("its address", listening));
    (running, address.parse().expect("an address"))
}

/// What the clients share.
struct Run {
    users: Vec<TestUser>,
    tokens: Vec<String>,
    addresses: Mutex<Vec<SocketAddr>>,
    next: AtomicUsize,
    stopped: AtomicBool,
    repeated: AtomicUsize,
    /// For each text: author, recipient and the message's uuid.
    sent: Mutex<BTreeMap<String, (usize, usize, Value)>>,
}

impl Run {
    fn client(&self, user: usize, server: usize) -> Client {
        Client::new(self.addresses.lock().expect("addresses")[server % SERVERS], Some(self.tokens[user].clone()))
    }

    /// Sends until the run is stopped.
    async fn send(&self, author: usize) {
        while !self.stopped.load(Ordering::Relaxed) {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            let recipient = (author + 1 + number % (USERS - 1)) % USERS;
            let to = json!({ "handle": self.users[recipient].handle() });
            let input = json!({ "to": to, "body": number.to_string(), "idempotencyKey": Uuid::new_v4() });
            let uuid = self.until_sent(author, &json!({ "input": input })).await;
            self.sent.lock().expect("sent").insert(number.to_string(), (author, recipient, uuid));
        }
    }

    /// Repeats a request on one server after the other until it succeeds. Returns the message's uuid.
    async fn until_sent(&self, author: usize, variables: &Value) -> Value {
        for server in author.. {
            let body = json!({ "query": CREATE, "variables": variables });
            let request = self.client(author, server).post().timeout(PATIENCE).json(&body);
            let response = async { request.send().await.ok()?.json::<Value>().await.ok() }.await;
            match response.map(|response| response["data"]["createMessage"]["message"]["uuid"].clone()) {
                Some(uuid) if uuid.is_string() => return uuid,
                _ => self.repeated.fetch_add(1, Ordering::Relaxed),
            };
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        unreachable!("the loop has no end")
    }

    fn sent(&self) -> usize {
        self.sent.lock().expect("sent").len()
    }

    /// The texts of the messages of which `user` is a participant.
    fn of(&self, user: usize) -> BTreeMap<String, Value> {
        let sent = self.sent.lock().expect("sent");
        let own = sent.iter().filter(|(_, (author, recipient, _))| [*author, *recipient].contains(&user));
        own.map(|(body, (.., uuid))| (body.clone(), uuid.clone())).collect()
    }
}

/// The texts of all messages of a group.
async fn bodies(client: &Client, group: &Value) -> Vec<String> {
    let (mut all, mut after) = (Vec::new(), Value::Null);
    loop {
        let page = client.data(MESSAGES, json!({ "group": group, "first": 100, "after": after })).await;
        let nodes = page["messages"]["nodes"].as_array().expect("nodes").clone();
        all.extend(nodes.iter().map(|node| node["body"].as_str().expect("a body").to_owned()));
        if page["messages"]["pageInfo"]["hasNextPage"] != true {
            return all;
        }
        after = page["messages"]["pageInfo"]["endCursor"].clone();
    }
}

#[test]
fn servers_that_are_killed_store_and_feed_each_message_once() {
    test(async {
        let rounds = std::env::var("CHAOS_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
        let world = World::new().await;
        let shared = shared().await;
        let mut users = Vec::new();
        for _ in 0..USERS {
            users.push(user("chaos").await);
        }
        let tokens = users.iter().map(|user| token_for(&shared.issuer, &user.cognito_user_id)).collect();
        let (mut processes, mut addresses) = (Vec::new(), Vec::new());
        for _ in 0..SERVERS {
            let postgres = embedded_postgres().await;
            let pool = postgres.pool().expect("a pool");
            let of_server = Users::new(pool.clone());
            of_server.migrate().await.expect("migrations");
            for user in &users {
                assert!(of_server.seed(&user.user, "chaos@example.com", &user.cognito_user_id).await.expect("a user"));
            }
            pool.close().await;
            let (running, address) = serve(&world, &postgres, &shared.token_issuer.jwks_url);
            processes.push(Process { postgres, running });
            addresses.push(address);
        }
        let run = Run {
            users,
            tokens,
            addresses: Mutex::new(addresses),
            next: AtomicUsize::new(0),
            stopped: AtomicBool::new(false),
            repeated: AtomicUsize::new(0),
            sent: Mutex::default(),
        };
        world.proxy.slow(Duration::from_millis(10));
        let kills = async {
            for victim in (0..rounds * SERVERS).map(|kill| kill % SERVERS) {
                for operation in ["PutItem", "TransactWriteItems", "UpdateItem"] {
                    world
                        .proxy
                        .next(operation, [Pass, LoseAnswer, LoseAnswer, LoseAnswer, LoseAnswer, Pass, LoseAnswer]);
                }
                let wanted = run.sent() + BETWEEN_KILLS;
                eventually("messages between two kills", || async { (run.sent() >= wanted).then_some(()) }).await;
                let process = &mut processes[victim];
                process.running.signal("KILL");
                tokio::task::block_in_place(|| process.running.wait());
                let (running, address) = serve(&world, &process.postgres, &shared.token_issuer.jwks_url);
                process.running = running;
                run.addresses.lock().expect("addresses")[victim] = address;
            }
            run.stopped.store(true, Ordering::Relaxed);
        };
        tokio::join!(kills, join_all((0..USERS).map(|author| run.send(author))));
        world.proxy.slow(Duration::ZERO);
        assert!(run.repeated.load(Ordering::Relaxed) > 0, "a request failed and was repeated");

        for user in 0..USERS {
            let expected = run.of(user);
            let client = run.client(user, user);
            let groups = client.groups(10).await;
            assert_eq!(groups.len(), USERS - 1, "one group for each pair");
            let mut stored = Vec::new();
            for group in &groups {
                stored.extend(bodies(&client, &group["uuid"]).await);
            }
            stored.sort();
            assert_eq!(stored, expected.keys().cloned().collect::<Vec<_>>(), "each message is stored once");
            // The lease of a killed server has to expire first.
            let events = eventually_within(DEADLINE * 2, "the whole feed", || async {
                let events = client.feed_after(&Value::Null, 100).await.events;
                (events.len() >= expected.len()).then_some(events)
            });
            let events = events.await;
            let fed: BTreeMap<String, Value> = events
                .iter()
                .map(|event| {
                    let message = &event["message"];
                    (message["body"].as_str().expect("a message, and no reset").to_owned(), message["uuid"].clone())
                })
                .collect();
            assert_eq!((events.len(), fed), (expected.len(), expected), "each message is fed once");
            let cursors: HashSet<String> = events.iter().map(|event| event["cursor"].to_string()).collect();
            assert_eq!(cursors.len(), events.len());
        }
    });
}
