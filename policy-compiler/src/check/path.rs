//! In: the steps of a walk through a policy. Out: field paths such as `spec.kprobes[0].args[1].type`.

use std::fmt;

use super::problems::printable;

/// Path of a field, as users write it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct FieldPath(String);

impl FieldPath {
    /// The path of a top-level field.
    pub(super) fn root(key: &str) -> Self {
        Self(key.to_owned())
    }

    /// The document itself.
    pub(super) fn document() -> Self {
        Self(String::new())
    }

    /// A field of the object at this path. Keys that a document makes up are shown cut and without control
    /// characters.
    pub(super) fn key(&self, key: &str) -> Self {
        let key = printable(key, 80);
        Self(if self.0.is_empty() { key } else { format!("{}.{key}", self.0) })
    }

    /// An element of the list at this path.
    pub(super) fn item(&self, index: usize) -> Self {
        Self(format!("{}[{index}]", self.0))
    }

    /// The paths of all that contain this field, and its own, outermost first.
    pub(super) fn prefixes(&self) -> impl Iterator<Item = &str> {
        let steps = self.0.match_indices(['.', '[']).map(|(at, _)| at);
        steps.chain([self.0.len()]).filter_map(|end| self.0.get(..end))
    }

    /// Text of the path.
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for FieldPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::FieldPath;

    #[test]
    fn prefixes_are_whole_steps() {
        let path = FieldPath::root("spec").key("kprobes").item(11).key("call");
        let prefixes: Vec<&str> = path.prefixes().collect();
        assert_eq!(prefixes, ["spec", "spec.kprobes", "spec.kprobes[11]", "spec.kprobes[11].call"]);
    }

    #[test]
    fn made_up_keys_are_harmless() {
        let path = FieldPath::root("spec").key("a\u{1b}[31m").key(&"x".repeat(500));
        assert!(!path.as_str().contains('\u{1b}'));
        assert!(path.as_str().len() < 200);
    }
}
