//! `serve`, `worker` and the operator's commands as processes, with engines that the test runs.

use std::time::Instant;

use serde_json::json;

use crate::harness::process::{Running, command, configured, listening, one_line, run, token_for};
use crate::harness::recorder::role_of;
use crate::harness::{Client, DEADLINE, FaultProxy, embedded_dynamodb, embedded_postgres, eventually, shared, test};

#[test]
fn the_operators_commands_prepare_real_services_and_serve_runs_on_them() {
    test(async {
        let dynamodb = embedded_dynamodb().await;
        let proxy = FaultProxy::start(dynamodb.url()).await;
        let postgres = embedded_postgres().await;
        let shared = shared().await;
        let configured = |arguments: &[&str]| {
            let url = proxy.url_of(role_of(arguments));
            let mut command = configured(arguments, &url, postgres.url(), &shared.token_issuer.jwks_url);
            command.env("DDB_MESSAGE_TABLE", "renamed-messages");
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
        assert!(blocking(&["ddb", "schema-load"]).contains("renamed-messages: exists, ACTIVE"));
        blocking(&["db", "migrate"]);
        blocking(&["db", "migrate"]);
        assert!(blocking(&["db", "seed"]).contains("5 users added"));
        assert!(blocking(&["db", "seed"]).contains("0 users added"));
        assert!(blocking(&["ddb", "seed"]).contains("conversations: 3 created, 0 conflict with existing ones"));
        assert!(blocking(&["ddb", "seed"]).contains("conversations: 0 created, 0 conflict with existing ones"));

        // `db update-cognito-user-ids` would set the Cognito ids. Here the test sets them.
        let pool = postgres.pool().expect("a pool");
        sqlx::query("UPDATE public.users SET cognito_user_id = 'sub-' || handle").execute(&pool).await.expect("ids");
        pool.close().await;
        let token = |handle: &str| token_for(&shared.issuer, &format!("sub-{handle}"));
        let served = std::net::TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr()).expect("a free port");
        let mut server = configured(&["serve", "--no-worker"]);
        server.env("LOG_FORMAT", "json").env("METRICS_ADDR", served.to_string());
        let mut server = Running::start(&mut server);
        let metrics = std::net::TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr()).expect("a free port");
        let mut worker = Running::start(configured(&["worker"]).env("METRICS_ADDR", metrics.to_string()));
        let serving = |line: &str| {
            let line: serde_json::Value = serde_json::from_str(line).expect("a line of JSON");
            (line["message"] == "API started").then(|| line["address"].as_str().map(str::to_owned)).flatten()
        };
        let address =
            tokio::task::block_in_place(|| server.wait_for("its address", serving)).parse().expect("an address");
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
        for part in [
            "consumer_lag_seconds{shard=",
            "consumer_repair_pending_seconds 0",
            "consumer_repair_running 0",
            "dynamodb_calls_total{target=\"messages\",operation=\"DescribeTable\",outcome=\"OK\"}",
            "dynamodb_calls_total{target=\"stream\",operation=\"DescribeStream\",outcome=\"OK\"}",
            "dynamodb_calls_total{target=\"stream\",operation=\"GetShardIterator\",outcome=\"OK\"}",
            "dynamodb_calls_total{target=\"stream\",operation=\"GetRecords\",outcome=\"OK\"}",
            "dynamodb_calls_total{target=\"leases\",operation=\"Query\",outcome=\"OK\"}",
            "dynamodb_calls_total{target=\"leases\",operation=\"GetItem\",outcome=\"OK\"}",
        ] {
            assert!(numbers.contains(part), "{part}: {numbers}");
        }
        // One lease, and the stream that is consumed.
        let put = "dynamodb_consumed_half_units_total{target=\"leases\",operation=\"PutItem\"} 4";
        assert!(numbers.lines().any(|line| line == put), "{numbers}");
        let advanced = "dynamodb_consumed_half_units_total{target=\"leases\",operation=\"UpdateItem\"}";
        assert!(numbers.contains(advanced), "{numbers}");
        let introspection = ana.execute("{ __schema { queryType { name } } }", json!({})).await;
        assert_ne!(introspection["data"]["__schema"]["queryType"]["name"], "Query", "off unless switched on");
        let answered = |line: &str| {
            assert!(
                !line.contains("on real services") && !line.contains("eyJ") && !line.contains("@example"),
                "{line}"
            );
            let line: serde_json::Value = serde_json::from_str(line).expect("a line of JSON");
            (line["message"] == "request finished" && line["fields"] == "createMessage").then_some(line)
        };
        let line = tokio::task::block_in_place(|| server.wait_for("the request", answered));
        assert_eq!((&line["outcome"], &line["status"]), (&json!("OK"), &json!(200)), "{line}");
        assert!(line["span"]["id"].is_string() && line["duration_ms"].is_number(), "{line}");
        let numbers =
            reqwest::get(format!("http://{served}/metrics")).await.expect("metrics").text().await.expect("text");
        for part in [
            "graphql_requests_total{field=\"createMessage\",outcome=\"OK\"} 1",
            "graphql_request_seconds_bucket{field=\"createMessage\",le=",
            "dynamodb_calls_total{target=\"messages\",operation=\"PutItem\",outcome=\"OK\"} 1",
            "dynamodb_consumed_half_units_total{target=\"messages\",operation=\"PutItem\"} 2",
            "cache_lookups_total{cache=\"users_by_token\",outcome=\"hit\"}",
            "postgres_connections{state=\"idle\"}",
            "clock_ahead_of_dynamodb_seconds",
        ] {
            assert!(numbers.contains(part), "{part}: {numbers}");
        }
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
        let output = run(&mut command);
        (output.status.code(), one_line(&output))
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
        ("COGNITO_ISSUER", Some("nonsense")),
        ("COGNITO_ISSUER", Some("https://idp.example/pool?x")),
        ("JWKS_GRACE_SECONDS", Some("-1")),
        ("JWKS_GRACE_SECONDS", Some("604801")),
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
        ("DATABASE_STATEMENT_TIMEOUT_MS", Some("0")),
        ("RUST_LOG", Some("=,=")),
        ("DATABASE_URL", Some("postgresql://host:abc/name")),
        ("TRUSTED_DOCUMENTS", Some("/nowhere")),
        ("CORS_ORIGINS", Some("https://app.example.com/path")),
        ("COGNITO_JWKS_URL", Some("http://host:99999/keys")),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", Some("nonsense")),
    ] {
        let (status, line) = with(name, value);
        assert!(status == Some(2) && line.contains(name), "{name}: {status:?} {line}");
    }
    let (_, line) = with("METRICS_ADDR", Some(&taken));
    assert!(line.contains("METRICS_ADDR"), "{line}");
    let (_, line) = with("LISTEN_ADDR", Some(&taken));
    assert!(line.contains(&taken) || line.contains("LISTEN_ADDR"), "{line}");
}

#[test]
fn the_start_fails_if_an_operator_must_act_and_not_if_a_store_is_unreachable() {
    test(async {
        let dynamodb = embedded_dynamodb().await;
        let proxy = FaultProxy::start(dynamodb.url()).await;
        let postgres = embedded_postgres().await;
        let configured = |arguments: &[&str]| {
            let url = proxy.url_of(role_of(arguments));
            configured(arguments, &url, postgres.url(), "http://127.0.0.1:9/keys")
        };
        let begin = Instant::now();
        let refusal = |arguments: &[&str]| {
            while begin.elapsed() < DEADLINE * 4 {
                // If the engines are too busy for the checks, the process starts. Then the test tries again.
                let mut process = Running::start(&mut configured(arguments));
                let lines = tokio::task::block_in_place(|| process.lines_without("checking the "));
                if let Some(lines) = lines {
                    assert!(!tokio::task::block_in_place(|| process.wait()).success(), "it began: {lines:?}");
                    assert_eq!(lines.len(), 1, "not one line: {lines:?}");
                    return lines.concat();
                }
            }
            panic!("the engines never said how they are");
        };
        let done = |arguments: &[&str]| {
            let output = tokio::task::block_in_place(|| run(&mut configured(arguments)));
            assert!(output.status.success(), "{output:?}");
        };
        let aws = cruddur_messaging::aws::Aws::local(dynamodb.url()).await;
        for arguments in [&["serve"][..], &["serve", "--no-worker"], &["worker"]] {
            let line = refusal(arguments);
            assert!(line.contains("table cruddur-messages does not exist: run `ddb schema-load`"), "{line}");
        }
        done(&["ddb", "schema-load"]);
        assert!(refusal(&["serve"]).contains("run `db migrate`"));
        done(&["db", "migrate"]);
        let drop = aws.dynamodb.delete_table().table_name("cruddur-messages-leases");
        drop.send().await.expect("dropped");
        assert!(refusal(&["serve"]).contains("table cruddur-messages-leases does not exist"));
        done(&["ddb", "schema-load"]);
        let off = aws_sdk_dynamodb::types::StreamSpecification::builder().stream_enabled(false).build();
        let update = aws.dynamodb.update_table().table_name("cruddur-messages");
        update.stream_specification(off.expect("a specification")).send().await.expect("a stream that is off");
        assert!(refusal(&["worker"]).contains("its stream is disabled"));
        done(&["ddb", "schema-load"]);
        let off =
            aws_sdk_dynamodb::types::TimeToLiveSpecification::builder().attribute_name("expires_at").enabled(false);
        let update = aws.dynamodb.update_time_to_live().table_name("cruddur-messages");
        update.time_to_live_specification(off.build().expect("a specification")).send().await.expect("off");
        // PostgreSQL and the keys are unreachable: the process starts, is not ready, and stops in good order.
        let mut server = Running::start(
            configured(&["serve"]).env("DATABASE_URL", "postgresql://x@127.0.0.1:9/db").env("RUST_LOG", "info"),
        );
        // A disabled time to live is only a warning.
        let warning = |line: &str| (line.contains("WARN") && line.contains("time to live")).then(|| line.to_owned());
        let line = tokio::task::block_in_place(|| server.wait_for("the warning", warning));
        assert!(line.contains("found=disabled") && line.contains("run `ddb schema-load`"), "{line}");
        let address = tokio::task::block_in_place(|| server.wait_for("its address", listening));
        let ready = reqwest::get(format!("http://{address}/health/ready")).await.expect("a response");
        assert_eq!(ready.status().as_u16(), 503);
        let live = reqwest::get(format!("http://{address}/health/live")).await.expect("a response");
        assert_eq!(live.status().as_u16(), 200);
        server.signal("TERM");
        assert!(tokio::task::block_in_place(|| server.wait()).success());
    });
}

#[test]
fn the_operators_commands_use_aws_only_with_prod() {
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
