use super::*;
use crate::{
    assess::{assess, measure},
    conduct::Standing,
    decide::decide,
    distress::{Distress, Sign},
    fixture::{OTHER, VM, holding, sample},
    host::HostView,
    policy::{VmKey, VmPolicy},
    sample::GuestFigures,
};

const fn mib(count: u32) -> ByteCount {
    ByteCount::mib(count)
}

/// What became of an order to hold this, all of which was ordered.
fn became(vm: VmId, to: ByteCount, outcome: Outcome) -> Resized {
    Resized { vm, planned: to, ordered: Some(to), outcome, rest_refused: None }
}

/// What became of one order, beside which there was none.
fn only(resized: Resized) -> Applied {
    Applied { resized: vec![resized], granted: Vec::new() }
}

/// A giver let go of 100 MiB, 40 of which it had never touched.
#[test]
fn what_the_host_got_back_for_others_is_no_room_to_promise() {
    let base = Shown { actual: mib(500), taken: Some(mib(400)) };
    let gives = mib(100);
    let order = Order::new(mib(400), gives, base, Duration::ZERO);
    let giver = VmSample { host_rss: Some(mib(370)), ..holding(400) };
    let mut sample = sample(2, [(VM, giver), (OTHER, holding(300))]);
    (sample.host.total, sample.host.usable) = (ByteCount::gib(64), ByteCount::gib(32));
    let owed = vec![Transfer { from: Party::Vm(VM), to: Party::Vm(OTHER), amount: gives }];
    let paid = State { orders: [(VM, order)].into(), ..State::default() };
    let owing = State { owed, ..paid.clone() };
    assert_eq!((owing.spoken_for(&sample), owing.returned(&sample)), (mib(100), mib(60)));
    let room = |state| {
        let (policy, host) = (Policy::default(), HostView::default());
        let (_, totals) = assess(&policy, state, &sample);
        measure(&policy, state, &sample, &totals, &host).room
    };
    assert_eq!(room(&paid).saturating_sub(room(&owing)), mib(60));
}

/// The state after a tick in which all that was planned came to this.
fn after(sample: &Sample, outcome: &Outcome) -> State {
    let (decision, state) = decide(&Policy::default(), &State::default(), sample);
    let became = |own: &Resize| became(own.vm, own.to, outcome.clone());
    let resized = decision.plan.resizes().map(became).collect();
    let applied = Applied { resized, granted: Vec::new() };
    state.after(&decision.plan, &applied, sample, sample.now)
}

#[test]
fn a_vm_counts_in_full_until_it_was_told_to_hold_what_it_holds() {
    let sample = sample(1, [(VM, holding(512))]);
    let vm = sample.vms.get(&VM).unwrap();
    let exposure = |policy: &Policy, state: &State| {
        let pinned = policy.rules(VM, &vm.name, vm.max).pinned;
        state.known(VM, vm).exposure(pinned, &sample)
    };
    let policy = Policy::default();
    assert_eq!(exposure(&policy, &State::default()), vm.max, "an earlier order may be in force");
    let refused = after(&sample, &Outcome::Refused("no".to_owned()));
    assert_eq!(exposure(&policy, &refused), vm.max);
    assert_eq!(exposure(&policy, &after(&sample, &Outcome::InDoubt)), vm.max);
    let told = after(&sample, &Outcome::Accepted);
    assert_eq!(exposure(&policy, &told), vm.max, "it may have got there by then");
    let told = told.continued(&policy, &sample);
    assert_eq!(exposure(&policy, &told), mib(512));
    let pin = VmPolicy { pinned: Some(true), ..VmPolicy::default() };
    let vms = BTreeMap::from([(VmKey::Id(VM), pin)]);
    assert_eq!(exposure(&Policy { vms, ..policy }, &told), vm.max, "others may resize it");
}

#[test]
fn that_a_vm_stands_still_answers_no_order() {
    // Its use grows, but enough is unused: it neither needs memory nor has any to spare.
    let content = |unused| {
        let vm = holding(512);
        VmSample { guest: GuestFigures { unused: Some(mib(unused)), ..vm.guest }, ..vm }
    };
    let first = sample(1, [(VM, content(300))]);
    let (policy, second) = (Policy::default(), sample(2, [(VM, content(280))]));
    let doubtful = after(&first, &Outcome::InDoubt);
    let (decision, state) = decide(&policy, &doubtful, &second);
    let vm = second.vms.get(&VM).unwrap();
    let exposure = |state: &State| state.known(VM, vm).exposure(false, &second);
    assert_eq!(exposure(&state), vm.max, "it may never have gone out");
    let stays = Resize { vm: VM, from: mib(512), to: mib(512) };
    assert_eq!(decision.plan.neutral, [stays], "so it is told again");
    let taken = |outcome| only(became(VM, mib(512), outcome));
    let told = state.clone().after(&decision.plan, &taken(Outcome::Accepted), &second, second.now);
    let (_, told) = decide(&policy, &told, &sample(3, [(VM, content(260))]));
    assert_eq!(exposure(&told), mib(512));
    assert!(told.orders.get(&VM).is_some_and(|order| !order.in_doubt));
}

#[test]
fn a_shrink_ends_where_it_is_when_the_vm_suffers() {
    let first = sample(1, [(VM, holding(512)), (OTHER, holding(512))]);
    let mut state = after(&first, &Outcome::Accepted);
    if let Some(order) = state.orders.get_mut(&VM) {
        (order.target, order.least, order.gives) = (mib(448), mib(448), mib(64));
    }
    let transfer = Transfer { from: Party::Vm(VM), to: Party::Vm(OTHER), amount: mib(64) };
    state.owed = vec![transfer];
    let sign = Sign::SwapsOut(mib(5));
    let distress = Some(Distress { sign, age: Duration::ZERO });
    let vm = VmSample { distress, ..holding(482) };
    let second = sample(2, [(VM, vm), (OTHER, holding(512))]);
    let (decision, state) = decide(&Policy::default(), &state, &second);
    let stays = Resize { vm: VM, from: mib(482), to: mib(482) };
    assert_eq!(decision.plan.neutral, [stays]);
    let owed: Vec<ByteCount> = state.owed.iter().map(|own| own.amount).collect();
    assert_eq!(owed, [mib(30)], "what it has let go of is there, the rest is not awaited");
}

/// Its balloon woke up between the look at what it holds and the order to go on holding that.
#[test]
fn who_went_on_to_what_it_was_to_take_before_is_moved_by_nobody_else() {
    let first = sample(1, [(VM, holding(400)), (OTHER, holding(512))]);
    let policy = Policy::default();
    let mut state = after(&first, &Outcome::Accepted).continued(&policy, &first);
    let tell = |state: State, to: u32, sample: &Sample| {
        let resize = Resize { vm: VM, from: mib(400), to: mib(to) };
        let plan = Plan { neutral: vec![resize], ..Plan::default() };
        let applied = only(became(VM, resize.to, Outcome::Accepted));
        state.after(&plan, &applied, sample, sample.now)
    };
    state = tell(state, 650, &first);
    let second = sample(2, [(VM, holding(400)), (OTHER, holding(512))]);
    state = tell(state.continued(&policy, &second), 570, &second);
    let third = sample(3, [(VM, holding(650)), (OTHER, holding(512))]);
    let standing = |state: &State| state.followed.get(&VM).unwrap().standing(third.now);
    let went_on = state.continued(&policy, &third);
    assert_eq!(standing(&went_on), Standing::Cooperative);
    let beyond = sample(3, [(VM, holding(700)), (OTHER, holding(512))]);
    assert_eq!(standing(&state.continued(&policy, &beyond)), Standing::Quarantined);
    let stayed = sample(3, [(VM, holding(570)), (OTHER, holding(512))]);
    let stayed = state.continued(&policy, &stayed);
    assert_eq!(stayed.orders.get(&VM).map(|order| order.most), Some(mib(570)));
}

/// What it was told before this agent began it goes on with, while the first order is on its way.
#[test]
fn who_goes_on_with_what_it_was_told_before_the_first_order_is_moved_by_nobody_else() {
    let policy = Policy::default();
    let seen = |second, mib| sample(second, [(VM, holding(mib)), (OTHER, holding(512))]);
    let standing = |outcome: &Outcome, mib| {
        let state = after(&seen(1, 512), outcome).continued(&policy, &seen(2, mib));
        state.followed.get(&VM).unwrap().standing(Duration::from_secs(2))
    };
    let own = Standing::Cooperative;
    let accepted = [300, 700].map(|mib| standing(&Outcome::Accepted, mib));
    assert_eq!(
        accepted,
        [Standing::Quarantined, own],
        "it was told to stay, and somebody else brought it down"
    );
    assert_eq!([300, 700].map(|mib| standing(&Outcome::InDoubt, mib)), [own, own]);
    for freshness in [Freshness::Unsettled, Freshness::Unproven] {
        let vm = VmSample { freshness, ..holding(512) };
        let told = sample(1, [(VM, vm), (OTHER, holding(512))]);
        let state = after(&told, &Outcome::Accepted).continued(&policy, &seen(2, 490));
        let standing = state.followed.get(&VM).unwrap().standing(Duration::from_secs(2));
        assert_eq!(standing, own, "it was on its way down by itself");
    }
    let state = after(&seen(1, 512), &Outcome::Accepted).continued(&policy, &seen(2, 700));
    let state = state.continued(&policy, &seen(3, 800));
    let own = state.followed.get(&VM).unwrap();
    assert_eq!(own.standing(Duration::from_secs(3)), Standing::Quarantined, "it has taken it");
    // What nobody saw may have brought another order.
    let mut state = after(&seen(1, 512), &Outcome::InDoubt).continued(&policy, &seen(2, 512));
    let applied = only(became(VM, mib(600), Outcome::InDoubt));
    state = state.after(&Plan::default(), &applied, &seen(2, 512), Duration::from_secs(2));
    state.begin_anew();
    let state = state.continued(&policy, &seen(3, 512)).continued(&policy, &seen(4, 800));
    let own = state.followed.get(&VM).unwrap();
    assert_eq!(own.standing(Duration::from_secs(4)), Standing::Cooperative);
}

/// Whatever became of others before it: what the hypervisor took is all that was in force before the next.
#[test]
fn who_was_told_for_certain_is_left_to_whoever_else_moves_it() {
    let policy = Policy::default();
    let seen = |second, mib| sample(second, [(VM, holding(mib)), (OTHER, holding(512))]);
    let tell = |state: State, second, mib, outcome| {
        let sample = seen(second, 512);
        let applied = only(became(VM, self::mib(mib), outcome));
        let state = state.continued(&policy, &sample);
        state.after(&Plan::default(), &applied, &sample, sample.now)
    };
    let standing = |state: State, second| {
        let state = state.continued(&policy, &seen(second, 512));
        let state = state.continued(&policy, &seen(second + 1, 900));
        state.followed.get(&VM).unwrap().standing(Duration::from_secs(second + 1))
    };
    // A grow is its first order, and others follow.
    let state = tell(State::default(), 1, 530, Outcome::Accepted);
    let state = tell(state, 2, 540, Outcome::Accepted);
    assert_eq!(standing(state, 3), Standing::Quarantined);
    // One without answer came before.
    let state = tell(State::default(), 1, 512, Outcome::InDoubt);
    let state = tell(state, 2, 462, Outcome::Accepted);
    let state = tell(state, 3, 512, Outcome::Accepted);
    assert_eq!(standing(state, 4), Standing::Quarantined);
    let unanswered = tell(State::default(), 1, 512, Outcome::InDoubt);
    assert_eq!(standing(unanswered, 2), Standing::Cooperative);
}

/// Nobody knows what it was told before, and yet it is to get what was decided.
#[test]
fn who_gets_memory_by_its_first_order_goes_on_to_get_the_rest_of_it() {
    let policy = Policy::default();
    let first = sample(1, [(VM, holding(400)), (OTHER, holding(900))]);
    let grow = Resize { vm: VM, from: mib(400), to: mib(500) };
    let shrink = Resize { vm: OTHER, from: mib(900), to: mib(800) };
    let transfer = Transfer { from: Party::Vm(OTHER), to: Party::Vm(VM), amount: mib(100) };
    let plan = Plan {
        shrinks: vec![shrink],
        grows: vec![grow],
        funding: vec![transfer],
        ..Plan::default()
    };
    let accepted = |own: Resize| became(own.vm, own.to, Outcome::Accepted);
    let part = Resized { ordered: Some(mib(430)), ..accepted(grow) };
    let resized = vec![accepted(shrink), part];
    let applied = Applied { resized, granted: vec![mib(30)] };
    let state = State::default().continued(&policy, &first);
    let state = state.after(&plan, &applied, &first, first.now);
    let second = sample(2, [(VM, holding(415)), (OTHER, holding(850))]);
    let owed: Vec<ByteCount> =
        state.continued(&policy, &second).owed.iter().map(|own| own.amount).collect();
    assert_eq!(owed, [mib(70)]);
}

#[test]
fn a_giver_that_is_told_otherwise_owes_nothing_more() {
    let first = sample(1, [(VM, holding(448)), (OTHER, holding(512))]);
    let state = after(&first, &Outcome::Accepted);
    let grow = Resize { vm: VM, from: mib(448), to: mib(500) };
    let transfer = Transfer { from: Party::Vm(VM), to: Party::Vm(OTHER), amount: mib(64) };
    let plan = Plan { grows: vec![grow], funding: vec![transfer], ..Plan::default() };
    let owed = |outcome| {
        let granted = vec![ByteCount::ZERO];
        let applied = Applied { granted, ..only(became(VM, grow.to, outcome)) };
        let state = state.clone().after(&plan, &applied, &first, first.now);
        state.owed.len()
    };
    assert_eq!((owed(Outcome::Accepted), owed(Outcome::InDoubt), owed(Outcome::Held)), (0, 0, 1));
}

#[test]
fn who_goes_on_refusing_is_not_asked_for_a_while() {
    let first = sample(1, [(VM, holding(448)), (OTHER, holding(512))]);
    let mut state = after(&first, &Outcome::Accepted);
    let shrink = Resize { vm: VM, from: mib(448), to: mib(400) };
    let plan = Plan { shrinks: vec![shrink], ..Plan::default() };
    let mut standings = Vec::new();
    let standing =
        |state: &State, vm| state.followed.get(vm).map(|known| known.standing(first.now));
    let no = || Outcome::Refused("no".to_owned());
    for (second, outcome) in (1..).zip([no(), no(), Outcome::Accepted, no(), no(), no()]) {
        let applied = only(Resized { ordered: None, ..became(VM, shrink.to, outcome) });
        state = state.after(&plan, &applied, &first, Duration::from_secs(second));
        standings.push(standing(&state, &VM));
    }
    let patient = [Some(Standing::Cooperative); 5];
    assert_eq!(standings[..5], patient);
    assert_eq!(standings[5..], [Some(Standing::Uncooperative)]);
    assert_eq!(standing(&state, &OTHER), Some(Standing::Cooperative));
}

#[test]
fn nobody_is_owed_more_than_it_may_hold() {
    let first = sample(1, [(VM, holding(448)), (OTHER, holding(1000))]);
    let mut state = after(&first, &Outcome::Accepted);
    if let Some(order) = state.orders.get_mut(&VM) {
        (order.base, order.gives) = (holding(512).shown(), mib(64));
    }
    let transfer = Transfer { from: Party::Vm(VM), to: Party::Vm(OTHER), amount: mib(64) };
    state.owed = vec![transfer];
    let state = state.continued(&Policy::default(), &first);
    assert_eq!(state.owed, [Transfer { amount: mib(24), ..transfer }]);
}
