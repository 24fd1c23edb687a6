//! In: a document's tree and the schema generated from the types in `crds`. Out: every deviation from the
//! schema, and which fields cannot be used because of it.
//!
//! The schema is the one that API servers get, so that both refuse the same documents.

use std::collections::HashMap;

use regex_lite::Regex;
use serde_json::{Map, Value};

use super::path::FieldPath;
use super::problems::{Problems, quoted, suggest};
use crate::diagnostic::Code;

/// One step into a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// Into a field.
    Key(String),
    /// Into an element.
    Item(usize),
}

/// The walk over one tree.
pub(super) struct Structure<'a> {
    problems: &'a mut Problems,
    steps: Vec<Step>,
    /// Places whose values cannot be used.
    pub(super) damaged: Vec<Vec<Step>>,
    /// Fields that the schema does not have.
    pub(super) unknown: Vec<Vec<Step>>,
    /// Those of the schema that were met.
    patterns: HashMap<String, Option<Regex>>,
}

impl<'a> Structure<'a> {
    /// A walk that begins at the top-level field `key`.
    pub(super) fn new(key: &str, problems: &'a mut Problems) -> Self {
        let (steps, patterns) = (vec![Step::Key(key.to_owned())], HashMap::new());
        Self { problems, steps, damaged: Vec::new(), unknown: Vec::new(), patterns }
    }

    /// Compares `value` with `schema`, and all below.
    pub(super) fn walk(&mut self, schema: &Value, value: &Value, path: &FieldPath) {
        match (schema.get("type").and_then(Value::as_str), value) {
            (Some("object"), Value::Object(fields)) => self.object(schema, fields, path),
            (Some("array"), Value::Array(items)) => self.array(schema, items, path),
            (Some("string"), Value::String(text)) => self.string(schema, text, path),
            (Some("integer"), Value::Number(number)) => self.integer(schema, number.as_i64(), value, path),
            (Some("boolean"), Value::Bool(_)) => {}
            (expected, _) => self.wrong_type(expected.unwrap_or("value"), value, path),
        }
    }

    fn object(&mut self, schema: &Value, fields: &Map<String, Value>, path: &FieldPath) {
        let properties = schema.get("properties").and_then(Value::as_object);
        let open = schema.get("additionalProperties");
        for (key, value) in fields.iter().filter(|(_, value)| !value.is_null()) {
            let property = properties.and_then(|properties| properties.get(key)).or(open);
            self.steps.push(Step::Key(key.clone()));
            match property {
                Some(property) => self.walk(property, value, &path.key(key)),
                None => self.unknown_field(key, properties, path),
            }
            self.steps.pop();
        }
        let required = schema.get("required").and_then(Value::as_array).into_iter().flatten();
        for key in required.filter_map(Value::as_str) {
            if fields.get(key).is_none_or(Value::is_null) {
                self.problems.error(Code::MissingField, &path.key(key), format!("`{key}` is required"));
                self.damage();
            }
        }
    }

    fn unknown_field(&mut self, key: &str, properties: Option<&Map<String, Value>>, path: &FieldPath) {
        let siblings: Vec<&str> = properties.into_iter().flat_map(Map::keys).map(String::as_str).collect();
        let message = format!("there is no field {} here", quoted(key));
        self.problems.error_help(Code::UnknownField, &path.key(key), message, suggest(key, &siblings));
        self.unknown.push(self.steps.clone());
    }

    fn array(&mut self, schema: &Value, items: &[Value], path: &FieldPath) {
        if let Some(limit) = schema.get("maxItems").and_then(Value::as_u64)
            && items.len() as u64 > limit
        {
            let message = format!("{} elements, {limit} is the most", items.len());
            self.problems.error(Code::OutOfRange, path, message);
            self.damage();
        }
        for (index, item) in items.iter().enumerate() {
            self.steps.push(Step::Item(index));
            self.walk(schema.get("items").unwrap_or(&Value::Null), item, &path.item(index));
            self.steps.pop();
        }
    }

    fn string(&mut self, schema: &Value, text: &str, path: &FieldPath) {
        if let Some(limit) = schema.get("maxLength").and_then(Value::as_u64)
            && text.chars().count() as u64 > limit
        {
            self.problems.error(Code::OutOfRange, path, format!("longer than {limit} characters"));
            self.damage();
        }
        if let Some(pattern) = schema.get("pattern").and_then(Value::as_str)
            && !self.is_like(text, pattern)
        {
            let message = format!("{} is not possible here", quoted(text));
            self.problems.error_help(Code::OutOfRange, path, message, format!("it must match `{pattern}`"));
            self.damage();
        }
        let Some(members) = schema.get("enum").and_then(Value::as_array) else { return };
        let members: Vec<&str> = members.iter().filter_map(Value::as_str).collect();
        if !members.contains(&text) {
            let message = format!("{} is not possible here", quoted(text));
            self.problems.error_help(Code::UnknownValue, path, message, suggest(text, &members));
            self.damage();
        }
    }

    /// Whether `text` matches a pattern of the schema. Patterns are ours, so one that cannot be read, a mistake that tests
    /// find, holds nobody up.
    fn is_like(&mut self, text: &str, pattern: &str) -> bool {
        let known = self.patterns.entry(pattern.to_owned());
        let regex = known.or_insert_with_key(|pattern| Regex::new(pattern).ok());
        regex.as_ref().is_none_or(|regex| regex.is_match(text))
    }

    fn integer(&mut self, schema: &Value, number: Option<i64>, value: &Value, path: &FieldPath) {
        if value.is_f64() {
            return self.wrong_type("integer", value, path);
        }
        let wide = schema.get("format").and_then(Value::as_str) != Some("int32");
        let (least, greatest) =
            if wide { (i64::MIN, i64::MAX) } else { (i64::from(i32::MIN), i64::from(i32::MAX)) };
        // The generator writes whole numbers as floats; small ones are exact.
        let minimum = schema.get("minimum").and_then(Value::as_f64).map(|minimum| minimum as i64);
        let least = minimum.unwrap_or(least);
        if number.is_none_or(|number| !(least..=greatest).contains(&number)) {
            let message = format!("{value} is not within {least}..={greatest}");
            self.problems.error(Code::OutOfRange, path, message);
            self.damage();
        }
    }

    fn wrong_type(&mut self, expected: &str, value: &Value, path: &FieldPath) {
        let message = format!("expected {}, found {}", type_name(expected), describe(value));
        match advice(expected, value) {
            Some(help) => self.problems.error_help(Code::WrongType, path, message, help),
            None => self.problems.error(Code::WrongType, path, message),
        }
        self.damage();
    }

    fn damage(&mut self) {
        self.damaged.push(self.steps.clone());
    }
}

fn type_name(schema_type: &str) -> &str {
    match schema_type {
        "object" => "an object",
        "array" => "a list",
        "string" => "text",
        "integer" => "a whole number",
        "boolean" => "true or false",
        other => other,
    }
}

fn describe(value: &Value) -> String {
    match value {
        Value::Null => "nothing".to_owned(),
        Value::Bool(value) => format!("`{value}`"),
        Value::Number(value) => format!("the number `{value}`"),
        Value::String(text) => format!("the text {}", quoted(text)),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "an object".to_owned(),
    }
}

fn advice(expected: &str, value: &Value) -> Option<String> {
    match (expected, value) {
        ("string", Value::Number(_) | Value::Bool(_)) => Some(format!("quote it: \"{value}\"")),
        ("boolean", Value::String(text)) => match text.to_ascii_lowercase().as_str() {
            "yes" | "on" | "y" | "true" => Some("write `true`, without quotes".to_owned()),
            "no" | "off" | "n" | "false" => Some("write `false`, without quotes".to_owned()),
            _ => None,
        },
        ("integer", Value::String(text)) if text.parse::<i64>().is_ok() => {
            Some(format!("without quotes: {text}"))
        }
        ("array", _) => Some("write one element per line, each after `- `".to_owned()),
        _ => None,
    }
}
