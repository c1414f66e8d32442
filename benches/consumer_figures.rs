//! Measures the stream consumer on the embedded engine: cost of moves, takeover, lag under load, a backlog.

mod engine;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail};
use async_trait::async_trait;
use aws_sdk_dynamodb::types::StreamSpecification;
use chrono::{TimeDelta, Utc};
use cruddur_messaging::app::{consume, fresh_name};
use cruddur_messaging::aws::Aws;
use cruddur_messaging::environment::SystemEnvironment;
use cruddur_messaging::live::Live;
use cruddur_messaging::messages_table::feed::{FeedEntry, FeedHead};
use cruddur_messaging::messages_table::items::from_message;
use cruddur_messaging::messages_table::schema::{Billing, load_leases_table, load_messages_table};
use cruddur_messaging::messages_table::{
    Applied, Created, GroupRow, GroupUpdate, Membership, Message, MessagesTable, ScanPosition, SortKey, TableError,
};
use cruddur_messaging::model::{MessageGroupUuid, MessageUuid, NameCopy, Participant, UserUuid};
use cruddur_messaging::shutdown::Shutdown;
use cruddur_messaging::stream::Consumer;
use cruddur_messaging::stream::appender::{Appender, FEED_RETENTION};
use cruddur_messaging::stream::arrivals::arrivals;
use cruddur_messaging::stream::consumer_table::ConsumerTable;
use cruddur_messaging::stream::dynamodb::DynamoDbStream;
use cruddur_messaging::stream::effect::{Cause, Writer};
use cruddur_messaging::stream::ids::{ShardId, StreamArn};
use cruddur_messaging::stream::lease::{Checkpoint, LeaseTable};
use cruddur_messaging::stream::origin::Origin;
use cruddur_messaging::stream::rows::GroupRows;
use cruddur_messaging::stream::source::{Batch, Position, Record, RecordChange, Shard, StreamError, StreamSource};
use futures::{StreamExt, TryStreamExt, stream};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use engine::Engine;

const TABLE: &str = "cruddur-messages";
const LOAD_PER_SECOND: u64 = 200;
const LOAD_SECONDS: u64 = 24;
const BACKLOG_RECORDS: usize = 100_000;
const BACKLOG_GROUPS: usize = 10_000;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    costs(&World::new().await?).await?;
    takeovers(&World::new().await?).await?;
    let mut lags = lag(&World::new().await?).await?;
    let (count, (median, p99, worst)) = (lags.len(), quantiles(&mut lags));
    println!(
        "lag at {LOAD_PER_SECOND} messages a second, {count} messages: \
         median {median:.0?}, p99 {p99:.0?}, worst {worst:.0?}"
    );
    let world = World::new().await?;
    world.stop_stream().await?;
    backlog(&world).await
}

/// Tables on an engine of their own.
struct World {
    aws: Aws,
    table: MessagesTable,
    _engine: Engine,
}

impl World {
    async fn new() -> anyhow::Result<Self> {
        let engine = Engine::start().await?;
        let aws = Aws::local(engine.dynamodb.url()).await;
        load_messages_table(&aws.dynamodb, TABLE, Billing::OnDemand).await?;
        load_leases_table(&aws.dynamodb, TABLE, Billing::OnDemand).await?;
        let table = MessagesTable::new(aws.dynamodb.clone(), TABLE);
        Ok(Self { aws, table, _engine: engine })
    }

    /// Creates a conversation and returns its first message.
    async fn conversation(&self) -> anyhow::Result<Message> {
        let participants = [participant(), participant()];
        let group = MessageGroupUuid(Uuid::new_v4());
        let first = message(group, &participants[0]);
        let membership = Membership::begin(group, participants);
        match self.table.create_conversation(None, &membership, &first, &first).await? {
            Created::Done => Ok(first),
            other => bail!("the conversation was not created: {other:?}"),
        }
    }

    /// Turns the stream of the table off, for a measurement with a stream of its own.
    async fn stop_stream(&self) -> anyhow::Result<()> {
        let off = StreamSpecification::builder().stream_enabled(false).build()?;
        self.aws.dynamodb.update_table().table_name(TABLE).stream_specification(off).send().await?;
        Ok(())
    }

    fn source(&self) -> DynamoDbStream {
        DynamoDbStream::new(self.aws.dynamodb.clone(), self.aws.streams.clone(), TABLE)
    }

    fn leases(&self) -> ConsumerTable {
        ConsumerTable::new(self.aws.dynamodb.clone(), TABLE)
    }

    fn consumer<S: StreamSource>(&self, source: S, name: String) -> Arc<Consumer<S, ConsumerTable, MessagesTable>> {
        let environment = Arc::new(SystemEnvironment);
        Arc::new(Consumer::new(source, self.leases(), self.table.clone(), name, environment))
    }
}

fn participant() -> Participant {
    let names = NameCopy { handle: "someone".into(), display_name: "Some One".into() };
    Participant { uuid: UserUuid(Uuid::new_v4()), names: names.into() }
}

fn message(group: MessageGroupUuid, author: &Participant) -> Message {
    let (uuid, created_at) = (MessageUuid(Uuid::new_v4()), Utc::now());
    let sort_key = SortKey::of_message(created_at, uuid);
    let body = "A message of a length that people write to each other on an ordinary day.".to_owned();
    Message { uuid, group, author: author.clone(), body, created_at, sort_key }
}

fn record(number: usize, message: &Message) -> Record {
    let change = RecordChange::Inserted(from_message(message));
    Record { sequence_number: format!("{number:021}").into(), created_at: None, change }
}

/// Median, 99th percentile and maximum.
fn quantiles(times: &mut [Duration]) -> (Duration, Duration, Duration) {
    times.sort();
    let at = |quantile: f64| times[((times.len() - 1) as f64 * quantile).round() as usize];
    (at(0.5), at(0.99), at(1.0))
}

async fn until(mut holds: impl AsyncFnMut() -> anyhow::Result<bool>) -> anyhow::Result<()> {
    let begin = Instant::now();
    while !holds().await? {
        if begin.elapsed() > Duration::from_secs(600) {
            bail!("timed out");
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(())
}

/// A shard under a lease that is never lost.
struct OneShard;

#[async_trait]
impl Origin for OneShard {
    fn name(&self) -> &str {
        "stream/shardId-00000001572500000000-01234567"
    }

    async fn is_held(&self) -> Result<bool, TableError> {
        Ok(true)
    }

    async fn is_finished(&self, _: &str) -> Result<bool, TableError> {
        Ok(false)
    }
}

/// Write units for the move of a message, by the number of messages of its group in a batch.
async fn costs(world: &World) -> anyhow::Result<()> {
    let appender = Appender::new(Some(FEED_RETENTION));
    let writer = Writer { table: &world.table, appender: &appender, environment: &SystemEnvironment };
    let rounds = 20;
    for depth in [1, 5, 50] {
        let mut spent = 0.0;
        for _ in 0..rounds {
            let first = world.conversation().await?;
            let messages: Vec<Message> = (0..depth).map(|_| message(first.group, &first.author)).collect();
            for message in &messages {
                world.table.put_message(message).await?;
            }
            let records: Vec<Record> = messages.iter().enumerate().map(|(at, it)| record(at, it)).collect();
            let before = world.table.consumed().write;
            for arrivals in arrivals(&records).groups {
                writer.apply(Cause::Arrived { origin: &OneShard, arrivals: &arrivals, may_be_lost: false }).await?;
            }
            spent += world.table.consumed().write - before;
        }
        let each = spent / f64::from(rounds * depth);
        println!("moves, batch depth {depth}: {each:.2} write units a message, {:.2} of the legacy 8", each / 8.0);
    }
    Ok(())
}

/// Time from the end of a holder to the first read of the next one.
async fn takeovers(world: &World) -> anyhow::Result<()> {
    world.conversation().await?;
    let stream = world.source().stream().await?;
    let leases = world.leases();
    let is_held_by = async |name: &str| {
        let leases = LeaseTable::list(&leases, &stream, false).await?;
        Ok(leases.iter().any(|lease| lease.owner.as_deref() == Some(name)))
    };
    let (mut stopped, mut died) = (Vec::new(), Vec::new());
    for round in 0..6 {
        let (next, stop) = (Shutdown::default(), CancellationToken::new());
        let names = [fresh_name(), fresh_name()];
        let holder = tokio::spawn(world.consumer(world.source(), names[0].clone()).run(stop.clone()));
        until(async || is_held_by(&names[0]).await).await?;
        consume(&world.aws, TABLE, Some(FEED_RETENTION), names[1].clone(), Live::in_process(), &next);
        tokio::time::sleep(Duration::from_secs(1)).await;
        let begin = Instant::now();
        let times = if round % 2 == 0 {
            holder.abort();
            &mut died
        } else {
            stop.cancel();
            &mut stopped
        };
        until(async || is_held_by(&names[1]).await).await?;
        times.push(begin.elapsed());
        next.finish().await;
    }
    let (stopped, died) = (quantiles(&mut stopped), quantiles(&mut died));
    println!("takeover after a stop: median {:.2?}, worst {:.2?}", stopped.0, stopped.2);
    println!("takeover after a death: median {:.1?}, worst {:.1?}", died.0, died.2);
    Ok(())
}

/// The real table, with the time of each move.
#[derive(Clone)]
struct Timed {
    table: MessagesTable,
    moves: Arc<Mutex<Vec<(MessageGroupUuid, SortKey, Instant)>>>,
}

impl GroupRows for Timed {
    async fn indexed_rows(&self, group: MessageGroupUuid) -> Result<Vec<GroupRow>, TableError> {
        GroupRows::indexed_rows(&self.table, group).await
    }

    async fn own_rows(&self, user: UserUuid, group: MessageGroupUuid) -> Result<Vec<GroupRow>, TableError> {
        GroupRows::own_rows(&self.table, user, group).await
    }

    async fn row_at(
        &self,
        user: UserUuid,
        group: MessageGroupUuid,
        sort_key: &SortKey,
    ) -> Result<Option<GroupRow>, TableError> {
        GroupRows::row_at(&self.table, user, group, sort_key).await
    }

    async fn recent_sort_keys(&self, group: MessageGroupUuid) -> Result<Vec<SortKey>, TableError> {
        GroupRows::recent_sort_keys(&self.table, group).await
    }

    async fn legacy_is_adopted(&self) -> Result<bool, TableError> {
        GroupRows::legacy_is_adopted(&self.table).await
    }

    async fn membership(&self, group: MessageGroupUuid) -> Result<Option<Membership>, TableError> {
        GroupRows::membership(&self.table, group).await
    }

    async fn newest_message(
        &self,
        group: MessageGroupUuid,
        author: Option<UserUuid>,
    ) -> Result<Option<Message>, TableError> {
        GroupRows::newest_message(&self.table, group, author).await
    }

    async fn adopt_legacy_group(&self, membership: &Membership) -> Result<(), TableError> {
        GroupRows::adopt_legacy_group(&self.table, membership).await
    }

    async fn groups(
        &self,
        from: Option<ScanPosition>,
    ) -> Result<(Vec<MessageGroupUuid>, Option<ScanPosition>), TableError> {
        GroupRows::groups(&self.table, from).await
    }

    async fn count_messages(
        &self,
        group: MessageGroupUuid,
        author: UserUuid,
        after: Option<&SortKey>,
        up_to: &SortKey,
    ) -> Result<u64, TableError> {
        GroupRows::count_messages(&self.table, group, author, after, up_to).await
    }

    async fn feed_head(&self, owner: UserUuid) -> Result<Option<FeedHead>, TableError> {
        GroupRows::feed_head(&self.table, owner).await
    }

    async fn apply(&self, updates: &[GroupUpdate], entries: &[FeedEntry]) -> Result<Applied, TableError> {
        let outcome = GroupRows::apply(&self.table, updates, entries).await?;
        if outcome == Applied::Done {
            let now = Instant::now();
            let moved = updates.iter().filter_map(|update| update.put.first());
            let moved = moved.map(|row| (row.group, row.sort_key.clone(), now));
            self.moves.lock().unwrap_or_else(PoisonError::into_inner).extend(moved);
        }
        Ok(outcome)
    }
}

/// Time from the response to the write of a message until the rows of its group have moved, under load in fifty groups.
async fn lag(world: &World) -> anyhow::Result<Vec<Duration>> {
    let firsts: Vec<Message> = stream::iter(0..50).then(|_| world.conversation()).try_collect().await?;
    let rows = Timed { table: world.table.clone(), moves: Arc::default() };
    let (environment, name) = (Arc::new(SystemEnvironment), fresh_name());
    let consumer = Consumer::new(world.source(), world.leases(), rows.clone(), name, environment);
    let stop = CancellationToken::new();
    let running = tokio::spawn(Arc::new(consumer).run(stop.clone()));
    tokio::time::sleep(Duration::from_secs(2)).await;
    let mut writes = Vec::new();
    let mut tick = tokio::time::interval(Duration::from_micros(1_000_000 / LOAD_PER_SECOND));
    for number in 0..LOAD_PER_SECOND * LOAD_SECONDS {
        tick.tick().await;
        let first = &firsts[usize::try_from(number)? % firsts.len()];
        let (table, message) = (world.table.clone(), message(first.group, &first.author));
        writes.push(tokio::spawn(async move {
            table.put_message(&message).await?;
            Ok::<_, anyhow::Error>((message.group, message.sort_key, Instant::now()))
        }));
    }
    let mut written = Vec::new();
    for write in writes {
        written.push(write.await??);
    }
    let moved = |(group, key, _): &(MessageGroupUuid, SortKey, Instant)| {
        let moves = rows.moves.lock().unwrap_or_else(PoisonError::into_inner);
        moves.iter().find(|(moved, to, _)| moved == group && to >= key).map(|(_, _, at)| *at)
    };
    until(async || Ok(written.iter().all(|message| moved(message).is_some()))).await?;
    stop.cancel();
    running.await.context("the consumer")??;
    let lag = |message| Some(moved(message)?.saturating_duration_since(message.2));
    Ok(written.iter().filter_map(lag).collect())
}

/// A closed shard full of records. The moves are made in the real table.
struct Backlog(Mutex<VecDeque<Record>>);

impl StreamSource for Backlog {
    async fn stream(&self) -> Result<StreamArn, StreamError> {
        Ok("backlog".into())
    }

    async fn shards(&self, _stream: &StreamArn) -> Result<Vec<Shard>, StreamError> {
        Ok(vec![Shard { id: "backlog".into(), parent: None, is_open: true }])
    }

    async fn children(&self, _stream: &StreamArn, _parent: &ShardId) -> Result<Vec<Shard>, StreamError> {
        Ok(Vec::new())
    }

    async fn iterator(
        &self,
        _stream: &StreamArn,
        _shard: &ShardId,
        _position: &Position,
    ) -> Result<String, StreamError> {
        Ok("next".to_owned())
    }

    async fn records(&self, _iterator: &str) -> Result<Batch, StreamError> {
        let mut left = self.0.lock().map_err(|_| StreamError::IteratorExpired)?;
        let count = left.len().min(1000);
        let records: Vec<Record> = left.drain(..count).collect();
        let next = (!left.is_empty()).then(|| "next".to_owned());
        Ok(Batch { records, next })
    }
}

async fn backlog(world: &World) -> anyhow::Result<()> {
    let begun = stream::iter(0..BACKLOG_GROUPS).map(|_| world.conversation()).buffer_unordered(16);
    let firsts: Vec<Message> = begun.try_collect().await?;
    // People write several messages in a row, so the records of a conversation are next to each other.
    let groups = firsts.iter().flat_map(|first| std::iter::repeat_n(first, BACKLOG_RECORDS / BACKLOG_GROUPS));
    let records = groups.enumerate().map(|(number, first)| {
        let mut message = message(first.group, &first.author);
        message.created_at += TimeDelta::microseconds(i64::try_from(number).unwrap_or_default());
        message.sort_key = SortKey::of_message(message.created_at, message.uuid);
        record(number, &message)
    });
    let consumer = world.consumer(Backlog(Mutex::new(records.collect())), fresh_name());
    let stop = CancellationToken::new();
    let leases = world.leases();
    let begin = Instant::now();
    let running = tokio::spawn(consumer.run(stop.clone()));
    until(async || {
        let lease = leases.get(&"backlog".into(), &"backlog".into()).await?;
        Ok(lease.is_some_and(|lease| lease.checkpoint == Some(Checkpoint::ShardEnd)))
    })
    .await?;
    let took = begin.elapsed().as_secs_f64();
    stop.cancel();
    running.await.context("the consumer")??;
    if consumer_is_wrong(world, &firsts).await? {
        return Err(anyhow!("a row was not moved to its newest message"));
    }
    println!(
        "a backlog of {BACKLOG_RECORDS} records of {BACKLOG_GROUPS} groups: {took:.0} s, {:.0} records and {:.0} moves a second",
        BACKLOG_RECORDS as f64 / took,
        BACKLOG_GROUPS as f64 / took
    );
    Ok(())
}

/// Whether a row was not moved.
async fn consumer_is_wrong(world: &World, firsts: &[Message]) -> anyhow::Result<bool> {
    for first in firsts.iter().step_by(97) {
        let rows = world.table.own_rows_of_group(first.author.uuid, first.group).await?;
        if rows.len() != 1 || rows[0].sort_key <= first.sort_key {
            return Ok(true);
        }
    }
    Ok(false)
}
