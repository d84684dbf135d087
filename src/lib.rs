//! `ssm-role-controller` keeps existing IAM roles able to use Session Manager, and nothing more.
//!
//! Data flows one way: manifests and inventory in, then plan, guard, apply, report.
//!
//! ```text
//!  config/*.yaml ─▶ watch ─▶ manifest ─▶ Desired ─┐
//!                                                 ├─▶ readiness ─▶ plan ─▶ controller ─▶ telemetry (logs), status ─▶ server (HTTP)
//!  IAM ─▶ iam ─▶ inventory ─▶ Observed ───────────┘    (pure)     (pure)      │
//!                                                                             └─▶ iam (confirm, write)
//!  policy (IAM policy documents: build, compare, bound, evaluate; pure) serves manifest, inventory, readiness and plan
//! ```
//!
//! | room | what lives there | it may not know |
//! |---|---|---|
//! | [`names`] | account ids, role and policy names, key ARNs, queue URLs: text that was checked once | everything else |
//! | [`selector`] | which roles are meant by their path, name and tags | manifests |
//! | [`policy`] | IAM policy documents: typed model, directional comparison, settings → document and back, the operator's limits, effective permissions | AWS clients, files, the clock |
//! | [`manifest`] | the YAML that people write: parsing, faults, JSON Schema, Desired, writing them for what is there | AWS clients, the clock |
//! | [`watch`] | files → the newest good manifests | IAM |
//! | [`inventory`] | what IAM said of the managed roles | AWS clients |
//! | [`readiness`] | would a session work: what settings ask for × what a role's policies allow | AWS clients, the clock |
//! | [`plan`] | Desired × Inventory → steps; the guards over a whole plan | AWS clients, the clock |
//! | [`iam`] | the one edge to AWS | manifests |
//! | [`events`] | change events: what a queue tells of IAM, and when that wakes a role | manifests, IAM's API, what a wake-up leads to |
//! | [`controller`] | the loop: wake-ups, passes, retries, report | how YAML or HTTP look |
//! | [`status`] | how everything stands just now, and the way to ask for it | how HTTP looks, or a decision is made |
//! | [`server`] | health, metrics, status and the status page over HTTP | how a decision is made |
//! | [`lease`] | which of several processes may write, and until when | what is written |
//! | [`telemetry`] | log events and how a line of log looks | how a decision is made |
//! | [`few`] | a map of few entries in little memory | everything else |
//! | `backoff` | how long to wait after a failure | everything else |
//! | [`text`] | what a terminal would act upon, made harmless | everything else |
//! | [`sandbox`] | an IAM endpoint inside the process | the controller |
//! | [`cli`] | one file a command; the only printing | – |

mod backoff;
pub mod cli;
pub mod controller;
#[cfg(test)]
mod documentation;
pub mod events;
pub mod few;
pub mod iam;
pub mod inventory;
pub mod lease;
pub mod manifest;
pub mod names;
pub mod plan;
pub mod policy;
pub mod readiness;
pub mod sandbox;
pub mod selector;
pub mod server;
pub mod status;
pub mod telemetry;
pub mod text;
pub mod watch;
