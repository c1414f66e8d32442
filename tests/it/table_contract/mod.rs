//! What the consumer and the messages table rely on in each conditional write. The cases of `leases` and `rows` run with the
//! real tables on the embedded engine and with the tables of the simulator, so that the simulator does what DynamoDB does.

mod feeds;
mod leases;
mod rows;
mod writes;

use chrono::{DateTime, TimeDelta, Utc};
use cruddur_messaging::messages_table::{
    Applied, Fed, GroupRow, GroupUpdate, Membership, Message, Reading, SortKey, UpdateProblem,
};
use cruddur_messaging::model::{MessageGroupUuid, MessageUuid, NameCopy, Participant, UserUuid};
use cruddur_messaging::stream::rows::GroupRows;
use uuid::Uuid;

/// Runs each case with both implementations. `$real` returns the real table of a `World`.
macro_rules! on_both {
    ($real:ident, $($case:ident),+ $(,)?) => {
        mod embedded {
            $(#[test]
            fn $case() {
                crate::harness::test(async {
                    let world = crate::harness::World::new().await;
                    super::$case(&super::$real(&world)).await;
                });
            })+
        }
        mod simulated {
            $(#[test]
            fn $case() {
                crate::simulator::runtime().block_on(async { super::$case(&crate::simulator::calm_part()).await });
            })+
        }
    };
}
use on_both;

/// Runs cases in which responses of writes are lost.
mod lost_responses {
    use crate::harness::World;
    use crate::harness::fault_proxy::Fault::LoseAnswer;
    use crate::simulator::Part;

    /// With the embedded engine. The case gets a function that begins or ends the loss of the responses of an operation.
    pub fn embedded(case: impl AsyncFnOnce(&World, &dyn Fn(&str, bool))) {
        crate::harness::test(async {
            let world = World::new().await;
            let lose = |operation: &str, on: bool| match on {
                // More than the SDK makes attempts.
                true => world.proxy.next(operation, vec![LoseAnswer; 10]),
                false => world.proxy.forget(operation),
            };
            case(&world, &lose).await;
        });
    }

    /// With the tables of the simulator. The case gets a function that begins or ends the loss of all responses.
    pub fn simulated(case: impl AsyncFnOnce(&Part, &dyn Fn(bool))) {
        crate::simulator::runtime().block_on(async {
            let part = crate::simulator::calm_part();
            let lose = |on: bool| part.world.lock().odds.lost_answer = if on { 1_000 } else { 0 };
            case(&part, &lose).await;
        });
    }
}

fn participant(number: u128) -> Participant {
    let names = NameCopy { handle: format!("user{number}"), display_name: format!("User {number}") };
    Participant { uuid: UserUuid(Uuid::from_u128(number)), names: names.into() }
}

fn group(number: u128) -> MessageGroupUuid {
    MessageGroupUuid(Uuid::from_u128(number))
}

fn at(second: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_700_000_000, 0).expect("a time") + TimeDelta::seconds(second)
}

/// A sort key of the legacy system: two groups can have the same.
fn legacy_key(second: i64) -> SortKey {
    SortKey::read(&at(second).format("%Y-%m-%dT%H:%M:%S").to_string()).expect("a sort key")
}

/// A message of user 1 or 2 in a group of both.
fn message(of: u128, author: u128, second: i64) -> Message {
    let uuid = MessageUuid(Uuid::from_u128(u128::try_from(second).expect("a number")));
    let (group, author, created_at) = (group(of), participant(author), at(second));
    let sort_key = SortKey::of_message(created_at, uuid);
    Message { uuid, group, author, body: format!("at {second}"), created_at, sort_key }
}

/// The row of a group of the users 1 and 2 in the list of `owner`.
fn row(of: u128, owner: u128, sort_key: &SortKey) -> GroupRow {
    GroupRow {
        owner: participant(owner).uuid,
        group: group(of),
        other: participant(3 - owner),
        body: "text".to_owned(),
        author: None,
        sort_key: sort_key.clone(),
        fed: Fed::default(),
        reading: None,
    }
}

/// Rows of a group to put.
fn put_of(of: MessageGroupUuid, put: Vec<GroupRow>) -> GroupUpdate {
    GroupUpdate { group: of, delete: Vec::new(), put, update: Vec::new(), bump: None }
}

/// Writes the rows of one group. Returns why they were not written.
async fn apply<T: GroupRows>(table: &T, update: GroupUpdate) -> Option<UpdateProblem> {
    match table.apply(&[update], &[]).await.expect("a transaction") {
        Applied::Done => None,
        Applied::Failed { groups, .. } => groups[0],
        Applied::Conflict => panic!("nothing else writes"),
    }
}

/// What a participant has received and read.
fn reading(received: u64, marker: Option<&SortKey>) -> Reading {
    Reading { received, marker: marker.cloned(), ..Reading::default() }
}

fn membership(of: u128) -> Membership {
    Membership { group: group(of), participants: [participant(1), participant(2)], is_legacy: true, version: 1 }
}
