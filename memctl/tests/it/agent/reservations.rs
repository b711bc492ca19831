//! What the scripted agent says of reservations.

use agentd_proto::v1;
use agentd_proto::v1::reservation_service_server::ReservationService;
use tonic::{Request, Response, Status};

use super::Agent;
use crate::sample;

#[tonic::async_trait]
impl ReservationService for Agent {
    async fn create_reservation(
        &self,
        request: Request<v1::CreateReservationRequest>,
    ) -> Result<Response<v1::CreateReservationResponse>, Status> {
        self.check()?;
        let asked = request.into_inner();
        self.script().reserves.push(asked.clone());
        if let Some(known) = self.script().made_before.clone() {
            let reservation = Some(known);
            return Ok(Response::new(v1::CreateReservationResponse {
                reservation,
                position: None,
            }));
        }
        let v1::CreateReservationRequest { min_bytes, max_bytes, vm, validate_only, .. } = asked;
        let sample = sample::reservation(if validate_only { 0 } else { 3 });
        Ok(Response::new(v1::CreateReservationResponse {
            reservation: Some(v1::Reservation { min_bytes, max_bytes, vm, ..sample }),
            position: sample::position(43).filter(|_| !validate_only),
        }))
    }

    async fn get_reservation(
        &self,
        request: Request<v1::GetReservationRequest>,
    ) -> Result<Response<v1::GetReservationResponse>, Status> {
        self.check()?;
        if self.script().hangs_on_reservations {
            std::future::pending::<()>().await;
        }
        let next = self.script().reservations.pop_front();
        let reservation = next.unwrap_or_else(|| sample::reservation(request.into_inner().id));
        Ok(Response::new(v1::GetReservationResponse { reservation: Some(reservation) }))
    }

    async fn list_reservations(
        &self,
        _: Request<v1::ListReservationsRequest>,
    ) -> Result<Response<v1::ListReservationsResponse>, Status> {
        self.check()?;
        let mut reservations = self.script().listed.clone();
        if reservations.is_empty() {
            reservations = vec![sample::reservation(3), sample::over(4)];
        }
        Ok(Response::new(v1::ListReservationsResponse { reservations }))
    }

    async fn delete_reservation(
        &self,
        request: Request<v1::DeleteReservationRequest>,
    ) -> Result<Response<v1::DeleteReservationResponse>, Status> {
        self.check()?;
        let id = request.into_inner().id;
        self.script().released.push(id);
        let released =
            v1::Reservation { state: v1::ReservationState::Released.into(), ..sample::over(id) };
        Ok(Response::new(v1::DeleteReservationResponse {
            reservation: Some(v1::Reservation { handed_to: None, ..released }),
            position: sample::position(43),
        }))
    }
}
