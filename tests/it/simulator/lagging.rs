//! An index that lags shows rows that were replaced.

use std::time::Duration;

use async_trait::async_trait;
use cruddur_messaging::messages_table::{Fed, GroupRow, TableError};
use cruddur_messaging::stream::appender::Appender;
use cruddur_messaging::stream::arrivals::Arrival;
use cruddur_messaging::stream::effect::{Cause, Effect, EffectError, Writer};
use cruddur_messaging::stream::origin::Origin;
use tokio::time::Instant;

use super::calm_part;
use super::parts::VirtualEnvironment;
use super::workload::{begin_group, message};
use super::world::Indexed;

const GROUP: u128 = 5;

/// A shard that another process has finished after this process has lost its lease.
struct LostShard;

#[async_trait]
impl Origin for LostShard {
    fn name(&self) -> &str {
        "lost"
    }

    async fn is_held(&self) -> Result<bool, TableError> {
        Ok(false)
    }

    async fn is_finished(&self, _: &str) -> Result<bool, TableError> {
        Ok(true)
    }
}

/// What a process that has lost its lease does with a message that was fed already. The rows do not say that it was fed,
/// because the shard is finished. The index also shows the rows before that.
pub async fn message_of_a_lost_shard() -> Result<Effect, EffectError> {
    let part = calm_part();
    let again = {
        let mut state = part.world.lock();
        state.open_shard(None, Duration::ZERO);
        begin_group(&mut state, GROUP, 0);
        let again = message(&mut state, GROUP, 10);
        let newest = message(&mut state, GROUP, 20);
        let before: Vec<GroupRow> = state.rows.values().cloned().collect();
        for row in before {
            state.delete_row(row.owner, &row.sort_key.clone());
            let moved = GroupRow {
                sort_key: newest.sort_key.clone(),
                fed: Fed::read("other=9").expect("a position"),
                ..row.clone()
            };
            state.put_row(moved);
            let shown = GroupRow { fed: Fed::read("lost=1").expect("a position"), ..row };
            state.index.push(Indexed { row: shown, from: Instant::now(), until: None });
        }
        again
    };
    let arrivals = [Arrival { sequence_number: "2".into(), message: again }];
    let (appender, environment) = (Appender::new(None), VirtualEnvironment::seeded(0));
    let writer = Writer { table: &part, appender: &appender, environment: &environment };
    writer.apply(Cause::Arrived { origin: &LostShard, arrivals: &arrivals, may_be_lost: false }).await
}
