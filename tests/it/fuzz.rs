//! Every request gets a response that follows the protocol: no panic, no 500. `FUZZ_REQUESTS` and `FUZZ_SEED` change the
//! number and the seed. `scripts/fuzz` sends such requests for minutes and measures the CPU time of each.

use cruddur_messaging::model::UserUuid;
use futures::{StreamExt, stream};
use serde_json::{Value, json};

use crate::fuzzer::Fuzzer;
use crate::harness::{World, test, user};

#[test]
fn every_request_gets_a_response() {
    test(async {
        let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
        let (seed, requests) = (number("FUZZ_SEED").unwrap_or(1), number("FUZZ_REQUESTS").unwrap_or(3_000));
        let corpus: Value = serde_json::from_str(include_str!("../validation/documents.json")).expect("the corpus");
        let corpus = corpus.as_array().expect("cases").iter().filter_map(|it| it["query"].as_str().map(str::to_owned));
        let mut fuzzer = Fuzzer::new(seed, include_str!("../../schema.graphql"), corpus.collect(), 20_000);
        let world = World::new().await;
        let server = world.server().await;
        let ana = user("ana").await;
        let client = server.client(&ana);
        let bodies: Vec<Vec<u8>> = (0..requests).map(|_| fuzzer.body()).collect();
        let answers = bodies.iter().map(|body| async {
            let request = client.post().header("content-type", "application/json").body(body.clone());
            let answer = request.header("accept", "application/graphql-response+json").send().await;
            let shown = String::from_utf8_lossy(body);
            let answer = answer.unwrap_or_else(|error| panic!("{error}: {shown}"));
            let status = answer.status().as_u16();
            let text = answer.text().await.expect("a text");
            let json: Value = serde_json::from_str(&text).unwrap_or_else(|_| panic!("{status} {text}: {shown}"));
            assert!(json.get("data").is_some() || json.get("errors").is_some(), "{text}: {shown}");
            assert!(matches!(status, 200 | 400), "{status} {text}: {shown}");
            assert!(!text.contains("INTERNAL"), "{text}: {shown}");
        });
        stream::iter(answers).buffer_unordered(8).collect::<()>().await;
        let UserUuid(uuid) = ana.uuid();
        assert_eq!(client.data("{ me { uuid } }", json!({})).await["me"]["uuid"], json!(uuid));
    });
}
