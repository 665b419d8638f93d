//! Values whose JSON is kept.

use std::borrow::Cow;

use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use crate::json;

/// A value with its JSON, rendered once and written many times. Where that is large it is not kept.
#[derive(Debug)]
pub struct Rendered<T> {
    value: T,
    json: Option<Box<RawValue>>,
}

/// The longest JSON that is kept.
const RENDERED_MAX: usize = 8192;

impl<T: Serialize> Rendered<T> {
    /// Renders `value`.
    #[must_use]
    pub fn new(value: T) -> Self {
        let json = json::to_string(&value).and_then(RawValue::from_string).ok();
        Self { value, json: json.filter(|json| json.get().len() <= RENDERED_MAX) }
    }

    /// The JSON text.
    #[must_use]
    pub fn json(&self) -> Cow<'_, str> {
        match &self.json {
            Some(json) => json.get().into(),
            // The types of this module can always be serialised.
            None => json::to_string(&self.value).unwrap_or_else(|_| "null".to_owned()).into(),
        }
    }
}

impl<T> Rendered<T> {
    /// Bytes of the JSON that is kept.
    #[must_use]
    pub fn kept(&self) -> usize {
        self.json.as_ref().map_or(0, |json| json.get().len())
    }
}

impl<T> std::ops::Deref for Rendered<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T: Serialize> Serialize for Rendered<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.json {
            Some(json) => json.serialize(serializer),
            None => self.value.serialize(serializer),
        }
    }
}
