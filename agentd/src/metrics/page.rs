//! [`Page`]: everything that one scrape tells, as a value, and its text in either form.

use std::{borrow::Cow, fmt, sync::Arc};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet, prometheus_text, text},
    registry::Registry,
};

use super::catalogue::{Metric, PREFIX};
use crate::publish::Spread;

/// Everything that one scrape tells.
#[derive(Clone, Debug, Default)]
pub(super) struct Page {
    families: Vec<Family>,
}

/// All series of one metric.
#[derive(Clone, Debug)]
struct Family {
    metric: &'static Metric,
    series: Vec<(Labels, Value)>,
}

/// Labels of one series, by name. Shared by all series of one VM.
pub(super) type Labels = Arc<[(&'static str, Cow<'static, str>)]>;

/// One value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Value {
    Whole(u64),
    Real(f64),
    Times(Spread),
}

/// The form of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Form {
    /// OpenMetrics 1.0.
    OpenMetrics,
    /// What Prometheus has read since ever, and `promtool check metrics` checks.
    Text,
}

impl Page {
    /// Tells one value of a metric that has no labels; nothing where there is none.
    pub(super) fn tell(&mut self, metric: &'static Metric, value: impl Into<Option<Value>>) {
        self.tell_all(metric, value.into().map(|value| (none(), value)));
    }

    /// Tells every series of a metric. Each metric is told once.
    pub(super) fn tell_all(
        &mut self,
        metric: &'static Metric,
        series: impl IntoIterator<Item = (Labels, Value)>,
    ) {
        let series: Vec<_> = series.into_iter().collect();
        if !series.is_empty() {
            self.families.push(Family { metric, series });
        }
    }

    /// The text of the page.
    pub(super) fn text(self, form: Form) -> Result<String, fmt::Error> {
        let mut registry = Registry::with_prefix(PREFIX);
        registry.register_collector(Box::new(self));
        let mut text = String::new();
        match form {
            Form::OpenMetrics => text::encode(&mut text, &registry)?,
            Form::Text => prometheus_text::encode(&mut text, &registry)?,
        }
        Ok(text)
    }
}

impl Collector for Page {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        for Family { metric, series } in &self.families {
            let (unit, kind) = (metric.measure.unit(), metric.kind.as_type());
            let mut family = encoder.encode_descriptor(metric.stem, metric.help, unit, kind)?;
            for (labels, value) in series {
                let labels: &[_] = labels;
                value.encode(family.encode_family(&labels)?, metric)?;
            }
        }
        Ok(())
    }
}

impl Value {
    fn encode(self, mut series: MetricEncoder<'_>, metric: &Metric) -> fmt::Result {
        use super::catalogue::Kind;
        match (self, metric.kind) {
            (Self::Whole(value), Kind::Counter) => {
                series.encode_counter::<NoLabelSet, _, f64>(&value, None)
            }
            (Self::Real(value), Kind::Counter) => {
                series.encode_counter::<NoLabelSet, _, f64>(&value, None)
            }
            (Self::Whole(value), _) => series.encode_gauge(&value),
            (Self::Real(value), _) => series.encode_gauge(&value),
            (Self::Times(spread), _) => {
                let buckets: Vec<(f64, u64)> = spread.buckets().collect();
                let sum = spread.sum().as_secs_f64();
                series.encode_histogram::<NoLabelSet>(sum, spread.count(), &buckets, None)
            }
        }
    }
}

impl From<u64> for Value {
    fn from(value: u64) -> Self {
        Self::Whole(value)
    }
}

/// No labels.
pub(super) fn none() -> Labels {
    Arc::new([])
}

/// These labels, in the order in which the metric has them.
pub(super) fn labels<const N: usize>(
    metric: &'static Metric,
    values: [impl Into<Cow<'static, str>>; N],
) -> Labels {
    debug_assert_eq!(metric.labels.len(), N, "{metric:?}");
    let values = values.into_iter().map(Into::into);
    metric.labels.iter().copied().zip(values).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::catalogue;

    fn page() -> Page {
        let mut page = Page::default();
        page.tell_all(
            &catalogue::VM_ACTUAL,
            [(labels(&catalogue::VM_ACTUAL, ["a\"b\\c\nd", "1"]), Value::Whole(512))],
        );
        page.tell(&catalogue::HOST_TOTAL, None);
        let mut times = Spread::default();
        times.add(std::time::Duration::from_millis(2));
        page.tell(&catalogue::TICK_TIME, Value::Times(times));
        page.tell_all(
            &catalogue::TICKS,
            [(labels(&catalogue::TICKS, ["active"]), Value::Whole(3))],
        );
        page
    }

    #[test]
    fn a_name_that_somebody_chose_stays_within_its_label() {
        let text = page().text(Form::Text).unwrap();
        let line = r#"agentd_guest_balloon_actual_bytes{domain="a\"b\\c\nd",uuid="1"} 512"#;
        assert!(text.lines().any(|own| own == line), "{text}");
    }

    #[test]
    fn both_forms_tell_the_same_each_in_its_own_way() {
        let (open, text) =
            (page().text(Form::OpenMetrics).unwrap(), page().text(Form::Text).unwrap());
        assert!(open.ends_with("# EOF\n") && !text.contains("EOF"), "{text}");
        assert!(open.contains("# TYPE agentd_ticks counter\n"), "{open}");
        assert!(text.contains("# TYPE agentd_ticks_total counter\n"), "{text}");
        assert!(open.contains("# UNIT agentd_tick_duration_seconds seconds\n"), "{open}");
        for line in [
            "agentd_ticks_total{outcome=\"active\"} 3",
            "agentd_tick_duration_seconds_count 1",
            "agentd_tick_duration_seconds_bucket{le=\"0.001\"} 0",
            "agentd_tick_duration_seconds_bucket{le=\"0.0025\"} 1",
            "agentd_tick_duration_seconds_bucket{le=\"+Inf\"} 1",
        ] {
            assert!(open.lines().any(|own| own == line), "{line}: {open}");
            assert!(text.lines().any(|own| own == line), "{line}: {text}");
        }
        assert!(!text.contains("host_total"), "what is not known is not told: {text}");
    }
}
