//! `schema`: the JSON Schema of the manifests, for editors.

use super::{Ended, OK, print};
use crate::manifest;

/// Prints the schema.
///
/// # Errors
///
/// Where standard output cannot be written.
pub fn schema() -> Ended {
    print(&serde_json::to_string_pretty(&manifest::schema())?)?;
    Ok(OK)
}
