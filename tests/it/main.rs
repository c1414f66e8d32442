//! The real server over HTTP, against real engines in process, with real signed tokens and a real stream.

mod authentication;
mod batch_loading;
mod consumer;
mod dev_command;
mod earlier_system;
mod harness;
mod http_protocol;
mod membership;
mod once;
mod reading;
mod schema_file;
mod sending;
mod serve_command;
mod simulator;
