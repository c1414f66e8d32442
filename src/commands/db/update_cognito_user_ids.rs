//! `db update-cognito-user-ids`

use std::collections::BTreeSet;

use clap::Args;
use serde_json::json;

use super::Database;
use crate::aws::Aws;
use crate::cognito::users_of_pool;
use crate::commands::failure::{Place, Refused};
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
    /// Say what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// Replace the real id that the user with this handle has; may be given more than once
    #[arg(long, value_name = "HANDLE")]
    replace: Vec<String>,
}

pub async fn run(
    database: &Database,
    output: Output,
    prod: Prod,
    options: &Options,
    place: &mut Place,
) -> anyhow::Result<()> {
    let (pool, region) = options.user_pool.id_and_region()?;
    let named = endpoint_of(&ENDPOINTS);
    let (aws, endpoint, account) = if prod.prod {
        let aws = Aws::from_environment().await?;
        let account = account(&aws).await?;
        (aws, named.map_or("AWS".to_owned(), |(_, url)| url), account)
    } else {
        // There is no engine of Cognito that everybody has at the same address.
        let nowhere = || {
            Err(Refused(format!(
                "{} is not set: it names a local Cognito; --prod reaches the one of AWS",
                ENDPOINTS[0]
            ))
            .into())
        };
        let url = local_only(named, nowhere)?;
        (Aws::local_from_environment(&url).await?, url, "local".to_owned())
    };
    place.cognito = Some(endpoint.clone());
    output.say(format!(
        "User pool {pool} at {endpoint}, region {region}, account {account}, into PostgreSQL at {}",
        database.place
    ));
    let in_cognito = users_of_pool(&aws.cognito(region), pool).await?;
    output.say(format!("{} users in the pool", in_cognito.len()));
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
        handles => Err(Refused(format!(
            "--replace {}: there is no such user in PostgreSQL, or nobody in Cognito claims the handle",
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
        if dry_run { "; a dry run: nothing was written" } else { "" }
    ));
    lines.join("\n")
}
