//! What one process sees of the simulated world: its calls, which can fail, and the stream. The tables are in `tables.rs`.

use std::future::pending;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use chrono::{DateTime, Utc};
use cruddur_messaging::environment::Environment;
use cruddur_messaging::messages_table::TableError;
use cruddur_messaging::stream::ids::{ShardId, StreamArn};
use cruddur_messaging::stream::lease::Lease;
use cruddur_messaging::stream::source::{Batch, Position, Shard, StreamError, StreamSource};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use tokio::time::Instant;

use super::world::{Outage, SimShard, SimWorld, State};

pub const STREAM: &str = "stream";
/// Iterators expire sooner than in DynamoDB, as everything here takes less time.
const ITERATOR_LIFE: Duration = Duration::from_secs(20);

/// One process of the world.
#[derive(Clone)]
pub struct Part {
    pub world: SimWorld,
    pub process: String,
}

enum Cut {
    Unavailable,
    Refused,
}

fn failed(operation: &'static str, cut: &Cut) -> TableError {
    let (code, source) = (None, Arc::new(std::io::Error::other("simulated")));
    match cut {
        Cut::Unavailable => TableError::Unavailable { operation, code, source },
        Cut::Refused => TableError::Refused { operation, code, source },
    }
}

impl Part {
    /// A call. It takes some time. It can be rejected, its caller can crash before or after it, and its response can get lost.
    async fn call<A>(&self, operation: &str, act: impl FnOnce(&mut State) -> A) -> Result<A, Cut> {
        let latency = self.world.lock().millis(15);
        tokio::time::sleep(latency).await;
        self.maybe_pause().await;
        self.maybe_crash().await;
        let answer = {
            let mut state = self.world.lock();
            match state.outage() {
                Some(Outage::Throttled(of)) if of == operation => return Err(Cut::Unavailable),
                Some(Outage::Refused(of)) if of == operation => return Err(Cut::Refused),
                _ => {}
            }
            let refused = state.odds.refused;
            if state.chance(refused) {
                return Err(Cut::Unavailable);
            }
            act(&mut state)
        };
        self.maybe_crash().await;
        let mut state = self.world.lock();
        let lost = state.odds.lost_answer;
        if state.chance(lost) { Err(Cut::Unavailable) } else { Ok(answer) }
    }

    /// No task of a paused process makes a call.
    async fn maybe_pause(&self) {
        loop {
            let until = {
                let mut state = self.world.lock();
                let odds = state.odds.pause;
                if state.chance(odds) {
                    let until = Instant::now() + Duration::from_secs(5) + state.millis(20_000);
                    state.paused_until.insert(self.process.clone(), until);
                }
                state.paused_until.get(&self.process).copied().filter(|until| *until > Instant::now())
            };
            match until {
                Some(until) => tokio::time::sleep_until(until).await,
                None => return,
            }
        }
    }

    async fn maybe_crash(&self) {
        let crashes = {
            let mut state = self.world.lock();
            let odds = state.odds.crash;
            let crashes = state.chance(odds);
            if crashes && let Some((process, _)) = state.processes.remove(&self.process) {
                process.abort();
            }
            crashes || !state.processes.contains_key(&self.process)
        };
        if crashes {
            pending::<()>().await;
        }
    }

    pub(super) async fn table<A>(
        &self,
        operation: &'static str,
        act: impl FnOnce(&mut State) -> A,
    ) -> Result<A, TableError> {
        self.call(operation, act).await.map_err(|cut| failed(operation, &cut))
    }

    /// A write that can arrive long after its caller has timed out.
    pub(super) async fn write_to_table<A: Send + 'static>(
        &self,
        operation: &'static str,
        act: impl FnOnce(&mut State) -> A + Send + 'static,
    ) -> Result<A, TableError> {
        let late = {
            let mut state = self.world.lock();
            let odds = state.odds.late;
            state.chance(odds).then(|| state.millis(40_000))
        };
        let Some(late) = late else { return self.table(operation, act).await };
        let world = self.world.clone();
        tokio::spawn(async move {
            tokio::time::sleep(late).await;
            act(&mut world.lock());
        });
        tokio::time::sleep(Duration::from_secs(2)).await;
        Err(failed(operation, &Cut::Unavailable))
    }

    async fn streams<A>(
        &self,
        operation: &'static str,
        act: impl FnOnce(&mut State) -> Result<A, StreamError>,
    ) -> Result<A, StreamError> {
        self.call(operation, act).await.unwrap_or_else(|cut| {
            let source = "simulated".into();
            Err(match cut {
                Cut::Unavailable => StreamError::Unavailable { operation, source },
                Cut::Refused => StreamError::Refused { operation, source },
            })
        })
    }
}

fn listed(state: &State, of: Option<&str>) -> Vec<Shard> {
    let now = Instant::now();
    let shards = state.shards.iter().filter(|it| it.listed_from <= now && !it.gone);
    let shards = shards.filter(|it| of.is_none() || it.parent.as_deref() == of);
    shards.map(|it| Shard { id: it.id.clone(), parent: it.parent.clone(), is_open: !it.closed }).collect()
}

fn there<'a>(state: &'a State, shard: &str, operation: &'static str) -> Result<&'a SimShard, StreamError> {
    state.shards.iter().find(|it| &*it.id == shard && !it.gone).ok_or(StreamError::Gone { operation })
}

pub(super) fn sequence(text: &str) -> u64 {
    text.parse().expect("a sequence number")
}

impl StreamSource for Part {
    async fn stream(&self) -> Result<StreamArn, StreamError> {
        self.streams("DescribeTable", |_| Ok(STREAM.into())).await
    }

    async fn shards(&self, _stream: &StreamArn) -> Result<Vec<Shard>, StreamError> {
        self.streams("DescribeStream", |state| Ok(listed(state, None))).await
    }

    async fn children(&self, _stream: &StreamArn, parent: &ShardId) -> Result<Vec<Shard>, StreamError> {
        // For a shard that is not listed any more, engines respond to the filter for children in both ways.
        self.streams("DescribeStream", |state| {
            let is_there = there(state, parent, "DescribeStream").map(drop);
            if state.chance(500) {
                is_there?
            }
            Ok(listed(state, Some(parent)))
        })
        .await
    }

    async fn iterator(&self, _stream: &StreamArn, shard: &ShardId, position: &Position) -> Result<String, StreamError> {
        let made = Instant::now();
        self.streams("GetShardIterator", |state| {
            let found = there(state, shard, "GetShardIterator")?;
            let at = match position {
                Position::TrimHorizon => found.trimmed,
                Position::After(number) => {
                    found.records.iter().take_while(|(_, it)| sequence(&it.sequence_number) <= sequence(number)).count()
                }
            };
            if at < found.trimmed {
                return Err(StreamError::Trimmed);
            }
            Ok((shard.to_owned(), at))
        })
        .await
        .map(|(shard, at)| format!("{shard} {at} {}", made.elapsed().as_millis() + now_millis()))
    }

    async fn records(&self, iterator: &str) -> Result<Batch, StreamError> {
        self.streams("GetRecords", |state| {
            let parts: Vec<&str> = iterator.split(' ').collect();
            let at: usize = parts[1].parse().expect("a place");
            let made: u128 = parts[2].parse().expect("a time");
            if now_millis().saturating_sub(made) > ITERATOR_LIFE.as_millis() {
                return Err(StreamError::IteratorExpired);
            }
            // A page can be empty although later ones have records, or although no record follows in a closed shard.
            let empty_page = state.odds.empty_page;
            let is_empty_page = state.chance(empty_page);
            let most = if is_empty_page { 0 } else { state.random.random_range(1..=12) };
            let found = there(state, parts[0], "GetRecords")?;
            if at < found.trimmed {
                return Err(StreamError::Trimmed);
            }
            let records: Vec<_> = found.records[at..].iter().take(most).map(|(_, record)| record.clone()).collect();
            let behind = at + records.len();
            let nothing_waits = behind == found.records.len();
            let ended = found.closed && nothing_waits && !is_empty_page;
            let next = (!ended).then(|| format!("{} {behind} {}", found.id, now_millis()));
            let parent = found.parent.clone().filter(|parent| there(state, parent, "").is_ok());
            let parent_done = parent.as_ref().is_none_or(|it| state.leases.get(it).is_none_or(Lease::is_finished));
            if !records.is_empty() && !parent_done {
                state.violated(format!("{} read records of {} before {parent:?} ended", self.process, parts[0]));
            }
            if records.is_empty()
                && nothing_waits
                && let Some(read) = state.shards.iter_mut().find(|it| &*it.id == parts[0])
            {
                read.read_to_end = true;
            }
            Ok(Batch { records, next })
        })
        .await
    }
}

/// Milliseconds of the virtual clock since the start of the seed.
pub(super) fn now_millis() -> u128 {
    thread_local! {
        static BEGIN: std::cell::Cell<Option<Instant>> = const { std::cell::Cell::new(None) };
    }
    let now = Instant::now();
    let begin = BEGIN.with(|begin| begin.get().unwrap_or(now));
    // Another seed on the same thread has another clock. Only differences count.
    BEGIN.with(|cell| cell.set(Some(begin)));
    now.saturating_duration_since(begin).as_millis()
}

/// The virtual clock as a wall clock.
pub struct VirtualEnvironment(Mutex<SmallRng>);

impl VirtualEnvironment {
    pub fn seeded(seed: u64) -> Self {
        Self(Mutex::new(SmallRng::seed_from_u64(seed)))
    }
}

impl Environment for VirtualEnvironment {
    fn now(&self) -> DateTime<Utc> {
        DateTime::from_timestamp_millis(i64::try_from(now_millis()).expect("a time")).expect("a time")
    }

    fn new_uuid(&self) -> uuid::Uuid {
        uuid::Uuid::from_u128(self.0.lock().expect("the random source").random())
    }

    fn random(&self) -> f64 {
        self.0.lock().expect("the random source").random_range(0.0..1.0)
    }
}
