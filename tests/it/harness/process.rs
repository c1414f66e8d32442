//! The binary as a process.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::time::Instant;

use cruddur_messaging::embedded::issuer::LocalIssuer;

use super::recorder::role_of;
use super::{DEADLINE, FaultProxy};

/// The binary with a clean environment.
pub fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cruddur-messaging"));
    command.env_clear();
    for name in ["PATH", "HOME", "TMPDIR", "LD_LIBRARY_PATH"] {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// The binary with these arguments, for the engine behind `proxy`, which records the calls under the role of the command.
pub fn command_at(proxy: &FaultProxy, arguments: &[&str]) -> Command {
    let mut command = command();
    command.args(arguments).env("AWS_ENDPOINT_URL", proxy.url_of(role_of(arguments)));
    command
}

/// The binary with the settings of `serve`, for these engines and the tests' own key.
pub fn configured(arguments: &[&str], dynamodb_url: &str, postgres_url: &str, jwks_url: &str) -> Command {
    let mut command = command();
    command
        .args(arguments)
        .env("AWS_ENDPOINT_URL_DYNAMODB", dynamodb_url)
        .env("AWS_REGION", "eu-central-1")
        .env("AWS_ACCESS_KEY_ID", "test")
        .env("AWS_SECRET_ACCESS_KEY", "test")
        .env("DATABASE_URL", postgres_url)
        // The embedded PostgreSQL has one connection.
        .env("DATABASE_MAX_CONNECTIONS", "1")
        .env("HINT_BROKER", "none")
        .env("LISTEN_ADDR", "127.0.0.1:0")
        .env("METRICS_ADDR", "127.0.0.1:0")
        .env("AWS_COGNITO_USER_POOL_ID", "eu-central-1_test")
        .env("AWS_COGNITO_USER_POOL_CLIENT_ID", "test-client")
        .env("COGNITO_JWKS_URL", jwks_url);
    command
}

/// A token that [`configured`] processes accept for this `sub`.
pub fn token_for(issuer: &LocalIssuer, sub: &str) -> String {
    let mut claims = LocalIssuer::claims(sub, chrono::Utc::now());
    claims["iss"] = "https://cognito-idp.eu-central-1.amazonaws.com/eu-central-1_test".into();
    claims["client_id"] = "test-client".into();
    issuer.sign(&claims).expect("a token")
}

/// The address that a line of `serve`'s log says it listens at.
pub fn listening(line: &str) -> Option<String> {
    line.contains("API started").then(|| line.split("address=").nth(1)?.split(' ').next().map(str::to_owned)).flatten()
}

/// Runs it to its end; one that hangs is killed.
pub fn run(command: &mut Command) -> Output {
    let child = command.spawn().expect("a process");
    let (id, (ended, end)) = (child.id().to_string(), mpsc::channel::<()>());
    std::thread::spawn(move || {
        if end.recv_timeout(DEADLINE * 4) == Err(mpsc::RecvTimeoutError::Timeout) {
            let _ = Command::new("kill").args(["-KILL", &id]).status();
        }
    });
    let output = child.wait_with_output().expect("a process");
    drop(ended);
    output
}

/// The one line that a failing command says.
pub fn one_line(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "it succeeded: {text}");
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 1, "not one line: {text}");
    text.trim().to_owned()
}

/// A running process; killed when dropped.
pub struct Running {
    child: Child,
    lines: mpsc::Receiver<String>,
    seen: Vec<String>,
}

impl Running {
    /// Starts it, gathering what it prints on both outputs.
    pub fn start(command: &mut Command) -> Self {
        let mut child = command.spawn().expect("a process");
        let (sender, lines) = mpsc::channel();
        let outputs: [Box<dyn Read + Send>; 2] =
            [Box::new(child.stdout.take().expect("stdout")), Box::new(child.stderr.take().expect("stderr"))];
        for output in outputs {
            let sender = sender.clone();
            std::thread::spawn(move || {
                for line in BufReader::new(output).lines().map_while(Result::ok) {
                    if sender.send(line).is_err() {
                        return;
                    }
                }
            });
        }
        Self { child, lines, seen: Vec::new() }
    }

    /// Waits for a line for which `wanted` gives something.
    pub fn wait_for<T>(&mut self, what: &str, wanted: impl Fn(&str) -> Option<T>) -> T {
        let begin = Instant::now();
        loop {
            let left = DEADLINE.saturating_sub(begin.elapsed());
            match self.lines.recv_timeout(left) {
                Ok(line) => {
                    let found = wanted(&line);
                    self.seen.push(line);
                    if let Some(found) = found {
                        return found;
                    }
                }
                Err(_) => panic!("never printed {what}: {:#?}", self.seen),
            }
        }
    }

    /// Waits for its end; what it printed, or `None` as soon as a line has `mark` in it.
    pub fn lines_without(&mut self, mark: &str) -> Option<Vec<String>> {
        let begin = Instant::now();
        loop {
            match self.lines.recv_timeout(DEADLINE.saturating_sub(begin.elapsed())) {
                Ok(line) if line.contains(mark) => return None,
                Ok(line) => self.seen.push(line),
                Err(mpsc::RecvTimeoutError::Disconnected) => return Some(self.seen.clone()),
                Err(mpsc::RecvTimeoutError::Timeout) => panic!("it does not end: {:#?}", self.seen),
            }
        }
    }

    /// The id of the process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal by name.
    pub fn signal(&self, name: &str) {
        let status = Command::new("kill").arg(format!("-{name}")).arg(self.child.id().to_string()).status();
        assert!(status.expect("kill").success());
    }

    /// Waits for its end.
    pub fn wait(&mut self) -> std::process::ExitStatus {
        let begin = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("a status") {
                return status;
            }
            assert!(begin.elapsed() < DEADLINE, "it does not end: {:#?}", self.seen);
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
