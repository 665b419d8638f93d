//! The document of `ringwatch stat --json`.

use super::report::Report;
use crate::schema::schema_of;

/// docs/stat.schema.json.
#[must_use]
pub fn schema_file() -> String {
    format!("{:#}\n", schema_of::<Report>())
}
