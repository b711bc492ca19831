use crate::faults_rig::{Rig, brief, vm_in};

#[test]
fn zz_probe() {
    let Some(mut rig) = Rig::open("probe") else { return };
    rig.need();
    rig.until_fed();
    rig.vms[1].keep_free(rig.vms[1].meminfo_kib().unwrap()["MemFree"] / 1024 - 20).unwrap();
    for _ in 0..40 {
        let tick = rig.feed.tick().unwrap();
        let vm = vm_in(&tick, "vm2");
        eprintln!(
            "PROBE {} {} {}",
            tick["tick"],
            vm["state"],
            brief(&[serde_json::json!({"vms": [vm]})])
        );
    }
    eprintln!("PROBE kills {:?} {:?}", rig.vms[1].oom_kills(), rig.vms[1].meminfo_kib());
    rig.vms[1].keep_free(4).unwrap();
    for _ in 0..40 {
        let tick = rig.feed.tick().unwrap();
        let vm = vm_in(&tick, "vm2");
        eprintln!(
            "PROBE {} {} {}",
            tick["tick"],
            vm["state"],
            brief(&[serde_json::json!({"vms": [vm]})])
        );
    }
    eprintln!("PROBE kills {:?} {:?}", rig.vms[1].oom_kills(), rig.vms[1].meminfo_kib());
}
