//! Connections over TCP that only take room, and what is left to others.

use std::time::Duration;

use agentd_proto::v1 as wire;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::JoinSet,
    time::Instant,
};
use tonic::{Code, Status, transport::Channel};
use tonic_types::StatusExt as _;
use wire::{host_service_client::HostServiceClient, shadow_service_client::ShadowServiceClient};

use crate::{
    rig::{LONG, Watching},
    tls_rig::{Offer, World, config, connect, dial, status_on},
};

/// Waits for the end of a connection, which comes before that of the other.
async fn ends_before(io: &mut TcpStream, other: &mut TcpStream) {
    let ended = async {
        tokio::select! {
            biased;
            read = io.read_u8() => read.unwrap_err(),
            _ = other.read_u8() => panic!("the other one is ended"),
        }
    };
    tokio::time::timeout(LONG, ended).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_is_silent_or_slow_is_ended_after_five_seconds() {
    let world = World::start();
    tokio::join!(shakes_no_hand(&world), asks_nothing(&world), answers_no_ping(&world));
}

async fn shakes_no_hand(world: &World) {
    let began = Instant::now();
    let mut silent = connect(world.address, "127.0.0.1").await.unwrap();
    let read = tokio::time::timeout(LONG, silent.read_u8()).await.unwrap();
    assert!(read.is_err());
    let took = began.elapsed();
    assert!((Duration::from_secs(5)..Duration::from_secs(30)).contains(&took), "{took:?}");
}

/// Its handshake is over, and it has ten seconds for its first request.
async fn asks_nothing(world: &World) {
    let alice = world.client("alice");
    let began = Instant::now();
    let mut silent = world.dial(&Offer::of(&alice)).await.unwrap();
    let mut all = Vec::new();
    let _ = tokio::time::timeout(LONG, silent.read_to_end(&mut all)).await.unwrap();
    let took = began.elapsed();
    assert!((Duration::from_secs(9)..Duration::from_secs(45)).contains(&took), "{took:?}");
}

/// It has asked something, and is gone without a word: nobody would know if it were not asked in turn.
async fn answers_no_ping(world: &World) {
    let bob = world.client("bob");
    let mut gone = world.dial(&Offer::of(&bob)).await.unwrap();
    gone.write_all(ONE_CALL).await.unwrap();
    let mut told = Vec::new();
    let _ = tokio::time::timeout(LONG, gone.read_to_end(&mut told)).await.unwrap();
    assert!(told.windows(PING.len()).any(|bytes| bytes == PING), "it was not asked: {told:?}");
}

/// However many of its address are connected and silent.
#[tokio::test(flavor = "multi_thread")]
async fn who_says_nothing_takes_no_handshake_of_its_address() {
    let world = World::start();
    let alice = world.client("alice");
    let mut silent = Vec::new();
    for _ in 0..40 {
        silent.push(connect(world.address, "127.0.0.1").await.unwrap());
    }
    world.status(&alice).await.unwrap();
    assert!(!world.rig.publisher.conditions().has("CONNECTIONS_FULL"));
}

/// Eight is as many as one address has at a time: the next one waits for the oldest of them to make way.
#[tokio::test(flavor = "multi_thread")]
async fn who_begins_a_handshake_and_stops_makes_way_for_the_next_of_its_address() {
    let world = World::start();
    let alice = world.client("alice");
    let mut begun = Vec::new();
    for _ in 0..8 {
        let mut io = connect(world.address, "127.0.0.1").await.unwrap();
        io.write_all(&[HANDSHAKE]).await.unwrap();
        begun.push(io);
    }
    // From elsewhere there is room, and nobody has to make way.
    let offer = config(&world.authority.pem, &Offer::of(&alice));
    dial(offer.clone(), world.address, "127.0.0.2").await.unwrap();
    assert!(!world.rig.publisher.conditions().has("CONNECTIONS_FULL"));
    let mut oldest = begun.remove(0);
    let (served, ()) = tokio::join!(
        dial(offer, world.address, "127.0.0.1"),
        ends_before(&mut oldest, &mut begun[6])
    );
    served.unwrap();
}

/// However fast it comes and goes.
#[tokio::test(flavor = "multi_thread")]
async fn one_address_has_eighty_handshakes_in_a_second() {
    let world = World::start();
    let alice = world.client("alice");
    let offer = config(&world.authority.pem, &Offer::of(&alice));
    let (began, mut shaken) = (Instant::now(), 0);
    while began.elapsed() < Duration::from_secs(1) {
        shaken += u32::from(dial(offer.clone(), world.address, "127.0.0.1").await.is_ok());
    }
    let most = 8 + 80 * (began.elapsed().as_millis() / 1000 + 1);
    assert!(shaken > 0 && u128::from(shaken) <= most, "{shaken} of {most}");
    world.status(&alice).await.unwrap();
}

/// Silent connections over the network, more than there may be: the socket of this host is served as
/// before, so are those that have shown who they are, and it is said that somebody is turned away.
#[tokio::test(flavor = "multi_thread")]
async fn handshakes_over_tcp_keep_nobody_else_from_the_host() {
    let world = World::start();
    let alice = world.client("alice");
    let known = world.channel(&alice).await.unwrap();
    let mut silent = Vec::new();
    for from in 1..=9 {
        for _ in 0..16 {
            silent.push(connect(world.address, &format!("127.0.0.{from}")).await.unwrap());
        }
    }
    world.until_condition("CONNECTIONS_FULL", true).await;
    let words = format!("turned away at tcp://{} (all 128 places for newcomers)", world.address);
    let told = world.told("CONNECTIONS_FULL");
    assert!(told.contains(&words), "{told}");

    let mut root = HostServiceClient::new(world.rig.channel().await);
    let pause = wire::SetModeRequest { mode: wire::Mode::Paused.into(), reason: String::new() };
    assert_eq!(root.set_mode(pause).await.unwrap().into_inner().mode(), wire::Mode::Paused);
    status_on(known).await.unwrap();

    // Each of them is ended by itself, and the place is free again.
    world.until_condition("CONNECTIONS_FULL", false).await;
    world.status(&alice).await.unwrap();
    drop(silent);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_name_has_sixteen_connections_at_a_time() {
    let world = World::start();
    // Two certificates of one name are one client.
    let (alice, again, bob) = (world.client("alice"), world.client("alice"), world.client("bob"));
    let mut channels = Vec::new();
    for number in 0..16 {
        let client = if number % 2 == 0 { &alice } else { &again };
        let channel = world.channel(client).await.unwrap();
        status_on(channel.clone()).await.unwrap();
        channels.push(channel);
    }
    let mut last_words = Vec::new();
    let mut refused = world.dial(&Offer::of(&alice)).await.unwrap();
    let read = tokio::time::timeout(LONG, refused.read_to_end(&mut last_words)).await.unwrap();
    read.unwrap();
    let last_words = String::from_utf8_lossy(&last_words);
    let why = "alice has 16 connections, which is all that one may have";
    assert!(last_words.ends_with(why), "{last_words}");
    world.status(&bob).await.unwrap();
    channels.pop();
    let served = async {
        while world.status(&again).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(LONG, served).await.unwrap();
}

fn reason(status: &Status) -> String {
    status.get_error_details().error_info().map(|info| info.reason.clone()).unwrap_or_default()
}

/// Asks until it is let in, and never takes the answer: another call may have had the place.
async fn hang(channel: Channel) {
    while status_on(channel.clone())
        .await
        .is_err_and(|refused| reason(&refused) == "TOO_MANY_CALLS")
    {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// A call counts until its answer was taken: who does not read has so many and no more, over all
/// connections.
#[tokio::test(flavor = "multi_thread")]
async fn one_name_has_thirty_two_calls_at_a_time() {
    let world = World::start();
    let (alice, bob) = (world.client("alice"), world.client("bob"));
    let mut hung = JoinSet::new();
    for _ in 0..2 {
        let channel = world.channel_that_does_not_read(&alice).await;
        for _ in 0..16 {
            hung.spawn(hang(channel.clone()));
        }
    }
    let channel = world.channel(&alice).await.unwrap();
    let refused = async {
        loop {
            if let Err(refused) = status_on(channel.clone()).await {
                return refused;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let refused = tokio::time::timeout(LONG, refused).await.unwrap();
    assert_eq!(
        (refused.code(), reason(&refused).as_str()),
        (Code::ResourceExhausted, "TOO_MANY_CALLS")
    );
    assert!(refused.message().starts_with("32 calls of yours are under way"), "{refused}");
    assert!(hung.try_join_next().is_none(), "none of them is over");
    world.status(&bob).await.unwrap();
    hung.shutdown().await;
    let served = async {
        while status_on(channel.clone()).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(LONG, served).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn one_name_has_eight_watches_and_twenty_changes_whatever_it_shows() {
    let world = World::start();
    let (alice, again, bob) = (world.client("alice"), world.client("alice"), world.client("bob"));
    let (one, other) = (world.channel(&alice).await.unwrap(), world.channel(&again).await.unwrap());
    let bobs = world.channel(&bob).await.unwrap();
    let live = || wire::WatchRequest { follow: true, ..wire::WatchRequest::default() };
    let mut streams = Vec::new();
    for number in 0..8 {
        let channel = if number % 2 == 0 { &one } else { &other };
        streams.push(Watching::open(channel.clone(), live()).await.unwrap());
    }
    let refused = Watching::open(other.clone(), live()).await.err().unwrap();
    assert_eq!(reason(&refused), "TOO_MANY_STREAMS");
    Watching::open(bobs.clone(), live()).await.unwrap();

    let clear = async |channel: &Channel| {
        ShadowServiceClient::new(channel.clone()).clear_shadow(wire::ClearShadowRequest {}).await
    };
    let (began, mut made) = (Instant::now(), 0);
    let refused = loop {
        match clear(if made % 2 == 0 { &one } else { &other }).await {
            Ok(_) => made += 1,
            Err(refused) => break refused,
        }
    };
    // One comes back every three seconds.
    assert!((20..=21 + began.elapsed().as_secs() / 3).contains(&made), "{made}");
    assert_eq!(reason(&refused), "TOO_FAST");
    clear(&bobs).await.unwrap();
}

/// What a client of HTTP/2 begins with: its first words, settings, and a call of "/".
const ONE_CALL: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0\
    \0\0\x03\x01\x05\0\0\0\x01\x83\x87\x84";
/// The head of a frame that wants an answer.
const PING: &[u8] = &[0, 0, 8, 6, 0, 0, 0, 0, 0];
/// The kind of the first record of TLS.
const HANDSHAKE: u8 = 22;
