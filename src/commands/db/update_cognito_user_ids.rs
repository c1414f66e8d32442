//! `db update-cognito-user-ids`: copies the users' ids from Cognito to PostgreSQL.

use std::collections::BTreeSet;

use clap::Args;
use serde_json::{Value, json};

use crate::aws::Aws;
use crate::cognito::users_of_pool;
use crate::commands::database::Database;
use crate::commands::failure::{Endpoints, UsageError};
use crate::commands::output::{Output, escaped};
use crate::commands::target::{Prod, account, endpoint_of, local_endpoint};
use crate::config::UserPoolSettings;
use crate::users::cognito_ids::{Candidate, IdPlan, Matching, Skipped, Update};

pub const EXAMPLE: &str = "Examples:
  cruddur-messaging db update-cognito-user-ids --prod --dry-run
  cruddur-messaging db update-cognito-user-ids --prod --replace ana";

const ENDPOINTS: [&str; 2] = ["AWS_ENDPOINT_URL_COGNITO_IDENTITY_PROVIDER", "AWS_ENDPOINT_URL"];

#[derive(Args, Debug)]
pub struct Options {
    #[command(flatten)]
    user_pool: UserPoolSettings,
    /// Print the changes without writing them, and without locking rows
    #[arg(long)]
    dry_run: bool,
    /// Compare preferred_username in Cognito with handle in PostgreSQL, instead of the e-mail addresses
    ///
    /// Everybody who can sign up can set preferred_username to any name, even before they have confirmed their account. With
    /// this option, a person who chose the handle of another user gets the account of that user.
    #[arg(long)]
    by_handle_only: bool,
    /// Handle of a user whose id the command replaces even if the id is not empty or MOCK; may be repeated. If the command
    /// cannot replace one of the ids, it changes nothing
    #[arg(long, value_name = "HANDLE")]
    replace: Vec<String>,
}

pub async fn run(
    database: &Database,
    output: Output,
    prod: &Prod,
    options: &Options,
    endpoints: &mut Endpoints,
) -> anyhow::Result<()> {
    let (pool, region) = options.user_pool.id_and_region()?;
    let named = endpoint_of(&ENDPOINTS);
    let (aws, endpoint, account) = if prod.prod {
        let aws = Aws::from_environment().await?;
        let account = account(&aws).await?;
        (aws, named.map_or("AWS".to_owned(), |(_, url)| url), account)
    } else {
        // There is no default, because a local Cognito has no well-known address.
        let missing = || {
            let setting = ENDPOINTS[0];
            Err(UsageError(format!("{setting} is not set: set it to a local Cognito, or add --prod to use AWS")).into())
        };
        let url = local_endpoint(prod, named, missing)?;
        (Aws::local_from_environment(&url).await?, url, "local".to_owned())
    };
    endpoints.cognito = Some(endpoint.clone());
    output.say(format!(
        "Copying ids from user pool {pool} at {endpoint}, region {region}, account {account}, to PostgreSQL at {}",
        database.location
    ));
    let matching = if options.by_handle_only { Matching::HandleOnly } else { Matching::VerifiedEmail };
    if matching == Matching::HandleOnly {
        output.say(
            "Warning: with --by-handle-only, a user of the pool who chose the handle of another user as preferred_username \
             gets the account of that user",
        );
    }
    let in_cognito = users_of_pool(&aws.cognito(region), pool).await?;
    output.say(format!("{} users in the user pool", in_cognito.len()));
    let replace: BTreeSet<String> = options.replace.iter().cloned().collect();
    let plan = if options.dry_run {
        database.users.plan_cognito_user_ids(matching, &in_cognito, &replace).await?
    } else {
        database.users.update_cognito_user_ids(matching, &in_cognito, &replace).await?
    };
    if !plan.not_replaced.is_empty() {
        let wrong: Vec<String> =
            plan.not_replaced.iter().map(|(handle, reason)| format!("--replace {handle}: {reason}")).collect();
        return Err(UsageError(format!("nothing was changed: {}", wrong.join("; "))).into());
    }
    output.result(text(&plan, options.dry_run), || json(&plan, options.dry_run));
    Ok(())
}

fn text(plan: &IdPlan, dry_run: bool) -> String {
    let mut lines = Vec::new();
    let updated = if dry_run { "would update" } else { "updated" };
    for Update { name, replaces, candidate, .. } in &plan.updated {
        let replaced = replaces.as_ref().map_or(String::new(), |old| format!("; replaces {old}"));
        lines.push(format!("  {updated:<16}  {name}: {candidate}{replaced}"));
    }
    lines.extend(plan.unchanged.iter().map(|name| format!("  unchanged         {name}")));
    for Skipped { name, reason, candidates } in &plan.skipped {
        lines.push(format!("  skipped           {name}: {reason}"));
        lines.extend(candidates.iter().map(|candidate| format!("                    {candidate}")));
    }
    lines.extend(plan.in_cognito_only.iter().map(|name| format!("  in Cognito only   {name}")));
    lines.extend(plan.in_postgres_only.iter().map(|name| format!("  in Postgres only  {name}")));
    lines.push(format!(
        "{} {}, {} unchanged, {} skipped, {} in Cognito only, {} in Postgres only{}",
        plan.updated.len(),
        if dry_run { "to update" } else { "updated" },
        plan.unchanged.len(),
        plan.skipped.len(),
        plan.in_cognito_only.len(),
        plan.in_postgres_only.len(),
        if dry_run { "; dry run: nothing was written" } else { "" }
    ));
    // Control characters are escaped, because users choose their names.
    lines.iter().map(|line| escaped(line)).collect::<Vec<_>>().join("\n")
}

fn json(plan: &IdPlan, dry_run: bool) -> Value {
    let updates = plan.updated.iter().map(|it| {
        json!({
            "handle": it.name,
            "cognitoUserId": it.candidate.user.sub,
            "replaces": it.replaces,
            "candidate": candidate(&it.candidate),
        })
    });
    let skipped = plan.skipped.iter().map(|it| {
        let candidates: Vec<Value> = it.candidates.iter().map(candidate).collect();
        json!({ "handle": it.name, "reason": it.reason, "candidates": candidates })
    });
    json!({
        "dryRun": dry_run,
        "updated": updates.collect::<Vec<_>>(),
        "unchanged": plan.unchanged,
        "skipped": skipped.collect::<Vec<_>>(),
        "inCognitoOnly": plan.in_cognito_only,
        "inPostgresOnly": plan.in_postgres_only,
    })
}

fn candidate(candidate: &Candidate) -> Value {
    let Candidate { user, has_email, has_handle } = candidate;
    json!({
        "username": user.username,
        "cognitoUserId": user.sub,
        "status": user.status,
        "enabled": user.enabled,
        "sameEmail": has_email,
        "emailVerified": user.email_verified,
        "sameHandle": has_handle,
    })
}
