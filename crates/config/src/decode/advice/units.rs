//! Times, sizes, shares and rates in a foreign notation, or without a unit.

use crate::ranges::{self, Zero};
use crate::speeds::Pace;
use crate::tree::Value;
use crate::units::{LONGEST_TIME, Per, Percent, Rate, Size, Time};
use crate::words::{NEVER, squash};

/// weir's notation for the time that was meant.
pub(super) fn time(section: &str, key: &str, value: &Value) -> String {
    let range = ranges::times(section, key);
    let number = number(value);
    if number.as_ref().is_some_and(|number| number.value == 0.0 && number.zero_whatever_unit()) {
        return match range.zero {
            Zero::Refused => NO_NEVER.to_owned(),
            Zero::AtOnce | Zero::Never => "write `0s`".to_owned(),
        };
    }
    if is_never(value) {
        return match range.zero {
            Zero::Never => "write `0s`".to_owned(),
            Zero::AtOnce if matches!(value, Value::Text { text, .. } if matches!(&*squash(text), "no" | "off" | "none")) => {
                "write `0s`".to_owned()
            }
            Zero::AtOnce | Zero::Refused => NO_NEVER.to_owned(),
        };
    }
    let written = |time: Time| range.contains(time).then(|| time.to_string());
    let such_as = |times: Vec<String>| match times.as_slice() {
        [] => format!("from `{}` to `{}`", range.least, range.most),
        [one] => format!("write `{one}`"),
        [first, second] => format!("with its unit: `{first}` or `{second}`"),
        [first, second, third, ..] => format!("with its unit: `{first}`, `{second}` or `{third}`"),
    };
    match (number, value) {
        (Some(number), _) if number.unit.is_empty() => {
            let units = [("s", 1_000.0), ("ms", 1.0), ("m", 60_000.0)];
            let times = units.iter().filter_map(|(unit, millis)| {
                // A time that would have to be rounded was not meant.
                let time =
                    millis_of(number.value * millis).filter(|_| (number.value * millis).fract() == 0.0)?;
                let whole = number.value.fract() == 0.0;
                range
                    .contains(time)
                    .then(|| if whole { format!("{}{unit}", number.value) } else { time.to_string() })
            });
            such_as(times.collect())
        }
        (_, Value::Text { text, .. }) => match spelt_time(text) {
            Some(time) if time.0 > LONGEST_TIME || time > range.most => format!("at most `{}`", range.most),
            Some(time) => such_as(written(time).into_iter().collect()),
            None => format!("a whole number and ms, s, m, h or d: such as `{}`", example_time(section, key)),
        },
        _ => format!("a whole number and ms, s, m, h or d: such as `{}`", example_time(section, key)),
    }
}

/// weir's notation for the size that was meant.
pub(super) fn size(section: &str, key: &str, value: &Value) -> String {
    let (least, most) = ranges::sizes(section, key);
    let fits = |bytes: f64| {
        let bytes = whole(bytes)?;
        let size = Size(bytes);
        (least <= size && size <= most).then_some(size)
    };
    let range = || match most.0 {
        // As much as a size can be.
        LARGEST => format!("at least `{least}`"),
        _ => format!("from `{least}` to `{most}`"),
    };
    let Some(number) = number(value) else {
        return "a whole number and B, KiB, MiB or GiB; such as `16KiB`".to_owned();
    };
    let unit = number.unit.to_lowercase();
    let factor = match unit.trim_start_matches([' ', '_']) {
        "" => {
            let sizes = [1.0, 1024.0]
                .iter()
                .filter_map(|factor| fits(number.value * factor))
                .map(|size| size.to_string());
            let sizes: Vec<String> = sizes.collect();
            return match sizes.as_slice() {
                [one] => format!("write `{one}`"),
                [first, second, ..] => format!("with its unit: `{first}` or `{second}`"),
                [] => range(),
            };
        }
        "b" | "byte" | "bytes" => 1.0,
        "k" | "kb" | "ki" | "kib" => 1024.0,
        "m" | "mb" | "mi" | "mib" => 1024.0 * 1024.0,
        "g" | "gb" | "gi" | "gib" => 1024.0 * 1024.0 * 1024.0,
        _ => return "a whole number and B, KiB, MiB or GiB; such as `16KiB`".to_owned(),
    };
    fits(number.value * factor).map_or_else(range, |size| format!("write `{size}`"))
}

/// weir's notation for the bytes a second that were meant.
pub(super) fn speed(section: &str, key: &str, value: &Value) -> String {
    const TIMES: [&str; 6] = ["/s", "/sec", "/second", "ps", " per second", "/m"];
    let size_alone = match value {
        Value::Text { text, substituted } => {
            let text = text.trim();
            let size = TIMES.iter().find_map(|time| text.strip_suffix(time)).unwrap_or(text);
            &Value::Text { text: size.trim_end().to_owned(), substituted: *substituted }
        }
        other => other,
    };
    // A size alone is told with its time.
    size(section, key, size_alone).replace("B`", "B/s`").replace("MiB or GiB;", "MiB or GiB, and /s;")
}

/// weir's notation for the share within a time that was meant.
pub(super) fn pace(value: &Value) -> String {
    const EXAMPLE: &str = "a whole number of percent, and /s, /m or /h: such as `1%/m`";
    let Some(number) = number(value).filter(|number| number.value.fract() == 0.0) else {
        return EXAMPLE.to_owned();
    };
    let per = match &*squash(number.unit.trim_start_matches([' ', '%'])) {
        "s" | "sec" | "second" => Per::Second,
        "" | "m" | "min" | "minute" => Per::Minute,
        "h" | "hour" => Per::Hour,
        _ => return EXAMPLE.to_owned(),
    };
    let share =
        whole(number.value).and_then(|share| u32::try_from(share).ok()).filter(|s| (1..=100).contains(s));
    share.map_or_else(
        || EXAMPLE.to_owned(),
        |share| format!("write `{}`", Pace { share: Percent(share), per }),
    )
}

/// weir's notation for the share that was meant.
pub(super) fn share(key: &str, value: &Value) -> String {
    let (least, most) = ranges::shares(key);
    let example = if least.0 >= 100 { "125%" } else { "50%" };
    let Some(number) = number(value) else {
        return format!("a whole number of percent, such as `{example}`");
    };
    let percent = match number.unit.trim_start().to_lowercase().as_str() {
        "%" | "percent" | "pct" | "per cent" => number.value.round(),
        // Other programs write a fraction of one; they do so above 1 too, for keys whose least value is 100
        // %.
        "" if number.value.fract() != 0.0 || least.0 >= 100 && number.value < 10.0 => {
            (number.value * 100.0).round()
        }
        "" => number.value,
        _ => return format!("a whole number of percent, such as `{example}`"),
    };
    let share = whole(percent).and_then(|percent| u32::try_from(percent).ok()).map(Percent);
    match share.filter(|share| least <= *share && *share <= most) {
        Some(share) => format!("write `{share}`"),
        None if most.0 == u32::MAX => format!("at least `{least}`, such as `{example}`"),
        None => format!("from `{least}` to `{most}`"),
    }
}

/// weir's notation for the rate that was meant.
pub(super) fn rate(value: &Value) -> String {
    const EXAMPLE: &str = "a whole number and /s, /m or /h, such as `100/s`";
    let Some(number) = number(value) else { return EXAMPLE.to_owned() };
    let count =
        |value: f64| whole(value).and_then(|count| u32::try_from(count).ok()).filter(|count| *count > 0);
    let rate = |value: f64, per| count(value).map(|count| Rate { count, per });
    let word = squash(&number.unit);
    let per = match &*word {
        "" if number.unit.is_empty() && number.value.fract() == 0.0 => {
            return match rate(number.value, Per::Second).zip(rate(number.value, Per::Minute)) {
                Some((second, minute)) => format!("with its unit: `{second}` or `{minute}`"),
                None => EXAMPLE.to_owned(),
            };
        }
        "s" | "sec" | "second" | "persecond" | "rps" | "rs" | "reqs" => Per::Second,
        "m" | "min" | "minute" | "perminute" | "rpm" | "rm" => Per::Minute,
        "h" | "hour" | "hr" | "perhour" | "rh" => Per::Hour,
        _ => return EXAMPLE.to_owned(),
    };
    // Less than one a second is some a minute.
    let finer = match per {
        Per::Second => Some((number.value * 60.0, Per::Minute)),
        Per::Minute => Some((number.value * 60.0, Per::Hour)),
        Per::Hour => None,
    };
    let as_written = (number.value, per);
    let fitting = [Some(as_written), finer].into_iter().flatten().find(|(value, _)| value.fract() == 0.0);
    match fitting.and_then(|(value, per)| rate(value, per)) {
        Some(rate) => format!("write `{rate}`"),
        None => EXAMPLE.to_owned(),
    }
}

/// A number, and the text after it.
struct Number {
    value: f64,
    unit: String,
}

impl Number {
    /// `0`, `0.0`, `"0"`: no time at all, whatever the unit.
    fn zero_whatever_unit(&self) -> bool {
        self.unit.is_empty()
    }
}

fn number(value: &Value) -> Option<Number> {
    let bare = |value: f64| Some(Number { value, unit: String::new() });
    match value {
        Value::Unsigned(value) => bare(f64_of(*value)?),
        Value::Float(value) if value.is_finite() && *value >= 0.0 => bare(*value),
        Value::Text { text, substituted: false } => {
            let text = text.trim();
            let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
            let (digits, unit) = text.split_at(end);
            let value = digits.parse().ok().filter(|value: &f64| value.is_finite())?;
            Some(Number { value, unit: unit.to_owned() })
        }
        _ => None,
    }
}

/// Converts exactly; `None` for numbers that are too large for a time, size or share.
fn f64_of(value: u64) -> Option<f64> {
    u32::try_from(value).ok().map(f64::from)
}

fn is_never(value: &Value) -> bool {
    match value {
        Value::Text { text, .. } => NEVER.contains(&&*squash(text)),
        Value::Float(value) => value.is_infinite(),
        Value::Signed(_) => true,
        Value::Bool(value) => !value,
        _ => false,
    }
}

/// A whole number of units from a product of small ones.
fn whole(value: f64) -> Option<u64> {
    // Goes through text, because a float has no checked conversion.
    let rounded = value.round();
    (rounded.is_finite() && rounded >= 0.0).then(|| format!("{rounded:.0}").parse().ok()).flatten()
}

fn millis_of(millis: f64) -> Option<Time> {
    whole(millis).filter(|millis| *millis <= 1 << 52).map(Time::from_millis)
}

/// Reads `1h30m`, `1.5s`, `5 seconds`, `10min`, `2w`; the parts of one time added up.
fn spelt_time(text: &str) -> Option<Time> {
    let mut millis = 0.0;
    let mut rest = text.trim();
    let mut parts = 0;
    while !rest.is_empty() && parts < MOST_PARTS {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (digits, behind) = rest.split_at(end);
        let value: f64 = digits.parse().ok()?;
        let behind = behind.trim_start();
        let end = behind.find(|c: char| c.is_ascii_digit()).unwrap_or(behind.len());
        let (unit, behind) = behind.split_at(end);
        millis += value * millis_in(unit.trim())?;
        rest = behind;
        parts += 1;
    }
    let time = (parts > 0 && rest.is_empty()).then(|| millis_of(millis.ceil()))?;
    time.filter(|time| !time.0.is_zero())
}

fn millis_in(unit: &str) -> Option<f64> {
    // `M` could mean anything from a minute to a month, so it has no meaning here.
    Some(match (unit, unit.to_lowercase().as_str()) {
        ("M", _) => return None,
        (_, "us" | "µs" | "usec" | "microseconds") => 0.001,
        (_, "ms" | "msec" | "msecs" | "millis" | "millisecond" | "milliseconds") => 1.0,
        (_, "s" | "sec" | "secs" | "second" | "seconds") => 1_000.0,
        (_, "m" | "min" | "mins" | "minute" | "minutes") => 60_000.0,
        (_, "h" | "hr" | "hrs" | "hour" | "hours") => 3_600_000.0,
        (_, "d" | "day" | "days") => 86_400_000.0,
        (_, "w" | "week" | "weeks") => 7.0 * 86_400_000.0,
        (_, "y" | "year" | "years") => 365.0 * 86_400_000.0,
        _ => return None,
    })
}

fn example_time(section: &str, key: &str) -> Time {
    let five = Time::from_secs(5);
    let range = ranges::times(section, key);
    if range.contains(five) { five } else { range.least }
}

/// Parts of a time such as `1d2h3m4s`.
const MOST_PARTS: usize = 6;
/// The largest size that can be written.
const LARGEST: u64 = i64::MAX.unsigned_abs();
const NO_NEVER: &str = "there is no `never` here; a long time, such as `1d`, is close";
