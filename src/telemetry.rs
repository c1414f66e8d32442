//! The log, and traces for an OpenTelemetry collector.
//!
//! There is a span for each request, for each resolver or batch of records that does I/O, and for each call to a store. The spans
//! below a request have the level `trace`: they cost nothing if no traces are exported, and they are not in the log.

use std::io::IsTerminal;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context;
use async_trait::async_trait;
use axum::http::{HeaderMap, StatusCode};
use bytes::Bytes;
use clap::{ArgAction, Args, ValueEnum};
use opentelemetry::propagation::TextMapPropagator;
use opentelemetry::trace::{Status, TracerProvider};
use opentelemetry_http::{HeaderExtractor, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{Protocol, RetryPolicy, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tokio::runtime::Handle;
use tracing::Span;
use tracing::level_filters::LevelFilter;
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::filter::{FilterExt, Targets, dynamic_filter_fn};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

use crate::config::{SettingError, checked_address};
use crate::outcome::{Code, Outcome};

/// The log, which goes to standard error.
#[derive(Args, Clone, Debug, Default)]
pub struct LogSettings {
    /// Log filter: levels by module, such as `info,cruddur_messaging=debug`
    #[arg(long = "log", env = "RUST_LOG", value_name = "RUST_LOG", global = true, hide_short_help = true)]
    filter: Option<String>,
    /// Log format
    #[arg(long, env = "LOG_FORMAT", value_name = "LOG_FORMAT", global = true, hide_short_help = true,
        value_enum, default_value_t = LogFormat::Text)]
    log_format: LogFormat,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum LogFormat {
    #[default]
    Text,
    /// One JSON object for each line
    Json,
}

/// The destination of traces.
#[derive(Args, Clone, Debug)]
pub struct TraceSettings {
    /// OpenTelemetry collector that receives traces as http/protobuf [default: no traces]
    #[arg(
        long,
        env = "OTEL_EXPORTER_OTLP_ENDPOINT",
        value_name = "OTEL_EXPORTER_OTLP_ENDPOINT",
        hide_env_values = true
    )]
    pub otel_exporter_otlp_endpoint: Option<String>,
    /// Whether the spans of a request become part of the trace that the client names in the header `traceparent`
    #[arg(long, env = "TRUST_TRACEPARENT", value_name = "TRUST_TRACEPARENT", default_value_t = true,
        action = ArgAction::Set)]
    pub trust_traceparent: bool,
}

/// A collector that does not respond must delay neither the next batch nor the end of the process.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(5);
/// Time limit for the last spans at the end of the process.
const LAST_EXPORT: Duration = Duration::from_secs(1);
const SERVICE: &str = "cruddur-messaging";
/// Exported spans: those of this program, and the calls of the SDK inside them. The regular reads of the stream consumer are in
/// no span of this program, so they are not exported.
const OURS: &str = "cruddur_messaging";
const CALLS: &str = "aws_sdk_dynamodb::operation";

/// Whether traces are exported. If not, nothing is computed that only traces need.
static EXPORTS: AtomicBool = AtomicBool::new(false);
/// Whether a client decides which trace a request belongs to.
static TRUSTS_CLIENTS: AtomicBool = AtomicBool::new(true);

/// The export of traces.
#[derive(Debug)]
pub struct Traces(Option<SdkTracerProvider>);

impl Traces {
    /// Sends the spans that have not been sent.
    pub async fn finish(self) {
        let Some(provider) = self.0 else { return };
        let flushed = tokio::task::spawn_blocking(move || provider.shutdown_with_timeout(LAST_EXPORT));
        match tokio::time::timeout(LAST_EXPORT, flushed).await {
            Ok(Ok(Ok(()))) => {}
            Ok(Ok(Err(error))) => tracing::warn!(error = crate::report(&error), "sending the last traces failed"),
            Ok(Err(_)) | Err(_) => tracing::warn!("the last traces were not sent in time"),
        }
    }
}

/// Starts the log with the filter in `RUST_LOG`, or `default` if it is not set, and the traces if `traces` has a collector.
///
/// # Errors
/// A filter, an address, a protocol or a sampler that is invalid.
pub fn start(log: LogSettings, default: &str, traces: Option<&TraceSettings>) -> anyhow::Result<Traces> {
    let filter = match log.filter.filter(|text| !text.trim().is_empty()) {
        Some(text) => EnvFilter::try_new(&text)
            .map_err(|error| SettingError::wrong("RUST_LOG", format!("cannot be read: {error}")))?,
        None => EnvFilter::new(default),
    };
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let lines = match log.log_format {
        LogFormat::Text => lines.with_ansi(std::io::stderr().is_terminal()).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).with_span_list(false).boxed(),
    };
    let provider = traces.map(provider).transpose()?.flatten();
    let spans = provider.as_ref().map(|provider| {
        let traced = Targets::new().with_target(OURS, LevelFilter::TRACE).with_target(CALLS, LevelFilter::DEBUG);
        let within = dynamic_filter_fn(|metadata, context| {
            metadata.target().starts_with(OURS) || context.lookup_current().is_some()
        });
        tracing_opentelemetry::layer().with_tracer(provider.tracer(SERVICE)).with_filter(traced.and(within))
    });
    tracing_subscriber::registry().with(lines.with_filter(filter)).with(spans).init();
    EXPORTS.store(provider.is_some(), Ordering::Relaxed);
    TRUSTS_CLIENTS.store(traces.is_some_and(|traces| traces.trust_traceparent), Ordering::Relaxed);
    Ok(Traces(provider))
}

fn provider(settings: &TraceSettings) -> anyhow::Result<Option<SdkTracerProvider>> {
    let name = "OTEL_EXPORTER_OTLP_ENDPOINT";
    let Some(endpoint) = settings.otel_exporter_otlp_endpoint.as_deref().map(str::trim).filter(|it| !it.is_empty())
    else {
        return Ok(None);
    };
    let endpoint = checked_address(name, endpoint)?;
    check_environment(|name| std::env::var(name).ok())?;
    let http =
        reqwest::Client::builder().timeout(EXPORT_TIMEOUT).build().with_context(|| format!("{name}: no client"))?;
    let exporter = SpanExporter::builder()
        .with_http()
        .with_http_client(Sender { http, runtime: Handle::current() })
        .with_protocol(Protocol::HttpBinary)
        .with_endpoint(format!("{}/v1/traces", endpoint.trim_end_matches('/')))
        .with_timeout(EXPORT_TIMEOUT)
        .with_retry_policy(RetryPolicy::disabled())
        .build()
        .with_context(|| format!("{name}: no exporter"))?;
    let named = |name: &str, has: &str| std::env::var(name).is_ok_and(|text| !text.is_empty() && text.contains(has));
    let mut resource = Resource::builder();
    if !named("OTEL_SERVICE_NAME", "") && !named("OTEL_RESOURCE_ATTRIBUTES", "service.name=") {
        resource = resource.with_service_name(SERVICE);
    }
    Ok(Some(SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource.build()).build()))
}

/// Rejects values that the library would ignore silently.
fn check_environment(variable: impl Fn(&'static str) -> Option<String>) -> Result<(), SettingError> {
    let wrong = |name, problem| Err(SettingError::wrong(name, problem));
    let given = |name| variable(name).filter(|value| !value.is_empty());
    for name in ["OTEL_EXPORTER_OTLP_PROTOCOL", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"] {
        if given(name).is_some_and(|value| value != "http/protobuf") {
            return wrong(name, "must be http/protobuf, the only supported protocol");
        }
    }
    for name in ["OTEL_EXPORTER_OTLP_COMPRESSION", "OTEL_EXPORTER_OTLP_TRACES_COMPRESSION"] {
        if given(name).is_some_and(|value| value != "none") {
            return wrong(name, "must be none, because traces are not compressed");
        }
    }
    for (name, least, most) in [
        ("OTEL_BSP_SCHEDULE_DELAY", 10, 3_600_000),
        ("OTEL_BSP_MAX_QUEUE_SIZE", 1, 1_000_000),
        ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", 1, 1_000_000),
    ] {
        let fits = |value: &str| value.parse().is_ok_and(|number: u64| (least..=most).contains(&number));
        if let Some(value) = given(name).filter(|value| !fits(value)) {
            let problem = format!("must be a number from {least} to {most}, but is {value:?}");
            return Err(SettingError::wrong(name, problem));
        }
    }
    let samplers = [
        "always_on",
        "always_off",
        "traceidratio",
        "parentbased_always_on",
        "parentbased_always_off",
        "parentbased_traceidratio",
    ];
    if given("OTEL_TRACES_SAMPLER").is_some_and(|value| !samplers.contains(&value.as_str())) {
        return wrong("OTEL_TRACES_SAMPLER", "must be a sampler such as parentbased_traceidratio");
    }
    let share = |value: String| value.parse().is_ok_and(|share: f64| (0.0..=1.0).contains(&share));
    if given("OTEL_TRACES_SAMPLER_ARG").is_some_and(|value| !share(value)) {
        return wrong("OTEL_TRACES_SAMPLER_ARG", "must be a number from 0 to 1");
    }
    Ok(())
}

/// Sends spans from the thread of the exporter, which does not belong to the runtime.
#[derive(Debug)]
struct Sender {
    http: reqwest::Client,
    runtime: Handle,
}

#[async_trait]
impl HttpClient for Sender {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let (http, request) = (self.http.clone(), reqwest::Request::try_from(request)?);
        let sent = self.runtime.spawn(async move {
            let answer = http.execute(request).await?;
            let (status, headers) = (answer.status(), answer.headers().clone());
            Ok::<_, reqwest::Error>((status, headers, answer.bytes().await?))
        });
        let (status, headers, body) = sent.await??;
        let mut response = Response::new(body);
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        Ok(response)
    }
}

/// Records the start of a request in its span. Its headers can name a trace that it belongs to. Source: W3C Trace Context.
pub fn begin_request(span: &Span, headers: &HeaderMap, method: &str, route: Option<&str>) {
    if !EXPORTS.load(Ordering::Relaxed) {
        return;
    }
    span.record("otel.kind", "server");
    span.record("otel.name", format!("{method} {}", route.unwrap_or_default()).trim_end());
    if !TRUSTS_CLIENTS.load(Ordering::Relaxed) {
        return;
    }
    // A span that is not exported cannot join a trace.
    let _ = span.set_parent(TraceContextPropagator::new().extract(&HeaderExtractor(headers)));
}

/// Records the start of a connection, or of an operation on it, in its span.
pub fn begin_operation(span: &Span, name: &'static str) {
    if EXPORTS.load(Ordering::Relaxed) {
        span.record("otel.kind", "server");
        span.record("otel.name", name);
    }
}

/// Records in the span of the current request how it ended. There is no status if the client closed the connection. A
/// subscription has delivered a number of `events`.
pub fn end_request(operation: Option<&str>, status: Option<StatusCode>, outcome: Outcome, events: Option<u64>) {
    if !EXPORTS.load(Ordering::Relaxed) {
        return;
    }
    let span = Span::current();
    if let Some(status) = status {
        span.set_attribute("http.response.status_code", i64::from(status.as_u16()));
    }
    span.set_attribute("outcome", outcome.as_str());
    if let Some(events) = events {
        span.set_attribute("events", i64::try_from(events).unwrap_or(i64::MAX));
    }
    if let Some(operation) = operation {
        span.set_attribute("graphql.operation.name", operation.to_owned());
    }
    let is_fault = matches!(outcome, Outcome::Failed(Code::Internal | Code::Unavailable));
    if is_fault || status.is_some_and(|status| status.is_server_error()) {
        span.set_status(Status::error(outcome.as_str()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_exported_so_is_refused_by_name() {
        for (name, value, fits) in [
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf", true),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", false),
            ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/json", false),
            ("OTEL_TRACES_SAMPLER", "parentbased_traceidratio", true),
            ("OTEL_TRACES_SAMPLER", "sometimes", false),
            ("OTEL_TRACES_SAMPLER_ARG", "0.25", true),
            ("OTEL_TRACES_SAMPLER_ARG", "25%", false),
            ("OTEL_TRACES_SAMPLER_ARG", "2", false),
            ("OTEL_TRACES_SAMPLER_ARG", "", true),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip", false),
            ("OTEL_BSP_SCHEDULE_DELAY", "100", true),
            ("OTEL_BSP_SCHEDULE_DELAY", "0", false),
            ("OTEL_BSP_MAX_QUEUE_SIZE", "99999999999999", false),
        ] {
            let checked = check_environment(|asked| (asked == name).then(|| value.to_owned()));
            assert_eq!(checked.is_ok(), fits, "{name}={value}");
            if let Err(error) = checked {
                assert!(error.to_string().starts_with(name), "{error}");
            }
        }
    }
}
