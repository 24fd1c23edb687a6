//! In: a `spec` and the places where it deviates from the schema. Out: a `spec` that deserialises, and the paths
//! below which later findings would only be consequences.
//!
//! The smallest part that can be judged alone is replaced by an empty one: a selector, else a hook, else a field
//! of `spec`.

use std::collections::HashSet;

use serde_json::{Map, Value};

use super::path::FieldPath;
use super::structure::Step;
use crate::diagnostic::Diagnostic;

/// Paths at which nothing more is reported.
#[derive(Debug, Default)]
pub(super) struct Hidden {
    below: HashSet<String>,
    /// The sections themselves are in doubt, so how many there are is not reported.
    sections: bool,
}

impl Hidden {
    /// Whether `diagnostic` is only a consequence of what was repaired.
    pub(super) fn covers(&self, diagnostic: &Diagnostic) -> bool {
        let path = FieldPath::root(&diagnostic.path);
        (self.sections && diagnostic.path == "spec")
            || path.prefixes().any(|prefix| self.below.contains(prefix))
    }

    fn hide(&mut self, path: &FieldPath) {
        self.below.insert(path.to_string());
    }
}

/// Makes `spec` usable.
pub(super) fn repair(
    spec: &mut Value,
    schema: &Value,
    damaged: &[Vec<Step>],
    unknown: &[Vec<Step>],
) -> Hidden {
    let mut hidden = Hidden::default();
    drop_nulls(spec);
    for steps in damaged {
        repair_one(spec, schema, steps, &mut hidden);
    }
    hidden.sections |= unknown.iter().any(|steps| steps.len() == 2);
    hidden
}

fn repair_one(spec: &mut Value, schema: &Value, steps: &[Step], hidden: &mut Hidden) {
    let root = FieldPath::root("spec");
    match steps {
        [_, Step::Key(section), Step::Item(hook), Step::Key(list), Step::Item(selector), ..]
            if list == "selectors" =>
        {
            let place = spec.get_mut(section).and_then(|hooks| hooks.get_mut(hook));
            let place = place.and_then(|hook| hook.get_mut(list)).and_then(|list| list.get_mut(selector));
            replace(place, Value::Object(Map::new()));
            hidden.hide(&root.key(section).item(*hook).key(list).item(*selector));
        }
        [_, Step::Key(section), Step::Item(element), ..] => {
            let item = schema.pointer(&format!("/properties/{section}/items"));
            let place = spec.get_mut(section).and_then(|elements| elements.get_mut(element));
            replace(place, item.map(blank).unwrap_or_default());
            hidden.hide(&root.key(section).item(*element));
        }
        [_, Step::Key(field), ..] => {
            if let Some(fields) = spec.as_object_mut() {
                fields.remove(field);
            }
            hidden.hide(&root.key(field));
            hidden.sections = true;
        }
        _ => {
            *spec = Value::Object(Map::new());
            hidden.hide(&root);
        }
    }
}

fn replace(place: Option<&mut Value>, by: Value) {
    if let Some(place) = place {
        *place = by;
    }
}

/// The least value that a schema accepts, as far as hooks need it: required fields are text or lists.
fn blank(schema: &Value) -> Value {
    match schema.get("type").and_then(Value::as_str) {
        Some("object") => {
            let required = schema.get("required").and_then(Value::as_array).into_iter().flatten();
            let field = |key: &str| {
                let property = schema.get("properties").and_then(|properties| properties.get(key));
                (key.to_owned(), property.map(blank).unwrap_or_default())
            };
            Value::Object(required.filter_map(Value::as_str).map(field).collect())
        }
        Some("array") => Value::Array(Vec::new()),
        Some("string") => Value::String(String::new()),
        _ => Value::Null,
    }
}

/// An absent field and one without a value are the same.
fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|_, field| !field.is_null());
            fields.values_mut().for_each(drop_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}
