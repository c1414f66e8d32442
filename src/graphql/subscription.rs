//! The subscriptions. Their resolvers run once for each [step](super::step) of a subscription.

use std::sync::Arc;

use async_graphql::{Context, Error, Result, Subscription as Resolvers};
use futures::Stream;
use futures::stream::iter;

use super::activity::ActivityObject;
use super::context::RequestContext;
use super::engine::Fast;
use super::errors::messaging_error;
use super::feed::FeedEventObject;
use super::step::{Event, Source, Started, Step};
use crate::live::Live;
use crate::live::feed_reader::FeedReader;
use crate::model::User;

/// The root subscription type.
pub struct Subscription;

/// The root subscription type. A client subscribes with server-sent events, with Apollo's multipart protocol, or over
/// WebSocket with the subprotocol `graphql-transport-ws`.
#[Resolvers]
impl Subscription {
    /// New events in the feed of the signed-in user. With `after`, the subscription starts with the events that the client
    /// missed, then sends a `FeedReady`, and then each new event. A client that stores the cursor of each event and passes
    /// the last one as `after` when it connects again receives every message once and in order. To load the first screen
    /// without a gap, a client subscribes, waits for the `FeedReady`, and then queries the message groups. An event and a
    /// query can return the same message; a client merges them by `uuid`.
    async fn feed(
        &self,
        context: &Context<'_>,
        #[graphql(
            desc = "Returns events after this cursor. If it is not set, the subscription sends a `FeedReady` and then new events."
        )]
        after: Option<String>,
    ) -> Result<impl Stream<Item = Fast<FeedEventObject>>> {
        let request = RequestContext::of(context);
        let start = async |live: &Arc<Live>, last_event_id: &Option<String>, user: &Arc<User>| {
            let after = last_event_id.as_deref().or(after.as_deref());
            let reader = FeedReader::start(request.messaging(), live, user.clone(), after).await;
            Ok(Source::Feed(Box::new(reader.map_err(messaging_error)?)))
        };
        let item = match next_event(request, start).await? {
            Some(Event::Feed(item)) => Some(Fast((*item).into())),
            _ => None,
        };
        Ok(iter(item))
    }

    /// Actions of users in the message groups of the signed-in user: typing, and marking messages as read. They are not
    /// stored, and a client receives each of them at most once.
    async fn activity(&self, context: &Context<'_>) -> Result<impl Stream<Item = Fast<ActivityObject>>> {
        let start = async |live: &Arc<Live>, _: &Option<String>, user: &Arc<User>| {
            Ok(Source::Activities(live.hub().activities(user.uuid)))
        };
        let item = match next_event(RequestContext::of(context), start).await? {
            Some(Event::Activity(activity)) => Some(Fast(activity.into())),
            _ => None,
        };
        Ok(iter(item))
    }
}

/// Returns the event of this step. In the step that starts the subscription, calls `start` and returns `None`.
async fn next_event(
    request: &RequestContext,
    start: impl AsyncFnOnce(&Arc<Live>, &Option<String>, &Arc<User>) -> Result<Source>,
) -> Result<Option<Event>> {
    match request.step() {
        Some(Step::Event(event)) => Ok(event.take()),
        Some(Step::Start { live, last_event_id, started }) => {
            let user = request.requester().await?;
            let source = start(live, last_event_id, &user).await?;
            started.put(Started { user, source });
            Ok(None)
        }
        // This never happens: only `graphql::subscribe` and `graphql::execute_event` execute subscriptions, and both have a step.
        None => Err(Error::new("The subscription was not started.")),
    }
}
