//! The update expressions of writes to a lease and to the repair.

use std::collections::HashMap;

use aws_sdk_dynamodb::operation::update_item::builders::UpdateItemFluentBuilder;
use aws_sdk_dynamodb::types::AttributeValue;

use super::consumer_items::{
    CHECKPOINT, COUNTER, EPOCH, FEED_EPOCH, HANDLED_UNTIL, OWNER, STEP, UPGRADING, from_checkpoint,
};
use super::ids::LeaseOwner;
use super::lease::{Condition, LeaseUpdate};
use super::repair::{Complete, Pass, RepairUpdate};
use super::repair_items::{
    COMPLETE_SINCE, COMPLETED, FINISHED_AT, PASS, POSITION, REQUESTED, REQUESTED_AT, STARTED_AT, from_tally,
};
use crate::messages_table::attributes::{number, text};

/// An update expression with its condition. All attributes have placeholders, because some of their names are reserved words.
#[derive(Default)]
pub struct UpdateExpression {
    set: Vec<String>,
    remove: Vec<String>,
    condition: Vec<String>,
    names: HashMap<String, String>,
    values: HashMap<String, AttributeValue>,
}

impl UpdateExpression {
    /// Returns the update of the lease of a shard under `condition`. It also increments the counter.
    pub fn of_lease(condition: &Condition, update: &LeaseUpdate) -> Self {
        let mut expression = Self::under(condition, FEED_EPOCH);
        match update {
            LeaseUpdate::Renew => {}
            LeaseUpdate::Release => expression.remove(OWNER),
            LeaseUpdate::Take { owner, epoch, is_upgrade } => {
                expression.take(owner, FEED_EPOCH, *epoch);
                if *is_upgrade {
                    // Without this attribute, an earlier version can neither renew the lease nor take it.
                    expression.remove(EPOCH);
                    expression.set(UPGRADING, AttributeValue::Bool(true));
                }
            }
            LeaseUpdate::FinishUpgrade => expression.remove(UPGRADING),
            LeaseUpdate::Advance { step, checkpoint, handled_until } => {
                expression.advance(*step);
                expression.set(CHECKPOINT, from_checkpoint(checkpoint));
                if let Some(until) = handled_until {
                    expression.set(HANDLED_UNTIL, number(until));
                }
            }
        }
        expression
    }

    /// Returns the update of the repair under `condition`. It also increments the counter.
    pub fn of_repair(condition: &Condition, update: &RepairUpdate) -> Self {
        let mut expression = Self::under(condition, EPOCH);
        match update {
            RepairUpdate::Renew => {}
            RepairUpdate::Release => expression.remove(OWNER),
            RepairUpdate::Take { owner, epoch } => expression.take(owner, EPOCH, *epoch),
            RepairUpdate::Advance { step, pass: Pass { covers, started_at, position }, tally } => {
                expression.advance(*step);
                expression.set(PASS, number(covers));
                expression.set(STARTED_AT, number(started_at));
                match position {
                    Some(position) => expression.set(POSITION, AttributeValue::M(position.key().clone())),
                    None => expression.remove(POSITION),
                }
                from_tally(*tally).into_iter().for_each(|(name, value)| expression.set(name, value));
            }
            RepairUpdate::Finish { step, complete: Complete { covers, since, finished_at }, tally } => {
                expression.advance(*step);
                expression.set(COMPLETED, number(covers));
                expression.set(COMPLETE_SINCE, number(since));
                expression.set(FINISHED_AT, number(finished_at));
                from_tally(*tally).into_iter().for_each(|(name, value)| expression.set(name, value));
                [PASS, STARTED_AT, POSITION].into_iter().for_each(|name| expression.remove(name));
            }
        }
        expression
    }

    /// Returns the update that writes the request `requested` for a repair, on the condition that it is the next number. `at` is
    /// the time in milliseconds since 1970. The first request creates the item.
    pub fn of_request(requested: u64, at: i64) -> Self {
        let mut expression = Self::default();
        match requested.saturating_sub(1) {
            0 => {
                let name = expression.name(REQUESTED);
                expression.condition.push(format!("attribute_not_exists({name})"));
                [EPOCH, COUNTER].into_iter().for_each(|name| expression.set(name, number(0)));
            }
            before => expression.require(REQUESTED, ":seen_request", number(before)),
        }
        expression.set(REQUESTED, number(requested));
        expression.set(REQUESTED_AT, number(at));
        expression
    }

    /// An update under `condition` that increments the counter. The epoch is in the attribute `epoch_name`.
    fn under(condition: &Condition, epoch_name: &str) -> Self {
        let mut expression = Self::default();
        match condition {
            Condition::CounterIs(counter) => expression.require(COUNTER, ":seen_counter", number(counter)),
            Condition::HeldSince { owner, epoch } => {
                expression.require(OWNER, ":holder", text(owner));
                expression.require(epoch_name, ":held_epoch", number(epoch));
            }
        }
        let counter = expression.name(COUNTER);
        expression.set.push(format!("{counter} = {counter} + :one"));
        expression.values.insert(":one".to_owned(), number(1));
        expression
    }

    fn take(&mut self, owner: &LeaseOwner, epoch_name: &str, epoch: u64) {
        self.set(OWNER, text(owner));
        self.set(epoch_name, number(epoch));
        self.remove(STEP);
    }

    /// Sets the step, on the condition that the holder has not written a later one.
    fn advance(&mut self, step: u64) {
        let name = self.name(STEP);
        self.condition.push(format!("(attribute_not_exists({name}) OR {name} <= :{STEP})"));
        self.set(STEP, number(step));
    }

    /// Adds the expression to a request.
    pub fn apply(self, request: UpdateItemFluentBuilder) -> UpdateItemFluentBuilder {
        let mut update = format!("SET {}", self.set.join(", "));
        if !self.remove.is_empty() {
            update.push_str(&format!(" REMOVE {}", self.remove.join(", ")));
        }
        request
            .update_expression(update)
            .condition_expression(self.condition.join(" AND "))
            .set_expression_attribute_names(Some(self.names))
            .set_expression_attribute_values(Some(self.values))
    }

    fn name(&mut self, attribute: &str) -> String {
        let placeholder = format!("#{attribute}");
        self.names.insert(placeholder.clone(), attribute.to_owned());
        placeholder
    }

    fn require(&mut self, attribute: &str, placeholder: &str, value: AttributeValue) {
        let name = self.name(attribute);
        self.condition.push(format!("{name} = {placeholder}"));
        self.values.insert(placeholder.to_owned(), value);
    }

    fn set(&mut self, attribute: &str, value: AttributeValue) {
        let name = self.name(attribute);
        self.set.push(format!("{name} = :{attribute}"));
        self.values.insert(format!(":{attribute}"), value);
    }

    fn remove(&mut self, attribute: &str) {
        let name = self.name(attribute);
        self.remove.push(name);
    }
}
