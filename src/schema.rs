//! What the types say of themselves: JSON Schemas, and tables of fields for people.

use std::fmt::Write as _;

use schemars::generate::SchemaSettings;
use serde_json::Value;

/// Of a type.
#[must_use]
pub fn schema_of<T: schemars::JsonSchema>() -> Value {
    let generator = SchemaSettings::draft2020_12().for_serialize().into_generator();
    generator.into_root_schema_for::<T>().to_value()
}

/// A field as its schema tells it.
pub(crate) struct Field {
    pub(crate) name: String,
    pub(crate) kind: String,
    pub(crate) description: String,
}

pub(crate) fn fields(schema: &Value) -> Vec<Field> {
    let properties = schema.get("properties").and_then(Value::as_object);
    properties
        .into_iter()
        .flatten()
        .map(|(name, field)| Field {
            name: name.clone(),
            kind: kind(schema, field),
            description: field
                .get("description")
                .and_then(Value::as_str)
                .unwrap_or_default()
                .replace("\\[", "[")
                .replace("\\]", "]")
                .replace('\n', " "),
        })
        .collect()
}

/// `uint32`, `string or null`, or the values of an enum.
fn kind(root: &Value, field: &Value) -> String {
    if let Some(name) = field.get("$ref").and_then(Value::as_str).and_then(|r| r.strip_prefix("#/$defs/")) {
        return match root.get("$defs").and_then(|d| d.get(name)) {
            Some(object) if object.get("properties").is_some() => name.to_owned(),
            Some(other) => kind(root, other),
            None => String::new(),
        };
    }
    for list in ["anyOf", "oneOf"] {
        if let Some(kinds) = field.get(list).and_then(Value::as_array) {
            return kinds.iter().map(|k| kind(root, k)).collect::<Vec<_>>().join(" or ");
        }
    }
    if let Some(value) = field.get("const").and_then(Value::as_str) {
        return format!("\"{value}\"");
    }
    if let Some(values) = field.get("enum").and_then(Value::as_array) {
        return values.iter().map(ToString::to_string).collect::<Vec<_>>().join(" or ");
    }
    let array = |of: &str| field.get("items").map_or_else(|| of.to_owned(), |i| format!("{of} of {}", kind(root, i)));
    let format = field.get("format").and_then(Value::as_str);
    let name = |t: &str| match (t, format) {
        ("integer", Some(format)) => format.to_owned(),
        (t @ "array", _) => array(t),
        (t, _) => t.to_owned(),
    };
    match field.get("type") {
        Some(Value::String(t)) => name(t),
        Some(Value::Array(types)) => types.iter().filter_map(Value::as_str).map(name).collect::<Vec<_>>().join(" or "),
        _ => "any".to_owned(),
    }
}

/// For a document.
pub(crate) fn field_table(schema: &Value) -> String {
    let mut out = "| field | type | meaning |\n|---|---|---|\n".to_owned();
    for field in fields(schema) {
        let cell = |s: &str| s.replace('|', "\\|");
        let _ = writeln!(out, "| `{}` | {} | {} |", field.name, cell(&field.kind), cell(&field.description));
    }
    out
}
