//! The stores, the users and the processes of the measurements.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use chrono::Utc;
use cruddur_messaging::app::pool;
use cruddur_messaging::aws::Aws;
use cruddur_messaging::embedded::issuer::LocalIssuer;
use cruddur_messaging::messages_table::items::{from_group_row, from_membership, from_message, from_pair};
use cruddur_messaging::messages_table::schema::{Billing, load_leases_table, load_messages_table};
use cruddur_messaging::messages_table::{Membership, Message, SortKey};
use cruddur_messaging::model::{MessageGroupUuid, MessageUuid, Participant, User, UserUuid};
use cruddur_messaging::seed::local_cognito_user_id;
use cruddur_messaging::users::Users;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::super::engine::Engine;
use super::super::{TABLE, cpu_time, free_port, serve_command, token, units, until_ready};
use super::crowd::Client;
use super::socket::{Protocol, body};

/// Number of users. An even number, because each two of them have a conversation.
pub const PEOPLE: usize = 500;

/// A native PostgreSQL with users, and the issuer of their tokens.
pub struct World {
    production: PathBuf,
    database_url: String,
    jwks_url: String,
    pub users: Users,
    people: Arc<Vec<Person>>,
}

/// A user.
pub struct Person {
    pub participant: Participant,
    pub token: Arc<str>,
}

/// DynamoDB with a conversation of each two users: of the first two, of the next two, and so on.
pub struct Stores {
    pub engine: Engine,
    pub conversations: Arc<Conversations>,
}

/// Who writes to whom.
pub struct Conversations {
    pub people: Arc<Vec<Person>>,
    pub groups: Vec<MessageGroupUuid>,
}

/// A process `serve`.
pub struct Server {
    child: Child,
    pub address: SocketAddr,
    metrics: String,
}

/// Memory in bytes. Source: proc(5), `/proc/pid/smaps_rollup`.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    /// What is resident.
    pub resident: f64,
    /// The same, but pages that processes share count in parts.
    pub proportional: f64,
}

impl World {
    /// Adds the users to the database in `DATABASE_URL`.
    pub async fn new(production: &Path) -> anyhow::Result<Self> {
        let database_url = std::env::var("DATABASE_URL").context("DATABASE_URL is missing: run scripts/live")?;
        let users = Users::new(pool(&database_url, 5, None)?);
        users.migrate().await?;
        let issuer = LocalIssuer::generate()?;
        let jwks_url = issuer.serve(CancellationToken::new()).await?.jwks_url;
        let mut people = Vec::new();
        for number in 0..PEOPLE {
            let handle = format!("person-{number:04}");
            let (uuid, display_name) = (UserUuid(Uuid::new_v4()), format!("Person {number:04}"));
            let user = User { uuid, handle, display_name };
            users.seed(&user, "person@example.com", &local_cognito_user_id(&user.handle)).await?;
            people.push(Person { token: token(&issuer, &user.handle)?.into(), participant: Participant::from(&user) });
        }
        let (production, people) = (production.to_owned(), Arc::new(people));
        Ok(Self { production, database_url, jwks_url, users, people })
    }

    /// Starts a new DynamoDB.
    pub async fn stores(&self) -> anyhow::Result<Stores> {
        let engine = Engine::start().await?;
        let aws = Aws::local(engine.dynamodb.url()).await;
        load_messages_table(&aws.dynamodb, TABLE, Billing::FREE_TIER).await?;
        load_leases_table(&aws.dynamodb, TABLE, Billing::FREE_TIER).await?;
        let (mut items, mut groups) = (Vec::new(), Vec::new());
        for pair in self.people.chunks_exact(2) {
            let (group, uuid, created_at) = (MessageGroupUuid(Uuid::new_v4()), MessageUuid(Uuid::new_v4()), Utc::now());
            let [author, other] = [0, 1].map(|one| pair[one].participant.clone());
            let membership = Membership::begin(group, [author.clone(), other]);
            let sort_key = SortKey::of_message(created_at, uuid);
            let first = Message { uuid, group, author, body: body(0, 80), created_at, sort_key };
            items.extend([from_message(&first), from_membership(&membership)]);
            items.push(from_pair(&membership.participants, group));
            items.extend(membership.rows(&first).iter().map(from_group_row));
            groups.push(group);
        }
        engine.dynamodb.import(TABLE, items)?;
        Ok(Stores { engine, conversations: Arc::new(Conversations { people: self.people.clone(), groups }) })
    }

    /// Starts `serve` with `arguments`, and waits until it is ready.
    pub async fn serve(&self, stores: &Stores, arguments: &[&str]) -> anyhow::Result<Server> {
        let (port, metrics) = (free_port()?, format!("127.0.0.1:{}", free_port()?));
        let mut command =
            serve_command(&self.production, stores.engine.dynamodb.url(), &self.database_url, &self.jwks_url);
        command
            .args(arguments)
            .env("LISTEN_ADDR", format!("127.0.0.1:{port}"))
            .env("METRICS_ADDR", &metrics)
            .env("DATABASE_MAX_CONNECTIONS", "10")
            .env("HINT_BROKER", "postgres")
            .env("MAX_CONNECTIONS", "20000")
            .env("MAX_REQUESTS_RECEIVING_PER_PEER", "20000")
            .env("MAX_REQUESTS_RECEIVING", "20000");
        let server = Server::start(&mut command, port, metrics)?;
        until_ready(&reqwest::Client::new(), &format!("http://{}", server.address)).await?;
        Ok(server)
    }

    /// A client of a user.
    pub fn client(&self, person: usize, protocol: Protocol) -> Client {
        let token = self.people[person].token.clone();
        Client { protocol, person, token, after: None, wait: Duration::ZERO }
    }

    /// `count` clients of each user. The protocols take turns.
    pub fn clients(&self, count: usize) -> Vec<Client> {
        (0..PEOPLE * count).map(|number| self.client(number / count, Protocol::of(number))).collect()
    }
}

impl Conversations {
    /// The conversation of a message, and the number of its author. The two users take turns.
    pub fn of_message(&self, number: u32) -> (MessageGroupUuid, usize) {
        let number = number as usize;
        let pair = number % self.groups.len();
        (self.groups[pair], 2 * pair + (number / self.groups.len()) % 2)
    }

    /// Whether a user receives a message.
    pub fn is_received_by(&self, number: u32, person: usize) -> bool {
        number as usize % self.groups.len() == person / 2
    }
}

impl Server {
    /// Starts a process that will listen on `port`.
    pub fn start(command: &mut Command, port: u16, metrics: String) -> anyhow::Result<Self> {
        Ok(Self { child: command.spawn()?, address: SocketAddr::from(([127, 0, 0, 1], port)), metrics })
    }

    pub fn memory(&self) -> anyhow::Result<Memory> {
        let text = std::fs::read_to_string(format!("/proc/{}/smaps_rollup", self.child.id()))?;
        let bytes = |name: &str| -> anyhow::Result<f64> {
            let line = text.lines().find_map(|line| line.strip_prefix(name)).context("no size")?;
            Ok(line.trim().trim_end_matches(" kB").parse::<f64>()? * 1024.0)
        };
        Ok(Memory { resident: bytes("Rss:")?, proportional: bytes("Pss:")? })
    }

    pub fn cpu_time(&self) -> anyhow::Result<Duration> {
        cpu_time(&self.child)
    }

    /// The read units that the process has consumed so far.
    pub async fn read_units(&self) -> anyhow::Result<f64> {
        Ok(units(&reqwest::Client::new(), &self.metrics).await?.0)
    }

    /// Stops the process. It is killed, because a regular shutdown spreads the ends of its connections.
    pub fn stop(mut self) -> anyhow::Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
    }
}
