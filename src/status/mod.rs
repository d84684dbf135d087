//! How everything stands just now: what `/status`, the metrics and the service manager are told.
//!
//! ```text
//!  document.rs   the document of /status, version 1, as docs/status.schema.json describes it
//!  board.rs      who keeps which account, and the way to ask each of them
//!  counts.rs     a report in numbers, without names of roles
//! ```
//!
//! Nothing is kept twice: whoever wants to know asks the account's own loop, which answers between two things that it
//! does. Knows neither HTTP nor how a decision is made. What must stay true: to be asked changes nothing, and a loop that
//! does not answer is told as silent and holds up no other answer.

mod board;
mod counts;
mod document;

pub use self::{
    board::{Board, Detail},
    document::{
        AccountReport, AccountState, AccountStatus, ConditionStatus, ControllerStatus, DiffLine, FaultStatus,
        HeldStatus, ManifestsStatus, RoleStatus, Status, moment,
    },
};
pub(crate) use self::{
    board::{Inquiries, Inquiry},
    counts::{Counts, Synced},
};
