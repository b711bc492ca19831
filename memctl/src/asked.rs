//! [`Asked`]: a channel whose refusals name the method that was asked for. An agent that does not know
//! a method need not say which.

use std::pin::Pin;
use std::task::{Context, Poll};

use tonic::body::Body;
use tonic::codegen::http::{HeaderValue, Request, Response};
use tonic::transport::{Channel, Error};
use tower::Service;

/// A channel that notes in an answer UNIMPLEMENTED what was asked.
#[derive(Clone, Debug)]
pub(crate) struct Asked(pub(crate) Channel);

impl Service<Request<Body>> for Asked {
    type Response = Response<Body>;
    type Error = Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let method = HeaderValue::from_str(request.uri().path());
        let answered = self.0.call(request);
        Box::pin(async move {
            let mut answer = answered.await?;
            let is_unknown = answer.headers().get(CODE).is_some_and(|code| code == UNIMPLEMENTED);
            if let (true, Ok(method)) = (is_unknown, method) {
                answer.headers_mut().insert(METHOD, method);
            }
            Ok(answer)
        })
    }
}

/// The method that an agent does not know: "HostService/WhoAmI". None where it refused for another reason.
pub(crate) fn unknown_method(status: &tonic::Status) -> Option<String> {
    let path = status.metadata().get(METHOD)?.to_str().ok()?;
    let path = path.trim_start_matches('/');
    Some(path.strip_prefix("agentd.v1.").unwrap_or(path).to_owned())
}

/// Where an answer without a body has its code.
const CODE: &str = "grpc-status";
const UNIMPLEMENTED: &str = "12";
/// Never on the wire.
const METHOD: &str = "memctl-method";
