//! What the resolvers of one request share.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use async_graphql::{ContextBase, Error, Result};
use tokio::sync::OnceCell;

use super::budget::ResponseBudget;
use super::errors::{ApiError, users_error};
use crate::auth::VerifiedToken;
use crate::messaging::{Messaging, RequestReads};
use crate::model::{Participant, User, UserUuid};
use crate::outcome::Code;
use crate::users::loader::UserLoader;

/// The signed-in user, the reads, the loaders and the limits of one request, and what the request has done.
pub struct RequestContext {
    reads: RequestReads,
    budget: Arc<ResponseBudget>,
    token: Option<VerifiedToken>,
    requester: OnceCell<Arc<User>>,
    /// Made at the first use: most requests find all names in the cache.
    user_loader: OnceLock<UserLoader>,
    message_stored: AtomicBool,
}

impl RequestContext {
    /// The context of a request with this verified token, or without a token. `messaging` has the limits of the request, and
    /// a response may have `max_response_bytes`.
    pub fn new(messaging: Messaging, token: Option<VerifiedToken>, max_response_bytes: usize) -> Arc<Self> {
        Arc::new(Self {
            reads: RequestReads::new(messaging),
            budget: ResponseBudget::new(max_response_bytes),
            token,
            requester: OnceCell::new(),
            user_loader: OnceLock::new(),
            message_stored: AtomicBool::new(false),
        })
    }

    /// The maximum size of a response.
    pub(super) fn budget(&self) -> &Arc<ResponseBudget> {
        &self.budget
    }

    /// Whether the request has stored a message. An error after that concerns the response only.
    pub fn has_stored_message(&self) -> bool {
        self.message_stored.load(Ordering::Relaxed)
    }

    /// Records that the request has stored a message.
    pub(super) fn set_message_stored(&self) {
        self.message_stored.store(true, Ordering::Relaxed);
    }

    /// The context of the request that is being executed.
    pub(super) fn of<'a, T>(context: &ContextBase<'a, T>) -> &'a Self {
        // `graphql::execute` is the only place that executes requests, and it adds the context to each of them.
        context.data_unchecked::<Arc<Self>>()
    }

    /// The rules.
    pub(super) fn messaging(&self) -> &Messaging {
        self.reads.messaging()
    }

    /// The reads that fields share.
    pub(super) fn reads(&self) -> &RequestReads {
        &self.reads
    }

    /// The signed-in user. Looked up once for each request, when a field needs it.
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

    /// The user, if this request has looked them up or if they are in the cache.
    pub(super) fn cached_user(&self, uuid: UserUuid) -> Option<Arc<User>> {
        let requester = self.requester.get().filter(|requester| requester.uuid == uuid);
        requester.cloned().or_else(|| self.messaging().users().cached(uuid))
    }

    /// The user with the names that Postgres has now. If the user is gone there, the names that the item has copied.
    pub(super) async fn user(&self, participant: &Participant) -> Result<Arc<User>> {
        if let Some(user) = self.cached_user(participant.uuid) {
            return Ok(user);
        }
        let loader = self.user_loader.get_or_init(|| UserLoader::new(self.messaging().users().clone()));
        match loader.load(participant.uuid).await {
            Ok(Some(user)) => Ok(user),
            Ok(None) => Ok(Arc::new(participant.into())),
            Err(error) => Err(users_error(&error)),
        }
    }
}

fn unauthenticated(reason: &'static str, message: &'static str) -> Error {
    ApiError::new(Code::Unauthenticated, message).with_reason(reason).into()
}
