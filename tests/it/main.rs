//! Tests of the real server over HTTP, with embedded engines, signed tokens and a real stream.

mod authentication;
mod batch_loading;
mod cognito;
mod consumer;
mod consumer_faults;
mod critical_tasks;
mod dev_command;
mod fuzz;
#[path = "../fuzzer/mod.rs"]
mod fuzzer;
mod gaps;
mod harness;
mod http_protocol;
mod legacy;
mod membership;
mod once;
mod operator_commands;
mod outages;
mod reading;
mod request_limits;
mod schema_file;
mod sending;
mod serve_command;
mod simulator;
mod stopping;
mod traces;
mod validation_corpus;
