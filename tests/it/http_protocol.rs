//! GraphQL over HTTP: methods, media types, bodies.

use reqwest::StatusCode;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use crate::harness::{World, test, user};

const GRAPHQL: &str = "application/graphql-response+json";

#[test]
fn a_get_request_executes_queries_only() {
    test(async {
        let world = World::new().await;
        let server = world.server().await;
        let (ana, ben) = (user("ana").await, user("ben").await);
        let client = server.client(&ana);
        let get = async |parameters: &[(&str, &str)]| {
            let url = reqwest::Url::parse_with_params(&client.url, parameters).expect("a URL");
            client.http.get(url).bearer_auth(&ana.token).send().await.expect("a response")
        };
        let answer =
            get(&[("query", "query A { me { handle } } query B { __typename }"), ("operationName", "A")]).await;
        assert_eq!(answer.json::<Value>().await.expect("JSON")["data"]["me"]["handle"], ana.handle());
        let variables = json!({ "handle": ben.handle() }).to_string();
        let query = "query ($handle: String!) { user(handle: $handle) { handle } }";
        let answer = get(&[("query", query), ("variables", &variables)]).await;
        assert_eq!(answer.json::<Value>().await.expect("JSON")["data"]["user"]["handle"], ben.handle());
        let mutation = format!(
            "mutation M {{ createMessage(input: {{ to: {{ handle: \"{}\" }}, body: \"x\" }}) {{ message {{ uuid }} }} }}",
            ben.handle()
        );
        for parameters in [
            vec![("query", mutation.as_str())],
            vec![("query", &format!("query Q {{ __typename }} {mutation}")), ("operationName", "M")],
        ] {
            let answer = get(&parameters).await;
            assert_eq!(answer.status(), StatusCode::METHOD_NOT_ALLOWED);
            assert_eq!(answer.headers()["allow"], "POST");
        }
        let which = get(&[("query", &format!("query Q {{ __typename }} {mutation}"))]).await;
        assert_eq!(which.json::<Value>().await.expect("JSON").get("data"), None, "nobody said which one");
        assert_eq!(world.proxy.calls("TransactWriteItems"), 0);
        for parameters in [
            vec![],
            vec![("query", "{ __typename }"), ("variables", "{")],
            vec![("query", "{ __typename }"), ("variables", "[]")],
        ] {
            assert_eq!(get(&parameters).await.status(), StatusCode::BAD_REQUEST, "{parameters:?}");
        }
    });
}

#[test]
fn the_media_type_is_negotiated_and_decides_the_status_of_a_request_error() {
    test(async {
        let world = World::new().await;
        let server = world.server().await;
        let client = server.anonymous();
        let post = async |accept: Option<&str>, query: &str| {
            let request = client.http.post(&client.url).json(&json!({ "query": query }));
            let request = match accept {
                Some(accept) => request.header("accept", accept),
                None => request,
            };
            let answer = request.send().await.expect("a response");
            let media = answer.headers()["content-type"].to_str().expect("text").to_owned();
            let vary = answer.headers()["vary"].to_str().expect("text").to_owned();
            (answer.status().as_u16(), media, vary, answer.json::<Value>().await.expect("JSON"))
        };
        for query in ["{ __typename", "{ nothing }", "{ user { handle } }", "{ user(handle: 1) { handle } }"] {
            let (status, media, _, body) = post(Some(GRAPHQL), query).await;
            assert_eq!((status, media.split(';').next()), (400, Some(GRAPHQL)), "{query}");
            assert_eq!(body.get("data"), None);
            assert_eq!(body["errors"][0]["extensions"]["code"], "BAD_USER_INPUT", "{body}");
            let (status, media, vary, body) = post(Some("application/json"), query).await;
            assert_eq!((status, media.split(';').next(), vary.as_str()), (200, Some("application/json"), "accept"));
            assert_eq!(body.get("data"), None);
        }
        for (accept, status) in [(None, 200), (Some("*/*"), 200), (Some("text/html"), 406), (Some(GRAPHQL), 200)] {
            assert_eq!(post(accept, "{ __typename }").await.0, status, "{accept:?}");
        }
        // The error of a field has the status 200 with each media type.
        let (status, _, _, body) = post(Some(GRAPHQL), "{ me { handle } }").await;
        assert_eq!((status, body.get("data")), (200, Some(&Value::Null)));
    });
}

/// The head of a request. The test sends the rest.
fn head(media: &str, length: usize, more: &str) -> String {
    format!("POST /graphql HTTP/1.1\r\nhost: here\r\ncontent-type: {media}\r\ncontent-length: {length}\r\n{more}\r\n")
}

/// The status of a valid request on a connection that had other requests before.
async fn good_status(connection: &mut BufReader<TcpStream>) -> String {
    let good = json!({ "query": "{ __typename }" }).to_string();
    let request = head("application/json", good.len(), "") + &good;
    connection.write_all(request.as_bytes()).await.expect("sent");
    next_status(connection).await
}

/// The status of the next response on a connection. Its body is read as well.
async fn next_status(connection: &mut BufReader<TcpStream>) -> String {
    let (mut status, mut length) = (String::new(), 0);
    connection.read_line(&mut status).await.expect("a status line");
    loop {
        let mut line = String::new();
        connection.read_line(&mut line).await.expect("a header");
        match line.trim().split_once(": ") {
            None => break,
            Some(("content-length", value)) => length = value.parse().expect("a length"),
            Some(_) => (),
        }
    }
    connection.read_exact(&mut vec![0; length]).await.expect("the body");
    status.split(' ').nth(1).unwrap_or_default().to_owned()
}

#[test]
fn a_refusal_is_sent_before_the_rest_of_the_body_arrives_and_the_connection_stays_usable() {
    test(async {
        let world = World::new().await;
        let server = world.server().await;
        for (media, length, status) in [("text/plain", 600_000, "415"), ("application/json", 3_000_000, "413")] {
            let connection = TcpStream::connect(server.address).await.expect("a connection");
            let mut connection = BufReader::new(connection);
            connection.write_all(head(media, length, "").as_bytes()).await.expect("sent");
            assert_eq!(next_status(&mut connection).await, status);
            connection.write_all(&vec![b' '; length]).await.expect("somebody reads it");
            assert_eq!(good_status(&mut connection).await, "200");
        }
        // A chunked body of a client that waits for `100 Continue`.
        let connection = TcpStream::connect(server.address).await.expect("a connection");
        let mut connection = BufReader::new(connection);
        let chunked = head("application/json", 0, "transfer-encoding: chunked\r\nexpect: 100-continue\r\n");
        let chunked = chunked.replace("content-length: 0\r\n", "");
        connection.write_all(chunked.as_bytes()).await.expect("sent");
        assert_eq!(next_status(&mut connection).await, "100");
        let chunk = format!("{:x}\r\n{}\r\n", 300_000, " ".repeat(300_000));
        connection.write_all(chunk.as_bytes()).await.expect("sent");
        assert_eq!(next_status(&mut connection).await, "413");
        connection.write_all(chunk.as_bytes()).await.expect("somebody reads it");
        connection.write_all(b"0\r\n\r\n").await.expect("somebody reads it");
        assert_eq!(good_status(&mut connection).await, "200");
        // A client that waits for `100 Continue` is not asked for a body that would be refused.
        let connection = TcpStream::connect(server.address).await.expect("a connection");
        let mut connection = BufReader::new(connection);
        let expect = "expect: 100-continue\r\n";
        connection.write_all(head("application/json", 600_000, expect).as_bytes()).await.expect("sent");
        assert_eq!(next_status(&mut connection).await, "413");
    });
}

#[test]
fn bodies_that_are_no_request_are_rejected() {
    test(async {
        let world = World::new().await;
        let server = world.server().await;
        let client = server.anonymous();
        let post = async |media: Option<&str>, body: String| {
            let request = client.http.post(&client.url).body(body);
            let request = match media {
                Some(media) => request.header("content-type", media),
                None => request,
            };
            request.send().await.expect("a response").status().as_u16()
        };
        let good = json!({ "query": "{ __typename }" }).to_string();
        for (name, values, status) in [
            ("content-encoding", vec!["gzip"], 415),
            ("content-encoding", vec!["identity", "br"], 415),
            ("content-encoding", vec!["identity"], 200),
            ("content-type", vec!["text/plain"], 415),
        ] {
            let mut request =
                client.http.post(&client.url).header("content-type", "application/json").body(good.clone());
            for value in values {
                request = request.header(name, value);
            }
            assert_eq!(request.send().await.expect("a response").status().as_u16(), status, "{name}");
        }
        for (media, status) in [
            (Some("application/json"), 200),
            (Some("application/json; charset=utf-8"), 200),
            (Some("application/json; charset=latin1"), 415),
            (Some("text/plain"), 415),
            (Some("application/x-www-form-urlencoded"), 415),
            (Some("multipart/form-data; boundary=x"), 415),
            (None, 415),
        ] {
            assert_eq!(post(media, good.clone()).await, status, "{media:?}");
        }
        for body in [
            "",
            "{",
            "null",
            "7",
            "[]",
            "[{\"query\":\"{ __typename }\"}]",
            "{}",
            "{\"query\":7}",
            "{\"query\":\"{ __typename }\",\"variables\":[]}",
            "{\"query\":\"{ __typename }\",\"variables\":\"x\"}",
            "{\"query\":\"{ __typename }\",\"operationName\":7}",
            "{\"query\":\"{ __typename }\",\"extensions\":7}",
        ] {
            assert_eq!(post(Some("application/json"), body.to_owned()).await, 400, "{body}");
        }
        for (body, said) in [
            ("[{\"query\":\"{ __typename }\"}]", "The body must be one JSON object."),
            ("{\"query\":\"{ __typename }\"} {}", "The body is not JSON: trailing characters"),
            ("{\"query\":\"{ __typename }\",\"other\":[}", "The body is not JSON: expected value"),
            ("{\"query\":\"{ __typename }\",\"query\":7}", "`query` must be a string."),
        ] {
            let request = client.http.post(&client.url).header("content-type", "application/json").body(body);
            let answer = request.send().await.expect("a response").json::<Value>().await.expect("JSON");
            let message = answer["errors"][0]["message"].as_str().unwrap_or_default();
            assert!(message.starts_with(said), "{body}: {answer}");
        }
        // Unknown parameters are ignored. If a parameter is given twice, the last one counts.
        for body in [
            "{\"other\":{\"query\":7},\"query\":\"{ __typename }\",\"variables\":null}",
            "{\"query\":7,\"variables\":[],\"query\":\"{ __typename }\",\"variables\":{}}",
        ] {
            assert_eq!(post(Some("application/json"), body.to_owned()).await, 200, "{body}");
        }
        assert_eq!(post(Some("application/json"), "\u{ff}".repeat(300_000)).await, 413);
        for method in [reqwest::Method::PUT, reqwest::Method::DELETE, reqwest::Method::PATCH] {
            let answer = client.http.request(method, &client.url).send().await.expect("a response");
            assert_eq!(
                (answer.status().as_u16(), &answer.headers()["allow"]),
                (405, &"GET, POST".parse().expect("a value"))
            );
        }
    });
}

#[test]
fn health_graphiql_and_request_ids() {
    test(async {
        let world = World::new().await;
        let server = world.server().await;
        let ana = user("ana").await;
        server.client(&ana).data("{ me { handle } }", json!({})).await;
        let http = reqwest::Client::new();
        let get =
            async |path: &str| http.get(format!("http://{}{path}", server.address)).send().await.expect("a response");
        assert_eq!(get("/health/live").await.status(), StatusCode::OK);
        let ready = get("/health/ready").await;
        assert_eq!(ready.status(), StatusCode::OK);
        let page = get("/graphiql").await;
        assert_eq!(page.status(), StatusCode::OK);
        let text = page.text().await.expect("a page");
        assert!(text.contains("id=\"settings\">{\"headers\":null}</script>"), "no token outside of dev");
        assert_eq!(get("/nothing").await.status(), StatusCode::NOT_FOUND);
        for path in ["/health/ready", "/graphql", "/graphiql", "/nothing"] {
            assert!(get(path).await.headers().contains_key("x-request-id"), "{path}");
        }
    });
}

#[test]
fn a_document_whose_fragments_multiply_is_rejected() {
    test(async {
        let world = World::new().await;
        let server = world.server().await;
        let fragments: String =
            (0..30).map(|it| format!("fragment F{it} on Query {{ ...F{0} ...F{0} }} ", it + 1)).collect();
        let bomb = format!("{{ ...F0 }} {fragments} fragment F30 on Query {{ __typename }}");
        let refused = server.anonymous().error(&bomb, json!({})).await;
        assert_eq!(refused, ("BAD_USER_INPUT".to_owned(), Some("max_selections_exceeded".to_owned())));
    });
}

#[test]
fn an_executed_request_is_never_a_request_error() {
    test(async {
        let world = World::new().await;
        let server = world.server().await;
        let (ana, ben) = (user("ana").await, user("ben").await);
        let client = server.client(&ana);
        let post = async |query: &str| {
            let request = client.post().header("accept", GRAPHQL).json(&json!({ "query": query }));
            let answer = request.send().await.expect("a response");
            (answer.status().as_u16(), answer.json::<Value>().await.expect("JSON"))
        };
        // A wrong value is found before anything is executed …
        let two = format!(
            "mutation {{ a: createMessage(input: {{ to: {{ handle: \"{}\" }}, body: \"x\" }}) {{ message {{ uuid }} }} \
             b: createMessage(input: {{ to: {{ messageGroupUuid: \"bad\" }}, body: \"x\" }}) {{ message {{ uuid }} }} }}",
            ben.handle()
        );
        let (status, body) = post(&two).await;
        assert_eq!((status, body.get("data")), (400, None), "{body}");
        assert_eq!(world.proxy.calls("TransactWriteItems"), 0);
        // … and an error that is found later is the error of a field.
        let late = format!(
            "mutation {{ createMessage(input: {{ to: {{ handle: \"{}\" }}, body: \"x\" }}) {{ messageGroup {{ messages(first: 4000000000) {{ nodes {{ uuid }} }} }} }} }}",
            ben.handle()
        );
        let (status, body) = post(&late).await;
        if world.proxy.calls("TransactWriteItems") > 0 {
            assert_eq!((status, body.get("data")), (200, Some(&Value::Null)), "{body}");
        } else {
            assert_eq!((status, body.get("data")), (400, None), "{body}");
        }
    });
}

#[test]
fn graphiql_gives_its_token_only_to_this_machine() {
    test(async {
        let world = World::new().await;
        let server = world.server_where(|parts| parts.graphiql_token = Some("the-token".to_owned())).await;
        let address = server.address;
        for (host, shown) in [
            ("127.0.0.1:4567", true),
            ("localhost:4567", true),
            ("[::1]", true),
            ("evil.example", false),
            ("127.0.0.1.evil.example", false),
        ] {
            let request = reqwest::Client::new().get(format!("http://{address}/graphiql")).header("host", host);
            let page = request.send().await.expect("a response").text().await.expect("a page");
            assert_eq!(page.contains("the-token"), shown, "{host}");
        }
    });
}
