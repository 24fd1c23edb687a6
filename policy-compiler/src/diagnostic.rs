//! In: problems found by any stage. Out: the one value that the CLI, the admission webhook and the status
//! condition render.
//!
//! Every problem of a policy is collected; a stage never stops at the first one.

use std::fmt;

/// How bad a [`Diagnostic`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// The policy runs as written; the author probably wants to know this.
    Warning,
    /// The policy is refused.
    Error,
}

/// One problem of one policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// Stable code; its meaning is documented at the variant.
    pub code: Code,
    /// Error or warning.
    pub severity: Severity,
    /// Field path in the policy, e.g. `spec.kprobes[0].selectors[1].matchArgs[0].operator`.
    pub path: String,
    /// What is wrong, naming the offending value.
    pub message: String,
    /// What to do about it, where there is something to suggest.
    pub help: Option<String>,
}

/// The closed set of problem kinds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Code {
    /// The document is not YAML or not an object of a known kind.
    Malformed,
    /// A field that the schema does not have.
    UnknownField,
    /// A required field is absent.
    MissingField,
    /// A value of the wrong YAML type.
    WrongType,
    /// A value outside its closed set (operator, action, argument type…).
    UnknownValue,
    /// A number, string or list outside its limits.
    OutOfRange,
    /// Two fields that exclude each other, or a value that makes no sense beside another.
    Conflict,
    /// Valid in the language, not implemented by this version; refused, never ignored.
    Unsupported,
    /// The kernel has no such function, tracepoint or LSM hook.
    UnknownFunction,
    /// An argument index beyond the function's prototype.
    ArgumentIndex,
    /// The argument type contradicts the kernel's type.
    ArgumentType,
    /// No mechanism of this kernel can do what the policy asks.
    Unenforceable,
    /// The kernel lacks something the policy needs.
    KernelFeature,
    /// A resource of the compiled program is exhausted (instructions, process bits…).
    Limit,
    /// The value is accepted but probably not what the author means.
    Suspicious,
}

impl Code {
    /// The stable spelling used in output and documentation.
    pub fn as_str(self) -> &'static str {
        match self {
            Code::Malformed => "malformed",
            Code::UnknownField => "unknown-field",
            Code::MissingField => "missing-field",
            Code::WrongType => "wrong-type",
            Code::UnknownValue => "unknown-value",
            Code::OutOfRange => "out-of-range",
            Code::Conflict => "conflict",
            Code::Unsupported => "unsupported",
            Code::UnknownFunction => "unknown-function",
            Code::ArgumentIndex => "argument-index",
            Code::ArgumentType => "argument-type",
            Code::Unenforceable => "unenforceable",
            Code::KernelFeature => "kernel-feature",
            Code::Limit => "limit",
            Code::Suspicious => "suspicious",
        }
    }
}

impl Diagnostic {
    /// An error at `path`.
    pub fn error(code: Code, path: impl Into<String>, message: impl Into<String>) -> Self {
        Self { code, severity: Severity::Error, path: path.into(), message: message.into(), help: None }
    }

    /// A warning at `path`.
    pub fn warning(code: Code, path: impl Into<String>, message: impl Into<String>) -> Self {
        Self { code, severity: Severity::Warning, path: path.into(), message: message.into(), help: None }
    }

    /// The same problem with a suggestion.
    #[must_use]
    pub fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Whether the policy is refused because of this.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Warning => "warning",
            Severity::Error => "error",
        };
        write!(f, "{severity}[{}] {}: {}", self.code.as_str(), self.path, self.message)?;
        if let Some(help) = &self.help {
            write!(f, "\n  help: {help}")?;
        }
        Ok(())
    }
}

/// The candidate nearest to `name`, if it is near enough to be a likely misspelling.
pub fn did_you_mean<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let limit = (name.chars().count() / 3).max(1);
    candidates
        .into_iter()
        .filter(|candidate| candidate.len().abs_diff(name.len()) <= limit)
        .map(|candidate| (strsim::damerau_levenshtein(name, candidate), candidate))
        .filter(|(distance, _)| *distance <= limit)
        .min()
        .map(|(_, candidate)| candidate)
}
