//! What went wrong at one host, or with the whole command: one shape for every source of trouble,
//! so that a table, a script and the exit code tell the same story. Does not print.

use serde::{Deserialize, Serialize};
use tonic_types::StatusExt as _;

use crate::asked::unknown_method;
use crate::exit::Exit;
use crate::versions::{OURS, Skew};

/// A failure: what is wrong, with the value, and what to do.
#[derive(Clone, Debug, Serialize, Deserialize, schemars::JsonSchema)]
pub(crate) struct Failure {
    /// What kind of failure, in gRPC's words.
    pub(crate) code: Code,
    /// Machine-readable reason, UPPER_SNAKE_CASE.
    pub(crate) reason: String,
    /// What is wrong, for people.
    pub(crate) message: String,
    /// What to do, where there is something to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) hint: Option<String>,
    /// Fields of the request that the agent objects to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) fields: Vec<FieldViolation>,
    /// How long the agent asks to wait before another try.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) retry_after_seconds: Option<f64>,
}

/// One field that the agent objects to.
#[derive(Clone, Debug, Serialize, Deserialize, schemars::JsonSchema)]
pub(crate) struct FieldViolation {
    /// Path of the field.
    pub(crate) field: String,
    /// What is wrong with it.
    pub(crate) message: String,
}

/// Kinds of failures: gRPC's codes, and `Usage` for a command line that makes no sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(crate) enum Code {
    Usage,
    Cancelled,
    Unknown,
    InvalidArgument,
    DeadlineExceeded,
    NotFound,
    AlreadyExists,
    PermissionDenied,
    ResourceExhausted,
    FailedPrecondition,
    Aborted,
    OutOfRange,
    Unimplemented,
    Internal,
    Unavailable,
    DataLoss,
    Unauthenticated,
}

impl Code {
    /// The exit code of a command that failed so.
    pub(crate) fn exit(self) -> Exit {
        match self {
            Self::Usage => Exit::Usage,
            Self::Unavailable | Self::DeadlineExceeded => Exit::Unreachable,
            Self::PermissionDenied | Self::Unauthenticated => Exit::Denied,
            Self::NotFound => Exit::NotFound,
            Self::Aborted | Self::FailedPrecondition | Self::AlreadyExists => Exit::Conflict,
            Self::InvalidArgument => Exit::Invalid,
            Self::Cancelled
            | Self::Unknown
            | Self::ResourceExhausted
            | Self::OutOfRange
            | Self::Unimplemented
            | Self::Internal
            | Self::DataLoss => Exit::Failed,
        }
    }

    /// Whether asking the same again later may help.
    pub(crate) fn is_passing(self) -> bool {
        matches!(
            self,
            Self::Unavailable
                | Self::DeadlineExceeded
                | Self::ResourceExhausted
                | Self::Cancelled
                | Self::Unknown
                | Self::Internal
                | Self::Aborted
        )
    }

    /// The word that a table shows where a host's state would stand.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Unavailable => "UNREACHABLE",
            Self::DeadlineExceeded => "TIMEOUT",
            Self::PermissionDenied | Self::Unauthenticated => "DENIED",
            Self::NotFound => "NOT FOUND",
            Self::Aborted | Self::FailedPrecondition | Self::AlreadyExists => "CONFLICT",
            Self::InvalidArgument | Self::Usage => "INVALID",
            Self::Cancelled => "NOT DONE",
            Self::Unknown
            | Self::ResourceExhausted
            | Self::OutOfRange
            | Self::Unimplemented
            | Self::Internal
            | Self::DataLoss => "ERROR",
        }
    }
}

impl Failure {
    /// A failure without a hint.
    pub(crate) fn new(code: Code, reason: &str, message: impl Into<String>) -> Self {
        Self {
            code,
            reason: reason.to_owned(),
            message: message.into(),
            hint: None,
            fields: Vec::new(),
            retry_after_seconds: None,
        }
    }

    /// A command line that makes no sense.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(Code::Usage, "USAGE", message)
    }

    /// The exit code of a command that failed so.
    pub(crate) fn exit(&self) -> Exit {
        if self.is_not_durable() { Exit::NotDurable } else { self.code.exit() }
    }

    /// The word that a table shows where a host's state would stand.
    pub(crate) fn word(&self) -> &'static str {
        match self.reason.as_str() {
            // Nobody has denied anything: there is nothing to show yet.
            "IDENTITY_MISSING" | "IDENTITY_UNREADABLE" => "NO IDENTITY",
            _ if self.is_not_durable() => "NOT SAVED",
            _ => self.code.word(),
        }
    }

    /// Whether the host may have done it all the same: it was asked, or may have been, and its answer is lost.
    pub(crate) fn is_in_doubt(&self) -> bool {
        let is_lost = matches!(
            self.code,
            Code::Unavailable
                | Code::DeadlineExceeded
                | Code::Cancelled
                | Code::Unknown
                | Code::Internal
        );
        is_lost && !NEVER_ASKED.contains(&self.reason.as_str())
    }

    fn is_not_durable(&self) -> bool {
        NOT_DURABLE.contains(&self.reason.as_str())
    }

    /// What is wrong and what to do, in one line.
    pub(crate) fn in_one_line(&self) -> String {
        match &self.hint {
            Some(hint) => format!("{}; {hint}", self.message),
            None => self.message.clone(),
        }
    }

    /// The same failure with what to do about it.
    pub(crate) fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    /// The same of an agent of this version, if it said it, that does not know what it was asked.
    pub(crate) fn of_agent(self, version: Option<&str>) -> Self {
        let is_unknown = self.reason == METHOD_UNKNOWN;
        let Some(lacks) = self.message.strip_prefix(THE_AGENT).filter(|_| is_unknown) else {
            return self;
        };
        let Some(theirs) = version.filter(|version| !version.is_empty()) else {
            let message = format!("what answers there{lacks}");
            return Self { message, ..self }.hint("does agentd listen there, and which?");
        };
        let message = format!("this agentd {theirs}{lacks}, which memctl {OURS} asks for");
        let hint = match Skew::of(theirs) {
            Skew::Older => "update agentd on that host",
            Skew::Newer => "update memctl",
            Skew::None | Skew::Unclear => "one of them is of another build: update both",
        };
        Self { message, ..self }.hint(hint)
    }

    /// What the agent, or the transport in its place, answered.
    pub(crate) fn from_status(status: &tonic::Status) -> Self {
        let code = code_of(status);
        let details = status.get_error_details();
        let reason = details.error_info().map(|info| info.reason.clone());
        let mut failure = Self::new(code, "", message_of(status, code));
        failure.reason = reason.filter(|r| !r.is_empty()).unwrap_or_else(|| default_reason(code));
        if let Some(method) = unknown_method(status) {
            failure.reason = METHOD_UNKNOWN.to_owned();
            failure.message = format!("{THE_AGENT} does not know {method}");
        }
        failure.hint = hint_of(code, details.error_info());
        for violation in details.bad_request().iter().flat_map(|b| &b.field_violations) {
            failure.fields.push(FieldViolation {
                field: violation.field.clone(),
                message: violation.description.clone(),
            });
        }
        failure.retry_after_seconds =
            details.retry_info().and_then(|r| r.retry_delay).map(|delay| delay.as_secs_f64());
        failure
    }
}

/// Broken connections reach us as Unknown or Cancelled with hyper's words: they are "unreachable".
fn code_of(status: &tonic::Status) -> Code {
    let text = status.message();
    let broken = ["h2 protocol error", "transport error", "operation was canceled", "broken pipe"];
    match status.code() {
        tonic::Code::Unknown | tonic::Code::Cancelled | tonic::Code::Internal
            if broken.iter().any(|words| text.contains(words)) =>
        {
            Code::Unavailable
        }
        tonic::Code::Ok | tonic::Code::Unknown => Code::Unknown,
        tonic::Code::Cancelled => Code::Cancelled,
        tonic::Code::InvalidArgument => Code::InvalidArgument,
        tonic::Code::DeadlineExceeded => Code::DeadlineExceeded,
        tonic::Code::NotFound => Code::NotFound,
        tonic::Code::AlreadyExists => Code::AlreadyExists,
        tonic::Code::PermissionDenied => Code::PermissionDenied,
        tonic::Code::ResourceExhausted => Code::ResourceExhausted,
        tonic::Code::FailedPrecondition => Code::FailedPrecondition,
        tonic::Code::Aborted => Code::Aborted,
        tonic::Code::OutOfRange => Code::OutOfRange,
        tonic::Code::Unimplemented => Code::Unimplemented,
        tonic::Code::Internal => Code::Internal,
        tonic::Code::Unavailable => Code::Unavailable,
        tonic::Code::DataLoss => Code::DataLoss,
        tonic::Code::Unauthenticated => Code::Unauthenticated,
    }
}

fn message_of(status: &tonic::Status, code: Code) -> String {
    let text = status.message();
    if code == Code::Unavailable && status.code() != tonic::Code::Unavailable {
        return format!("the connection broke: {text}");
    }
    if text.is_empty() {
        return format!("the agent answered {:?} without words", status.code());
    }
    text.to_owned()
}

fn default_reason(code: Code) -> String {
    let json = serde_json::to_value(code).unwrap_or_default();
    json.as_str().unwrap_or("UNKNOWN").to_owned()
}

fn hint_of(code: Code, info: Option<&tonic_types::ErrorInfo>) -> Option<String> {
    let etag = info.and_then(|i| i.metadata.get("etag").or_else(|| i.metadata.get("current_etag")));
    match (code, etag) {
        (Code::Aborted, Some(etag)) => Some(format!(
            "look at the change with `memctl policy history`, then give --if-match {etag}"
        )),
        (Code::Aborted, None) => Some("look at what is in force: memctl policy get".to_owned()),
        (Code::Unimplemented, _) => {
            Some("the agent is of another version: compare with `memctl version`".to_owned())
        }
        _ => None,
    }
}

/// The reasons of an agent that could not write what was asked of it, or that it was asked: it answers, so
/// that it is not unreachable whatever the code.
const NOT_DURABLE: [&str; 2] = ["NOT_DURABLE", "AUDIT_NOT_DURABLE"];
/// The reason of an agent that has no such method, and how its message begins until its version is known.
const METHOD_UNKNOWN: &str = "METHOD_UNKNOWN";
const THE_AGENT: &str = "the agent";
/// The reasons of a host that was never asked: nobody was there, or an earlier host failed.
const NEVER_ASKED: [&str; 7] = [
    "SOCKET_MISSING",
    "CONNECTION_REFUSED",
    "CONNECT_FAILED",
    "CONNECT_TIMEOUT",
    "NAME_UNKNOWN",
    "SSH_MISSING",
    "NOT_TRIED",
];

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use tonic_types::ErrorDetails;

    use super::*;

    #[test]
    fn a_broken_connection_is_unreachable_whatever_hyper_calls_it() {
        let text = "h2 protocol error: error reading a body from connection";
        let failure = Failure::from_status(&tonic::Status::unknown(text));
        assert_eq!(failure.code, Code::Unavailable);
        assert_eq!(failure.code.exit(), Exit::Unreachable);
        assert!(failure.message.contains(text));
        let canceled = tonic::Status::cancelled("operation was canceled");
        assert_eq!(Failure::from_status(&canceled).code, Code::Unavailable);
    }

    #[test]
    fn an_agent_that_cannot_write_is_not_unreachable() {
        for reason in NOT_DURABLE {
            let details = ErrorDetails::with_error_info(reason, "agentd", HashMap::new());
            let status =
                tonic::Status::with_error_details(tonic::Code::Unavailable, "no room", details);
            let failure = Failure::from_status(&status);
            assert_eq!((failure.exit(), failure.word()), (Exit::NotDurable, "NOT SAVED"));
        }
    }

    #[test]
    fn who_has_no_identity_to_show_was_denied_nothing() {
        let word = |reason| Failure::new(Code::Unauthenticated, reason, "m").word();
        assert_eq!([word("IDENTITY_MISSING"), word("CERT_REVOKED")], ["NO IDENTITY", "DENIED"]);
    }

    #[test]
    fn only_who_may_have_heard_is_in_doubt() {
        let doubt = |code, reason| Failure::new(code, reason, "m").is_in_doubt();
        assert!(
            doubt(Code::DeadlineExceeded, "TIMEOUT") && doubt(Code::Unavailable, "UNAVAILABLE")
        );
        assert!(doubt(Code::Unavailable, "NOT_DURABLE"), "a pause is made all the same");
        assert!(
            !doubt(Code::Unavailable, "SOCKET_MISSING")
                && !doubt(Code::Cancelled, "NOT_TRIED")
                && !doubt(Code::Unavailable, "CONNECT_TIMEOUT")
        );
        assert!(!doubt(Code::PermissionDenied, "ROLE_MISSING"));
        assert!(!doubt(Code::ResourceExhausted, "TOO_MANY_CHANGES"));
    }

    #[test]
    fn an_unknown_failure_of_the_agent_stays_unknown() {
        let failure = Failure::from_status(&tonic::Status::unknown("disk on fire"));
        assert_eq!((failure.code, failure.code.exit()), (Code::Unknown, Exit::Failed));
        assert_eq!(failure.reason, "UNKNOWN");
    }

    #[test]
    fn details_of_the_agent_are_kept() {
        let mut details = ErrorDetails::new();
        details.set_error_info(
            "ETAG_MISMATCH",
            "agentd",
            HashMap::from([("etag".to_owned(), "e7".to_owned())]),
        );
        details.add_bad_request_violation("two_pointer.step_bytes", "must be above 0");
        let status =
            tonic::Status::with_error_details(tonic::Code::Aborted, "changed since", details);
        let failure = Failure::from_status(&status);
        assert_eq!(failure.reason, "ETAG_MISMATCH");
        assert!(failure.hint.as_deref().is_some_and(|h| h.contains("--if-match e7")));
        assert_eq!(failure.fields[0].field, "two_pointer.step_bytes");
        assert_eq!(failure.code.exit(), Exit::Conflict);
    }
}
