//! Prometheus text (exposition format 0.0.4), read strictly: what is not as the format says is a failure.

use std::collections::{BTreeMap, BTreeSet};

/// Samples by name and labels.
#[derive(Debug, Default)]
pub struct Exposition {
    samples: BTreeMap<(String, BTreeMap<String, String>), f64>,
    /// Name and type of each family.
    families: BTreeMap<String, String>,
}

impl Exposition {
    pub fn parse(text: &str) -> Exposition {
        let mut found = Exposition::default();
        let (mut help, mut family) = (None, None);
        assert!(text.ends_with('\n'), "the last line has no end");
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                let (name, words) = rest.split_once(' ').expect(line);
                assert!(is_name(name) && !words.is_empty(), "{line}");
                assert!(help.replace(name.to_owned()).is_none(), "{line}: two in a row");
            } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').expect(line);
                assert_eq!(help.take().as_deref(), Some(name), "{line}: no help before it");
                assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
                assert_eq!(name.ends_with("_total"), kind == "counter", "{line}");
                let twice = found.families.insert(name.to_owned(), kind.to_owned());
                assert!(twice.is_none(), "{line}: the family is not in one piece");
                family = Some((name.to_owned(), kind.to_owned()));
            } else {
                let (name, kind) = family.as_ref().expect("a sample before its type");
                found.sample(name, kind, line);
            }
        }
        assert_eq!(help, None);
        found.check_histograms();
        found
    }

    fn sample(&mut self, family: &str, kind: &str, line: &str) {
        let (name, rest) = line.split_once('{').expect(line);
        let suffix = name.strip_prefix(family).expect(line);
        let suffixes: &[&str] = if kind == "histogram" { &["_bucket", "_sum", "_count"] } else { &[""] };
        assert!(suffixes.contains(&suffix), "{line}: not of family {family}");
        let (labels, value) = labels(rest);
        assert_eq!(labels.contains_key("le"), suffix == "_bucket", "{line}");
        let value: f64 = value.strip_prefix(' ').and_then(|value| value.parse().ok()).expect(line);
        assert!(value.is_finite() && value >= 0.0, "{line}");
        let twice = self.samples.insert((name.to_owned(), labels), value);
        assert!(twice.is_none(), "{line}: a sample appears twice");
    }

    fn check_histograms(&self) {
        for (family, _) in self.families.iter().filter(|(_, kind)| *kind == "histogram") {
            let counts = self.samples.iter().filter(|((name, _), _)| *name == format!("{family}_count"));
            for ((_, labels), count) in counts {
                let buckets = self.samples.iter().filter(|((name, of), _)| {
                    let rest = of.iter().filter(|label| label.0 != "le");
                    *name == format!("{family}_bucket") && rest.eq(labels.iter())
                });
                let bound = |of: &BTreeMap<String, String>| of["le"].replace("+Inf", "inf").parse::<f64>();
                let mut buckets: Vec<_> =
                    buckets.map(|((_, of), value)| (bound(of).expect("a bound"), *value)).collect();
                buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
                assert!(buckets.is_sorted_by(|a, b| a.1 <= b.1), "{family}: {buckets:?}");
                assert_eq!(buckets.last(), Some(&(f64::INFINITY, *count)), "{family}");
            }
        }
    }

    /// The sum of all samples of this name that have these labels.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let mut fitting = self.fitting(name, labels).peekable();
        assert!(fitting.peek().is_some(), "no sample {name} {labels:?}");
        fitting.map(|(_, value)| value).sum()
    }

    /// The different values of a label of this name.
    pub fn values(&self, name: &str, label: &str) -> BTreeSet<String> {
        self.fitting(name, &[]).map(|(labels, _)| labels[label].clone()).collect()
    }

    fn fitting<'a>(
        &'a self,
        name: &'a str,
        wanted: &'a [(&'a str, &'a str)],
    ) -> impl Iterator<Item = (&'a BTreeMap<String, String>, f64)> {
        let fits = |labels: &BTreeMap<String, String>| {
            wanted.iter().all(|(label, value)| labels.get(*label).is_some_and(|is| is == value))
        };
        let named = self.samples.iter().filter(move |((is, _), _)| is == name);
        named.filter(move |((_, labels), _)| fits(labels)).map(|((_, labels), value)| (labels, *value))
    }
}

/// Labels up to the closing brace, and what is behind it.
fn labels(text: &str) -> (BTreeMap<String, String>, &str) {
    let mut found = BTreeMap::new();
    let mut rest = text;
    loop {
        let (name, value) = rest.split_once("=\"").expect(text);
        assert!(is_name(name) && !name.contains(':'), "{text}");
        let (value, behind) = quoted(value);
        assert!(found.insert(name.to_owned(), value).is_none(), "{text}: a label appears twice");
        match behind.strip_prefix(',') {
            Some(more) => rest = more,
            None => return (found, behind.strip_prefix('}').expect(text)),
        }
    }
}

/// The value up to the closing quote, and what is behind it.
fn quoted(text: &str) -> (String, &str) {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return (value, &text[at + 1..]),
            '\\' => match chars.next().map(|(_, c)| c) {
                Some('n') => value.push('\n'),
                Some(c @ ('\\' | '"')) => value.push(c),
                other => panic!("{text}: \\{other:?}"),
            },
            c => value.push(c),
        }
    }
    panic!("{text}: no closing quote");
}

fn is_name(text: &str) -> bool {
    !text.is_empty()
        && !text.starts_with(|c: char| c.is_ascii_digit())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == ':')
}
