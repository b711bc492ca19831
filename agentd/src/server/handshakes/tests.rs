use tokio::time::advance;

use super::*;

const MOST: Most = Most { all: 3, each: 2, waiting: 5, each_waiting: 3 };

fn address(last: u8) -> IpAddr {
    [192, 0, 2, last].into()
}

/// One that has begun to speak.
fn in_line(all: &Arc<Handshakes>, last: u8) -> Wait {
    let wait = all.enter(address(last)).unwrap();
    wait.speaks();
    wait
}

/// Its turn, if that has come.
fn turn(wait: &mut Wait) -> Option<Handshake> {
    wait.turn.try_recv().ok()
}

/// Whether it had to make way.
fn made_way(wait: &mut Wait) -> bool {
    matches!(wait.turn.try_recv(), Err(oneshot::error::TryRecvError::Closed))
}

#[tokio::test(start_paused = true)]
async fn each_address_has_so_many_and_the_others_of_it_have_their_turn_in_order() {
    let all = Handshakes::new(MOST);
    let mut waiting: Vec<_> = (0..4).map(|_| in_line(&all, 1)).collect();
    let mut under_way: Vec<_> = waiting.iter_mut().map_while(turn).collect();
    assert_eq!(under_way.len(), 2);
    // Another one has its turn before those.
    let mut other = in_line(&all, 2);
    assert!(turn(&mut other).is_some());
    drop(under_way.remove(0));
    let _third = turn(&mut waiting[2]).unwrap();
    assert!(turn(&mut waiting[3]).is_none());
    drop(under_way);
    assert!(turn(&mut waiting[3]).is_some());
}

#[tokio::test(start_paused = true)]
async fn who_knocks_or_goes_away_in_line_takes_no_turn() {
    let all = Handshakes::new(MOST);
    let under_way: Vec<_> = (0..2).filter_map(|_| turn(&mut in_line(&all, 1))).collect();
    assert_eq!(under_way.len(), 2);
    for _ in 0..100 {
        drop(all.enter(address(1)).unwrap());
    }
    let gone = in_line(&all, 1);
    let mut next = in_line(&all, 1);
    drop(gone);
    let called = in_line(&all, 1);
    drop(under_way);
    assert!(turn(&mut next).is_some());
    // Its turn came and it was gone.
    drop(called);
    assert!(all.lock().under_way.is_empty());
    assert!(all.lock().waiting.is_empty());
}

#[tokio::test(start_paused = true)]
async fn where_all_places_are_taken_the_oldest_makes_way_once_it_had_its_time() {
    let all = Handshakes::new(MOST);
    let mut under_way: Vec<_> = (0..3).filter_map(|last| turn(&mut in_line(&all, last))).collect();
    assert_eq!(under_way.len(), 3);
    let mut new = in_line(&all, 9);
    assert!(turn(&mut new).is_none());
    // It is not asked again: the oldest sees to that itself.
    let oldest = under_way.remove(0);
    oldest.ousted().await;
    let new = turn(&mut new).unwrap();
    assert_eq!(all.enter(address(9)).unwrap().ousted, Some(Stage::UnderWay));
    // The place of whoever made way is taken, and is not given back twice.
    drop(oldest);
    assert_eq!(all.lock().under_way.len(), 3);
    drop(new);
    assert_eq!(all.lock().under_way.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn of_one_address_the_oldest_makes_way_later() {
    let all = Handshakes::new(MOST);
    let mut begun: Vec<_> = (0..2).filter_map(|_| turn(&mut in_line(&all, 1))).collect();
    let mut next = in_line(&all, 1);
    advance(limits::HANDSHAKE_LEAST).await;
    all.advance();
    assert!(turn(&mut next).is_none(), "a slow line has its time");
    begun.remove(0).ousted().await;
    assert!(turn(&mut next).is_some());
}

#[tokio::test(start_paused = true)]
async fn the_silent_make_way_for_newcomers_once_they_had_their_time() {
    let all = Handshakes::new(MOST);
    let mut silent: Vec<_> = (0..3).map(|_| all.enter(address(1)).unwrap()).collect();
    assert_eq!(all.enter(address(1)).err(), Some(Spent::Own));
    silent.extend((0..2).map(|_| all.enter(address(2)).unwrap()));
    assert!(!all.has_room());
    advance(limits::HANDSHAKE_LEAST).await;
    let own = all.enter(address(1)).unwrap();
    assert!(made_way(&mut silent[0]) && own.ousted.is_none());
    let other = all.enter(address(3)).unwrap();
    assert!(made_way(&mut silent[1]) && other.ousted == Some(Stage::Waiting));
    assert_eq!(all.lock().waiting.len(), MOST.waiting);
}

#[tokio::test(start_paused = true)]
async fn the_address_with_the_longest_line_makes_way_for_others() {
    let all = Handshakes::new(Most { all: 1, each: 1, ..MOST });
    let _under_way = turn(&mut in_line(&all, 1)).unwrap();
    let mut long: Vec<_> = (0..3).map(|_| in_line(&all, 1)).collect();
    let mut short: Vec<_> = (0..2).map(|_| in_line(&all, 2)).collect();
    let _new = in_line(&all, 3);
    assert!(made_way(&mut long[2]));
    // Now two, two and one wait: whoever has none takes the place of one of two, and nobody else does.
    assert_eq!(all.enter(address(1)).err(), Some(Spent::All));
    let _newest = in_line(&all, 4);
    assert!(made_way(&mut long[1]) != made_way(&mut short[1]));
    assert!(!made_way(&mut long[0]) && !made_way(&mut short[0]));
}
