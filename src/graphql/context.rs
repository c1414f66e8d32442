//! What the resolvers of one request share.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use async_graphql::{ContextBase, Error, Result};
use tokio::sync::OnceCell;

use super::errors::{Code, field_error, of_users};
use super::types::UserObject;
use crate::auth::VerifiedToken;
use crate::messaging::Messaging;
use crate::model::{Participant, User, UserUuid};
use crate::users::loader::UserLoader;

/// The requester and the loaders of one request, and what it has done.
pub struct RequestContext {
    messaging: Arc<Messaging>,
    token: Option<VerifiedToken>,
    requester: OnceCell<Arc<User>>,
    /// Made when it is first needed: names are mostly at hand.
    users: OnceLock<UserLoader>,
    stored: AtomicBool,
}

impl RequestContext {
    /// For a request that came with this verified token, or with none.
    pub fn new(messaging: Arc<Messaging>, token: Option<VerifiedToken>) -> Arc<Self> {
        let (requester, users) = (OnceCell::new(), OnceLock::new());
        Arc::new(Self { messaging, token, requester, users, stored: AtomicBool::new(false) })
    }

    /// Whether a message was stored for this request. What fails then, fails in the answer only.
    pub fn has_stored(&self) -> bool {
        self.stored.load(Ordering::Relaxed)
    }

    /// A message was stored.
    pub(super) fn note_stored(&self) {
        self.stored.store(true, Ordering::Relaxed);
    }

    /// The context of the request being executed.
    pub(super) fn of<'a, T>(context: &ContextBase<'a, T>) -> &'a Self {
        // Every request is built with one: `http::graphql` is the only place that executes, and it adds it.
        context.data_unchecked::<Arc<Self>>()
    }

    /// The rules.
    pub(super) fn messaging(&self) -> &Messaging {
        &self.messaging
    }

    /// Who asks. Looked up once a request, and only when a field needs it.
    pub(super) async fn requester(&self) -> Result<Arc<User>> {
        let Some(token) = &self.token else {
            return Err(unauthenticated("token_missing", "You are not signed in."));
        };
        let look_up = async {
            let users = self.messaging.users();
            match users.by_cognito_user_id(&token.cognito_user_id).await {
                Ok(Some(user)) => Ok(user),
                Ok(None) => Err(unauthenticated("user_unknown", "No user belongs to your access token.")),
                Err(error) => Err(of_users(&error)),
            }
        };
        self.requester.get_or_try_init(|| look_up).await.cloned()
    }

    /// A participant's names, when they have been read from Postgres in the last moments; the requester's, when this
    /// request has looked them up.
    pub(super) fn user_at_hand(&self, uuid: UserUuid) -> Option<Arc<User>> {
        let requester = self.requester.get().filter(|requester| requester.uuid == uuid);
        requester.cloned().or_else(|| self.messaging.users().at_hand(uuid))
    }

    /// A participant with the names Postgres has for them at present; with the copied ones once they are gone there.
    pub(super) async fn user(&self, participant: &Participant) -> Result<UserObject> {
        if let Some(user) = self.user_at_hand(participant.uuid) {
            return Ok(UserObject::from(&*user));
        }
        let users = self.users.get_or_init(|| UserLoader::new(self.messaging.users().clone()));
        match users.load(participant.uuid).await {
            Ok(Some(user)) => Ok(UserObject::from(&*user)),
            Ok(None) => Ok(UserObject::from(participant)),
            Err(error) => Err(of_users(&error)),
        }
    }
}

fn unauthenticated(reason: &str, message: &str) -> Error {
    field_error(Code::Unauthenticated, Some(reason), message)
}
