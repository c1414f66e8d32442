//! Writes messages directly to feeds and sends the hints about them with `NOTIFY`, as the consumer of another process would.
//! The engine imports them without stream records, so it does not become slower, and the delivery alone is measured.

use std::time::{Duration, Instant};

use chrono::Utc;
use cruddur_messaging::live::postgres::CHANNEL;
use cruddur_messaging::messages_table::attributes::Item;
use cruddur_messaging::messages_table::feed::{FedMessage, FedMessages, FeedContent, FeedEntry};
use cruddur_messaging::messages_table::feed_items::from_feed_entry;
use cruddur_messaging::messages_table::{Reading, SortKey};
use cruddur_messaging::model::MessageUuid;
use serde_json::json;
use uuid::Uuid;

use super::super::TABLE;
use super::sender::Sent;
use super::socket::body;
use super::world::{PEOPLE, Stores, World};

/// Writes to the feeds of all users. Nobody else may write to them.
pub struct Feeder<'a> {
    world: &'a World,
    stores: &'a Stores,
    /// The last positions of the feeds.
    positions: Vec<u64>,
}

impl<'a> Feeder<'a> {
    /// The feeds are empty.
    pub fn new(world: &'a World, stores: &'a Stores) -> Self {
        Self { world, stores, positions: vec![0; PEOPLE] }
    }

    /// Adds a message to the feed of each of these users, and sends one hint. `Sent::answered` is when the hint was sent.
    pub async fn feed(
        &mut self,
        entries: impl IntoIterator<Item = (usize, u32)>,
        length: usize,
    ) -> anyhow::Result<Vec<Sent>> {
        let begin = Instant::now();
        let (mut items, mut heads, mut numbers) = (Vec::new(), Vec::new(), Vec::new());
        for (person, number) in entries {
            items.push(self.entry(person, number, length));
            heads.push((self.stores.conversations.people[person].participant.uuid.0, self.positions[person]));
            numbers.push(number);
        }
        self.stores.engine.dynamodb.import(TABLE, items)?;
        heads.sort_unstable_by_key(|(_, position)| std::cmp::Reverse(*position));
        heads.dedup_by_key(|(person, _)| *person);
        let hint = json!({ "from": Uuid::nil(), "heads": heads }).to_string();
        sqlx::query("SELECT pg_notify($1, $2)").bind(CHANNEL).bind(hint).execute(self.world.users.pool()).await?;
        numbers.dedup();
        let (took, answered) = (begin.elapsed(), Instant::now());
        Ok(numbers.into_iter().map(|number| Sent { number, took, answered }).collect())
    }

    fn entry(&mut self, person: usize, number: u32, length: usize) -> Item {
        self.positions[person] += 1;
        let position = self.positions[person];
        let conversations = &self.stores.conversations;
        // The other one of the pair.
        let other = conversations.people[person ^ 1].participant.clone();
        let uuid = MessageUuid(Uuid::new_v4());
        let sort_key = SortKey::of_message(Utc::now(), uuid);
        let message = FedMessage { sort_key, uuid, body: body(number, length), is_own: false };
        let reading = Reading { received: position, ..Reading::default() };
        let group = conversations.groups[person / 2];
        let fed = FedMessages { group, other, messages: vec![message], newer: None, reading };
        from_feed_entry(&FeedEntry {
            owner: conversations.people[person].participant.uuid,
            position,
            id: Uuid::new_v4().simple().to_string(),
            events: position,
            written_at: Utc::now().timestamp_millis(),
            expires_at: Some((Utc::now() + Duration::from_secs(30 * 24 * 3600)).timestamp()),
            content: FeedContent::Messages(fed.into()),
        })
    }
}
