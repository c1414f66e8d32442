//! The update expression of a write to a lease.

use std::collections::HashMap;

use aws_sdk_dynamodb::operation::update_item::builders::UpdateItemFluentBuilder;
use aws_sdk_dynamodb::types::AttributeValue;

use super::lease::{Condition, LeaseUpdate};
use super::lease_items::{CHECKPOINT, COUNTER, EPOCH, HANDLED_UNTIL, OWNER, STEP, from_checkpoint, number, text};

/// An update expression with its condition. Attributes get placeholders, because some of their names are reserved words.
#[derive(Default)]
pub struct UpdateExpression {
    set: Vec<String>,
    remove: Vec<String>,
    condition: Vec<String>,
    names: HashMap<String, String>,
    values: HashMap<String, AttributeValue>,
}

impl UpdateExpression {
    /// The update of a lease under `condition`. It also increments the counter.
    pub fn of(condition: &Condition, update: &LeaseUpdate) -> Self {
        let mut expression = Self::default();
        match condition {
            Condition::CounterIs(counter) => expression.require(COUNTER, ":seen_counter", number(counter)),
            Condition::HeldSince { owner, epoch } => {
                expression.require(OWNER, ":holder", text(owner));
                expression.require(EPOCH, ":held_epoch", number(epoch));
            }
        }
        let counter = expression.name(COUNTER);
        expression.set.push(format!("{counter} = {counter} + :one"));
        expression.values.insert(":one".to_owned(), number(1));
        match update {
            LeaseUpdate::Renew => {}
            LeaseUpdate::Release => expression.remove(OWNER),
            LeaseUpdate::Take { owner, epoch } => {
                expression.set(OWNER, text(owner));
                expression.set(EPOCH, number(epoch));
                expression.remove(STEP);
            }
            LeaseUpdate::Advance { step, checkpoint, handled_until } => {
                let name = expression.name(STEP);
                expression.condition.push(format!("(attribute_not_exists({name}) OR {name} <= :{STEP})"));
                expression.set(STEP, number(step));
                expression.set(CHECKPOINT, from_checkpoint(checkpoint));
                if let Some(until) = handled_until {
                    expression.set(HANDLED_UNTIL, number(until));
                }
            }
        }
        expression
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
