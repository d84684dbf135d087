//! What the fuzz targets do with bytes, and what must be true of whatever comes of them.
//!
//! Knows the program's public rooms and nothing of libFuzzer: `tests/it/corpora.rs` takes in this very file and replays
//! the corpora under plain `cargo test`. What must stay true: a body is given any bytes, and panics only where the
//! program broke a promise of its own.

pub mod answers;
pub mod documents;
pub mod manifests;
pub mod messages;
pub mod readiness;
