//! IAM policy documents: what Session Manager needs ([`session_manager`]), what a document says
//! ([`document`]), and how two of them differ ([`compare`]).
//!
//! Pure: no clients, no files, no clock. What must stay true: equal inputs give equal bytes.

pub mod compare;
pub mod document;
mod pattern;
pub mod session_manager;
