//! `memctl policy set KEY=VALUE..` and `unset KEY..`: changes single values, and leaves all others.

use clap::Args;
use clap_complete::ArgValueCompleter;

use super::assignments;
use super::change::{ChangeArgs, make};
use crate::commands::Ended;
use crate::completers;
use crate::failure::Failure;
use crate::session::Session;

/// Options of `memctl policy set`.
#[derive(Args, Debug)]
pub(crate) struct SetArgs {
    /// New values: host-reserve=1GiB, algorithm=working-set, working-set.lead=5s,
    /// vm.NAME.max=2GiB, vm.NAME.weight=200, vm.NAME.pinned=true, pool-limit=unset, vm.NAME=unset
    /// (no exception for this VM). `memctl policy explain` tells what each key does.
    #[arg(value_name = "KEY=VALUE", required = true)]
    #[arg(add = ArgValueCompleter::new(completers::assignments))]
    assignments: Vec<String>,
    #[command(flatten)]
    change: ChangeArgs,
}

/// Options of `memctl policy unset`.
#[derive(Args, Debug)]
pub(crate) struct UnsetArgs {
    /// Keys that are to have their default again; vm.NAME takes away all exceptions for a VM.
    #[arg(value_name = "KEY", required = true)]
    #[arg(add = ArgValueCompleter::new(completers::policy_keys))]
    keys: Vec<String>,
    #[command(flatten)]
    change: ChangeArgs,
}

/// Changes the policy of every host.
pub(crate) async fn run(args: &SetArgs, session: &mut Session) -> Ended {
    assign(&args.assignments, &args.change, session).await
}

/// Sets values of every host back to their default.
pub(crate) async fn unset(args: &UnsetArgs, session: &mut Session) -> Ended {
    if let Some(key) = args.keys.iter().find(|key| key.contains('=')) {
        let what = format!("\"{key}\" has a value, and unset takes keys alone");
        return Err(Failure::usage(what).hint(format!("memctl policy set {key}")).into());
    }
    let assignments: Vec<String> = args.keys.iter().map(|key| format!("{key}=unset")).collect();
    assign(&assignments, &args.change, session).await
}

async fn assign(typed: &[String], change: &ChangeArgs, session: &mut Session) -> Ended {
    let request = change.request(assignments(typed)?)?;
    let hosts = session.hosts()?;
    make(request, &hosts, change.intent(), session).await
}
