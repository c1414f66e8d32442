//! Runs the commands for operators as processes with embedded stores, and compares their output with the transcripts in
//! `golden/`. In a transcript, each line that begins with `$` is a command. `UPDATE_GOLDEN=1` rewrites the transcripts.

use std::path::PathBuf;

use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType, TimeToLiveSpecification,
};
use cruddur_messaging::aws::Aws;
use cruddur_messaging::embedded::dynamodb::EmbeddedDynamoDb;
use cruddur_messaging::embedded::postgres::EmbeddedPostgres;
use serde_json::Value;

use crate::harness::fault_proxy::Fault::{Answer, Body};
use crate::harness::process::{command, command_at, run};
use crate::harness::recorder::OPERATOR;
use crate::harness::{FaultProxy, embedded_dynamodb, embedded_postgres, test};

/// Empty stores.
struct EmptyMachine {
    dynamodb: EmbeddedDynamoDb,
    proxy: FaultProxy,
    postgres: EmbeddedPostgres,
}

impl EmptyMachine {
    async fn new() -> Self {
        let dynamodb = embedded_dynamodb().await;
        let proxy = FaultProxy::start(dynamodb.url()).await;
        Self { dynamodb, proxy, postgres: embedded_postgres().await }
    }

    /// Runs a command line, which may begin with environment variables. Returns the normalised output and the exit
    /// status.
    fn run(&self, line: &str) -> (String, i32) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let is_setting = |word: &&&str| word.split_once('=').is_some_and(|(name, _)| name == name.to_uppercase());
        let settings = words.iter().take_while(is_setting).count();
        let mut command = command();
        command
            .env("AWS_ENDPOINT_URL_DYNAMODB", self.proxy.url_of(OPERATOR))
            .env("DATABASE_URL", self.postgres.url())
            .env("DATABASE_MAX_CONNECTIONS", "1")
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .env("TZ", "UTC")
            .env("COLUMNS", "120");
        for setting in &words[..settings] {
            let (name, value) = setting.split_once('=').expect("a setting");
            command.env(name, value);
        }
        assert_eq!(words.get(settings), Some(&"cruddur-messaging"), "{line}");
        let output = tokio::task::block_in_place(|| run(command.args(&words[settings + 1..])));
        let text = [output.stdout, output.stderr].concat();
        let text = self.normalised(&String::from_utf8_lossy(&text));
        (text, output.status.code().expect("an exit status"))
    }

    fn normalised(&self, text: &str) -> String {
        let url = self.postgres.url();
        let place = url.split('@').nth(1).and_then(|it| it.split('?').next()).unwrap_or_default();
        let text = text
            .replace(&self.proxy.url_of(OPERATOR), "http://127.0.0.1:8000")
            .replace(place, "127.0.0.1:55432/template1");
        let line = |line: &str| {
            let arn = line.find("arn:aws:dynamodb:");
            arn.map_or(line.to_owned(), |at| format!("{}ARN", &line[..at]))
        };
        text.lines().map(|it| line(it) + "\n").collect()
    }

    /// Runs the commands in order and compares the output with the transcript.
    fn check_transcript(&self, name: &str, commands: &[String]) {
        let mut found = String::new();
        for line in commands {
            let (text, status) = self.run(line);
            found.push_str(&format!("$ {line}\n{text}"));
            if status != 0 {
                found.push_str(&format!("[exit status {status}]\n"));
            }
            found.push('\n');
        }
        let path = golden(name);
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(&path, &found).expect("a transcript");
        }
        let wanted = std::fs::read_to_string(&path).unwrap_or_default();
        for (number, (found, wanted)) in found.lines().zip(wanted.lines()).enumerate() {
            assert_eq!(found, wanted, "{}:{}", path.display(), number + 1);
        }
        assert_eq!(found.lines().count(), wanted.lines().count(), "{}", path.display());
    }
}

fn golden(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests", "it", "golden", name].iter().collect()
}

fn commands_of(name: &str) -> Vec<String> {
    let text = std::fs::read_to_string(golden(name)).expect("a transcript");
    text.lines().filter_map(|line| line.strip_prefix("$ ")).map(str::to_owned).collect()
}

#[test]
fn the_commands_in_the_readme_work_on_empty_stores() {
    test(async {
        let readme = include_str!("../../README.md");
        let section = readme.split("## Commands for operators").nth(1).expect("the section");
        let block = section.split("```").nth(1).expect("a block of commands");
        let commands: Vec<String> = block
            .lines()
            .filter(|line| line.starts_with("cruddur-messaging "))
            .map(|line| line.split('#').next().unwrap_or_default().trim().to_owned())
            .collect();
        assert!(commands.len() > 10);
        EmptyMachine::new().await.check_transcript("operator.txt", &commands);
    });
}

#[test]
fn an_error_is_one_line_that_names_what_to_check() {
    test(async {
        EmptyMachine::new().await.check_transcript("wrong.txt", &commands_of("wrong.txt"));
    });
}

#[test]
fn json_output_is_one_value_for_each_line() {
    test(async {
        let machine = EmptyMachine::new().await;
        for line in [
            "ddb schema-load",
            "db migrate",
            "db seed",
            "ddb seed",
            "ddb adopt-legacy",
            "ddb list-tables",
            "ddb scan",
            "ddb patterns list-conversations ana",
            "ddb patterns get-conversation 48bc6e55-5b91-5867-a72a-fa46d80ceee5 --from 2026-02-11T10:32:00+01:00",
            "stream status",
            "stream reconcile",
            "stream set-aside list",
            "stream set-aside replay",
            "ddb drop",
        ] {
            let mut command = command_at(&machine.proxy, &line.split(' ').collect::<Vec<_>>());
            command.arg("--json").env("DATABASE_URL", machine.postgres.url());
            let output = tokio::task::block_in_place(|| run(command.env("DATABASE_MAX_CONNECTIONS", "1")));
            assert!(output.status.success(), "{line}: {output:?}");
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            let values: Vec<Value> =
                text.lines().map(|it| serde_json::from_str(it).unwrap_or_else(|_| panic!("{line}: {it}"))).collect();
            match line {
                "ddb scan" => {
                    let summary = values.last().expect("a summary");
                    assert_eq!(summary["items"], values.len() - 1);
                    assert!(summary["readUnits"].as_f64().is_some_and(|units| units > 0.0), "{summary}");
                }
                "ddb seed" => {
                    // The announced maximum is the cost of a seed into an empty table.
                    let said = String::from_utf8_lossy(&output.stderr).into_owned();
                    let units = values[0]["writeUnits"].as_f64().expect("units");
                    assert!(said.contains(&format!("consumes at most {units} write units")), "{said} {units}");
                }
                _ if line.contains("get-conversation") => {
                    let bodies: Vec<&Value> = values.iter().filter_map(|it| it.get("message")?.get("body")).collect();
                    assert_eq!(bodies.len(), 3, "one message is before --from: {values:?}");
                }
                _ => {}
            }
        }
    });
}

#[test]
fn with_prod_tables_are_protected_and_a_drop_needs_the_name() {
    test(async {
        let machine = EmptyMachine::new().await;
        let aws = Aws::local(machine.dynamodb.url()).await;
        let protected = async || {
            let table =
                aws.dynamodb.describe_table().table_name("cruddur-messages").send().await.expect("a table").table;
            table.and_then(|it| it.deletion_protection_enabled) == Some(true)
        };
        let keys = "AWS_REGION=eu-central-1 AWS_ACCOUNT_ID=123456789012 AWS_ACCESS_KEY_ID=x AWS_SECRET_ACCESS_KEY=x";
        let run = |line: &str| machine.run(&format!("{keys} cruddur-messaging {line}"));
        let (text, status) = run("ddb schema-load --prod --deletion-protection false --billing on-demand");
        assert!(status == 0 && text.contains("region eu-central-1, account 123456789012"), "{text}");
        assert!(!protected().await);
        // The embedded engine has no backups.
        let backups = r#"{"ContinuousBackupsDescription":{"ContinuousBackupsStatus":"ENABLED"}}"#;
        machine.proxy.next("DescribeContinuousBackups", [Body(200, backups)]);
        machine.proxy.next("UpdateContinuousBackups", [Body(200, backups)]);
        let (text, status) = run("ddb schema-load --prod --billing on-demand");
        assert!(status == 0 && text.contains("changed   deletion protection: enabled"), "{text}");
        assert!(text.contains("changed   point-in-time recovery: enabled"), "{text}");
        assert!(protected().await && machine.proxy.is_spent());
        let (text, status) = run("ddb schema-load --prod --billing on-demand --deletion-protection false");
        assert!(status == 3 && text.contains("DIFFERS   deletion protection: on, expected off"), "{text}");
        for line in ["ddb drop --prod", "ddb drop --prod --confirm cruddur-message"] {
            let (text, status) = run(line);
            assert!(status == 2 && text.contains("nothing was dropped"), "{line}: {text}");
        }
        let (text, status) = run("ddb drop --prod --confirm cruddur-messages");
        assert!(status == 1 && text.contains("--no-deletion-protection-enabled"), "{text}");
        for name in ["cruddur-messages", "cruddur-messages-leases"] {
            let update = aws.dynamodb.update_table().table_name(name).deletion_protection_enabled(false);
            update.send().await.expect("unprotected");
        }
        let (text, status) = run("ddb drop --prod --confirm cruddur-messages");
        assert!(status == 0 && text.contains("cruddur-messages-leases: dropped"), "{text}");
        let (text, status) = run("ddb seed --prod");
        assert!(status == 2 && text.contains("write units") && text.contains("--even-in-production"), "{text}");
    });
}

#[test]
fn a_table_with_another_schema_is_reported_and_not_changed() {
    test(async {
        let machine = EmptyMachine::new().await;
        let aws = Aws::local(machine.dynamodb.url()).await;
        let key = KeySchemaElement::builder().attribute_name("id").key_type(KeyType::Hash).build().expect("a key");
        let id = AttributeDefinition::builder().attribute_name("id").attribute_type(ScalarAttributeType::S).build();
        let create = aws.dynamodb.create_table().table_name("cruddur-messages").key_schema(key);
        let create = create.attribute_definitions(id.expect("an attribute")).billing_mode(BillingMode::PayPerRequest);
        create.send().await.expect("a table");
        let (text, status) = machine.run("cruddur-messaging ddb schema-load");
        assert_eq!(status, 3, "{text}");
        for line in [
            "DIFFERS   keys: id HASH",
            "DIFFERS   index message-group-sk-index: missing",
            "DIFFERS   billing: on demand",
        ] {
            assert!(text.contains(line), "{line}: {text}");
        }
    });
}

#[test]
fn time_to_live_is_enabled_in_an_existing_table_unless_it_has_another_attribute() {
    test(async {
        let machine = EmptyMachine::new().await;
        let aws = Aws::local(machine.dynamodb.url()).await;
        let set = async |attribute: &str, enabled: bool| {
            let setting = TimeToLiveSpecification::builder().attribute_name(attribute).enabled(enabled).build();
            let update = aws.dynamodb.update_time_to_live().table_name("cruddur-messages");
            update.time_to_live_specification(setting.expect("a specification")).send().await.expect("a change");
        };
        let load = "cruddur-messaging ddb schema-load";
        assert!(machine.run(load).0.contains("changed   time to live: enabled, attribute expires_at"));
        set("expires_at", false).await;
        // AWS rejects an update while it executes the one before.
        machine.proxy.next("UpdateTimeToLive", [Answer(400, "ResourceInUseException")]);
        let (text, status) = machine.run(load);
        assert!(status == 0 && text.contains("changed   time to live: enabled, attribute expires_at"), "{text}");
        assert!(machine.proxy.is_spent());
        let (text, status) = machine.run(load);
        assert!(status == 0 && text.contains("matches   time to live: attribute expires_at"), "{text}");
        set("expires_at", false).await;
        set("ttl", true).await;
        let (text, status) = machine.run(load);
        let differs = "DIFFERS   time to live: attribute ttl, expected attribute expires_at";
        assert!(status == 3 && text.contains(differs), "{text}");
        machine.proxy.next("DescribeTimeToLive", [Answer(400, "UnknownOperationException")]);
        let (text, status) = machine.run(load);
        assert!(status == 0 && text.contains("matches   time to live: not supported by this endpoint"), "{text}");
    });
}

#[test]
fn completions_and_manual_pages_are_generated() {
    test(async {
        let machine = EmptyMachine::new().await;
        for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
            let (text, status) = machine.run(&format!("cruddur-messaging completions {shell}"));
            assert!(status == 0 && text.contains("update-cognito-user-ids"), "{shell}");
        }
        let (text, status) = machine.run("cruddur-messaging man");
        assert!(status == 0 && text.contains(".TH cruddur-messaging"), "{text}");
        let folder = tempfile::tempdir().expect("a folder");
        let (text, status) = machine.run(&format!("cruddur-messaging man --out-dir {}", folder.path().display()));
        assert_eq!(status, 0, "{text}");
        assert!(folder.path().join("cruddur-messaging-ddb-scan.1").exists());
    });
}
