//! The state of a simulated world: a stream with shards, leases, rows with a lagging index, and processes that crash.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use cruddur_messaging::messages_table::feed::FeedEntry;
use cruddur_messaging::messages_table::items::from_message;
use cruddur_messaging::messages_table::{GroupRow, Membership, Message, SortKey};
use cruddur_messaging::model::{MessageGroupUuid, MessageUuid, UserUuid};
use cruddur_messaging::stream::ids::{ShardId, StreamArn};
use cruddur_messaging::stream::lease::Lease;
use cruddur_messaging::stream::repair::Repair;
use cruddur_messaging::stream::set_aside::SetAside;
use cruddur_messaging::stream::source::{Record, RecordChange};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use tokio::task::AbortHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::repair::Newest;

pub struct SimShard {
    pub id: ShardId,
    pub parent: Option<ShardId>,
    pub closed: bool,
    /// A late child exists, but it is listed only from this time on.
    pub listed_from: Instant,
    pub records: Vec<(Instant, Record)>,
    /// Number of the oldest records that are trimmed.
    pub trimmed: usize,
    /// Whether a read has found no record after the last one.
    pub read_to_end: bool,
    pub gone: bool,
}

pub struct Indexed {
    pub row: GroupRow,
    pub from: Instant,
    pub until: Option<Instant>,
}

/// The probability of each fault, in thousandths.
#[derive(Clone, Copy, Default)]
pub struct Odds {
    pub refused: u32,
    pub lost_answer: u32,
    pub crash: u32,
    pub pause: u32,
    pub conflict: u32,
    /// A write arrives long after its caller has timed out.
    pub late: u32,
    /// A page of the stream is empty, although it is not the last one.
    pub empty_page: u32,
}

/// An outage of a call for some time.
#[derive(Clone, Copy, Debug)]
pub enum Outage {
    Throttled(&'static str),
    Refused(&'static str),
    Conflicts,
}

pub struct State {
    pub random: SmallRng,
    pub odds: Odds,
    pub shards: Vec<SimShard>,
    pub next_sequence: u64,
    pub leases: BTreeMap<ShardId, Lease>,
    /// The leases of a moment ago, which a read that lags returns.
    pub leases_before: (Instant, BTreeMap<ShardId, Lease>),
    pub aside: Vec<SetAside>,
    pub repair: Repair,
    /// For each request of a repair: what the lists must have when a pass that covers it is finished.
    pub newest_when_requested: BTreeMap<u64, Newest>,
    /// Groups that a scan may have missed in this pass, because the index showed none of their rows.
    pub hidden_in_pass: BTreeSet<MessageGroupUuid>,
    /// Number of finished passes of the repair.
    pub passes: usize,
    /// How long it takes at most to scan a page of groups.
    pub scan_time: Duration,
    pub rows: BTreeMap<(UserUuid, SortKey), GroupRow>,
    pub feeds: BTreeMap<UserUuid, Vec<FeedEntry>>,
    pub index: Vec<Indexed>,
    pub index_lags: bool,
    pub memberships: BTreeMap<MessageGroupUuid, Membership>,
    pub messages: BTreeMap<MessageGroupUuid, Vec<Message>>,
    /// The messages of each group that are in the stream.
    pub streamed: BTreeMap<MessageGroupUuid, Vec<MessageUuid>>,
    /// Messages that came into the stream before a consumer created the first lease. Their records can be trimmed before they
    /// are read, and nothing can tell.
    pub before_leases: Option<BTreeSet<MessageUuid>>,
    /// Messages that processes of a version without feeds have handled.
    pub handled_without_feed: BTreeSet<MessageUuid>,
    /// The last read markers.
    pub marked: BTreeMap<(UserUuid, MessageGroupUuid), SortKey>,
    pub malformed: usize,
    /// Keys of malformed items. No read returns them.
    pub unreadable: BTreeMap<(UserUuid, SortKey), MessageGroupUuid>,
    pub last_stream: Option<StreamArn>,
    pub outage: Option<(Outage, Instant)>,
    /// Whether records were trimmed.
    pub has_trimmed: bool,
    pub violations: Vec<String>,
    /// How to end each process: at once, or in good order.
    pub processes: BTreeMap<String, (AbortHandle, CancellationToken)>,
    pub paused_until: BTreeMap<String, Instant>,
}

#[derive(Clone)]
pub struct SimWorld(Arc<Mutex<State>>);

impl SimWorld {
    pub fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(Self::state(seed))))
    }

    fn state(seed: u64) -> State {
        State {
            random: SmallRng::seed_from_u64(seed),
            odds: Odds::default(),
            shards: Vec::new(),
            next_sequence: 1,
            leases: BTreeMap::new(),
            leases_before: (Instant::now(), BTreeMap::new()),
            aside: Vec::new(),
            repair: Repair::default(),
            newest_when_requested: BTreeMap::new(),
            hidden_in_pass: BTreeSet::new(),
            passes: 0,
            scan_time: Duration::ZERO,
            rows: BTreeMap::new(),
            feeds: BTreeMap::new(),
            index: Vec::new(),
            index_lags: false,
            memberships: BTreeMap::new(),
            messages: BTreeMap::new(),
            streamed: BTreeMap::new(),
            before_leases: None,
            handled_without_feed: BTreeSet::new(),
            marked: BTreeMap::new(),
            malformed: 0,
            unreadable: BTreeMap::new(),
            last_stream: None,
            outage: None,
            has_trimmed: false,
            violations: Vec::new(),
            processes: BTreeMap::new(),
            paused_until: BTreeMap::new(),
        }
    }

    /// The state at the end.
    pub fn into_state(self) -> State {
        std::mem::replace(&mut *self.lock(), Self::state(0))
    }

    pub fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("the state of the world")
    }
}

impl State {
    pub fn chance(&mut self, thousandths: u32) -> bool {
        self.random.random_range(0..1000) < thousandths
    }

    pub fn millis(&mut self, most: u64) -> Duration {
        Duration::from_millis(self.random.random_range(0..=most))
    }

    /// The current outage.
    pub fn outage(&self) -> Option<Outage> {
        self.outage.filter(|(_, until)| Instant::now() < *until).map(|(outage, _)| outage)
    }

    pub fn violated(&mut self, what: impl Into<String>) {
        self.violations.push(what.into());
    }

    /// The leases as a list returns them, which lags by up to a second.
    pub fn listed_leases(&mut self) -> Vec<Lease> {
        let (at, before) = &self.leases_before;
        let lags = at.elapsed() < Duration::from_secs(1);
        let shown = if lags { before.values().cloned().collect() } else { Vec::new() };
        if self.chance(300) {
            self.leases_before = (Instant::now(), self.leases.clone());
        }
        if lags && self.chance(300) { shown } else { self.leases.values().cloned().collect() }
    }

    pub fn put_row(&mut self, row: GroupRow) {
        let lag = self.index_lag();
        self.index.push(Indexed { row: row.clone(), from: Instant::now() + lag, until: None });
        self.rows.insert((row.owner, row.sort_key.clone()), row);
    }

    pub fn delete_row(&mut self, owner: UserUuid, sort_key: &SortKey) {
        self.rows.remove(&(owner, sort_key.clone()));
        let until = Instant::now() + self.index_lag();
        let entries = self.index.iter_mut().filter(|it| it.row.owner == owner && it.row.sort_key == *sort_key);
        for entry in entries.filter(|it| it.until.is_none()) {
            entry.until = Some(until);
        }
    }

    /// The rows that the index shows now.
    pub fn indexed(&self) -> impl Iterator<Item = &GroupRow> {
        let now = Instant::now();
        let is_shown = move |it: &&Indexed| it.from <= now && it.until.is_none_or(|until| now < until);
        self.index.iter().filter(is_shown).map(|it| &it.row)
    }

    fn index_lag(&mut self) -> Duration {
        if !self.index_lags {
            return Duration::ZERO;
        }
        if self.chance(100) { self.millis(2_000) } else { self.millis(20) }
    }

    /// Appends to the open shard of the group, or to another one: DynamoDB splits a hot partition by sort key, so the messages of
    /// one group can be in sibling shards.
    pub fn append(&mut self, group: MessageGroupUuid, change: RecordChange) {
        let open: Vec<usize> = (0..self.shards.len()).filter(|at| !self.shards[*at].closed).collect();
        let own = usize::try_from(group.0.as_u128() % open.len() as u128).expect("an index");
        let at = open[if self.chance(200) { self.random.random_range(0..open.len()) } else { own }];
        let record = Record { sequence_number: self.next_sequence.to_string().into(), created_at: None, change };
        self.next_sequence += 1;
        self.shards[at].records.push((Instant::now(), record));
        self.shards[at].read_to_end = false;
    }

    pub fn store(&mut self, message: Message) {
        let group = message.group;
        self.append(group, RecordChange::Inserted(from_message(&message)));
        self.streamed.entry(group).or_default().push(message.uuid);
        self.messages.entry(group).or_default().push(message);
    }

    pub fn newest(&self, group: MessageGroupUuid) -> Option<&Message> {
        self.messages.get(&group)?.iter().max_by(|a, b| a.sort_key.cmp(&b.sort_key))
    }

    /// Closes a shard and opens its children. They are listed at once or late.
    pub fn split(&mut self) {
        let open: Vec<usize> = (0..self.shards.len()).filter(|at| !self.shards[*at].closed).collect();
        let at = open[self.random.random_range(0..open.len())];
        self.shards[at].closed = true;
        let parent = self.shards[at].id.clone();
        let parent_listed = self.shards[at].listed_from.saturating_duration_since(Instant::now());
        for _ in 0..self.random.random_range(1..=2) {
            let late = if self.chance(300) { self.millis(20_000) } else { Duration::ZERO };
            self.open_shard(Some(parent.clone()), parent_listed + late);
        }
    }

    pub fn open_shard(&mut self, parent: Option<ShardId>, late: Duration) {
        let id = format!("shard-{:03}", self.shards.len()).into();
        let listed_from = Instant::now() + late;
        self.shards.push(SimShard {
            id,
            parent,
            closed: false,
            listed_from,
            records: Vec::new(),
            trimmed: 0,
            read_to_end: false,
            gone: false,
        });
    }

    /// Trims records that are older than `retention`. Closed shards without records vanish.
    pub fn trim(&mut self, retention: Duration) {
        let now = Instant::now();
        for shard in &mut self.shards {
            shard.trimmed = shard.records.iter().take_while(|(at, _)| now.duration_since(*at) > retention).count();
            self.has_trimmed |= shard.trimmed > 0;
            let old = now.duration_since(shard.listed_from.min(now)) > retention;
            shard.gone |= shard.closed && old && shard.trimmed == shard.records.len();
        }
    }
}
