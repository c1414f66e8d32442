//! `db update-cognito-user-ids`: copies the users' ids from Cognito to PostgreSQL.

use std::collections::BTreeSet;

use clap::Args;
use serde_json::json;

use crate::aws::Aws;
use crate::cognito::users_of_pool;
use crate::commands::database::Database;
use crate::commands::failure::{Endpoints, UsageError};
use crate::commands::output::Output;
use crate::commands::target::{Prod, account, endpoint_of, local_only};
use crate::config::UserPoolSettings;
use crate::users::cognito_ids::{IdPlan, Skipped};

pub const EXAMPLE: &str = "Examples:
  cruddur-messaging db update-cognito-user-ids --prod --dry-run
  cruddur-messaging db update-cognito-user-ids --prod --replace ana";

const ENDPOINTS: [&str; 2] = ["AWS_ENDPOINT_URL_COGNITO_IDENTITY_PROVIDER", "AWS_ENDPOINT_URL"];

#[derive(Args, Debug)]
pub struct Options {
    #[command(flatten)]
    user_pool: UserPoolSettings,
    /// Print the changes without writing them
    #[arg(long)]
    dry_run: bool,
    /// Replace the id of the user with this handle even if it is not empty or MOCK; may be repeated
    #[arg(long, value_name = "HANDLE")]
    replace: Vec<String>,
}

pub async fn run(
    database: &Database,
    output: Output,
    prod: Prod,
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
        // A local Cognito has no well-known address.
        let missing = || {
            let setting = ENDPOINTS[0];
            Err(UsageError(format!("{setting} is not set: set it to a local Cognito, or add --prod to use AWS")).into())
        };
        let url = local_only(named, missing)?;
        (Aws::local_from_environment(&url).await?, url, "local".to_owned())
    };
    endpoints.cognito = Some(endpoint.clone());
    output.say(format!(
        "Copying ids from user pool {pool} at {endpoint}, region {region}, account {account}, to PostgreSQL at {}",
        database.location
    ));
    let in_cognito = users_of_pool(&aws.cognito(region), pool).await?;
    output.say(format!("{} users in the user pool", in_cognito.len()));
    let replace: BTreeSet<String> = options.replace.iter().cloned().collect();
    let plan = database.users.update_cognito_user_ids(&in_cognito, &replace, options.dry_run).await?;
    output.result(text(&plan, options.dry_run), || {
        json!({
            "dryRun": options.dry_run,
            "updated": plan.updated.iter().map(|it| json!({
                "handle": it.handle, "cognitoUserId": it.cognito_user_id, "replaces": it.replaces,
            })).collect::<Vec<_>>(),
            "unchanged": plan.unchanged,
            "skipped": plan.skipped.iter().map(|it| json!({ "handle": it.handle, "reason": it.reason }))
                .collect::<Vec<_>>(),
            "inCognitoOnly": plan.in_cognito_only,
            "inPostgresOnly": plan.in_postgres_only,
            "notReplaced": plan.not_replaced,
        })
    });
    match plan.not_replaced.as_slice() {
        [] => Ok(()),
        handles => Err(UsageError(format!(
            "--replace {}: PostgreSQL or Cognito has no user with this handle",
            handles.join(", ")
        ))
        .into()),
    }
}

fn text(plan: &IdPlan, dry_run: bool) -> String {
    let mut lines = Vec::new();
    for update in &plan.updated {
        let replaced = update.replaces.as_ref().map_or(String::new(), |old| format!(", replacing {old}"));
        lines.push(format!("  updated           {}: {}{replaced}", update.handle, update.cognito_user_id));
    }
    lines.extend(plan.unchanged.iter().map(|handle| format!("  unchanged         {handle}")));
    lines.extend(
        plan.skipped.iter().map(|Skipped { handle, reason }| format!("  skipped           {handle}: {reason}")),
    );
    lines.extend(plan.in_cognito_only.iter().map(|name| format!("  in Cognito only   {name}")));
    lines.extend(plan.in_postgres_only.iter().map(|name| format!("  in Postgres only  {name}")));
    lines.push(format!(
        "{} updated, {} unchanged, {} skipped, {} in Cognito only, {} in Postgres only{}",
        plan.updated.len(),
        plan.unchanged.len(),
        plan.skipped.len(),
        plan.in_cognito_only.len(),
        plan.in_postgres_only.len(),
        if dry_run { "; dry run: nothing was written" } else { "" }
    ));
    lines.join("\n")
}
