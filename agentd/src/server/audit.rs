//! `AuditService`: tells admins what is in the audit.

use std::sync::Arc;

use agentd_proto::v1 as wire;
use tokio::{sync::Semaphore, task};
use tonic::{Code, Request, Response, Status, async_trait};
use wire::audit_service_server::AuditService;

use super::{
    Published,
    fault::{failed, invalid},
    from_proto, to_proto,
};
use crate::audit::{Decision, Wanted};

/// `AuditService`.
#[derive(Clone, Debug)]
pub(super) struct AuditCalls {
    published: Arc<Published>,
    /// One reads at a time: it costs the disk something.
    reading: Arc<Semaphore>,
}

impl AuditCalls {
    pub(super) fn new(published: Arc<Published>) -> Self {
        Self { published, reading: Arc::new(Semaphore::new(1)) }
    }
}

#[async_trait]
impl AuditService for AuditCalls {
    async fn list_audit(
        &self,
        request: Request<wire::ListAuditRequest>,
    ) -> Result<Response<wire::ListAuditResponse>, Status> {
        let request = request.into_inner();
        let decision = decision(request.decision)?;
        let wire::ListAuditRequest { page_size, page_token, identity, method, outcome, .. } =
            request;
        let size = from_proto::page_size(page_size, PAGE, PAGE_MOST)?;
        let from = match page_token.as_str() {
            "" => None,
            token => Some(token.parse().map_err(|_| {
                invalid("page_token", "is none; give the next_page_token of a response")
            })?),
        };
        let wanted = Wanted { identity, method, outcome, decision };
        let unreadable = |why: String| {
            let message = format!("the audit cannot be read: {why}; see \"agentd audit verify\"");
            failed(Code::Unavailable, "AUDIT_UNREADABLE", message, [])
        };
        let place = Arc::clone(&self.reading).acquire_owned().await;
        let place = place.map_err(|error| unreadable(error.to_string()))?;
        let audit = Arc::clone(&self.published.audit);
        let read = task::spawn_blocking(move || {
            let _place = place;
            audit.list(&wanted, from, size)
        });
        let page = read.await.map_err(|_| unreadable("agentd is stopping".to_owned()))?;
        let page = page.map_err(|error| unreadable(error.kind().to_string()))?;
        Ok(Response::new(to_proto::audit::page(page)))
    }
}

fn decision(wanted: i32) -> Result<Option<Decision>, Status> {
    match wire::AuditDecision::try_from(wanted) {
        Ok(wire::AuditDecision::Unspecified) => Ok(None),
        Ok(wire::AuditDecision::Allowed) => Ok(Some(Decision::Allowed)),
        Ok(wire::AuditDecision::Denied) => Ok(Some(Decision::Denied)),
        Ok(wire::AuditDecision::Refused) => Ok(Some(Decision::Refused)),
        Err(_) => {
            let why = format!("{wanted} is no decision: choose ALLOWED, DENIED or REFUSED");
            Err(invalid("decision", why))
        }
    }
}

/// Entries of a page unless the caller says otherwise, and at most.
const PAGE: usize = 100;
const PAGE_MOST: usize = 500;
