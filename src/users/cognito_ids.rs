//! Decides which users get which `cognito_user_id`, without I/O.
//!
//! A pool user gets the account of a user whose e-mail address they have verified. A handle proves nothing: anybody can sign up
//! and set `preferred_username` to the handle of somebody else. So the handles need not be equal, and a wrong one does not keep a
//! user from their account. An id is set only if the user has none, an ambiguous match is skipped, and an id that one user has is
//! given to no other.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;

use uuid::Uuid;

use crate::cognito::CognitoUser;

/// The `cognito_user_id` of a user who has no Cognito account yet, as the legacy seed wrote it. Many rows can have it.
pub const NOT_IN_COGNITO_YET: &str = "MOCK";

/// What makes a pool user and a user in Postgres the same person.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Matching {
    /// The pool user is confirmed and enabled, and has verified the e-mail address of the user.
    VerifiedEmail,
    /// The pool user's `preferred_username` is the handle of the user. Everybody can set it to anything.
    HandleOnly,
}

/// A user in Postgres.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownUser {
    /// The user.
    pub uuid: Uuid,
    /// The handle.
    pub handle: Option<String>,
    /// The e-mail address.
    pub email: Option<String>,
    /// The current id.
    pub cognito_user_id: Option<String>,
}

impl KnownUser {
    /// The handle, or the uuid of a user without one.
    fn name(&self) -> String {
        self.handle.clone().unwrap_or_else(|| self.uuid.to_string())
    }
}

/// A pool user who may be a user in Postgres, because the e-mail address, the handle or the id is the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The pool user.
    pub user: CognitoUser,
    /// Whether both have the same e-mail address.
    pub has_email: bool,
    /// Whether `preferred_username` is the handle.
    pub has_handle: bool,
}

impl Candidate {
    fn matches(&self, matching: Matching) -> bool {
        let Self { user, has_email, has_handle } = self;
        match matching {
            Matching::VerifiedEmail => *has_email && user.email_verified && user.is_confirmed() && user.enabled,
            Matching::HandleOnly => *has_handle,
        }
    }
}

impl fmt::Display for Candidate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { user, has_email, has_handle } = self;
        let email = match (has_email, user.email_verified) {
            (true, true) => "same e-mail address, verified",
            (true, false) => "same e-mail address, not verified",
            (false, _) => "not the same e-mail address",
        };
        let handle = if *has_handle { "same handle" } else { "not the same handle" };
        write!(f, "{} ({}): {}, {email}, {handle}", user.username, user.sub, state(user))
    }
}

/// Status of a pool user, as the Cognito console shows it.
fn state(user: &CognitoUser) -> String {
    format!("{}, {}", user.status, if user.enabled { "enabled" } else { "disabled" })
}

/// An id to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Update {
    /// The user.
    pub uuid: Uuid,
    /// The handle of the user, or the uuid if there is none.
    pub name: String,
    /// The id that is replaced, if there is one.
    pub replaces: Option<String>,
    /// The pool user whose id is written.
    pub candidate: Candidate,
}

/// A user who is not changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skipped {
    /// The handle of the user, or the uuid if there is none.
    pub name: String,
    /// The reason.
    pub reason: String,
    /// The pool users who may be this user.
    pub candidates: Vec<Candidate>,
}

/// The changes, ordered by the names of the users.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IdPlan {
    /// Ids to set.
    pub updated: Vec<Update>,
    /// Users whose id is up to date.
    pub unchanged: Vec<String>,
    /// Users who are not changed although there are candidates.
    pub skipped: Vec<Skipped>,
    /// Pool users who are no candidates for any user in Postgres.
    pub in_cognito_only: Vec<String>,
    /// Users without candidates.
    pub in_postgres_only: Vec<String>,
    /// Handles whose ids the operator wants to replace, which is not possible, and why. Then nothing may be written.
    pub not_replaced: Vec<(String, String)>,
}

/// Compares the users of Postgres and Cognito. `replace` has the handles whose ids may be replaced.
pub fn plan(matching: Matching, cognito: &[CognitoUser], known: &[KnownUser], replace: &BTreeSet<String>) -> IdPlan {
    let mut plan = IdPlan::default();
    let pool = Pool::new(cognito);
    let holders: HashMap<&str, &KnownUser> =
        known.iter().filter_map(|user| Some((real(user.cognito_user_id.as_deref())?, user))).collect();
    let mut emails: HashMap<String, usize> = HashMap::new();
    for email in known.iter().filter_map(|user| normalised(user.email.as_deref())) {
        *emails.entry(email).or_default() += 1;
    }
    let mut not_replaced: BTreeMap<&str, String> =
        replace.iter().map(|handle| (handle.as_str(), "PostgreSQL has no user with this handle".to_owned())).collect();
    let mut known_to_postgres = BTreeSet::new();
    let mut ordered: Vec<&KnownUser> = known.iter().collect();
    ordered.sort_by_key(|user| (user.handle.is_none(), user.name()));
    for user in ordered {
        let candidates = pool.candidates(user);
        known_to_postgres.extend(candidates.iter().map(|it| it.user.sub.clone()));
        let namesakes = normalised(user.email.as_deref()).and_then(|email| emails.get(&email)).copied().unwrap_or(1);
        let may_replace = user.handle.as_ref().is_some_and(|handle| replace.contains(handle));
        let handle = user.handle.as_deref().unwrap_or_default();
        let decision = decide(matching, user, &candidates, namesakes, &holders, may_replace);
        match &decision {
            Decision::Update(_) | Decision::Unchanged => drop(not_replaced.remove(handle)),
            Decision::Skip(reason) => drop(not_replaced.get_mut(handle).map(|it| reason.clone_into(it))),
            Decision::Unknown => drop(not_replaced.get_mut(handle).map(|it| NO_MATCH.clone_into(it))),
        }
        match decision {
            Decision::Update(update) => plan.updated.push(update),
            Decision::Unchanged => plan.unchanged.push(user.name()),
            Decision::Skip(reason) => plan.skipped.push(Skipped { name: user.name(), reason, candidates }),
            Decision::Unknown => plan.in_postgres_only.push(user.name()),
        }
    }
    let strangers = cognito.iter().filter(|user| !known_to_postgres.contains(&user.sub));
    plan.in_cognito_only = strangers.map(|user| format!("{} ({}): {}", user.username, user.sub, state(user))).collect();
    plan.in_cognito_only.sort();
    plan.not_replaced = not_replaced.into_iter().map(|(handle, reason)| (handle.to_owned(), reason)).collect();
    plan
}

const NO_MATCH: &str = "no user of the pool matches";

/// The users of the pool by what they have in common with a user in Postgres.
struct Pool<'a> {
    by_email: HashMap<String, Vec<&'a CognitoUser>>,
    by_handle: HashMap<&'a str, Vec<&'a CognitoUser>>,
    by_sub: HashMap<&'a str, &'a CognitoUser>,
}

impl<'a> Pool<'a> {
    fn new(users: &'a [CognitoUser]) -> Self {
        let mut pool = Self { by_email: HashMap::new(), by_handle: HashMap::new(), by_sub: HashMap::new() };
        for user in users {
            if let Some(email) = normalised(user.email.as_deref()) {
                pool.by_email.entry(email).or_default().push(user);
            }
            if let Some(handle) = user.preferred_username.as_deref() {
                pool.by_handle.entry(handle).or_default().push(user);
            }
            pool.by_sub.insert(&user.sub, user);
        }
        pool
    }

    fn candidates(&self, user: &KnownUser) -> Vec<Candidate> {
        let email = normalised(user.email.as_deref());
        let with_email = email.as_ref().and_then(|email| self.by_email.get(email)).into_iter().flatten();
        let with_handle = user.handle.as_deref().and_then(|handle| self.by_handle.get(handle)).into_iter().flatten();
        let with_id = real(user.cognito_user_id.as_deref()).and_then(|id| self.by_sub.get(id));
        let found: BTreeMap<&str, &CognitoUser> =
            with_email.chain(with_handle).chain(with_id).map(|user| (user.sub.as_str(), *user)).collect();
        let candidate = |it: &CognitoUser| Candidate {
            has_email: email.is_some() && normalised(it.email.as_deref()) == email,
            has_handle: it.preferred_username.is_some() && it.preferred_username == user.handle,
            user: it.clone(),
        };
        found.into_values().map(candidate).collect()
    }
}

enum Decision {
    Update(Update),
    Unchanged,
    Skip(String),
    /// There is no candidate.
    Unknown,
}

fn decide(
    matching: Matching,
    user: &KnownUser,
    candidates: &[Candidate],
    namesakes: usize,
    holders: &HashMap<&str, &KnownUser>,
    may_replace: bool,
) -> Decision {
    if candidates.is_empty() {
        return Decision::Unknown;
    }
    let now = real(user.cognito_user_id.as_deref());
    let mut matches = candidates.iter().filter(|it| it.matches(matching));
    let (candidate, others) = (matches.next(), matches.count());
    let Some(candidate) = candidate else {
        let is_current = |it: &Candidate| Some(it.user.sub.as_str()) == now;
        return Decision::Skip(if candidates.iter().any(is_current) {
            "has the id of a user of the pool who does not match".to_owned()
        } else {
            NO_MATCH.to_owned()
        });
    };
    if others > 0 {
        return Decision::Skip(format!("{} users of the pool match", others + 1));
    }
    let id = candidate.user.sub.as_str();
    if now == Some(id) {
        return Decision::Unchanged;
    }
    if matching == Matching::VerifiedEmail && namesakes > 1 {
        return Decision::Skip(format!("{namesakes} users in PostgreSQL have this e-mail address"));
    }
    if let Some(holder) = holders.get(id) {
        return Decision::Skip(format!("the id {id} is already the id of {}", holder.name()));
    }
    match now {
        Some(now) if !may_replace => {
            let hint =
                user.handle.as_ref().map(|it| format!("; to replace it, add --replace {it}")).unwrap_or_default();
            Decision::Skip(format!("has another id, {now}{hint}"))
        }
        now => Decision::Update(Update {
            uuid: user.uuid,
            name: user.name(),
            replaces: now.map(str::to_owned),
            candidate: candidate.clone(),
        }),
    }
}

/// An id that comes from Cognito.
fn real(id: Option<&str>) -> Option<&str> {
    id.filter(|id| !id.trim().is_empty() && *id != NOT_IN_COGNITO_YET)
}

/// An e-mail address as it is compared. Only the case of ASCII letters is ignored: with the rules of Unicode, different mailboxes
/// could become equal.
fn normalised(email: Option<&str>) -> Option<String> {
    email.filter(|email| !email.trim().is_empty()).map(str::to_ascii_lowercase)
}

#[cfg(test)]
mod tests;
