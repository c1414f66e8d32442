//! State that the resolvers of one request share.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use async_graphql::{ContextBase, Error, Result};
use tokio::sync::OnceCell;

use super::budget::ResponseBudget;
use super::errors::{ApiError, users_error};
use super::step::Step;
use crate::auth::VerifiedToken;
use crate::live::Live;
use crate::messaging::{Messaging, RequestReads};
use crate::model::{Participant, User, UserUuid};
use crate::outcome::Code;
use crate::users::loader::UserLoader;

/// The state of one request: its user, its reads, its limits, and whether it has stored a message.
pub struct RequestContext {
    reads: RequestReads,
    budget: Arc<ResponseBudget>,
    token: Option<VerifiedToken>,
    requester: OnceCell<Arc<User>>,
    /// Created at the first use, because most requests find all names in the cache.
    user_loader: OnceLock<UserLoader>,
    message_stored: AtomicBool,
    live: Arc<Live>,
    /// The step of a subscription. `None` for a query or a mutation.
    step: Option<Step>,
}

impl RequestContext {
    /// Creates the context of a request. `token` is its verified access token, if it has one. `messaging` contains the
    /// limits of the request. `max_response_bytes` is the maximum size of a response in bytes. `step` is the step of a
    /// subscription, or `None` for a query or a mutation.
    pub fn new(
        messaging: Messaging,
        live: Arc<Live>,
        token: Option<VerifiedToken>,
        max_response_bytes: usize,
        step: Option<Step>,
    ) -> Arc<Self> {
        Arc::new(Self {
            reads: RequestReads::new(messaging),
            budget: ResponseBudget::new(max_response_bytes),
            token,
            requester: OnceCell::new(),
            user_loader: OnceLock::new(),
            message_stored: AtomicBool::new(false),
            live,
            step,
        })
    }

    /// The size limit of a response, and the number of bytes counted so far.
    pub(super) fn budget(&self) -> &Arc<ResponseBudget> {
        &self.budget
    }

    /// Whether the request has stored a message. An error after that affects only the response, not the message.
    pub fn has_stored_message(&self) -> bool {
        self.message_stored.load(Ordering::Relaxed)
    }

    /// Records that the request has stored a message.
    pub(super) fn set_message_stored(&self) {
        self.message_stored.store(true, Ordering::Relaxed);
    }

    /// Returns the context of the request that is being executed.
    pub(super) fn of<'a, T>(context: &ContextBase<'a, T>) -> &'a Self {
        // All functions that execute requests are in `graphql`, and they add the context with `with_context`.
        context.data_unchecked::<Arc<Self>>()
    }

    /// The messaging rules, with the limits of this request.
    pub(super) fn messaging(&self) -> &Messaging {
        self.reads.messaging()
    }

    /// The live updates.
    pub(super) fn live(&self) -> &Arc<Live> {
        &self.live
    }

    /// The step of a subscription, or `None` for a query or a mutation.
    pub(super) fn step(&self) -> Option<&Step> {
        self.step.as_ref()
    }

    /// The reads that fields share.
    pub(super) fn reads(&self) -> &RequestReads {
        &self.reads
    }

    /// Returns the signed-in user. The first field that needs the user looks it up, and later fields reuse the result.
    pub(super) async fn requester(&self) -> Result<Arc<User>> {
        let Some(token) = &self.token else {
            return Err(unauthenticated("token_missing", "You are not signed in: the request has no access token."));
        };
        let look_up = async {
            match self.messaging().users().by_cognito_user_id(&token.cognito_user_id).await {
                Ok(Some(user)) => Ok(user),
                Ok(None) => Err(unauthenticated("user_unknown", "No user belongs to the access token.")),
                Err(error) => Err(users_error(&error)),
            }
        };
        self.requester.get_or_try_init(|| look_up).await.cloned()
    }

    /// Returns the user if it is the signed-in user of this request or if it is in the cache.
    pub(super) fn cached_user(&self, uuid: UserUuid) -> Option<Arc<User>> {
        let requester = self.requester.get().filter(|requester| requester.uuid == uuid);
        requester.cloned().or_else(|| self.messaging().users().cached(uuid))
    }

    /// Returns the user with exactly this handle. Fields that are resolved at the same time share one query.
    pub(super) async fn user_by_handle(&self, handle: String) -> Result<Option<Arc<User>>> {
        self.user_loader().by_handle(handle).await.map_err(|error| users_error(&error))
    }

    fn user_loader(&self) -> &UserLoader {
        self.user_loader.get_or_init(|| UserLoader::new(self.messaging().users().clone()))
    }

    /// Returns the user with the current names from PostgreSQL. If PostgreSQL has no such user, or if it does not respond
    /// during an event, returns the names that were copied into the item in DynamoDB.
    pub(super) async fn user(&self, participant: &Participant) -> Result<Arc<User>> {
        if let Some(user) = self.cached_user(participant.uuid) {
            return Ok(user);
        }
        match self.user_loader().load(participant.uuid).await {
            Ok(Some(user)) => Ok(user),
            Ok(None) => Ok(Arc::new(participant.into())),
            // An event is delivered even if PostgreSQL does not respond.
            Err(_) if matches!(self.step, Some(Step::Event(_))) => Ok(Arc::new(participant.into())),
            Err(error) => Err(users_error(&error)),
        }
    }
}

fn unauthenticated(reason: &'static str, message: &'static str) -> Error {
    ApiError::new(Code::Unauthenticated, message).with_reason(reason).into()
}
