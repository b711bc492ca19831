//! The merged stream of several hosts against each agent's own log, while one is restarted and one
//! is stopped for a while.

use std::fs;

use crate::sim_host::{SCENARIO, World};
use crate::told::{Told, compare};

#[test]
fn what_a_watch_of_many_hosts_tells_is_what_each_agent_has_logged() {
    let world = World::new(SCENARIO);
    configure(&world);
    let [_a, mut b, c] = HOSTS.map(|host| world.start(host));
    let told = Told::start(&world);
    told.go_on(&HOSTS);
    b.signal("TERM");
    b.wait();
    c.signal("STOP");
    told.go_on(&["a"]);
    let _b = world.start("b");
    c.signal("CONT");
    told.go_on(&HOSTS);

    let stream = told.end();
    let gaps = HOSTS.map(|host| compare(&world, host, &stream));
    assert_eq!(gaps, [vec![], vec!["restarted".to_owned()], vec![]]);
}

fn configure(world: &World) {
    let hosts = HOSTS.map(|host| format!("[hosts.{host}]\nuri = \"{}\"\n", world.uri(host)));
    fs::create_dir(world.path("memctl")).unwrap();
    fs::write(world.path("memctl/config.toml"), format!("schema = 1\n{}", hosts.concat())).unwrap();
}

const HOSTS: [&str; 3] = ["a", "b", "c"];
