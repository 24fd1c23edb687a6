//! In: the steps of a walk through a policy. Out: field paths such as `spec.kprobes[0].args[1].type`.

use std::fmt;

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

    /// A field of the object at this path.
    pub(super) fn key(&self, key: &str) -> Self {
        if self.0.is_empty() { Self::root(key) } else { Self(format!("{}.{key}", self.0)) }
    }

    /// An element of the list at this path.
    pub(super) fn item(&self, index: usize) -> Self {
        Self(format!("{}[{index}]", self.0))
    }

    /// Whether this is `other`, or a field below it.
    pub(super) fn is_within(&self, other: &FieldPath) -> bool {
        match self.0.strip_prefix(&other.0) {
            Some(rest) => rest.is_empty() || rest.starts_with(['.', '[']),
            None => false,
        }
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
    fn within_means_whole_steps() {
        let hook = FieldPath::root("spec").key("kprobes").item(1);
        assert!(hook.key("call").is_within(&hook));
        assert!(hook.is_within(&hook));
        assert!(!FieldPath::root("spec").key("kprobes").item(11).is_within(&hook));
        assert!(!hook.is_within(&hook.key("call")));
    }
}
