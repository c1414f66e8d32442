//! The queries.

use async_graphql::{Context, Object, Result};
use tracing::{Instrument, trace_span};

use super::context::RequestContext;
use super::engine::Fast;
use super::errors::messaging_error;
use super::feed::FeedPageObject;
use super::message::{MessageConnection, messages};
use super::message_group::{MessageGroupConnection, MessageGroupObject};
use super::scalars::{Instant, UuidText};
use super::user::UserObject;
use crate::messaging::{PageRequest, Window};
use crate::model::MessageGroupUuid;

/// The root query type.
///
/// The futures of its resolvers are boxed: the engine stores each of them twice in the future of a field and moves that
/// future. Moving a large future costs more than allocating it.
pub struct Query;

/// The root query type.
#[Object]
impl Query {
    /// The signed-in user.
    async fn me(&self, context: &Context<'_>) -> Result<Fast<UserObject>> {
        let requester = RequestContext::of(context).requester().instrument(trace_span!("Query.me"));
        Ok(Fast(UserObject(requester.await?)))
    }

    /// Finds a user by handle. Null if there is no user with this handle.
    async fn user(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "Handle of the user (exact match).")] handle: String,
    ) -> Option<Result<Fast<UserObject>>> {
        let request = RequestContext::of(context);
        let read = async {
            request.requester().await?;
            request.user_by_handle(handle).await
        };
        let user = Box::pin(read.instrument(trace_span!("Query.user"))).await.transpose()?;
        Some(user.map(|user| Fast(UserObject(user))))
    }

    /// Message groups of the signed-in user. The list starts with the group that has the newest message.
    async fn message_groups(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "Number of message groups to return (default 20, maximum 100).")] first: Option<i32>,
        #[graphql(desc = "Returns message groups after this cursor.")] after: Option<String>,
    ) -> Result<Fast<MessageGroupConnection>> {
        let request = RequestContext::of(context);
        let page = PageRequest { first, after, ..PageRequest::default() };
        let read = async {
            let requester = request.requester().await?;
            request.reads().message_groups(&requester, page).await.map_err(messaging_error)
        };
        let page = Box::pin(read.instrument(trace_span!("Query.messageGroups"))).await?;
        Ok(Fast(page.into()))
    }

    /// Finds a message group. Null if it does not exist or the signed-in user is not a participant.
    async fn message_group(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "Unique identifier of the message group.")] uuid: UuidText,
    ) -> Option<Result<Fast<MessageGroupObject>>> {
        let request = RequestContext::of(context);
        let read = async {
            let requester = request.requester().await?;
            let group = request.reads().message_group(&requester, MessageGroupUuid(uuid.0)).await;
            Ok(group.map_err(messaging_error)?.map(|group| Fast(group.into())))
        };
        Box::pin(read.instrument(trace_span!("Query.messageGroup"))).await.transpose()
    }

    /// Messages of a message group, from oldest to newest. `after`, `before`, `createdFrom` and `createdTo` select a
    /// range of messages. If neither `first` nor `last` is set, returns the last 40 messages of this range.
    #[allow(clippy::too_many_arguments, reason = "the arguments are those of the schema")]
    async fn messages(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "Unique identifier of the message group.")] message_group_uuid: UuidText,
        #[graphql(desc = "Returns the first *n* messages (maximum 100). Cannot be combined with `last`.")]
        first: Option<i32>,
        #[graphql(desc = "Returns messages after this cursor.")] after: Option<String>,
        #[graphql(desc = "Returns the last *n* messages (maximum 100). Cannot be combined with `first`.")] last: Option<
            i32,
        >,
        #[graphql(desc = "Returns messages before this cursor.")] before: Option<String>,
        #[graphql(desc = "Returns messages created at or after this time.")] created_from: Option<Instant>,
        #[graphql(desc = "Returns messages created before this time.")] created_to: Option<Instant>,
    ) -> Result<Fast<MessageConnection>> {
        let page = PageRequest { first, after, last, before };
        let window = Window { from: created_from.map(|at| at.0), to: created_to.map(|at| at.0) };
        let read = async {
            let request = RequestContext::of(context);
            let requester = request.requester().await?;
            let member = request.reads().member(&requester, MessageGroupUuid(message_group_uuid.0)).await;
            messages(context, member.map_err(messaging_error)?.access(), page, window).await
        };
        Box::pin(read.instrument(trace_span!("Query.messages"))).await
    }

    /// A page of the signed-in user's feed. The feed contains each message of the user's message groups once, in a
    /// fixed order. To read all of it, pass `endCursor` of each page as `after` of the next request. If events are
    /// missing, the page contains a `FeedReset`.
    async fn feed(
        &self,
        context: &Context<'_>,
        #[graphql(
            desc = "Returns events after this cursor. If it is not set, returns events from the oldest one in the feed."
        )]
        after: Option<String>,
        #[graphql(desc = "Number of events to return (default 50, minimum 1, maximum 100).")] first: Option<i32>,
    ) -> Result<Fast<FeedPageObject>> {
        let request = RequestContext::of(context);
        let read = async {
            let requester = request.requester().await?;
            request.messaging().feed(&requester, first, after.as_deref()).await.map_err(messaging_error)
        };
        let page = Box::pin(read.instrument(trace_span!("Query.feed"))).await?;
        Ok(Fast(page.into()))
    }
}
