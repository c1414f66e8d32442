//! The queries.

use async_graphql::{Context, Object, Result};
use tracing::{Instrument, trace_span};

use super::connection::{MessageConnection, MessageGroupConnection};
use super::context::RequestContext;
use super::errors::{of_messaging, of_users};
use super::scalars::{Instant, UuidText};
use super::types::{MessageGroupObject, UserObject, messages};
use crate::messaging::{PageRequest, Window};
use crate::model::MessageGroupUuid;

/// What can be asked.
///
/// What its resolvers wait for is on the heap: the engine keeps each twice in the future of every field, and moves that.
pub struct Query;

/// What can be asked.
#[Object]
impl Query {
    /// The signed-in user.
    async fn me(&self, context: &Context<'_>) -> Result<UserObject> {
        let requester = RequestContext::of(context).requester().instrument(trace_span!("Query.me"));
        Ok(UserObject::from(&*requester.await?))
    }

    /// The user with exactly this handle; null when there is none.
    async fn user(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "The handle, compared exactly.")] handle: String,
    ) -> Option<Result<UserObject>> {
        let request = RequestContext::of(context);
        let read = async {
            request.requester().await?;
            request.messaging().users().by_handle(&handle).await.map_err(|error| of_users(&error))
        };
        let user = Box::pin(read.instrument(trace_span!("Query.user"))).await.transpose()?;
        Some(user.map(|user| UserObject::from(&*user)))
    }

    /// The signed-in user's message groups, last reply first.
    async fn message_groups(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "So many, at most 100; 20 when not given.")] first: Option<i32>,
        #[graphql(desc = "Only message groups behind this cursor.")] after: Option<String>,
    ) -> Result<MessageGroupConnection> {
        let request = RequestContext::of(context);
        let page = PageRequest { first, after, ..PageRequest::default() };
        let read = async {
            let requester = request.requester().await?;
            request.messaging().message_groups(&requester, page).await.map_err(of_messaging)
        };
        Ok(Box::pin(read.instrument(trace_span!("Query.messageGroups"))).await?.into())
    }

    /// One message group; null when there is none that the signed-in user takes part in.
    async fn message_group(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "The message group's uuid.")] uuid: UuidText,
    ) -> Option<Result<MessageGroupObject>> {
        let request = RequestContext::of(context);
        let read = async {
            let requester = request.requester().await?;
            let group = request.messaging().message_group(&requester, MessageGroupUuid(uuid.0)).await;
            Ok(group.map_err(of_messaging)?.map(MessageGroupObject))
        };
        Box::pin(read.instrument(trace_span!("Query.messageGroup"))).await.transpose()
    }

    /// The messages of a message group, oldest to newest; without a page size the newest 40.
    #[allow(clippy::too_many_arguments, reason = "the arguments are those of the schema")]
    async fn messages(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "The message group's uuid.")] message_group_uuid: UuidText,
        #[graphql(desc = "So many from the oldest on, at most 100.")] first: Option<i32>,
        #[graphql(desc = "Only messages behind this cursor.")] after: Option<String>,
        #[graphql(desc = "So many up to the newest, at most 100.")] last: Option<i32>,
        #[graphql(desc = "Only messages before this cursor.")] before: Option<String>,
        #[graphql(desc = "Only messages of this instant or later.")] created_from: Option<Instant>,
        #[graphql(desc = "Only messages before this instant.")] created_to: Option<Instant>,
    ) -> Result<MessageConnection> {
        let page = PageRequest { first, after, last, before };
        let window = Window { from: created_from.map(|at| at.0), to: created_to.map(|at| at.0) };
        let read = messages(context, MessageGroupUuid(message_group_uuid.0), page, window);
        Box::pin(read.instrument(trace_span!("Query.messages"))).await
    }
}
