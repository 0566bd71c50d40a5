//! From a Rust type to a JSON Schema, and from JSON text to that type with errors that a model can act on.

use schemars::{JsonSchema, generate::SchemaSettings};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::{Error, Result};

/// The schema of `T`, and the doc comment of `T` taken out of it.
pub(crate) fn of<T: JsonSchema>() -> (Map<String, Value>, String) {
    let settings = SchemaSettings::draft2020_12().with(|s| {
        // Models read a schema better in one piece, and some vendors refuse references.
        s.inline_subschemas = true;
        s.meta_schema = None;
    });
    let schema = settings.into_generator().into_root_schema_for::<T>();
    let mut schema = match schema.to_value() {
        Value::Object(map) => map,
        // `true`: anything goes.
        _ => Map::new(),
    };
    schema.remove("title");
    let description = match schema.remove("description") {
        Some(Value::String(text)) => text,
        _ => String::new(),
    };
    (schema, description)
}

/// The schema of a tool's arguments: always an object, closed where nothing else is said.
pub(crate) fn of_arguments<T: JsonSchema>() -> (Value, String) {
    let (mut schema, description) = of::<T>();
    schema.insert("type".into(), "object".into());
    // A keyword beside `properties` may bring properties of its own, which closing the object would forbid.
    let composed = ["allOf", "anyOf", "oneOf", "$ref"].iter().any(|keyword| schema.contains_key(*keyword));
    if !composed {
        schema.entry("properties").or_insert_with(|| Map::new().into());
        schema.entry("additionalProperties").or_insert(false.into());
    }
    (schema.into(), description)
}

/// The arguments of `tool` from JSON text.
pub(crate) fn arguments<T: JsonSchema + DeserializeOwned>(tool: &str, text: &str) -> Result<T> {
    let refuse = |why: String| Error::invalid(format!("arguments of '{tool}': {why}{}", known::<T>()));
    let object = match serde_json::from_str::<Value>(text) {
        Ok(value @ Value::Object(_)) => value,
        Ok(_) => return Err(refuse("must be a JSON object".into())),
        Err(error) => return Err(refuse(format!("not JSON: {error}"))),
    };
    let empty = object.as_object().is_some_and(Map::is_empty);
    // `struct Now;` has no fields, so to serde it is null, not an object without members.
    if let Some(unit) = empty.then(|| T::deserialize(Value::Null).ok()).flatten() {
        return Ok(unit);
    }
    let mut unknown = Vec::new();
    let mut track = serde_path_to_error::Track::new();
    let tracked = serde_path_to_error::Deserializer::new(object, &mut track);
    match serde_ignored::deserialize::<_, _, T>(tracked, |path| unknown.push(format!("'{path}'"))) {
        Ok(_) if !unknown.is_empty() => Err(refuse(format!("unknown {}", unknown.join(", ")))),
        Ok(arguments) => Ok(arguments),
        Err(error) => {
            let place = match track.path().to_string().as_str() {
                "." => String::new(),
                path => format!("at '{path}': "),
            };
            Err(refuse(format!("{place}{error}")))
        }
    }
}

/// The tail of a message about arguments: which ones there are.
fn known<T: JsonSchema>() -> String {
    let (schema, _) = of_arguments::<T>();
    let required: Vec<&str> =
        schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
    let names: Vec<String> = schema
        .get("properties")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .map(|(name, _)| if required.contains(&name.as_str()) { name.clone() } else { format!("{name}?") })
        .collect();
    if names.is_empty() { String::new() } else { format!("; it takes {{{}}}", names.join(", ")) }
}

#[cfg(test)]
mod tests {
    use schemars::JsonSchema;
    use serde::Deserialize;
    use serde_json::json;

    use super::*;

    /// Moves a thing.
    ///
    /// Slowly.
    #[derive(Debug, PartialEq, Deserialize, JsonSchema)]
    struct Move {
        /// Where to.
        to: Point,
        #[serde(default)]
        speed: Option<f64>,
    }

    #[derive(Debug, PartialEq, Deserialize, JsonSchema)]
    struct Point {
        x: i32,
    }

    #[derive(Debug, PartialEq, Deserialize, JsonSchema)]
    struct Now;

    fn refusal<T: JsonSchema + DeserializeOwned>(text: &str) -> String {
        arguments::<T>("move", text).map(|_| ()).unwrap_err().to_string()
    }

    #[test]
    fn doc_comments_describe_and_the_object_is_closed() {
        let (schema, description) = of_arguments::<Move>();
        assert_eq!(description, "Moves a thing.\n\nSlowly.");
        assert_eq!(schema["additionalProperties"], json!(false));
        assert_eq!(schema["required"], json!(["to"]));
        assert_eq!(schema["properties"]["to"]["description"], "Where to.");
        assert_eq!(schema["properties"]["to"]["properties"]["x"]["type"], "integer");
        assert!(schema.get("title").is_none() && schema.get("$schema").is_none());
    }

    #[test]
    fn refusals_name_the_place_and_the_known_arguments() {
        assert_eq!(
            refusal::<Move>(r#"{"to":{"x":1},"sped":2}"#),
            "arguments of 'move': unknown 'sped'; it takes {to, speed?}"
        );
        assert_eq!(
            refusal::<Move>(r#"{"to":{"x":"a"}}"#),
            "arguments of 'move': at 'to.x': invalid type: string \"a\", expected i32; it takes {to, speed?}"
        );
        assert_eq!(refusal::<Move>("{}"), "arguments of 'move': missing field `to`; it takes {to, speed?}");
        assert_eq!(refusal::<Move>("[]"), "arguments of 'move': must be a JSON object; it takes {to, speed?}");
        assert!(refusal::<Move>(r#"{"to":"#).starts_with("arguments of 'move': not JSON: EOF"));
    }

    #[test]
    fn unknown_arguments_are_found_at_any_depth() {
        assert!(refusal::<Move>(r#"{"to":{"x":1,"y":2}}"#).contains("unknown 'to.y'"));
    }

    #[test]
    fn good_arguments_pass() {
        let moved: Move = arguments("move", r#"{"to":{"x":1}}"#).unwrap();
        assert_eq!(moved, Move { to: Point { x: 1 }, speed: None });
    }

    #[test]
    fn a_tool_without_arguments_may_be_a_unit_struct() {
        assert_eq!(of_arguments::<Now>().0, json!({"type": "object", "properties": {}, "additionalProperties": false}));
        assert_eq!(arguments::<Now>("now", "{}").unwrap(), Now);
        assert!(arguments::<Now>("now", r#"{"a":1}"#).is_err());
    }
}
