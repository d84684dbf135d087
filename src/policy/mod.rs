//! IAM policy documents: what Session Manager needs ([`session_manager`]), what a document says
//! ([`document`]), how two of them differ ([`compare`]), what a role's documents allow together ([`evaluate`]), and
//! what the operator lets be written at all ([`limits`]).
//!
//! Pure: no clients, no files, no clock. What must stay true: equal inputs give equal bytes.

pub mod compare;
pub mod document;
pub mod evaluate;
pub mod limits;
mod pattern;
pub mod session_manager;
