//! Every integration test, in one binary: it links the AWS SDK once.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr, reason = "a test that cannot go on panics")]

mod accounts;
mod apply;
mod bad_input;
mod contract;
mod controller_policy;
mod corpora;
mod crash;
mod credentials;
mod demo;
mod deploy;
mod documents;
mod endpoints;
mod events;
mod explain;
mod gitops;
mod import;
mod kubernetes;
mod lease;
mod life;
mod manifests;
mod offline;
mod oracle;
mod page;
mod plan;
mod prometheus;
mod run;
mod sandbox_control;
mod sandbox_faults;
mod sandbox_http;
mod selectors;
mod state;
mod support;
mod trust;
mod watch;
