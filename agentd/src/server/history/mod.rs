//! `HistoryService`: how a host and its VMs fared, in steps.

mod ask;
mod page;
mod point;

use std::sync::Arc;

use agentd_proto::v1 as wire;
use tonic::{Code, Request, Response, Status, async_trait};
use wire::history_service_server::HistoryService;

use super::{Published, fault::failed};
use ask::Asked;
#[cfg(any(test, feature = "testing"))]
pub(super) use ask::fuzz;
pub use point::condense;

/// `HistoryService`.
#[derive(Clone, Debug)]
pub(super) struct HistoryCalls(pub(super) Arc<Published>);

#[async_trait]
impl HistoryService for HistoryCalls {
    async fn list_history(
        &self,
        request: Request<wire::ListHistoryRequest>,
    ) -> Result<Response<wire::ListHistoryResponse>, Status> {
        let past = &self.0.past;
        let reach = past.read(|past| past.reach()).await?.ok_or_else(none)?;
        let asked = Asked::new(request.into_inner(), reach.oldest, self.0.clock.wall())?;
        let page = past.read(move |past| page::read(past, &asked)).await?;
        Ok(Response::new(page.ok_or_else(none)?))
    }
}

fn none() -> Status {
    let message = "this agent keeps no history: HISTORY_NOT_RECORDED in its status says why";
    failed(Code::Unavailable, "NO_HISTORY", message, [])
}
