//! `memctl history`: how VMs or hosts fared over time, as a table or a plot.

use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::time::Duration;

use agentd_proto::v1;
use clap::{ArgGroup, Args};
use clap_complete::ArgValueCompleter;
use jiff::Timestamp;

use super::{Ended, Stop, exit_of};
use crate::client::Connection;
use crate::completers;
use crate::dto::{History, Item};
use crate::failure::{Code, Failure};
use crate::fleet::ask_all;
use crate::moment::Moment;
use crate::quantity::parse_positive_duration;
use crate::render::history::HistoryBody;
use crate::render::plot::{self, Canvas};
use crate::session::Session;

/// Options of `memctl history`.
#[derive(Args, Debug)]
#[command(group = ArgGroup::new("what").required(true).multiple(false).args(["vms", "all"]))]
pub(crate) struct HistoryArgs {
    /// VMs, by name or UUID.
    #[arg(value_name = "VM", add = ArgValueCompleter::new(completers::vm_names))]
    vms: Vec<String>,
    /// The host as a whole; machine formats and plots tell every VM beside it.
    #[arg(long)]
    all: bool,
    /// Beginning: so long ago (24h), a time of day (14:05), or a date and time.
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = Moment::parse)]
    since: Moment,
    /// End, as --since; now if not given.
    #[arg(long, value_name = "TIME", value_parser = Moment::parse)]
    until: Option<Moment>,
    /// Length of a step, 1s to 24h; what fits a screen if not given.
    #[arg(long, value_name = "TIME", value_parser = parse_positive_duration)]
    step: Option<Duration>,
    /// Draw it instead: into this SVG file, or with "-" as text.
    #[arg(long, value_name = "FILE.svg|-")]
    plot: Option<PathBuf>,
}

/// Asks every host, and shows or draws what it says.
pub(crate) async fn run(args: &HistoryArgs, session: &mut Session) -> Ended {
    let hosts = session.hosts()?;
    let request = request(args, session)?;
    let answers = ask_all(&hosts, session.bounds(), move |c| list(c, request.clone())).await;
    let mut items = Vec::with_capacity(answers.len());
    for answer in answers {
        items.push(match answer.result {
            Ok(pages) => {
                let mut history = History::default();
                pages.into_iter().for_each(|page| history.add(&answer.host, page));
                let named = !args.vms.is_empty();
                match history.points.iter().any(|point| !named || !point.vms.is_empty()) {
                    true => {
                        let body = HistoryBody { history, of_vms: named };
                        Item::answered(&answer.host, body)
                    }
                    false => Item::failed(&answer.host, nothing(args, &history)),
                }
            }
            Err(error) => Item::failed(&answer.host, error),
        });
    }
    if items.iter().any(|item| item.ok) {
        // Of several hosts, those that do not know the VM are left out.
        items.retain(|item| item.error.as_ref().is_none_or(|e| e.code != Code::NotFound));
    }
    match &args.plot {
        Some(file) => draw(file, &items, session)?,
        None => session.output.show(&mut items)?,
    }
    Ok(exit_of(&items))
}

fn request(args: &HistoryArgs, session: &Session) -> Result<v1::ListHistoryRequest, Failure> {
    let (now, zone) = (Timestamp::now(), &session.output.view.zone);
    let start = args.since.at(now, zone)?;
    let end = args.until.as_ref().map(|until| until.at(now, zone)).transpose()?;
    if end.unwrap_or(now) <= start {
        return Err(Failure::usage("--since must be before --until, or before now"));
    }
    let step = args.step.map(prost_types::Duration::try_from).transpose();
    Ok(v1::ListHistoryRequest {
        start_time: Some(wire(start)),
        end_time: end.map(wire),
        step: step.map_err(|error| Failure::usage(format!("--step: {error}")))?,
        max_points: match args.plot {
            Some(_) => PLOTTED,
            None => LISTED,
        },
        vms: args.vms.clone(),
        host_only: args.all && args.plot.is_none() && !session.output.is_for_programs(),
        changes: true,
        ..v1::ListHistoryRequest::default()
    })
}

/// All pages of one host.
async fn list(
    connection: Connection,
    mut request: v1::ListHistoryRequest,
) -> Result<Vec<v1::ListHistoryResponse>, Failure> {
    let mut pages: Vec<v1::ListHistoryResponse> = Vec::new();
    for _ in 0..MOST_PAGES {
        let answer = connection.histories().list_history(request.clone()).await;
        let page = answer.map_err(|status| Failure::from_status(&status))?.into_inner();
        request.page_token.clone_from(&page.next_page_token);
        // The pages that follow are of the same stretch of time, whatever is recorded meanwhile.
        request.end_time = page.end_time.or(request.end_time);
        request.step = page.step.or(request.step);
        pages.push(page);
        if request.page_token.is_empty() {
            return Ok(pages);
        }
    }
    let what = "the history is longer than memctl holds";
    Err(Failure::new(Code::OutOfRange, "TOO_LONG", what)
        .hint("ask for less of it with --since and --until, or for longer steps with --step"))
}

fn nothing(args: &HistoryArgs, history: &History) -> Failure {
    let what = match args.vms.as_slice() {
        [] => "nothing was recorded in that time".to_owned(),
        vms => format!("no VM called {} was recorded in that time", vms.join(", ")),
    };
    let hint = match history.oldest_time {
        Some(oldest) => format!("the history begins at {}", oldest.0),
        None => "the history is empty".to_owned(),
    };
    Failure::new(Code::NotFound, "NOTHING_RECORDED", what).hint(hint)
}

fn draw(
    file: &std::path::Path,
    items: &[Item<HistoryBody>],
    session: &Session,
) -> Result<(), Stop> {
    let drawn = items.iter().filter_map(|item| Some((&*item.host, item.body.as_ref()?)));
    let charts = plot::charts(drawn, &session.output.view);
    for (host, error) in items.iter().filter_map(|i| Some((&i.host, i.error.as_ref()?))) {
        session.output.host_failed(host, error)?;
    }
    if charts.is_empty() {
        return Ok(());
    }
    if file.as_os_str() == "-" {
        let canvas = Canvas::of_environment(std::io::stdout().is_terminal(), &session.output.view);
        return Ok(session.output.data(&plot::text(&charts, &canvas, &session.output.view))?);
    }
    std::fs::write(file, plot::svg(&charts, &session.output.view)).map_err(|error| {
        let what = format!("cannot write {}: {error}", file.display());
        Failure::new(Code::Unknown, "PLOT", what)
    })?;
    Ok(session.output.notice(&format!("drawn into {}", file.display()))?)
}

/// A time as the wire has it.
pub(super) fn wire(time: Timestamp) -> prost_types::Timestamp {
    prost_types::Timestamp { seconds: time.as_second(), nanos: time.subsec_nanosecond() }
}

/// Steps at most, unless --step says otherwise: what is read, and what is looked at.
const LISTED: i32 = 100;
const PLOTTED: i32 = 1000;
/// Pages of one host at most.
const MOST_PAGES: usize = 2000;
