//! In: the definitions as derived from the types. Out: the same definitions, small enough for `kubectl apply`.
//!
//! Assumes that a description which the reader finds one level up, or at the sibling field of the same shape,
//! is not missed. Nothing that validates is changed, but for `nullable`: an optional field is absent, not null.
//!
//! Defaults are told in the description instead: an API server that writes them into lists, which are applied whole, makes
//! a policy differ for ever from what its author wrote, in `kubectl apply`, `kubectl diff` and GitOps tools.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};

/// Fields whose inner fields are described at another field of the same shape.
const DESCRIBED_ELSEWHERE: [&str; 5] =
    ["selectorsMacros", "matchReturnActions", "matchReturnArgs", "matchData", "matchCapabilityChanges"];

/// Removes what only repeats.
pub(crate) fn slim(mut definition: CustomResourceDefinition) -> CustomResourceDefinition {
    for version in &mut definition.spec.versions {
        if let Some(schema) = version.schema.as_mut().and_then(|schema| schema.open_api_v3_schema.as_mut()) {
            slim_schema(schema, true);
        }
    }
    definition
}

fn slim_schema(schema: &mut JSONSchemaProps, describe: bool) {
    schema.nullable = None;
    for (name, property) in schema.properties.iter_mut().flatten() {
        if !describe {
            property.description = None;
        }
        slim_schema(property, describe && !DESCRIBED_ELSEWHERE.contains(&name.as_str()));
    }
    if let Some(JSONSchemaPropsOrArray::Schema(items)) = schema.items.as_mut() {
        items.description = None;
        slim_schema(items, describe);
    }
    if let Some(JSONSchemaPropsOrBool::Schema(values)) = schema.additional_properties.as_mut() {
        values.description = None;
        slim_schema(values, describe);
    }
}

/// Takes defaults out of a definition, and tells them to its readers.
pub(crate) fn defaults_told(mut definition: CustomResourceDefinition) -> CustomResourceDefinition {
    for version in &mut definition.spec.versions {
        if let Some(schema) = version.schema.as_mut().and_then(|schema| schema.open_api_v3_schema.as_mut()) {
            tell_defaults(schema);
        }
    }
    definition
}

fn tell_defaults(schema: &mut JSONSchemaProps) {
    if let (Some(default), Some(description)) = (schema.default.take(), &mut schema.description) {
        // Nothing is no news.
        if default.0 != "" {
            *description = format!("{} Default: {}.", description.trim_end(), default.0);
        }
    }
    for property in schema.properties.iter_mut().flatten().map(|(_, property)| property) {
        tell_defaults(property);
    }
    if let Some(JSONSchemaPropsOrArray::Schema(items)) = schema.items.as_mut() {
        tell_defaults(items);
    }
    if let Some(JSONSchemaPropsOrBool::Schema(values)) = schema.additional_properties.as_mut() {
        tell_defaults(values);
    }
}

/// Writes lists of plain words on one line: most of a definition's bytes would be their indentation.
pub(crate) fn words_on_one_line(yaml: &str) -> String {
    let mut out = String::with_capacity(yaml.len());
    let mut lines = yaml.lines().peekable();
    while let Some(line) = lines.next() {
        let indent = line.len() - line.trim_start().len();
        let word = |item: &str| {
            let text = item.get(indent..)?.strip_prefix("- ")?;
            let plain = item.trim_start().len() == item.len() - indent
                && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
            plain.then(|| text.to_owned())
        };
        let mut words = Vec::new();
        if line.ends_with(':') {
            while let Some(text) = lines.peek().and_then(|item| word(item)) {
                words.push(text);
                lines.next();
            }
        }
        out.push_str(line);
        if !words.is_empty() {
            out.push_str(&format!(" [{}]", words.join(", ")));
        }
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::words_on_one_line;

    #[test]
    fn only_lists_of_plain_words_are_joined() {
        let yaml = "a:\n- x\n- y_1\nb:\n- x: 1\nc:\n  d:\n  - p q\n  - r\ne:\n  - deeper\n";
        let expected = "a: [x, y_1]\nb:\n- x: 1\nc:\n  d:\n  - p q\n  - r\ne:\n  - deeper\n";
        assert_eq!(words_on_one_line(yaml), expected);
    }
}
