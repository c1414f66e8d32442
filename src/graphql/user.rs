//! The type `User`.

use std::borrow::Cow;
use std::sync::Arc;

use async_graphql::parser::types::Field;
use async_graphql::registry::Registry;
use async_graphql::{ContextSelectionSet, ID, OutputType, Positioned, ServerResult, Value};

use super::budget::Meter;
use super::context::RequestContext;
use super::engine::{Fast, FastPath, NotResolved, object};
use super::scalars::UuidText;
use crate::model::{Participant, User};

/// A user.
pub struct UserObject(pub Arc<User>);

object! {
    /// A user of the app.
    "User" for UserObject;
    fields(&self) {
        /// Unique identifier of the user. Equal to `uuid`.
        "id" id: ID = self.0.uuid.0.into();
        /// Unique identifier of the user. Never changes.
        "uuid" uuid: UuidText = UuidText(self.0.uuid.0);
        /// Unique handle of the user. The user can change it.
        "handle" handle: &str = &self.0.handle;
        /// Name of the user, for display in a user interface.
        "displayName" display_name: &str = &self.0.display_name;
    }
}

/// A participant of a conversation, as a `User` with the current names from PostgreSQL. The names are loaded only if the
/// operation selects the user. One batch loads the names of all users of one level of the operation.
pub struct ParticipantObject<'a>(pub &'a Participant);

impl FastPath for ParticipantObject<'_> {
    fn resolve_now(&self, context: &ContextSelectionSet<'_>, meter: &mut Meter) -> Result<Value, NotResolved> {
        let user = RequestContext::of(context).cached_user(self.0.uuid).ok_or(NotResolved::NotInMemory)?;
        UserObject(user).resolve_now(context, meter)
    }
}

impl OutputType for ParticipantObject<'_> {
    fn type_name() -> Cow<'static, str> {
        UserObject::type_name()
    }

    fn create_type_info(registry: &mut Registry) -> String {
        UserObject::create_type_info(registry)
    }

    async fn resolve(&self, context: &ContextSelectionSet<'_>, field: &Positioned<Field>) -> ServerResult<Value> {
        match RequestContext::of(context).user(self.0).await {
            Ok(user) => Fast(UserObject(user)).resolve(context, field).await,
            Err(error) => Err(context.set_error_path(error.into_server_error(field.pos))),
        }
    }
}
