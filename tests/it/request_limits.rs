//! The limits of requests and documents, persisted and trusted documents, and browsers of other origins.

use cruddur_messaging::config::{DocumentLimits, HttpLimits};
use cruddur_messaging::documents::TrustedDocuments;
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::harness::client::code_and_reason;
use crate::harness::{World, eventually, test, user};

fn refused(reason: &str) -> (String, Option<String>) {
    ("BAD_USER_INPUT".to_owned(), Some(reason.to_owned()))
}

#[test]
fn each_limit_of_a_document_is_named_in_its_error() {
    test(async {
        let world = World::new().await;
        let limits =
            DocumentLimits { bytes: 2_000, tokens: 60, selections: 12, depth: 4, aliases: 3, directives: 3, cost: 500 };
        let server = world.server_where(|parts| parts.requests.documents = limits).await;
        let client = server.client(&user("ana").await);
        let deep = "{ messageGroups(first: 1) { nodes { lastMessage { author { handle } } } } }";
        let many = "{ me { ...A ...A ...A ...A } } fragment A on User { uuid handle displayName }";
        let aliases = "{ a: __typename b: __typename c: __typename d: __typename }";
        let spread_aliases = "{ me { ...A } a: me { ...A } b: me { ...A } } fragment A on User { h: handle }";
        let directives = "{ __typename @include(if: true) a: __typename @include(if: true) @skip(if: false) b: __typename @skip(if: false) }";
        let long = format!("{{ user(handle: \"{}\") {{ uuid }} }}", "x".repeat(2_000));
        let tokens = format!("{{ {} }}", "__typename ".repeat(60));
        for (document, reason) in [
            (deep, "max_depth_exceeded"),
            (many, "max_selections_exceeded"),
            (aliases, "max_aliases_exceeded"),
            (spread_aliases, "max_aliases_exceeded"),
            (directives, "max_directives_exceeded"),
            (&long, "max_document_exceeded"),
            (&tokens, "max_tokens_exceeded"),
            (
                "{ messageGroups(first: 100) { nodes { uuid participants { handle } lastMessage { body } } } }",
                "max_cost_exceeded",
            ),
        ] {
            assert_eq!(client.error(document, json!({})).await, refused(reason), "{document}");
        }
        let paged = "query Q($n: Int) { messageGroups(first: $n) { nodes { uuid participants { handle } lastMessage { body } } } }";
        assert_eq!(client.error(paged, json!({ "n": 100 })).await, refused("max_cost_exceeded"));
        assert_eq!(client.data(paged, json!({ "n": 10 })).await["messageGroups"]["nodes"], json!([]));
        assert_eq!(client.data(paged, json!({})).await["messageGroups"]["nodes"], json!([]), "the default size counts");
    });
}

#[test]
fn selections_and_values_that_are_nested_too_deep_are_rejected_with_the_same_reason() {
    test(async {
        let world = World::new().await;
        let limits = DocumentLimits { depth: 64, ..DocumentLimits::DEFAULT };
        let server = world
            .server_where(|parts| {
                parts.requests.documents = limits;
                parts.introspection = true;
            })
            .await;
        let client = server.anonymous();
        let nested = |open: &str, times: usize, inside: &str| {
            format!("{{ {}{inside}{} }}", open.repeat(times), "}".repeat(times))
        };
        let of_type = |times: usize| {
            format!("{{ __type(name: \"User\") {{ {}name{} }} }}", "ofType { ".repeat(times), "}".repeat(times))
        };
        // The maximum of the setting, and one more.
        client.data(&of_type(62), json!({})).await;
        assert_eq!(client.error(&of_type(63), json!({})).await, refused("max_nesting_exceeded"));
        client.data(&nested("... { ", 40, "__typename"), json!({})).await;
        let values = format!("{{ user(handle: {}{}) {{ uuid }} }}", "[".repeat(2_000), "]".repeat(2_000));
        for document in [nested("... { ", 80, "__typename"), nested("... { ", 150, "__typename"), values] {
            assert_eq!(client.error(&document, json!({})).await, refused("max_nesting_exceeded"), "{document}");
        }
        // A chain of fragments counts as deep as its expansion.
        let chain: String = (0..150).map(|it| format!("fragment F{it} on Query {{ ...F{} }} ", it + 1)).collect();
        let chain = format!("{{ ...F0 }} {chain} fragment F150 on Query {{ __typename }}");
        assert_eq!(client.error(&chain, json!({})).await.1.as_deref(), Some("max_nesting_exceeded"), "and no other");
        // Also if a fragment is first spread where it is nested less.
        let (shallow, deep) = (nested("... { ", 40, "__typename"), nested("... { ", 40, "...Shallow"));
        let spreads =
            format!("{{ ...Shallow ...Deep }} fragment Shallow on Query {shallow} fragment Deep on Query {deep}");
        assert_eq!(client.error(&spreads, json!({})).await, refused("max_nesting_exceeded"));
        for empty in ["{ me { } }", "{ }", "{ messageGroups { nodes { } } }"] {
            assert_eq!(client.error(empty, json!({})).await, refused("request_invalid"), "{empty}");
        }
    });
}

#[test]
fn the_cost_of_a_page_depends_on_its_size() {
    test(async {
        let world = World::new().await;
        let server = world.server().await;
        let client = server.client(&user("ana").await);
        let query = "query Q($groups: Int, $messages: Int) { messageGroups(first: $groups) { nodes {
            messages(last: $messages) { nodes { uuid body author { handle } } } } } }";
        let refusal = client.error(query, json!({ "groups": 100, "messages": 100 })).await;
        assert_eq!(refusal, refused("max_cost_exceeded"));
        client.data(query, json!({ "groups": 20, "messages": 40 })).await;

        // A page of 50 events costs this: 10, and 221 for each event, of which 10 for `otherReadCursor` and 208 for `messages`.
        let limits = DocumentLimits { cost: 10 + 50 * 221, ..DocumentLimits::DEFAULT };
        let server = world.server_where(|parts| parts.requests.documents = limits).await;
        let client = server.client(&user("ana").await);
        let feed = "query Q($first: Int) { feed(first: $first) { events {
            cursor ... on MessageAdded { messageGroup { otherReadCursor messages(last: 99) { nodes { uuid } } } } } } }";
        assert_eq!(client.error(feed, json!({ "first": 51 })).await, refused("max_cost_exceeded"));
        client.data(feed, json!({ "first": 50 })).await;
        client.data(feed, json!({})).await;
    });
}

/// The introspection query of GraphiQL and of code generators.
const INTROSPECTION: &str = "query IntrospectionQuery { __schema {
    queryType { name } mutationType { name } subscriptionType { name } types { ...FullType }
    directives { name description locations isRepeatable args(includeDeprecated: true) { ...InputValue } } } }
fragment FullType on __Type { kind name description specifiedByURL isOneOf
    fields(includeDeprecated: true) { name description args(includeDeprecated: true) { ...InputValue } type { ...TypeRef }
        isDeprecated deprecationReason }
    inputFields(includeDeprecated: true) { ...InputValue } interfaces { ...TypeRef }
    enumValues(includeDeprecated: true) { name description isDeprecated deprecationReason } possibleTypes { ...TypeRef } }
fragment InputValue on __InputValue { name description type { ...TypeRef } defaultValue isDeprecated deprecationReason }
fragment TypeRef on __Type { kind name ofType { kind name ofType { kind name ofType { kind name ofType { kind name
    ofType { kind name ofType { kind name ofType { kind name ofType { kind name ofType { kind name } } } } } } } } } }";

#[test]
fn the_cost_of_introspection_depends_on_its_lists_and_the_query_of_tools_is_accepted() {
    test(async {
        let world = World::new().await;
        let client = world.server().await.anonymous();
        assert_eq!(client.data(INTROSPECTION, json!({})).await["__schema"]["queryType"]["name"], "Query");
        let again: String = (0..8).map(|it| format!("s{it}: __schema {{ types {{ ...FullType }} }} ")).collect();
        let many = format!("{{ {again} }} {}", &INTROSPECTION[INTROSPECTION.find("fragment").expect("fragments")..]);
        assert_eq!(client.error(&many, json!({})).await, refused("max_cost_exceeded"));
    });
}

#[test]
fn a_document_that_was_sent_once_is_found_by_its_hash() {
    test(async {
        let world = World::new().await;
        let server = world.server().await;
        let client = server.client(&user("ana").await);
        let query = "query Persisted { me { handle } }";
        let hash = "6f0a7fde83a5f2cdcfc2d0d8f5d7a1a3d5b0a1c3d1c3e1f5a7b9c1d3e5f7a9b1";
        let ask = async |body: Value| {
            client.post().json(&body).send().await.expect("a response").json::<Value>().await.expect("JSON")
        };
        let persisted = |hash: &str| json!({ "persistedQuery": { "version": 1, "sha256Hash": hash } });
        let unknown = ask(json!({ "extensions": persisted(hash) })).await;
        assert_eq!(unknown["errors"][0]["message"], "PersistedQueryNotFound", "the protocol's word: {unknown}");
        let wrong = ask(json!({ "query": query, "extensions": persisted(hash) })).await;
        assert_eq!(code_and_reason(&wrong), refused("persisted_query_mismatch"));
        let right = sha256(query);
        let first = ask(json!({ "query": query, "extensions": persisted(&right) })).await;
        let again = ask(json!({ "extensions": persisted(&right.to_uppercase()) })).await;
        assert!(first["data"]["me"]["handle"].is_string());
        assert_eq!(first, again);
        let extensions = persisted(&right).to_string();
        let url = reqwest::Url::parse_with_params(&client.url, [("extensions", extensions)]).expect("a URL");
        let get = client.http.get(url).bearer_auth(client.token.as_deref().expect("a token"));
        let got: Value = get.send().await.expect("a response").json().await.expect("JSON");
        assert_eq!(first, got);
        for extensions in
            [json!({ "persistedQuery": {} }), json!({ "persistedQuery": { "version": 1, "sha256Hash": 7 } })]
        {
            let answer = client.post().json(&json!({ "extensions": extensions })).send().await.expect("a response");
            assert_eq!(answer.status(), StatusCode::BAD_REQUEST);
        }
    });
}

fn sha256(text: &str) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes());
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn with_a_manifest_only_its_documents_are_executed() {
    test(async {
        let world = World::new().await;
        let (me, hash) = ("query Me { me { handle } }", sha256("query Name { __typename }"));
        let apollo = json!({ "format": "apollo-persisted-query-manifest", "version": 1,
            "operations": [{ "id": "Me", "name": "Me", "type": "query", "body": me }, { "id": hash, "body": "query Name { __typename }" }] });
        let plain = json!({ "Me": me, &hash: "query Name { __typename }" });
        for manifest in [apollo, plain] {
            let manifest = TrustedDocuments::read(&manifest.to_string()).expect("a manifest");
            let server = world.server_where(|parts| parts.requests.trusted_documents = Some(manifest)).await;
            let ana = user("ana").await;
            let client = server.client(&ana);
            let ask = async |body: Value| {
                client.post().json(&body).send().await.expect("a response").json::<Value>().await.expect("JSON")
            };
            assert_eq!(ask(json!({ "documentId": "Me" })).await["data"]["me"]["handle"], ana.handle());
            assert_eq!(ask(json!({ "query": me })).await["data"]["me"]["handle"], ana.handle());
            let by_hash = json!({ "extensions": { "persistedQuery": { "version": 1, "sha256Hash": hash } } });
            assert_eq!(ask(by_hash).await["data"]["__typename"], "Query");
            for body in [json!({ "query": "{ me { handle } }" }), json!({ "documentId": "You" })] {
                assert_eq!(code_and_reason(&ask(body).await), refused("document_not_trusted"));
            }
        }
        for wrong in ["[]", "{", "{\"a\": 1}", "{\"operations\": [{\"id\": \"a\"}]}"] {
            assert!(TrustedDocuments::read(wrong).is_err(), "{wrong}");
        }
    });
}

#[test]
fn introspection_is_off_unless_switched_on_and_errors_suggest_no_names() {
    test(async {
        let world = World::new().await;
        let server = world.server_where(|parts| parts.introspection = false).await;
        let client = server.client(&user("ana").await);
        for query in
            ["{ __schema { queryType { name } } }", "{ ...F } fragment F on Query { __type(name: \"User\") { name } }"]
        {
            assert_eq!(client.error(query, json!({})).await, refused("introspection_disabled"));
        }
        assert_eq!(client.data("{ __typename }", json!({})).await["__typename"], "Query");
        let answer = client.execute("{ me { handl } }", json!({})).await.to_string();
        assert!(!answer.contains("handle") && !answer.contains("displayName"), "{answer}");
    });
}

#[test]
fn a_user_who_sends_too_many_messages_is_throttled_with_a_time_to_retry() {
    test(async {
        let world = World::new().await;
        let server = world.server_where(|parts| parts.requests.http.messages_per_minute = 3).await;
        let (ana, ben) = (user("ana").await, user("ben").await);
        let client = server.client(&ana);
        for number in 0..3 {
            client.send_to(&ben, &number.to_string()).await;
        }
        let stored = world.proxy.calls("PutItem");
        let mutation = "mutation ($handle: String!) { createMessage(input: { to: { handle: $handle }, body: \"x\" }) { message { uuid } } }";
        let answer = client.execute(mutation, json!({ "handle": ben.handle() })).await;
        let extensions = &answer["errors"][0]["extensions"];
        assert_eq!(extensions["code"], "THROTTLED", "{answer}");
        assert!(extensions["retryAfter"].as_u64().is_some_and(|seconds| (1..=20).contains(&seconds)), "{answer}");
        assert_eq!(world.proxy.calls("PutItem"), stored);
        server.client(&ben).send_to(&ana, "another's are their own").await;
    });
}

#[test]
fn requests_without_a_permit_are_rejected_and_slow_ones_time_out() {
    test(async {
        let world = World::new().await;
        let limits = HttpLimits { concurrent_requests: 1, request_timeout_ms: 3_000, ..HttpLimits::default() };
        let server = world.server_where(|parts| parts.requests.http = limits).await;
        let (ana, ben) = (user("ana").await, user("ben").await);
        let client = server.client(&ana);
        client.send_to(&ben, "first").await;
        let stored = world.proxy.calls("PutItem");
        // A call that waits for other calls that never arrive.
        world.proxy.gather("PutItem", 10);
        let mutation = "mutation ($handle: String!) { createMessage(input: { to: { handle: $handle }, body: \"x\" }) { message { uuid } } }";
        let body = json!({ "query": mutation, "variables": { "handle": ben.handle() } });
        let slow = tokio::spawn(client.post().json(&body).send());
        eventually("that it is under way", || async { (world.proxy.calls("PutItem") > stored).then_some(()) }).await;
        let shed = client.post().json(&json!({ "query": "{ __typename }" })).send().await.expect("a response");
        assert_eq!(shed.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(shed.headers()["retry-after"], "1");
        let body: Value = shed.json().await.expect("JSON");
        assert_eq!(code_and_reason(&body), ("UNAVAILABLE".to_owned(), Some("overloaded".to_owned())));
        let slow = slow.await.expect("a task").expect("a response");
        assert_eq!(slow.status(), StatusCode::SERVICE_UNAVAILABLE);
        let body: Value = slow.json().await.expect("JSON");
        assert_eq!(code_and_reason(&body), ("UNAVAILABLE".to_owned(), Some("request_timeout".to_owned())));
        assert_eq!(body["errors"][0]["extensions"]["outcome"], "UNKNOWN", "it may be stored");
        assert_eq!(client.data("{ __typename }", json!({})).await["__typename"], "Query", "the permit is free again");
    });
}

#[test]
fn a_timeout_after_one_of_two_messages_leaves_the_outcome_unknown() {
    test(async {
        let world = World::new().await;
        let limits = HttpLimits { request_timeout_ms: 3_000, ..HttpLimits::default() };
        let client = world.server_where(|parts| parts.requests.http = limits).await.client(&user("ana").await);
        let [ben, chloe] = [user("ben").await, user("chloe").await];
        let group = client.send_to(&ben, "first").await["messageGroup"]["uuid"].clone();
        // The second message begins a conversation, which is a transaction.
        world.proxy.hold("TransactWriteItems");
        let mutation = "mutation ($group: UUID!, $handle: String!) {
            one: createMessage(input: { to: { messageGroupUuid: $group }, body: \"one\" }) { message { uuid } }
            two: createMessage(input: { to: { handle: $handle }, body: \"two\" }) { message { uuid } } }";
        let answer = client.execute(mutation, json!({ "group": group, "handle": chloe.handle() })).await;
        assert_eq!(code_and_reason(&answer).1.as_deref(), Some("request_timeout"));
        assert_eq!(answer["errors"][0]["extensions"]["outcome"], "UNKNOWN", "{answer}");
        assert_eq!(client.bodies(&group).await, ["first", "one"]);
    });
}

#[test]
fn only_pages_of_configured_origins_may_use_the_api() {
    test(async {
        let world = World::new().await;
        let origins = vec!["https://app.example.com".parse().expect("an origin")];
        let server = world.server_where(|parts| parts.requests.cors_origins = origins).await;
        let client = server.anonymous();
        let preflight = async |url: &str, origin: &str| {
            let request = client.http.request(reqwest::Method::OPTIONS, url).header("origin", origin);
            let request = request.header("access-control-request-method", "POST");
            request
                .header("access-control-request-headers", "authorization,content-type")
                .send()
                .await
                .expect("a response")
        };
        let allowed = preflight(&client.url, "https://app.example.com").await;
        assert_eq!(allowed.headers()["access-control-allow-origin"], "https://app.example.com");
        assert_eq!(allowed.headers().get("access-control-allow-credentials"), None);
        let other = preflight(&client.url, "https://evil.example").await;
        assert_eq!(other.headers().get("access-control-allow-origin"), None);
        let post =
            client.post().header("origin", "https://app.example.com").json(&json!({ "query": "{ __typename }" }));
        let answer = post.send().await.expect("a response");
        assert_eq!(answer.headers()["access-control-allow-origin"], "https://app.example.com");
        assert!(answer.headers()["access-control-expose-headers"].to_str().expect("text").contains("x-request-id"));
        let without = world.server().await.anonymous();
        assert_eq!(
            preflight(&without.url, "https://app.example.com").await.headers().get("access-control-allow-origin"),
            None
        );
    });
}

#[test]
fn a_field_of_a_mutation_that_is_selected_twice_is_executed_once() {
    test(async {
        let world = World::new().await;
        let server = world.server().await;
        let (ana, ben) = (user("ana").await, user("ben").await);
        let client = server.client(&ana);
        let group = client.send_to(&ben, "first").await["messageGroup"]["uuid"].clone();
        let input = format!("input: {{ to: {{ handle: \"{}\" }}, body: \"twice\" }}", ben.handle());
        let plain = format!(
            "mutation {{ createMessage({input}) {{ message {{ uuid }} }} createMessage({input}) {{ message {{ body }} }} }}"
        );
        let sent = client.data(&plain, json!({})).await["createMessage"]["message"].clone();
        assert!(sent["uuid"].is_string() && sent["body"] == "twice", "{sent}");
        let spread = format!(
            "mutation {{ ...F ...F ... on Mutation {{ ...F }} }} fragment F on Mutation {{ createMessage({input}) {{ message {{ uuid }} }} }}"
        );
        client.data(&spread, json!({})).await;
        assert_eq!(client.bodies(&group).await, ["first", "twice", "twice"], "one for each request");
        let conditional = format!(
            "mutation($x: Boolean!) {{ createMessage({input}) @skip(if: $x) {{ message {{ uuid }} }} createMessage({input}) {{ message {{ body }} }} }}"
        );
        for x in [false, true] {
            let sent = client.data(&conditional, json!({ "x": x })).await["createMessage"]["message"].clone();
            assert_eq!((sent.get("uuid").is_none(), &sent["body"]), (x, &json!("twice")), "{sent}");
        }
        let two = format!(
            "mutation {{ a: createMessage({input}) {{ message {{ uuid }} }} b: createMessage({input}) {{ message {{ uuid }} }} }}"
        );
        client.data(&two, json!({})).await;
        assert_eq!(client.bodies(&group).await.len(), 7, "two keys are two messages");
    });
}

#[test]
fn strings_and_block_strings_have_the_values_of_the_specification() {
    test(async {
        let world = World::new().await;
        let server = world.server().await;
        let (ana, ben) = (user("ana").await, user("ben").await);
        let client = server.client(&ana);
        for (literal, meant) in [
            ("\"\"\"a\\\"\"\"b\"\"\"", "a\"\"\"b"),
            ("\"\"\"\n    a\n \n    b\"\"\"", "a\n\nb"),
            ("\"\\u{1F4AC}\"", "\u{1F4AC}"),
            ("\"\\uD83D\\uDCAC\"", "\u{1F4AC}"),
            ("\"a\\n\\\"b\\\"\"", "a\n\"b\""),
        ] {
            let query = format!(
                "mutation {{ createMessage(input: {{ to: {{ handle: \"{}\" }}, body: {literal} }}) {{ message {{ body }} }} }}",
                ben.handle()
            );
            assert_eq!(client.data(&query, json!({})).await["createMessage"]["message"]["body"], meant, "{literal}");
        }
        let nulled =
            client.error("query ($a: Boolean = true) { me @skip(if: $a) { uuid } }", json!({ "a": null })).await;
        assert_eq!(nulled, refused("request_invalid"));
        let long = client.execute(&format!("{{ {} }}", "x".repeat(100_000)), json!({})).await.to_string();
        assert!(long.len() < 2_000, "{} characters come back", long.len());
    });
}

/// Attacks that keep other servers busy are rejected before they cost anything.
#[test]
fn documents_that_would_keep_a_server_busy_are_rejected() {
    test(async {
        let world = World::new().await;
        let server = world.server().await;
        let client = server.client(&user("ana").await);
        let spread = |levels: usize| {
            let fragments: String =
                (0..levels).map(|it| format!("fragment F{it} on Query {{ ...F{0} ...F{0} }} ", it + 1)).collect();
            format!("{{ ...F0 }} {fragments} fragment F{levels} on Query {{ __typename }}")
        };
        let nested = format!("{}{}{}", "{ me ".repeat(2000), "{ handle }", " }".repeat(2000));
        let lists = format!("{{ user(handle: {}\"x\"{}) {{ uuid }} }}", "[".repeat(5000), "]".repeat(5000));
        let chain: String = (0..190).map(|it| format!("fragment F{it} on Query {{ ...F{} }} ", it + 1)).collect();
        let chain = format!("{{ ...F0 }} {chain} fragment F190 on Query {{ __typename }}");
        let fields: String = (0..1200).map(|it| format!("f{it} ")).collect();
        let many_errors = format!("{{ me {{ {fields} }} }}");
        let conflicts = format!("{{ {} }}", "user(handle: \"a\") { uuid } user(handle: \"b\") { uuid } ".repeat(200));
        let circle = "{ ...A } fragment A on Query { ...B } fragment B on Query { ...A }".to_owned();
        let variables: String = (0..1000).map(|it| format!("$v{it}: Int ")).collect();
        let variables = format!("query Q({variables}) {{ __typename }}");
        for attack in
            [spread(18), spread(64), spread(190), nested, lists, chain, many_errors, conflicts, circle, variables]
        {
            let answer = client.execute(&attack, json!({})).await;
            assert_eq!(answer.get("data"), None, "{}", &attack[..60]);
            assert!(answer["errors"].as_array().is_some_and(|errors| (1..=10).contains(&errors.len())), "{answer}");
        }
        let batch = client.post().json(&json!([{ "query": "{ __typename }" }])).send().await.expect("a response");
        assert_eq!(batch.status(), StatusCode::BAD_REQUEST);
        let multipart = client.post().header("content-type", "multipart/form-data; boundary=x").body("--x--");
        assert_eq!(multipart.send().await.expect("a response").status(), StatusCode::UNSUPPORTED_MEDIA_TYPE);
    });
}
