//! The output format of a verb, and lengths of time in its text.

use clap::ValueEnum;

/// The output format of a verb.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum Format {
    /// For people
    Text,
    /// For programs, on stdout
    Json,
}

/// A length of time with its two largest units: `3d 4h`, `5m 10s`.
pub(super) fn spoken(seconds: u64) -> String {
    let units = [(86_400, 'd'), (3_600, 'h'), (60, 'm'), (1, 's')];
    let mut left = seconds;
    let counts = units.map(|(unit, name)| {
        let count = left / unit;
        left %= unit;
        (count, name)
    });
    let said =
        counts.into_iter().skip_while(|(count, _)| *count == 0).take(2).filter(|(count, _)| *count > 0);
    let said: Vec<String> = said.map(|(count, name)| format!("{count}{name}")).collect();
    if said.is_empty() { "0s".to_owned() } else { said.join(" ") }
}
