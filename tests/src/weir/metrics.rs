//! One scrape of `/metrics`.

use std::collections::BTreeMap;

/// One time series with its value.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// The name, with `_bucket`, `_sum` or `_count` on a histogram's.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// The value.
    pub value: f64,
}

/// The result of one scrape.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    /// In the order of the text.
    pub samples: Vec<Sample>,
    /// The text as it came.
    pub text: String,
}

impl Metrics {
    /// Reads the Prometheus text format.
    ///
    /// # Panics
    /// On a malformed line.
    pub fn parse(text: &str) -> Self {
        let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        Self { samples: lines.map(sample).collect(), text: text.to_owned() }
    }

    /// The sum over all series of `name` that have these labels.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.samples
            .iter()
            .filter(|sample| sample.name == name)
            .filter(|sample| {
                labels.iter().all(|(key, value)| sample.labels.get(*key).is_some_and(|is| is == value))
            })
            .map(|sample| sample.value)
            .sum()
    }

    /// As [`Metrics::sum`], for whole numbers.
    pub fn count(&self, name: &str, labels: &[(&str, &str)]) -> u64 {
        self.sum(name, labels) as u64
    }

    /// Whether any series has this name.
    pub fn has(&self, name: &str) -> bool {
        self.samples.iter().any(|sample| sample.name == name)
    }

    /// The values of one label over all series of `name`.
    pub fn values_of(&self, name: &str, label: &str) -> Vec<String> {
        self.samples
            .iter()
            .filter(|sample| sample.name == name)
            .filter_map(|sample| sample.labels.get(label).cloned())
            .collect()
    }
}

fn sample(line: &str) -> Sample {
    let (series, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("no sample: {line}"));
    let value = value.parse().unwrap_or_else(|_| panic!("no number: {line}"));
    let Some((name, rest)) = series.split_once('{') else {
        return Sample { name: series.to_owned(), labels: BTreeMap::new(), value };
    };
    let mut labels = BTreeMap::new();
    let mut rest = rest.strip_suffix('}').unwrap_or_else(|| panic!("labels without end: {line}"));
    while let Some((key, after)) = rest.split_once("=\"") {
        let (text, after) = quoted(after);
        labels.insert(key.to_owned(), text);
        rest = after.strip_prefix(',').unwrap_or(after);
    }
    Sample { name: name.to_owned(), labels, value }
}

/// The text up to the closing quote, unescaped, and what follows the quote.
fn quoted(text: &str) -> (String, &str) {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, char)) = chars.next() {
        match char {
            '"' => return (value, &text[at + 1..]),
            '\\' => match chars.next() {
                Some((_, 'n')) => value.push('\n'),
                Some((_, escaped)) => value.push(escaped),
                None => break,
            },
            other => value.push(other),
        }
    }
    panic!("a label without a closing quote: {text}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_format_is_read() {
        let text = "# HELP a b\n# TYPE a counter\na{x=\"1\",y=\"q\\\"uo\\\\te\"} 2\na{x=\"2\"} 3.5\nb 1\n";
        let metrics = Metrics::parse(text);
        assert_eq!(metrics.sum("a", &[]), 5.5);
        assert_eq!(metrics.count("a", &[("x", "1")]), 2);
        assert_eq!(metrics.values_of("a", "y"), ["q\"uo\\te"]);
        assert_eq!(metrics.count("b", &[]), 1);
    }
}
