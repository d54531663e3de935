//! Dates for people.

use x509_parser::time::ASN1Time;

/// Seconds since 1970 as a readable date; the bare number if no calendar has that date.
pub(crate) fn date(seconds: i64) -> String {
    ASN1Time::from_timestamp(seconds).map_or_else(|_| seconds.to_string(), |time| time.to_string())
}
