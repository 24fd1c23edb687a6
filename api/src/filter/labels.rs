//! In: label selectors in the text form that `kubectl -l` takes. Out: whether a pod's labels match.

use std::collections::BTreeMap;

/// Requirements that all must hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabelSelector(Vec<Requirement>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Requirement {
    key: String,
    test: Test,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Test {
    Exists,
    Missing,
    In(Vec<String>),
    NotIn(Vec<String>),
}

impl LabelSelector {
    /// Reads e.g. `app=web,tier!=db,env in (a, b),!canary`. An empty selector matches every pod.
    ///
    /// # Errors
    /// The part that is not understood.
    pub fn parse(text: &str) -> Result<LabelSelector, String> {
        let parts = split(text).into_iter().map(str::trim).collect::<Vec<_>>();
        if parts == [""] {
            return Ok(LabelSelector(Vec::new()));
        }
        let read = |part: &str| requirement(part).ok_or_else(|| part.to_owned());
        Ok(LabelSelector(parts.into_iter().map(read).collect::<Result<_, _>>()?))
    }

    /// Whether a pod with these labels matches.
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.0.iter().all(|Requirement { key, test }| match (test, labels.get(key)) {
            (Test::Exists, found) => found.is_some(),
            (Test::Missing, found) => found.is_none(),
            (Test::In(values), found) => found.is_some_and(|found| values.contains(found)),
            (Test::NotIn(values), found) => found.is_none_or(|found| !values.contains(found)),
        })
    }
}

/// The parts between commas that are not in parentheses.
fn split(text: &str) -> Vec<&str> {
    let mut inside = false;
    text.split(move |c| {
        match c {
            '(' => inside = true,
            ')' => inside = false,
            _ => {}
        }
        c == ',' && !inside
    })
    .collect()
}

fn requirement(part: &str) -> Option<Requirement> {
    let of = |key: &str, test| {
        let key = key.trim();
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
        (!key.is_empty() && key.chars().all(plain)).then(|| Requirement { key: key.to_owned(), test })
    };
    if let Some(key) = part.strip_prefix('!') {
        return of(key, Test::Missing);
    }
    if let Some((key, one)) = part.split_once("!=") {
        return of(key, Test::NotIn(vec![value(one)?]));
    }
    if let Some((key, one)) = part.split_once("==").or_else(|| part.split_once('=')) {
        return of(key, Test::In(vec![value(one)?]));
    }
    match part.strip_suffix(')').and_then(|part| part.split_once('(')) {
        Some((head, list)) => {
            let values = list.split(',').map(value).collect::<Option<Vec<_>>>()?;
            let (key, operator) = head.trim_end().rsplit_once(char::is_whitespace)?;
            match operator {
                "in" => of(key, Test::In(values)),
                "notin" => of(key, Test::NotIn(values)),
                _ => None,
            }
        }
        None => of(part, Test::Exists),
    }
}

fn value(text: &str) -> Option<String> {
    let text = text.trim();
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    text.chars().all(plain).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(selector: &str, labels: &[(&str, &str)]) -> bool {
        let labels = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        LabelSelector::parse(selector).unwrap().matches(&labels)
    }

    #[test]
    fn every_form_is_understood() {
        let labels = [("app.kubernetes.io/name", "web"), ("tier", "front"), ("empty", "")];
        for (selector, expected) in [
            ("", true),
            ("tier", true),
            ("!tier", false),
            ("!canary", true),
            ("tier=front", true),
            ("tier == front", true),
            ("tier=back", false),
            ("tier!=back", true),
            ("tier!=front", false),
            ("canary!=x", true),
            ("canary=x", false),
            ("empty=", true),
            ("tier in (back, front)", true),
            ("tier in (back)", false),
            ("tier notin (back,front)", false),
            ("canary notin (a)", true),
            ("app.kubernetes.io/name=web, tier in (front,back),!canary", true),
            ("app.kubernetes.io/name=web,tier=back", false),
        ] {
            assert_eq!(matches(selector, &labels), expected, "{selector}");
        }
    }

    #[test]
    fn what_is_not_understood_is_named() {
        for (selector, part) in [
            ("a=b,=c", "=c"),
            ("a b", "a b"),
            ("a>1", "a>1"),
            ("a,,b", ""),
            ("a within (b)", "a within (b)"),
            ("a=(b)", "a=(b)"),
        ] {
            assert_eq!(LabelSelector::parse(selector), Err(part.to_owned()), "{selector}");
        }
    }
}
