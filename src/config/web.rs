//! Settings of the web client.

use clap::Args;
use reqwest::Url;

use super::cognito::TokenIssuer;
use super::setting::{SettingError, checked_address};

/// Settings of the web client.
#[derive(Args, Clone, Debug)]
pub struct WebSettings {
    /// Whether the server serves the web client
    #[arg(long, env = "WEB_CLIENT", value_name = "WEB_CLIENT", default_value_t = true, action = clap::ArgAction::Set)]
    pub web_client: bool,
    /// Origins to which the web client may connect, besides this server, the user pool and Cognito's own domains for sign-in,
    /// separated by commas; needed if the user pool has a custom domain
    #[arg(long, env = "WEB_CONNECT_ORIGINS", value_name = "WEB_CONNECT_ORIGINS", value_delimiter = ',')]
    pub web_connect_origins: Vec<String>,
}

/// The web client that the server serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebClient {
    /// Where users sign in.
    pub issuer: SignInIssuer,
    /// Id of the app client in the user pool.
    pub client_id: String,
    /// Origins to which the page may connect, besides this server.
    pub connect_origins: Vec<String>,
}

/// Where users sign in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SignInIssuer {
    /// At this server. Only in `dev`.
    ThisServer,
    /// At a user pool, with this issuer.
    UserPool(String),
}

impl WebSettings {
    /// Returns the web client whose users sign in at the user pool of `issuer`, or `None` if the server does not serve a web
    /// client.
    ///
    /// # Errors
    /// An item of `WEB_CONNECT_ORIGINS` is not an origin.
    pub fn client(&self, issuer: &TokenIssuer) -> Result<Option<WebClient>, SettingError> {
        if !self.web_client {
            return Ok(None);
        }
        let TokenIssuer { issuer, client_id, .. } = issuer;
        let mut connect_origins = vec![origin_of(issuer).unwrap_or_default(), "https://*.amazoncognito.com".to_owned()];
        for origin in self.web_connect_origins.iter().map(|text| text.trim()).filter(|text| !text.is_empty()) {
            let name = "WEB_CONNECT_ORIGINS";
            checked_address(name, origin)?;
            let is_origin = origin_of(origin).as_deref() == Some(origin);
            if !is_origin {
                let problem = format!("must be origins such as https://login.example.com, got `{origin}`");
                return Err(SettingError::wrong(name, problem));
            }
            connect_origins.push(origin.to_owned());
        }
        let issuer = SignInIssuer::UserPool(issuer.clone());
        Ok(Some(WebClient { issuer, client_id: client_id.clone(), connect_origins }))
    }

    /// Returns the web client of `dev`, whose users sign in at the server itself, or `None` if the server does not serve a web
    /// client.
    pub fn local_client(&self, issuer: &TokenIssuer) -> Option<WebClient> {
        let client_id = issuer.client_id.clone();
        let local = WebClient { issuer: SignInIssuer::ThisServer, client_id, connect_origins: Vec::new() };
        self.web_client.then_some(local)
    }
}

fn origin_of(url: &str) -> Option<String> {
    Url::parse(url).ok().map(|url| url.origin().ascii_serialization())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(origins: &[&str]) -> Result<Option<WebClient>, SettingError> {
        let settings = WebSettings {
            web_client: true,
            web_connect_origins: origins.iter().map(|origin| (*origin).to_owned()).collect(),
        };
        settings.client(&TokenIssuer {
            issuer: "https://cognito-idp.eu-central-1.amazonaws.com/eu-central-1_AbC".into(),
            client_id: "client".into(),
            jwks_url: String::new(),
            key_grace: TokenIssuer::KEY_GRACE,
        })
    }

    #[test]
    fn the_page_may_connect_to_the_user_pool_and_to_configured_origins() {
        let origins = client(&["https://login.example.com"]).expect("settings").expect("a client").connect_origins;
        assert_eq!(
            origins,
            [
                "https://cognito-idp.eu-central-1.amazonaws.com",
                "https://*.amazoncognito.com",
                "https://login.example.com"
            ]
        );
        for wrong in ["login.example.com", "https://login.example.com/path", "https://a; script-src *", "*"] {
            let error = client(&[wrong]).expect_err(wrong).to_string();
            assert!(error.starts_with("WEB_CONNECT_ORIGINS must be"), "{error}");
        }
    }
}
