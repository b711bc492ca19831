//! What a request gets: the page of metrics, whether agentd is well, or why neither.

use std::convert::Infallible;

use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode,
    body::Bytes,
    header::{ACCEPT, ALLOW, CONTENT_TYPE, HeaderMap, HeaderValue},
};

use super::page::Form;

/// What can be asked for.
pub(super) trait Source {
    /// The page in this form; an error in words where there is none.
    fn page(&self, form: Form) -> Result<Bytes, String>;

    /// Whether ticks go on; why not.
    fn health(&self) -> Result<(), String>;
}

/// An answer.
pub(super) type Answer = Response<Full<Bytes>>;

/// Answers a request. Its body, if it has one, is not read.
pub(super) fn answer<B>(source: &impl Source, request: &Request<B>) -> Result<Answer, Infallible> {
    if ![Method::GET, Method::HEAD].contains(request.method()) {
        let mut refused = plain(StatusCode::METHOD_NOT_ALLOWED, "only GET is answered\n");
        refused.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return Ok(refused);
    }
    Ok(match request.uri().path() {
        "/metrics" => metrics(source, form(request.headers())),
        "/healthz" => match source.health() {
            Ok(()) => plain(StatusCode::OK, "ok\n"),
            Err(why) => plain(StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")),
        },
        _ => plain(StatusCode::NOT_FOUND, "there are /metrics and /healthz\n"),
    })
}

fn metrics(source: &impl Source, form: Form) -> Answer {
    match source.page(form) {
        Ok(page) => typed(StatusCode::OK, form.content_type(), page),
        Err(why) => plain(StatusCode::INTERNAL_SERVER_ERROR, format!("{why}\n")),
    }
}

/// OpenMetrics for whoever says that they read it, as every Prometheus of today does.
fn form(headers: &HeaderMap) -> Form {
    let accepts = headers.get_all(ACCEPT).iter();
    let open = accepts.filter_map(|value| value.to_str().ok()).any(|value| value.contains(OPEN));
    if open { Form::OpenMetrics } else { Form::Text }
}

impl Form {
    const fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

fn plain(status: StatusCode, text: impl Into<Bytes>) -> Answer {
    typed(status, "text/plain; charset=utf-8", text)
}

fn typed(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    answer
}

const OPEN: &str = "application/openmetrics-text";

#[cfg(test)]
mod tests {
    use super::*;

    struct Fixed(Result<(), String>);

    impl Source for Fixed {
        fn page(&self, form: Form) -> Result<Bytes, String> {
            Ok(format!("{form:?}").into())
        }

        fn health(&self) -> Result<(), String> {
            self.0.clone()
        }
    }

    fn ask(source: &Fixed, method: &str, path: &str, accept: &str) -> (u16, String) {
        let request = Request::builder().method(method).uri(path).header(ACCEPT, accept).body(());
        let answer = answer(source, &request.unwrap()).unwrap();
        let kind = answer.headers()[CONTENT_TYPE].to_str().unwrap().to_owned();
        (answer.status().as_u16(), kind)
    }

    #[test]
    fn only_two_paths_are_answered_and_only_to_who_reads() {
        let well = Fixed(Ok(()));
        assert_eq!(ask(&well, "GET", "/metrics", "*/*").0, 200);
        assert_eq!(ask(&well, "HEAD", "/healthz", "*/*").0, 200);
        assert_eq!(ask(&well, "POST", "/metrics", "*/*").0, 405);
        assert_eq!(ask(&well, "GET", "/", "*/*").0, 404);
        assert_eq!(ask(&well, "GET", "/metrics/x", "*/*").0, 404);
        assert_eq!(ask(&Fixed(Err("no tick".to_owned())), "GET", "/healthz", "*/*").0, 503);
    }

    #[test]
    fn open_metrics_are_for_who_asks_for_them() {
        let well = Fixed(Ok(()));
        let prometheus = "application/openmetrics-text;version=1.0.0;q=0.8,text/plain;q=0.5";
        assert!(ask(&well, "GET", "/metrics", prometheus).1.starts_with(OPEN));
        assert!(ask(&well, "GET", "/metrics", "*/*").1.starts_with("text/plain; version=0.0.4"));
    }
}
