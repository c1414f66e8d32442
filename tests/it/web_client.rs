//! The web client as the server serves it: pages, files, caching and security headers.

use cruddur_messaging::config::{SignInIssuer, WebClient};
use reqwest::{Response, StatusCode};
use serde_json::{Value, json};

use crate::harness::{Server, World, test};

async fn served(issuer: SignInIssuer, connect_origins: &[&str]) -> (World, Server) {
    let world = World::new().await;
    let connect_origins = connect_origins.iter().map(|origin| (*origin).to_owned()).collect();
    let web_client = WebClient { issuer, client_id: "a-client".to_owned(), connect_origins };
    let server = world.server_where(|parts| parts.web_client = Some(web_client)).await;
    (world, server)
}

async fn get(server: &Server, path: &str, headers: &[(&str, &str)]) -> Response {
    let mut request = reqwest::Client::new().get(format!("http://{}{path}", server.address));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.send().await.expect("a response")
}

fn header(response: &Response, name: &str) -> Option<String> {
    response.headers().get(name).map(|value| value.to_str().expect("text").to_owned())
}

/// The paths of the scripts and styles that a page loads.
fn assets(page: &str) -> Vec<String> {
    let quoted = page.split('"').filter(|text| text.starts_with("/assets/"));
    quoted.map(str::to_owned).collect()
}

#[test]
fn each_page_is_the_client_with_a_strict_policy() {
    test(async {
        let (_world, server) = served(SignInIssuer::ThisServer, &[]).await;
        let first = get(&server, "/", &[]).await.text().await.expect("a page");
        for path in [
            "/",
            "/messages",
            "/messages/new/ana",
            "/messages/6c1e0a2e-7c5e-4c39-9d0e-2f6c5f1f3f57",
            "/callback?code=1",
        ] {
            let page = get(&server, path, &[]).await;
            assert_eq!(page.status(), StatusCode::OK, "{path}");
            let policy = header(&page, "content-security-policy").expect("a policy");
            assert!(policy.starts_with("default-src 'none'; script-src 'self'; style-src 'self'"), "{policy}");
            assert!(policy.contains("connect-src 'self';") && !policy.contains("unsafe"), "{policy}");
            assert_eq!(header(&page, "x-frame-options").as_deref(), Some("DENY"));
            assert_eq!(header(&page, "cache-control").as_deref(), Some("no-cache"));
            assert_eq!(page.text().await.expect("a page"), first);
        }
        for path in ["/nothing", "/index.html", "/assets/nothing.js", "/graphiql/nothing.js", "/messagesx"] {
            assert_eq!(get(&server, path, &[]).await.status(), StatusCode::NOT_FOUND, "{path}");
        }
        let posted = reqwest::Client::new().post(format!("http://{}/messages", server.address)).send().await;
        assert_eq!(posted.expect("a response").status(), StatusCode::NOT_FOUND);
    });
}

#[test]
fn files_are_compressed_and_cached() {
    test(async {
        let (_world, server) = served(SignInIssuer::ThisServer, &[]).await;
        let page = get(&server, "/", &[]).await.text().await.expect("a page");
        let mut files = assets(&page);
        assert!(!files.is_empty(), "{page}");
        files.push("/graphiql/graphiql.min.js".to_owned());
        for file in files {
            let plain = get(&server, &file, &[]).await;
            assert_eq!((plain.status(), header(&plain, "content-encoding")), (StatusCode::OK, None), "{file}");
            let is_hashed = file.starts_with("/assets/");
            let caching = if is_hashed { "public, max-age=31536000, immutable" } else { "no-cache" };
            assert_eq!(header(&plain, "cache-control").as_deref(), Some(caching), "{file}");
            assert_eq!(header(&plain, "vary").as_deref(), Some("accept-encoding"));
            let length = plain.bytes().await.expect("a body").len();
            let compressed = get(&server, &file, &[("accept-encoding", "gzip, br")]).await;
            assert_eq!(header(&compressed, "content-encoding").as_deref(), Some("br"), "{file}");
            let tag = header(&compressed, "etag").expect("a tag");
            assert!(compressed.bytes().await.expect("a body").len() < length);
            let again = get(&server, &file, &[("accept-encoding", "br"), ("if-none-match", &tag)]).await;
            assert_eq!(again.status(), StatusCode::NOT_MODIFIED, "{file}");
        }
    });
}

#[test]
fn the_configuration_names_where_users_sign_in() {
    test(async {
        let (_world, server) = served(SignInIssuer::ThisServer, &[]).await;
        let configuration: Value = get(&server, "/config.json", &[]).await.json().await.expect("JSON");
        assert_eq!(configuration["authority"], format!("http://{}", server.address));
        assert_eq!(configuration["clientId"], "a-client");

        let issuer = "https://cognito-idp.eu-central-1.amazonaws.com/eu-central-1_AbC";
        let origins = ["https://cognito-idp.eu-central-1.amazonaws.com", "https://*.amazoncognito.com"];
        let (_world, server) = served(SignInIssuer::UserPool(issuer.to_owned()), &origins).await;
        let configuration: Value = get(&server, "/config.json", &[]).await.json().await.expect("JSON");
        let expected =
            json!({ "authority": issuer, "clientId": "a-client", "scope": "openid profile email", "logoutUrl": null });
        assert_eq!(configuration, expected);
        let policy = header(&get(&server, "/", &[]).await, "content-security-policy").expect("a policy");
        assert!(policy.contains(&format!("connect-src 'self' {} {};", origins[0], origins[1])), "{policy}");
    });
}

#[test]
fn without_the_client_there_are_no_pages() {
    test(async {
        let world = World::new().await;
        let server = world.server().await;
        for path in ["/", "/messages", "/config.json"] {
            assert_eq!(get(&server, path, &[]).await.status(), StatusCode::NOT_FOUND, "{path}");
        }
    });
}
