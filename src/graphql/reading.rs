//! The fields `unreadCount` and `readCursor` of `MessageGroup`. If the group comes from a list or from the feed, their
//! values are in memory. Otherwise the first of the two fields that is resolved reads the values of both.

use std::borrow::Cow;

use async_graphql::parser::types::Field;
use async_graphql::registry::Registry;
use async_graphql::{ContextSelectionSet, OutputType, Positioned, Result, ServerResult, Value};
use tokio::sync::OnceCell;
use tracing::{Instrument, trace_span};

use super::budget::Meter;
use super::context::RequestContext;
use super::engine::{FastPath, NotResolved};
use super::errors::messaging_error;
use super::message::message_cursor;
use crate::messages_table::{Reading, SortKey};
use crate::messaging::Member;
use crate::model::MessageGroupUuid;

/// The read markers of the two participants of a group, which are read from the table only if a field needs them.
pub struct ReadingOfGroup {
    group: MessageGroupUuid,
    /// Sort key of the group's newest message.
    newest: SortKey,
    /// What the signed-in user has read, once it is known.
    own: OnceCell<Reading>,
    /// The cursor up to which the other participant has read, once it is known.
    other: OnceCell<Option<String>>,
}

impl ReadingOfGroup {
    /// `newest` is the sort key of the newest message. `own` is what the signed-in user has read, if it is known.
    pub fn new(group: MessageGroupUuid, newest: SortKey, own: Option<Reading>) -> Self {
        Self { group, newest, own: OnceCell::new_with(own), other: OnceCell::new() }
    }

    /// Returns what the signed-in user has read. Reads it from the table if it is not known.
    async fn own(&self, request: &RequestContext) -> Result<&Reading> {
        // Boxed, because the future is large, and the value is mostly known.
        let read = || {
            Box::pin(async {
                let member = self.member(request).await?;
                request.messaging().reading(&member, &self.newest).await.map_err(messaging_error)
            })
        };
        self.own.get_or_try_init(read).await
    }

    /// Reads the cursor up to which the other participant has read the group.
    pub async fn other_cursor(&self, request: &RequestContext) -> Result<Option<String>> {
        let read = async || {
            let member = self.member(request).await?;
            let marker = request.messaging().other_marker(&member).await.map_err(messaging_error)?;
            Ok(marker.map(|marker| message_cursor(self.group, &marker)))
        };
        self.other.get_or_try_init(read).await.cloned()
    }

    /// Returns the membership of the signed-in user. It exists, because the group was found for this user, and usually it is
    /// in a cache.
    async fn member(&self, request: &RequestContext) -> Result<Member> {
        let requester = request.requester().await?;
        request.messaging().member(&requester, self.group).await.map_err(messaging_error)
    }
}

/// The value of `unreadCount`.
pub struct UnreadCount<'a>(pub &'a ReadingOfGroup);

/// The value of `readCursor`.
pub struct ReadCursor<'a>(pub &'a ReadingOfGroup);

impl UnreadCount<'_> {
    fn value(&self, reading: &Reading) -> Value {
        Value::from(i32::try_from(reading.unread()).unwrap_or(i32::MAX))
    }
}

impl ReadCursor<'_> {
    fn value(&self, reading: &Reading) -> Value {
        reading.marker.as_ref().map_or(Value::Null, |marker| Value::from(message_cursor(self.0.group, marker)))
    }
}

/// Returns what the signed-in user has read, for the engine's resolution of `field`.
async fn read<'a>(
    group: &'a ReadingOfGroup,
    context: &ContextSelectionSet<'_>,
    field: &Positioned<Field>,
) -> ServerResult<&'a Reading> {
    let read = group.own(RequestContext::of(context)).instrument(trace_span!("MessageGroup.reading"));
    read.await.map_err(|error| context.set_error_path(error.into_server_error(field.pos)))
}

macro_rules! output {
    ($type:ident as $graphql:ty) => {
        impl FastPath for $type<'_> {
            fn resolve_now(&self, _: &ContextSelectionSet<'_>, meter: &mut Meter) -> Result<Value, NotResolved> {
                let reading = self.0.own.get().ok_or(NotResolved::NotInMemory)?;
                meter.value()?;
                Ok(self.value(reading))
            }
        }

        impl OutputType for $type<'_> {
            fn type_name() -> Cow<'static, str> {
                <$graphql>::type_name()
            }

            fn qualified_type_name() -> String {
                <$graphql>::qualified_type_name()
            }

            fn create_type_info(registry: &mut Registry) -> String {
                <$graphql as OutputType>::create_type_info(registry)
            }

            async fn resolve(
                &self,
                context: &ContextSelectionSet<'_>,
                field: &Positioned<Field>,
            ) -> ServerResult<Value> {
                read(self.0, context, field).await.map(|reading| self.value(reading))
            }
        }
    };
}

output!(UnreadCount as i32);
output!(ReadCursor as Option<String>);
