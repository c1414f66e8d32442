//! `serve`, `worker` and the operator's commands as processes, against engines that this process serves.

use std::process::Command;

use serde_json::json;

use crate::harness::process::{Running, command, one_line, run};
use crate::harness::{Client, embedded_dynamodb, embedded_postgres, eventually, shared, test};

fn listening(line: &str) -> Option<String> {
    line.contains("serving").then(|| line.split("address=").nth(1)?.split(' ').next().map(str::to_owned)).flatten()
}

#[test]
fn the_operators_commands_prepare_real_services_and_serve_runs_on_them() {
    test(async {
        let dynamodb = embedded_dynamodb().await;
        let postgres = embedded_postgres().await;
        let shared = shared().await;
        let configured = |arguments: &[&str]| -> Command {
            let mut command = command();
            command
                .args(arguments)
                .env("AWS_ENDPOINT_URL_DYNAMODB", dynamodb.url())
                .env("AWS_REGION", "eu-central-1")
                .env("AWS_ACCESS_KEY_ID", "test")
                .env("AWS_SECRET_ACCESS_KEY", "test")
                .env("DATABASE_URL", postgres.url())
                .env("DATABASE_MAX_CONNECTIONS", "1")
                .env("DDB_MESSAGE_TABLE", "renamed-messages")
                .env("LISTEN_ADDR", "127.0.0.1:0")
                .env("METRICS_ADDR", "127.0.0.1:0")
                .env("AWS_COGNITO_USER_POOL_ID", "eu-central-1_test")
                .env("AWS_COGNITO_USER_POOL_CLIENT_ID", "test-client")
                .env("COGNITO_JWKS_URL", &shared.token_issuer.jwks_url);
            command
        };
        let output = |arguments: &[&str]| {
            let output = run(&mut configured(arguments));
            let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
            assert!(output.status.success(), "{arguments:?}: {out}{err}");
            out.into_owned()
        };
        let blocking = |arguments: &'static [&'static str]| tokio::task::block_in_place(|| output(arguments));
        assert!(blocking(&["ddb", "schema-load"]).contains("renamed-messages: created"));
        assert!(blocking(&["ddb", "schema-load"]).contains("renamed-messages: was there already"));
        blocking(&["db", "migrate"]);
        blocking(&["db", "migrate"]);
        assert!(blocking(&["db", "seed"]).starts_with("5 users added"));
        assert!(blocking(&["db", "seed"]).starts_with("0 users added"));
        assert!(blocking(&["ddb", "seed"]).contains("3 conversations begun, 0 left alone"));
        assert!(blocking(&["ddb", "seed"]).contains("0 conversations begun, 0 left alone"));

        // Real Cognito ids come with `db update-cognito-user-ids`; here by hand.
        let pool = postgres.pool().expect("a pool");
        sqlx::query("UPDATE public.users SET cognito_user_id = 'sub-' || handle").execute(&pool).await.expect("ids");
        pool.close().await;
        let token = |handle: &str| {
            let mut claims =
                cruddur_messaging::embedded::issuer::LocalIssuer::claims(&format!("sub-{handle}"), chrono::Utc::now());
            claims["iss"] = json!("https://cognito-idp.eu-central-1.amazonaws.com/eu-central-1_test");
            claims["client_id"] = json!("test-client");
            shared.issuer.sign(&claims).expect("a token")
        };
        let mut server = Running::start(&mut configured(&["serve", "--no-worker"]));
        let metrics = std::net::TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr()).expect("a free port");
        let mut worker = Running::start(configured(&["worker"]).env("METRICS_ADDR", metrics.to_string()));
        let address =
            tokio::task::block_in_place(|| server.wait_for("its address", listening)).parse().expect("an address");
        let ana = Client::new(address, Some(token("ana")));
        let listed = ana.groups(10).await;
        let handles: Vec<_> = listed.iter().map(|group| group["otherParticipant"]["handle"].clone()).collect();
        assert_eq!(handles, ["chloe", "ben"]);
        ana.send(json!({ "handle": "ben" }), "on real services").await;
        eventually("the move by the worker", || async {
            (ana.groups(1).await[0]["lastMessage"]["body"] == "on real services").then_some(())
        })
        .await;
        let numbers =
            reqwest::get(format!("http://{metrics}/metrics")).await.expect("metrics").text().await.expect("text");
        for line in ["consumer_moves_total 1", "consumer_set_aside_total 0", "consumer_active_shards 1"] {
            assert!(numbers.lines().any(|it| it == line), "{line}: {numbers}");
        }
        assert!(numbers.contains("consumer_lag_seconds{shard="), "{numbers}");
        let introspection = ana.execute("{ __schema { queryType { name } } }", json!({})).await;
        assert_ne!(introspection["data"]["__schema"]["queryType"]["name"], "Query", "off unless switched on");
        for process in [&mut server, &mut worker] {
            process.signal("TERM");
            assert!(tokio::task::block_in_place(|| process.wait()).success());
        }
    });
}

#[test]
fn a_missing_or_wrong_setting_is_one_line_that_names_it() {
    let good = [
        ("AWS_REGION", "eu-central-1"),
        ("DATABASE_URL", "postgresql://postgres@127.0.0.1:9/postgres"),
        ("AWS_COGNITO_USER_POOL_ID", "eu-central-1_test"),
        ("AWS_COGNITO_USER_POOL_CLIENT_ID", "client"),
        ("LISTEN_ADDR", "127.0.0.1:0"),
        ("AWS_EC2_METADATA_DISABLED", "true"),
    ];
    let with = |changed: &str, value: Option<&str>| {
        let mut command = command();
        command.arg("serve").envs(good);
        match value {
            Some(value) => command.env(changed, value),
            None => command.env_remove(changed),
        };
        one_line(&run(&mut command))
    };
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let taken = taken.local_addr().expect("an address").to_string();
    for (name, value) in [
        ("AWS_REGION", None),
        ("DATABASE_URL", None),
        ("DATABASE_URL", Some("")),
        ("DATABASE_URL", Some("mysql://x")),
        ("DATABASE_URL", Some("postgresql://[")),
        ("AWS_COGNITO_USER_POOL_ID", None),
        ("AWS_COGNITO_USER_POOL_ID", Some("nonsense")),
        ("AWS_COGNITO_USER_POOL_CLIENT_ID", None),
        ("COGNITO_JWKS_URL", Some("nonsense")),
        ("COGNITO_JWKS_URL", Some("http://")),
        ("AWS_REGION", Some("")),
        ("AWS_REGION", Some("no region")),
        ("AWS_ENDPOINT_URL_DYNAMODB", Some("nonsense")),
        ("LISTEN_ADDR", Some("nonsense")),
        ("METRICS_ADDR", Some("nonsense")),
        ("GRAPHQL_INTROSPECTION", Some("perhaps")),
        ("DDB_MESSAGE_TABLE", Some("no spaces please")),
        ("DATABASE_MAX_CONNECTIONS", Some("0")),
        ("RUST_LOG", Some("=,=")),
    ] {
        let line = with(name, value);
        assert!(line.contains(name), "{name}: {line}");
    }
    let line = with("METRICS_ADDR", Some(&taken));
    assert!(line.contains("METRICS_ADDR"), "{line}");
    let line = with("LISTEN_ADDR", Some(&taken));
    assert!(line.contains(&taken) || line.contains("LISTEN_ADDR"), "{line}");
}

#[test]
fn the_operators_commands_reach_aws_only_when_told_to() {
    let mut command = command();
    command.args(["ddb", "schema-load"]).env("AWS_ENDPOINT_URL", "https://dynamodb.eu-central-1.amazonaws.com");
    let line = one_line(&run(&mut command));
    assert!(line.contains("--prod") && line.contains("AWS_ENDPOINT_URL"), "{line}");
}

#[test]
fn schema_prints_the_schema() {
    let output = run(command().arg("schema"));
    assert_eq!(String::from_utf8_lossy(&output.stdout), include_str!("../../schema.graphql"));
}
