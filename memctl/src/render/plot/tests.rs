//! Plots of fixed data.

use jiff::tz::TimeZone;

use super::*;
use crate::quantity::Units;

pub(crate) fn view(color: bool) -> View {
    View {
        wide: false,
        headers: true,
        color,
        units: Units::Iec,
        zone: TimeZone::UTC,
        many_hosts: false,
        width: None,
    }
}

/// An hour in which demand rises, and of which ten minutes are missing.
pub(crate) fn chart() -> Chart {
    let start = 1_767_323_040;
    let minutes = || (0..60_i64).filter(|minute| !(30..40).contains(minute));
    let line = |kind, of: &dyn Fn(u64) -> u64| Line {
        kind,
        points: minutes().map(|m| (start + m * 60, of(m.unsigned_abs()) << 20)).collect(),
    };
    Chart {
        title: "web1 <script>".to_owned(),
        start,
        end: start + 3600,
        step: 60,
        lines: vec![
            line(Kind::Max, &|_| 2048),
            line(Kind::Min, &|_| 64),
            line(Kind::Target, &|m| 400 + m * 20),
            line(Kind::Actual, &|m| 380 + m * 20),
            line(Kind::Demand, &|m| 200 + m * 20),
        ],
        marks: vec![Mark { time: start + 1800, label: "mode active -> paused & back".to_owned() }],
    }
}

#[test]
fn letters_draw_what_dots_would() {
    let canvas = Canvas { width: 60, height: 12, dots: false };
    let drawn = text(&[chart()], &canvas, &view(false));
    assert!(!drawn.contains('\u{1b}') && drawn.is_ascii(), "{drawn}");
    assert!(drawn.lines().all(|line| line.len() <= 90), "{drawn}");
    for said in
        ["2 GiB +", "0 B +", "03:30", "d demand  a actual  t target", "! 2026-01-02 03:34:00Z"]
    {
        assert!(drawn.contains(said), "{said}: {drawn}");
    }
    // The hole is one.
    assert!(drawn.contains("......        ...."), "{drawn}");
}

#[test]
fn dots_have_colours_and_fit_the_narrowest_terminal() {
    let canvas = Canvas { width: 40, height: 8, dots: true };
    let drawn = text(&[chart()], &canvas, &view(true));
    assert!(drawn.contains("\u{1b}[34m"), "{drawn}");
    assert!(drawn.chars().any(|c| ('\u{2801}'..='\u{28ff}').contains(&c)));
    let plain = drawn.split("\u{1b}[").map(|part| part.split_once('m').map_or(part, |p| p.1));
    let plain: String = plain.collect();
    let widest = plain.lines().skip(1).take(8).map(|line| line.chars().count()).max();
    assert!(widest <= Some(40), "{plain}");
}

#[test]
fn an_svg_is_well_formed_and_says_what_it_shows() {
    let drawn = svg(&[chart(), chart()], &view(false));
    for said in [
        "viewBox=\"0 0 960 ",
        "prefers-color-scheme:dark",
        "web1 &lt;script&gt;",
        ">2 GiB<",
        ">03:20<",
        ">demand<",
        ">actual<",
        ">target<",
        ">min<",
        ">max<",
        "paused &amp; back",
        "a point every 1m0s",
    ] {
        assert!(drawn.contains(said), "{said}");
    }
    assert!(!drawn.contains("<script"));
    let opened = drawn.matches("<g ").count() + drawn.matches("<svg ").count();
    assert_eq!(opened, drawn.matches("</g>").count() + drawn.matches("</svg>").count());
    // A line of the plot breaks where nothing was recorded: two parts, in each of two plots.
    let demand = drawn.lines().filter(|line| line.contains("line demand") && line.contains('L'));
    assert!(demand.clone().count() == 2 && demand.clone().all(|d| d.matches('M').count() == 2));
    assert_eq!(svg(&[], &view(false)).matches("<g ").count(), 0);
}
