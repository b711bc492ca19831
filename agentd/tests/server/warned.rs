//! What a change of the policy is warned of: values that have no effect, or another one than was meant, on what
//! runs here. The rig's host has 16 GiB, and each of its VMs holds 1 GiB and may hold 4.

use agentd_proto::v1 as wire;
use tonic::transport::Channel;
use wire::{
    policy_service_client::PolicyServiceClient,
    reservation_service_client::ReservationServiceClient,
};

use crate::rig::{Rig, id};

const GIB: u64 = 1 << 30;

/// A policy whose exceptions are these alone.
fn exceptions(algorithm: &str, vms: &[(&str, wire::VmPolicy)]) -> wire::UpdatePolicyRequest {
    let vms = vms.iter().map(|(name, vm)| ((*name).to_owned(), *vm)).collect();
    let algorithm = algorithm.to_owned();
    let paths = vec!["algorithm".to_owned(), "vms".to_owned()];
    wire::UpdatePolicyRequest {
        policy: Some(wire::Policy { algorithm, vms, ..Default::default() }),
        update_mask: Some(prost_types::FieldMask { paths }),
        ..Default::default()
    }
}

fn min(gib: u64) -> wire::VmPolicy {
    wire::VmPolicy { min_bytes: Some(gib * GIB), ..Default::default() }
}

fn max(mib: u64) -> wire::VmPolicy {
    wire::VmPolicy { max_bytes: Some(mib << 20), ..Default::default() }
}

async fn warned(
    client: &mut PolicyServiceClient<Channel>,
    request: wire::UpdatePolicyRequest,
) -> Vec<String> {
    client.update_policy(request).await.unwrap().into_inner().warnings
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_limit_does_to_a_vm_that_runs_depends_on_who_decides() {
    let mut rig = Rig::start();
    let mut client = PolicyServiceClient::new(rig.channel().await);
    rig.tick(&["web1", "db1"], false).await;
    let cases = [
        (
            ("two-pointer", min(2)),
            "vms.web1.min_bytes = 2 GiB: it holds 1 GiB; it is not raised to its minimum, only never \
             taken below it",
        ),
        (
            ("working-set", min(2)),
            "vms.web1.min_bytes = 2 GiB: it holds 1 GiB; working-set gives it what it lacks of its \
             minimum",
        ),
        (("working-set", min(5)), "vms.web1.min_bytes = 5 GiB: its hypervisor allows 4 GiB"),
        (
            ("working-set", max(500)),
            "vms.web1.max_bytes = 500 MiB: it holds 1 GiB; nothing is taken from it for that, it only \
             gets no more",
        ),
        (("two-pointer", max(8 << 10)), "vms.web1.max_bytes = 8 GiB: its hypervisor allows 4 GiB"),
    ];
    for ((algorithm, own), words) in cases {
        assert_eq!(warned(&mut client, exceptions(algorithm, &[("web1", own)])).await, [words]);
    }
    let fits = exceptions("two-pointer", &[("web1", max(2048)), ("db1", min(1))]);
    assert_eq!(warned(&mut client, fits).await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_a_field_mask_quotes_is_quoted_in_what_is_told_of_it() {
    let mut rig = Rig::start();
    let mut client = PolicyServiceClient::new(rig.channel().await);
    rig.tick(&["mail.1"], false).await;
    let told = warned(&mut client, exceptions("two-pointer", &[("mail.1", min(5))])).await;
    assert_eq!(told, ["vms.`mail.1`.min_bytes = 5 GiB: its hypervisor allows 4 GiB"]);
    let told = warned(&mut client, exceptions("two-pointer", &[("no one", min(1))])).await;
    assert_eq!(told, ["vms.`no one`: no VM that runs here has this name or UUID"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_said_of_a_name_and_otherwise_of_its_uuid_has_no_effect_and_the_rest_has() {
    let mut rig = Rig::start();
    let mut client = PolicyServiceClient::new(rig.channel().await);
    rig.tick(&["web1"], false).await;
    let weighs = |weight| wire::VmPolicy { weight: Some(weight), ..Default::default() };
    let named = wire::VmPolicy { pinned: Some(true), ..weighs(50) };
    let uuid = id(0).to_string();
    let both = exceptions("working-set", &[(&uuid, weighs(200)), ("web1", named)]);
    let told = warned(&mut client, both).await;
    let why = format!("has no effect, for what is said under its UUID, {uuid}, counts");
    assert!(told.contains(&format!("vms.web1.weight: {why}")), "{told:?}");
    let of_pin = told.iter().filter(|w| w.starts_with("vms.web1.pinned: "));
    assert_eq!(of_pin.count(), 0, "{told:?}");
    rig.tick(&["web1"], false).await;
    let mut vms = wire::vm_service_client::VmServiceClient::new(rig.channel().await);
    let vms = vms.list_vms(wire::ListVmsRequest::default()).await.unwrap().into_inner().vms;
    assert_eq!(vms[0].verdict.as_ref().unwrap().reason, "PINNED");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_hardly_meant_before_a_change_is_told_apart_too() {
    let mut rig = Rig::start();
    let mut client = PolicyServiceClient::new(rig.channel().await);
    rig.tick(&["web1"], false).await;
    let weighs = wire::VmPolicy { weight: Some(500), ..Default::default() };
    let weighed = exceptions("two-pointer", &[("web1", weighs)]);
    let first = client.update_policy(weighed).await.unwrap().into_inner();
    assert_eq!((first.warnings.len(), first.standing_warnings.len()), (1, 0), "{first:?}");
    let more =
        exceptions("two-pointer", &[("web1", wire::VmPolicy { ..weighs }), ("db1", max(512))]);
    let next = client.update_policy(more).await.unwrap().into_inner();
    assert_eq!(next.standing_warnings, first.warnings);
    assert_eq!(next.warnings.len(), 2, "{next:?}");
}

/// Two VMs that run, and 3 GiB that are reserved.
async fn with_three_reserved() -> (Rig, PolicyServiceClient<Channel>) {
    let mut rig = Rig::start();
    let client = PolicyServiceClient::new(rig.channel().await);
    let mut reserve = ReservationServiceClient::new(rig.channel().await);
    rig.tick(&["web1", "db1"], false).await;
    let request = wire::CreateReservationRequest { min_bytes: 3 * GIB, ..Default::default() };
    reserve.create_reservation(request).await.unwrap();
    (rig, client)
}

/// Of 16 GiB the host keeps 200 MiB and uses 6 GiB itself.
#[tokio::test(flavor = "multi_thread")]
async fn minimums_that_leave_too_little_for_what_is_reserved_are_told_of() {
    let (_rig, mut client) = with_three_reserved().await;
    let both = |gib| exceptions("working-set", &[("web1", min(gib)), ("db1", min(gib))]);
    let of_reserved = |told: Vec<String>| {
        told.into_iter().filter(|own| own.starts_with("reservations: ")).collect::<Vec<_>>()
    };
    assert_eq!(of_reserved(warned(&mut client, both(3)).await), Vec::<String>::new());
    let told = of_reserved(warned(&mut client, both(4)).await);
    assert_eq!(told.len(), 1, "{told:?}");
    for figure in ["3 GiB can never be kept together", "2 VMs are guaranteed 8 GiB together"] {
        assert!(told[0].contains(figure), "{figure} in {told:?}");
    }
}

/// Each VM holds 1 GiB and may hold 4: pinned, it is left with what it holds, and counted in full.
#[tokio::test(flavor = "multi_thread")]
async fn a_vm_that_is_pinned_for_a_while_counts_as_pinned_whatever_the_policy_says() {
    let (_rig, mut client) = with_three_reserved().await;
    let duration = Some(prost_types::Duration { seconds: 60, nanos: 0 });
    let pin = |vm: &str| wire::PinVmRequest { vm: vm.to_owned(), duration, ..Default::default() };
    client.pin_vm(pin("web1")).await.unwrap();
    // It is not raised, or kept from more, but left alone.
    for own in [min(2), max(500)] {
        let told = warned(&mut client, exceptions("two-pointer", &[("web1", own)])).await;
        let who = told[0].strip_prefix("vms.web1: uid:").unwrap();
        let words = "has pinned it for a while, so that its min, max and weight have no effect until that \
                     ends";
        assert!(who.ends_with(words) && told.len() == 1, "{told:?}");
    }
    let none = exceptions("two-pointer", &[]);
    assert_eq!(warned(&mut client, none.clone()).await, Vec::<String>::new());
    // With both in full there is no room for what is reserved.
    client.pin_vm(pin("db1")).await.unwrap();
    let told = warned(&mut client, none).await;
    assert!(told[0].contains("2 VMs are guaranteed 8 GiB together") && told.len() == 1, "{told:?}");
}
