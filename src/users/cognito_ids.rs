//! Decides which users get which `cognito_user_id`, without I/O.
//!
//! A Cognito user claims a handle by `preferred_username`, and can set it to anything. So an id is set only if the user has
//! none, a handle that two users claim is skipped, and an id that one user has is given to no other.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use uuid::Uuid;

use crate::cognito::CognitoUser;

/// The `cognito_user_id` of a user who has no Cognito account yet, as the legacy seed wrote it. Many rows can have it.
pub const NOT_IN_COGNITO_YET: &str = "MOCK";

/// A user in Postgres.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownUser {
    /// The user.
    pub uuid: Uuid,
    /// The handle.
    pub handle: Option<String>,
    /// The current id.
    pub cognito_user_id: Option<String>,
}

/// An id to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Update {
    /// The user.
    pub uuid: Uuid,
    /// The handle of the user.
    pub handle: String,
    /// The id that is replaced, if there is one.
    pub replaces: Option<String>,
    /// The new id.
    pub cognito_user_id: String,
}

/// A user who is not changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skipped {
    /// The handle.
    pub handle: String,
    /// The reason.
    pub reason: String,
}

/// The changes, ordered by handle.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IdPlan {
    /// Ids to set.
    pub updated: Vec<Update>,
    /// Handles whose id is up to date.
    pub unchanged: Vec<String>,
    /// Handles that are not changed although a Cognito user claims them.
    pub skipped: Vec<Skipped>,
    /// Cognito users who have no user in Postgres.
    pub in_cognito_only: Vec<String>,
    /// Handles that no Cognito user claims.
    pub in_postgres_only: Vec<String>,
    /// Handles that the operator wants to replace, but that no Cognito user claims or no user has.
    pub not_replaced: Vec<String>,
}

/// Compares the users of Postgres and Cognito. `replace` has the handles whose ids may be replaced.
pub fn plan(cognito: &[CognitoUser], known: &[KnownUser], replace: &BTreeSet<String>) -> IdPlan {
    let mut plan = IdPlan::default();
    let by_handle: BTreeMap<&str, &KnownUser> =
        known.iter().filter_map(|user| Some((user.handle.as_deref()?, user))).collect();
    let holders: HashMap<&str, &KnownUser> =
        known.iter().filter_map(|user| Some((real(user.cognito_user_id.as_deref())?, user))).collect();
    let mut claims: BTreeMap<&str, Vec<&CognitoUser>> = BTreeMap::new();
    for user in cognito {
        match user.preferred_username.as_deref() {
            Some(name) if by_handle.contains_key(name) => claims.entry(name).or_default().push(user),
            Some(name) => plan.in_cognito_only.push(format!("{name} ({})", user.username)),
            None => plan.in_cognito_only.push(format!("{}, who has no preferred_username", user.username)),
        }
    }
    plan.in_cognito_only.sort();
    for (handle, user) in &by_handle {
        let Some(claimants) = claims.get(handle) else {
            plan.in_postgres_only.push((*handle).to_owned());
            continue;
        };
        match decide(handle, user, claimants, &holders, replace) {
            Decision::Update(update) => plan.updated.push(update),
            Decision::Unchanged => plan.unchanged.push((*handle).to_owned()),
            Decision::Skip(reason) => plan.skipped.push(Skipped { handle: (*handle).to_owned(), reason }),
        }
    }
    plan.not_replaced = replace.iter().filter(|handle| !claims.contains_key(handle.as_str())).cloned().collect();
    plan
}

enum Decision {
    Update(Update),
    Unchanged,
    Skip(String),
}

fn decide(
    handle: &str,
    user: &KnownUser,
    claimants: &[&CognitoUser],
    holders: &HashMap<&str, &KnownUser>,
    replace: &BTreeSet<String>,
) -> Decision {
    let [claimant] = claimants else {
        let names: Vec<String> = claimants.iter().map(|it| format!("{} ({})", it.username, it.sub)).collect();
        return Decision::Skip(format!("claimed by {}", names.join(" and ")));
    };
    let now = real(user.cognito_user_id.as_deref());
    if now == Some(claimant.sub.as_str()) {
        return Decision::Unchanged;
    }
    if let Some(holder) = holders.get(claimant.sub.as_str()) {
        let holder = holder.handle.as_deref().map_or_else(|| holder.uuid.to_string(), str::to_owned);
        return Decision::Skip(format!("the id of {} ({}) is {holder}'s already", claimant.username, claimant.sub));
    }
    match now {
        Some(now) if !replace.contains(handle) => Decision::Skip(format!(
            "has the id {now}, and {} ({}) claims the handle: --replace {handle} if that is right",
            claimant.username, claimant.sub
        )),
        now => Decision::Update(Update {
            uuid: user.uuid,
            handle: handle.to_owned(),
            replaces: now.map(str::to_owned),
            cognito_user_id: claimant.sub.clone(),
        }),
    }
}

/// An id that comes from Cognito.
fn real(id: Option<&str>) -> Option<&str> {
    id.filter(|id| !id.trim().is_empty() && *id != NOT_IN_COGNITO_YET)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cognito(username: &str, preferred: Option<&str>) -> CognitoUser {
        CognitoUser {
            sub: format!("sub-{username}"),
            username: username.to_owned(),
            preferred_username: preferred.map(str::to_owned),
        }
    }

    fn known(number: u128, handle: &str, id: Option<&str>) -> KnownUser {
        KnownUser {
            uuid: Uuid::from_u128(number),
            handle: Some(handle.to_owned()),
            cognito_user_id: id.map(str::to_owned),
        }
    }

    #[test]
    fn only_an_empty_or_mock_id_is_filled() {
        let in_cognito = ["ana", "ben", "chloe", "esi"].map(|name| cognito(&format!("{name}@example.com"), Some(name)));
        let users = [
            known(1, "ana", Some("MOCK")),
            known(2, "ben", None),
            known(3, "chloe", Some("")),
            known(4, "dmitri", Some("MOCK")),
            known(5, "esi", Some("another")),
        ];
        let planned = plan(&in_cognito, &users, &BTreeSet::new());
        let updated: Vec<&str> = planned.updated.iter().map(|it| it.handle.as_str()).collect();
        assert_eq!(updated, ["ana", "ben", "chloe"]);
        assert_eq!(planned.updated[0].cognito_user_id, "sub-ana@example.com");
        assert_eq!(planned.in_postgres_only, ["dmitri"]);
        let [skipped] = planned.skipped.as_slice() else { panic!("{planned:?}") };
        assert!(skipped.handle == "esi" && skipped.reason.contains("--replace esi"), "{skipped:?}");

        let replaced = plan(&in_cognito, &users, &["esi".to_owned(), "nobody".to_owned()].into());
        let of_esi = replaced.updated.iter().find(|it| it.handle == "esi").expect("an update");
        assert_eq!(of_esi.replaces.as_deref(), Some("another"));
        assert_eq!(replaced.not_replaced, ["nobody"]);
    }

    #[test]
    fn a_handle_that_two_claim_is_nobodys_whatever_is_said() {
        let in_cognito = [cognito("one", Some("ana")), cognito("two", Some("ana")), cognito("three", None)];
        let planned = plan(&in_cognito, &[known(1, "ana", Some("MOCK"))], &["ana".to_owned()].into());
        assert!(planned.updated.is_empty());
        let reason = &planned.skipped[0].reason;
        assert!(reason.contains("one (sub-one)") && reason.contains("two (sub-two)"), "{reason}");
        assert_eq!(planned.in_cognito_only, ["three, who has no preferred_username"]);
    }

    #[test]
    fn an_id_that_one_user_has_is_given_to_no_other() {
        let in_cognito = [cognito("ana", Some("ben"))];
        let users = [known(1, "ana", Some("sub-ana")), known(2, "ben", Some("MOCK"))];
        let planned = plan(&in_cognito, &users, &["ben".to_owned()].into());
        assert!(planned.updated.is_empty());
        assert!(planned.skipped[0].reason.contains("ana's already"), "{planned:?}");
    }

    #[test]
    fn what_is_right_stays_and_who_is_unknown_is_told() {
        let in_cognito = [cognito("ana", Some("ana")), cognito("zoe", Some("zoe"))];
        let planned = plan(&in_cognito, &[known(1, "ana", Some("sub-ana"))], &BTreeSet::new());
        assert_eq!(planned.unchanged, ["ana"]);
        assert_eq!(planned.in_cognito_only, ["zoe (zoe)"]);
        assert!(planned.updated.is_empty() && planned.skipped.is_empty());
    }
}
