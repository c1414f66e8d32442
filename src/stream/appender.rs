//! Appends entries to feeds. Each entry of a commit gets the next position of its feed.
//!
//! The transaction that writes the rows also puts the entry at its position, on the condition that the position is
//! free. So positions have no gaps, and a reader that sees one position sees all positions before it.
//!
//! Two commits that append to one feed cannot be written at the same time. Within a process, a commit therefore waits
//! while a transaction of one of its users runs, and the next transaction includes the commits that waited. Commits of
//! other users do not wait. Between processes, the condition on the position lets only one transaction succeed. The other
//! process then reads the head of the feed (its last entry) again.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use quick_cache::sync::Cache;
use tokio::sync::{Notify, oneshot};

use super::planner::GroupCommit;
use super::rows::GroupRows;
use crate::backoff::Backoff;
use crate::environment::Environment;
use crate::messages_table::feed::{FeedContent, FeedEntry, FeedHead};
use crate::messages_table::{Applied, GroupRow, GroupUpdate, TableError, UpdateProblem};
use crate::metrics::Count;
use crate::model::UserUuid;

/// Default time for which feeds keep their entries.
pub const FEED_RETENTION: Duration = Duration::from_secs(30 * 24 * 3600);

/// Maximum number of commits in one transaction. A commit usually has six items: two entries, and two rows to delete and two
/// to put.
const MAX_COMMITS: usize = 10;
/// Maximum number of items in one transaction. DynamoDB allows 100.
const MAX_ITEMS: usize = 90;
/// Maximum size of the texts of one transaction in bytes, as `GroupCommit::size` counts them. A transaction needs two write units
/// for each KB at once. At this size, it needs 800. A table of the smallest size saves up to 1,500 (five per second for five
/// minutes), and a partition allows 1,000 per second. A transaction that needs more might never succeed.
const MAX_TEXT_BYTES: usize = 400_000;
/// Maximum number of attempts of a transaction. Each attempt reads the heads again. If the last one fails, the commits are
/// planned again.
const TRIES: u32 = 4;
const FIRST_WAIT: Duration = Duration::from_millis(5);
const MAX_WAIT: Duration = Duration::from_millis(100);
/// Maximum number of heads in the cache.
const MAX_HEADS: usize = 50_000;
/// Time for which a head is cached. It is much shorter than the lifetime of entries, so that no process appends after a head
/// that has expired.
const HEAD_LIFETIME: Duration = Duration::from_secs(60);

/// The outcome of a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Committed {
    /// The commit was written.
    Done,
    /// The commit was not written, because the conditions on its rows failed.
    Problem(UpdateProblem),
    /// The commit was not written, because of conflicts with other transactions on its items.
    Conflict,
}

type Answer = Result<Committed, TableError>;

/// Called after each transaction that appends entries, with users and the positions of the last entries of their feeds.
pub type OnAppend = Arc<dyn Fn(&mut dyn Iterator<Item = (UserUuid, u64)>) + Send + Sync>;

/// Appends to feeds for one process.
pub struct Appender {
    queue: Mutex<Queue>,
    /// Notifies the commits that wait for a transaction of their users.
    changed: Notify,
    /// Heads of feeds, and the times at which they were cached.
    heads: Cache<UserUuid, (Option<FeedHead>, Instant)>,
    retention: Option<Duration>,
    on_append: Option<OnAppend>,
}

#[derive(Default)]
struct Queue {
    next: u64,
    waiting: VecDeque<Waiting>,
    /// Users for whom a transaction is running.
    busy: HashSet<UserUuid>,
}

struct Waiting {
    id: u64,
    commit: GroupCommit,
    answer: oneshot::Sender<Answer>,
}

/// Commits that are written in one transaction. When the batch is dropped, the commits that wait for its users continue.
struct Batch<'a> {
    appender: &'a Appender,
    users: HashSet<UserUuid>,
    commits: Vec<Waiting>,
}

/// A commit in the queue. When the ticket is dropped, the commit leaves the queue.
struct Ticket<'a> {
    appender: &'a Appender,
    id: u64,
}

impl Appender {
    /// Creates an appender. Entries expire after `retention`; with `None` they never expire.
    pub fn new(retention: Option<Duration>) -> Self {
        let (queue, changed, heads) = (Mutex::default(), Notify::new(), Cache::new(MAX_HEADS));
        Self { queue, changed, heads, retention, on_append: None }
    }

    /// Sets the function that is called after each transaction that appends entries.
    pub fn set_on_append(&mut self, on_append: OnAppend) {
        self.on_append = Some(on_append);
    }

    /// Writes a commit, possibly in one transaction with other commits. The commit must be planned from rows that were read
    /// before.
    pub async fn commit<R: GroupRows>(
        &self,
        table: &R,
        environment: &dyn Environment,
        commit: GroupCommit,
    ) -> Result<Committed, TableError> {
        let (answer, mut answered) = oneshot::channel();
        let ticket = self.enqueue(commit, answer);
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            // From here on, no notification is lost.
            changed.as_mut().enable();
            if let Some(batch) = self.next_batch(ticket.id) {
                batch.write(table, environment).await;
            }
            tokio::select! {
                biased;
                // An error means that the task that wrote the batch has ended without an answer.
                answer = &mut answered => return answer.unwrap_or(Ok(Committed::Conflict)),
                () = changed => {}
            }
        }
    }

    fn enqueue(&self, commit: GroupCommit, answer: oneshot::Sender<Answer>) -> Ticket<'_> {
        let mut queue = self.lock();
        queue.next += 1;
        let id = queue.next;
        queue.waiting.push_back(Waiting { id, commit, answer });
        Ticket { appender: self, id }
    }

    /// Returns the batch of the commit `id`, or `None` if a transaction of one of its users is running. The batch
    /// contains this commit and the commits that wait for one of the same users.
    fn next_batch(&self, id: u64) -> Option<Batch<'_>> {
        let mut queue = self.lock();
        let at = queue.waiting.iter().position(|waiting| waiting.id == id)?;
        if queue.waiting[at].commit.users().any(|user| queue.busy.contains(&user)) {
            return None;
        }
        let first = queue.waiting.remove(at)?;
        let (mut items, mut bytes) = first.commit.size();
        let mut users: HashSet<UserUuid> = first.commit.users().collect();
        let mut commits = vec![first];
        let mut index = 0;
        while index < queue.waiting.len() && commits.len() < MAX_COMMITS {
            let commit = &queue.waiting[index].commit;
            let (more_items, more_bytes) = commit.size();
            let is_wanted = commit.users().any(|user| users.contains(&user))
                && commit.users().all(|user| users.contains(&user) || !queue.busy.contains(&user))
                && !commits.iter().any(|other| commit.shares_item(&other.commit))
                && items + more_items <= MAX_ITEMS
                && bytes + more_bytes <= MAX_TEXT_BYTES;
            if is_wanted && let Some(waiting) = queue.waiting.remove(index) {
                (items, bytes) = (items + more_items, bytes + more_bytes);
                users.extend(waiting.commit.users());
                commits.push(waiting);
            } else {
                index += 1;
            }
        }
        queue.busy.extend(&users);
        Some(Batch { appender: self, users, commits })
    }

    /// Returns the head of a feed, from the cache or from the table.
    async fn head<R: GroupRows>(
        &self,
        table: &R,
        environment: &dyn Environment,
        user: UserUuid,
    ) -> Result<Option<FeedHead>, TableError> {
        if let Some((head, at)) = self.heads.get(&user)
            && environment.monotonic().saturating_duration_since(at) < HEAD_LIFETIME
        {
            return Ok(head);
        }
        table.feed_head(user).await
    }

    /// Ignores the poisoning of the lock, because a panic cannot leave an incomplete change.
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Batch<'_> {
    /// Writes the commits, and sends the outcome to the task of each commit.
    async fn write<R: GroupRows>(mut self, table: &R, environment: &dyn Environment) {
        let mut backoff = Backoff::new(FIRST_WAIT, MAX_WAIT);
        for attempt in 1.. {
            // If the task of a commit has ended, the commit is not written. Another process or task plans it again.
            self.commits.retain(|waiting| !waiting.answer.is_closed());
            if self.commits.is_empty() {
                return;
            }
            let (outcome, heads) = match self.attempt(table, environment).await {
                Ok(attempted) => attempted,
                Err(error) => {
                    self.forget_heads();
                    return self.answer(|_| Err(error.clone()));
                }
            };
            match outcome {
                Applied::Done => {
                    let now = environment.monotonic();
                    Count::FeedEntries.add(self.commits.iter().map(|waiting| waiting.commit.appends.len()).sum());
                    if let Some(on_append) = &self.appender.on_append {
                        on_append(&mut heads.iter().map(|(user, head)| (*user, head.position)));
                    }
                    for (user, head) in heads {
                        self.appender.heads.insert(user, (Some(head), now));
                    }
                    return self.answer(|_| Ok(Committed::Done));
                }
                Applied::Failed { groups, .. } => {
                    self.forget_heads();
                    let mut problems = groups.into_iter();
                    for waiting in std::mem::take(&mut self.commits) {
                        match problems.next().flatten() {
                            Some(problem) => drop(waiting.answer.send(Ok(Committed::Problem(problem)))),
                            None => self.commits.push(waiting),
                        }
                    }
                    Count::Conflicts.add(1);
                }
                Applied::Conflict => {
                    self.forget_heads();
                    Count::Conflicts.add(1);
                }
            }
            if attempt == TRIES {
                return self.answer(|_| Ok(Committed::Conflict));
            }
            tokio::time::sleep(backoff.next(environment)).await;
        }
    }

    /// Attempts one transaction. Also returns the heads of the feeds after it, if it succeeds.
    async fn attempt<R: GroupRows>(
        &self,
        table: &R,
        environment: &dyn Environment,
    ) -> Result<(Applied, HashMap<UserUuid, FeedHead>), TableError> {
        let mut heads = HashMap::new();
        for user in &self.users {
            if let Some(head) = self.appender.head(table, environment, *user).await? {
                heads.insert(*user, head);
            }
        }
        let written_at = environment.now();
        let retention = self.appender.retention;
        let expires_at = retention.map(|it| written_at.timestamp().saturating_add_unsigned(it.as_secs()));
        let mut entries = Vec::new();
        let mut after: HashMap<UserUuid, FeedHead> = HashMap::new();
        for (owner, content) in self.commits.iter().flat_map(|waiting| &waiting.commit.appends) {
            let (position, events) =
                after.get(owner).or(heads.get(owner)).map_or((0, 0), |head| (head.position, head.events));
            let entry = FeedEntry {
                owner: *owner,
                position: position + 1,
                id: environment.new_uuid().simple().to_string(),
                events: events + content.events(),
                written_at: written_at.timestamp_millis(),
                expires_at,
                content: content.clone(),
            };
            let head = FeedHead { position: entry.position, events: entry.events, id: entry.id.clone() };
            after.insert(*owner, head);
            entries.push(entry);
        }
        let updates: Vec<GroupUpdate> = self.commits.iter().map(|waiting| waiting.commit.update.clone()).collect();
        Ok((table.apply(&updates, &entries).await?, after))
    }

    fn forget_heads(&self) {
        for user in &self.users {
            self.appender.heads.remove(user);
        }
    }

    fn answer(mut self, answer: impl Fn(&GroupCommit) -> Answer) {
        for waiting in std::mem::take(&mut self.commits) {
            let answer = answer(&waiting.commit);
            // The error means that the task of the commit has ended.
            let _ = waiting.answer.send(answer);
        }
    }
}

impl Drop for Batch<'_> {
    fn drop(&mut self) {
        let mut queue = self.appender.lock();
        queue.busy.retain(|user| !self.users.contains(user));
        self.appender.changed.notify_waiters();
    }
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        self.appender.lock().waiting.retain(|waiting| waiting.id != self.id);
    }
}

impl GroupCommit {
    /// Returns the users to whose feeds the commit appends, and the owners of its rows. A user can occur several times.
    fn users(&self) -> impl Iterator<Item = UserUuid> {
        self.appends.iter().map(|(owner, _)| *owner).chain(self.rows().map(|row| row.owner))
    }

    /// Returns the rows that the commit deletes, puts or updates.
    fn rows(&self) -> impl Iterator<Item = &GroupRow> {
        let GroupUpdate { delete, put, update, .. } = &self.update;
        delete.iter().chain(put).chain(update.iter().map(|(_, after)| after))
    }

    /// Whether one transaction cannot contain both commits, because a transaction may contain an item only once. Rows of the
    /// legacy system can have the same sort key in two groups.
    fn shares_item(&self, other: &Self) -> bool {
        self.update.group == other.update.group
            || self.rows().any(|row| other.rows().any(|it| (it.owner, &it.sort_key) == (row.owner, &row.sort_key)))
    }

    /// Returns the number of items in the transaction and the approximate size of their texts in bytes.
    fn size(&self) -> (usize, usize) {
        let GroupUpdate { delete, put, update, bump, .. } = &self.update;
        let items = self.appends.len() + delete.len() + put.len() + update.len() + bump.iter().len();
        let rows: usize = put.iter().map(|row| row.body.len()).sum();
        let bytes = |content: &FeedContent| match content {
            FeedContent::Messages(fed) => fed.messages.iter().map(|message| message.body.len() + 250).sum(),
            FeedContent::Reset(_) => 0,
        };
        (items, rows + self.appends.iter().map(|(_, content)| bytes(content)).sum::<usize>())
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::messages_table::{Fed, SortKey};
    use crate::model::{MessageGroupUuid, NameCopy, Participant};

    fn user(number: u128) -> Participant {
        let names = NameCopy { handle: format!("user{number}"), display_name: format!("User {number}") };
        Participant { uuid: UserUuid(Uuid::from_u128(number)), names: names.into() }
    }

    /// A commit that puts a row of user 1 for the group `group`, with a text of `bytes` bytes.
    fn commit(group: u128, sort_key: &str, bytes: usize) -> GroupCommit {
        let group = MessageGroupUuid(Uuid::from_u128(group));
        let row = GroupRow {
            owner: user(1).uuid,
            group,
            other: user(2),
            body: "x".repeat(bytes),
            author: None,
            sort_key: SortKey::read(sort_key).expect(sort_key),
            fed: Fed::default(),
            reading: None,
        };
        let update = GroupUpdate { group, delete: Vec::new(), put: vec![row], update: Vec::new(), bump: None };
        GroupCommit { update, appends: Vec::new() }
    }

    /// The number of commits in the transaction of the first commit.
    fn first_batch(commits: &[GroupCommit]) -> usize {
        let appender = Appender::new(None);
        let enqueue = |commit: &GroupCommit| appender.enqueue(commit.clone(), oneshot::channel().0);
        let tickets: Vec<_> = commits.iter().map(enqueue).collect();
        appender.next_batch(tickets[0].id).map_or(0, |batch| batch.commits.len())
    }

    #[test]
    fn commits_share_a_transaction_unless_they_share_an_item_or_are_too_large() {
        let (noon, later) = ("2022-05-04T12:00:00", "2022-05-04T12:00:01");
        assert_eq!(first_batch(&[commit(1, noon, 1), commit(2, later, 1)]), 2);
        assert_eq!(first_batch(&[commit(1, noon, 1), commit(1, later, 1)]), 1, "one group");
        assert_eq!(first_batch(&[commit(1, noon, 1), commit(2, noon, 1)]), 1, "one key");
        let half = MAX_TEXT_BYTES / 2;
        assert_eq!(first_batch(&[commit(1, noon, half), commit(2, later, half)]), 2);
        assert_eq!(first_batch(&[commit(1, noon, half), commit(2, later, half + 1)]), 1, "too large");
    }
}
