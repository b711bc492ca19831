//! An orderly stop, whoever is connected.

use std::{io::Write as _, os::unix::net::UnixStream, sync::mpsc, time::Duration};

use agentd_proto::v1 as wire;
use tonic::Code;
use wire::{watch_request::Start, watch_response::Body};

use crate::rig::{LONG, Rig, Watching};

#[tokio::test(flavor = "multi_thread")]
async fn says_good_bye_to_those_who_listen_and_ends_in_spite_of_those_who_do_not() {
    let mut rig = Rig::start();
    let vms: Vec<String> = (0..40).map(|index| format!("vm{index}")).collect();
    let vms: Vec<&str> = vms.iter().map(String::as_str).collect();
    let request = wire::WatchRequest {
        start: Some(Start::Oldest(true)),
        follow: true,
        ..wire::WatchRequest::default()
    };
    let mut readers = Vec::new();
    let mut sleepers = Vec::new();
    for _ in 0..10 {
        readers.push(rig.watch(request.clone()).await);
        let narrow = rig.endpoint().initial_stream_window_size(1 << 10);
        let channel = narrow.connect().await.unwrap();
        sleepers.push(Watching::open(channel, request.clone()).await.unwrap());
    }
    let socket = rig.dir.path().join("agentd.sock");
    let silent = UnixStream::connect(&socket).unwrap();
    let mut half = UnixStream::connect(&socket).unwrap();
    half.write_all(b"PRI * HTTP/2.0\r\n").unwrap();
    for _ in 0..30 {
        rig.tick(&vms, true).await;
    }

    let server = rig.server.take().unwrap();
    let (ended, end) = mpsc::channel();
    std::thread::spawn(move || {
        server.stop(Duration::from_secs(8));
        ended.send(()).unwrap();
    });
    for reader in &mut readers {
        loop {
            match reader.body().await.1 {
                Body::GoingAway(farewell) => {
                    assert!(farewell.reconnect_after.is_some());
                    break;
                }
                Body::Tick(_) | Body::Hello(_) => {}
                other => panic!("{other:?} before the end"),
            }
        }
        assert_eq!(reader.next().await.unwrap_err().code(), Code::Unavailable);
    }
    tokio::task::spawn_blocking(move || end.recv_timeout(LONG)).await.unwrap().unwrap();
    assert!(!socket.exists());
    drop((silent, half, sleepers));
}
