//! What a caller is told when a call fails: a status with machine-readable details.

use std::{collections::HashMap, time::Duration};

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

/// A request that makes no sense, one violation a field.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Violations(Vec<(String, String)>);

impl Violations {
    /// One more: what is wrong with a field, with its value, and what would be right.
    pub(super) fn add(&mut self, field: impl Into<String>, problem: impl Into<String>) {
        self.0.push((field.into(), problem.into()));
    }

    /// `INVALID_ARGUMENT`, where there is any.
    pub(super) fn check(self) -> Result<(), Status> {
        if self.0.is_empty() { Ok(()) } else { Err(self.into()) }
    }
}

impl From<Violations> for Status {
    fn from(violations: Violations) -> Self {
        let told: Vec<String> =
            violations.0.iter().map(|(field, problem)| format!("{field}: {problem}")).collect();
        let mut details = details("INVALID_ARGUMENT", []);
        for (field, problem) in violations.0 {
            details.add_bad_request_violation(field, problem);
        }
        Self::with_error_details(Code::InvalidArgument, told.join("; "), details)
    }
}

/// `INVALID_ARGUMENT` for one field.
pub(super) fn invalid(field: impl Into<String>, problem: impl Into<String>) -> Status {
    let mut violations = Violations::default();
    violations.add(field, problem);
    violations.into()
}

/// A failure with its reason and facts.
pub(super) fn failed<const N: usize>(
    code: Code,
    reason: &str,
    message: impl Into<String>,
    facts: [(&str, String); N],
) -> Status {
    Status::with_error_details(code, message, details(reason, facts))
}

/// `RESOURCE_EXHAUSTED` with the time after which another try makes sense.
pub(super) fn exhausted(reason: &str, message: String, after: Duration) -> Status {
    let mut details = details(reason, []);
    details.set_retry_info(Some(after));
    Status::with_error_details(Code::ResourceExhausted, message, details)
}

/// The reason of a failure, for whoever goes by names.
pub(super) fn reason(status: &Status) -> String {
    let details = status.get_error_details();
    details.error_info().map_or_else(|| format!("{:?}", status.code()), |info| info.reason.clone())
}

fn details<const N: usize>(reason: &str, facts: [(&str, String); N]) -> ErrorDetails {
    let facts = facts.map(|(name, value)| (name.to_owned(), value));
    ErrorDetails::with_error_info(reason, DOMAIN, HashMap::from(facts))
}

/// Whose reasons these are.
const DOMAIN: &str = "agentd";
