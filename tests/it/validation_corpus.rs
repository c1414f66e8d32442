//! The server and the reference implementation accept and reject the same documents. `tests/validation/documents.json` has the
//! verdicts of the reference implementation, which `verdicts.mjs` computes.

use futures::future::ready;
use futures::{StreamExt, stream};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::harness::{World, test, user};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Case {
    name: String,
    rule: String,
    query: String,
    variables: Option<Value>,
    variables_text: Option<String>,
    operation_name: Option<String>,
    valid: bool,
}

/// The documents for which the verdicts differ, and why.
const ARGUED: [(&str, &str); 2] = [
    // The two values are equal, so both orders of merging have the same result.
    ("OverlappingFieldsCanBeMerged", "a string and a block string of one value"),
    // A precaution of the reference implementation, not a rule of the specification. Here, depth and selections are limited.
    ("MaxIntrospectionDepth", "lists of introspection within each other"),
];

#[test]
fn the_server_agrees_with_the_reference_about_what_is_valid() {
    test(async {
        let cases: Vec<Case> = serde_json::from_str(include_str!("../validation/documents.json")).expect("the corpus");
        assert!(cases.len() >= 150);
        let world = World::new().await;
        let server = world.server().await;
        let client = server.client(&user("ana").await);
        let answers = cases.iter().map(|case| async {
            let variables = match &case.variables_text {
                Some(text) => text.clone(),
                None => case.variables.clone().unwrap_or(json!({})).to_string(),
            };
            let (query, name) = (json!(case.query), json!(case.operation_name));
            let body = format!("{{\"query\":{query},\"operationName\":{name},\"variables\":{variables}}}");
            let request = client.post().header("content-type", "application/json").body(body);
            let answer =
                request.header("accept", "application/graphql-response+json").send().await.expect("a response");
            let (status, body): (_, Value) = (answer.status().as_u16(), answer.json().await.expect("JSON"));
            let executed = status == 200 && body.get("data").is_some();
            let refused =
                status == 400 && body.get("data").is_none() && !body["errors"].as_array().expect("errors").is_empty();
            assert!(executed || refused, "{}: {status} {body}", case.name);
            let is_argued = ARGUED.contains(&(case.rule.as_str(), case.name.as_str()));
            (executed != case.valid && !is_argued).then(|| format!("{}: {}: {status} {body}", case.rule, case.name))
        });
        let differences: Vec<String> = stream::iter(answers).buffered(8).filter_map(ready).collect().await;
        assert!(differences.is_empty(), "{differences:#?}");
    });
}
