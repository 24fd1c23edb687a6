//! Input: one condition, such as `process_kprobe.args[*].file_arg.path^=/etc/`.
//! Output: whether an event meets it.

use serde_json::Value;

/// A place in an event, and what the value there must be.
pub struct Condition {
    path: Vec<Step>,
    test: Test,
}

enum Step {
    Key(String),
    Element(usize),
    AnyElement,
}

enum Test {
    Exists,
    Equal(String),
    NotEqual(String),
    Start(String),
    End(String),
    Part(String),
}

impl Condition {
    /// From text as on the command line. The operator is the first `=` and the sign before it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (path, test) = match text.split_once('=') {
            None => (text, Test::Exists),
            Some((left, value)) => {
                let value = value.to_owned();
                match (left.get(..left.len().saturating_sub(1)), left.chars().last()) {
                    (Some(path), Some('!')) => (path, Test::NotEqual(value)),
                    (Some(path), Some('^')) => (path, Test::Start(value)),
                    (Some(path), Some('$')) => (path, Test::End(value)),
                    (Some(path), Some('*')) => (path, Test::Part(value)),
                    _ => (left, Test::Equal(value)),
                }
            }
        };
        Ok(Condition { path: steps(path)?, test })
    }

    /// Whether some value at the path passes. No value at the path: only a condition that asks for inequality is met.
    pub fn meets(&self, event: &Value) -> bool {
        match &self.test {
            Test::NotEqual(text) => !any(event, &self.path, &|value| shown(value) == *text),
            test => any(event, &self.path, &|value| passes(test, value)),
        }
    }
}

fn passes(test: &Test, value: &Value) -> bool {
    let text = shown(value);
    match test {
        Test::Exists => true,
        Test::Equal(wanted) => text == *wanted,
        Test::NotEqual(wanted) => text != *wanted,
        Test::Start(start) => text.starts_with(start),
        Test::End(end) => text.ends_with(end),
        Test::Part(part) => text.contains(part),
    }
}

/// Strings without quotes; all else as JSON.
fn shown(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn any(value: &Value, path: &[Step], test: &dyn Fn(&Value) -> bool) -> bool {
    let Some((step, rest)) = path.split_first() else { return test(value) };
    match step {
        Step::Key(key) => value.get(key).is_some_and(|inner| any(inner, rest, test)),
        Step::Element(index) => value.get(index).is_some_and(|inner| any(inner, rest, test)),
        Step::AnyElement => {
            value.as_array().is_some_and(|all| all.iter().any(|inner| any(inner, rest, test)))
        }
    }
}

fn steps(path: &str) -> Result<Vec<Step>, String> {
    let mut steps = Vec::new();
    for part in path.split('.') {
        let (key, elements) = part.split_at(part.find('[').unwrap_or(part.len()));
        if key.is_empty() {
            return Err(format!("{path:?} is no path of keys"));
        }
        steps.push(Step::Key(key.to_owned()));
        for element in elements.split_terminator(']') {
            steps.push(match element.strip_prefix('[') {
                Some("*") => Step::AnyElement,
                Some(index) => {
                    Step::Element(index.parse().map_err(|_| format!("{path:?}: [{index}] is no number"))?)
                }
                None => return Err(format!("{path:?}: {element:?} after an element")),
            });
        }
    }
    Ok(steps)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::Condition;

    fn meets(condition: &str) -> bool {
        let event = json!({"kprobe": {"args": [{"path": "/etc/x"}, {"int": 3}], "name": "f=g", "ok": true}});
        Condition::parse(condition).unwrap().meets(&event)
    }

    #[test]
    fn conditions_that_are_met() {
        for condition in [
            "kprobe",
            "kprobe.args[1].int=3",
            "kprobe.args[*].path^=/etc/",
            "kprobe.args[0].path$=/x",
            "kprobe.args[0].path*=tc",
            "kprobe.args[0].path!=/etc/y",
            "kprobe.none!=x",
            "kprobe.name=f=g",
            "kprobe.ok=true",
        ] {
            assert!(meets(condition), "{condition}");
        }
    }

    #[test]
    fn conditions_that_are_not_met() {
        for condition in [
            "exec",
            "kprobe.args[2]",
            "kprobe.args[0].int=3",
            "kprobe.args[*].int=4",
            "kprobe.args[*].int!=3",
            "kprobe.name=f",
            "kprobe.none^=x",
        ] {
            assert!(!meets(condition), "{condition}");
        }
    }

    #[test]
    fn bad_paths_are_told() {
        for condition in ["", "a..b", "a[x]", "a[1]b", "=x"] {
            assert!(Condition::parse(condition).is_err(), "{condition}");
        }
    }
}
