//! The text of `weir certs`: a block for each certificate, because most of what it says is long.

use super::grouped::Shown;
use crate::cli::table::{counted, printable, wrapped};
use weir_admin::api::certificates::Certificate;

/// The certificates for people, in lines of at most `width` characters where their words allow that; `soon` if only those
/// that end soon were asked for.
pub(super) fn report(shown: &[Shown], soon: bool, width: usize) -> String {
    if shown.is_empty() {
        return if soon {
            "no certificate ends within that time, and none has a fault"
        } else {
            "no listener shows a certificate"
        }
        .to_owned();
    }
    let mut parts: Vec<String> = shown.iter().map(|one| block(one, width)).collect();
    let faulty = shown.iter().filter(|one| one.certificate.faults.iter().any(|fault| !fault.note)).count();
    let faults = if faulty == 0 { String::new() } else { format!(", {faulty} with faults") };
    parts.push(format!("{}{faults}", counted(shown.len(), "certificate")));
    parts.join("\n\n")
}

fn block(one: &Shown, width: usize) -> String {
    let certificate = &one.certificate;
    let path = if certificate.path.is_empty() { &certificate.file } else { &certificate.path };
    let mut lines = vec![printable(path)];
    let mut say = |head: &str, text: &str| {
        if text.is_empty() {
            return;
        }
        for (number, line) in wrapped(&printable(text), width.saturating_sub(COLUMN)).into_iter().enumerate()
        {
            let head = if number == 0 { head } else { "" };
            lines.push(format!("  {head:<HEAD$}{line}"));
        }
    };
    say("names", &certificate.names.join(", "));
    say("key", &certificate.key);
    say("issuer", &certificate.issuer);
    say("serial", &certificate.serial);
    say("ends", &ends(certificate));
    say("listeners", &one.listeners.join(", "));
    if !certificate.not_after.is_empty() {
        say("stapled", &stapled(certificate));
    }
    for fault in &certificate.faults {
        say(if fault.note { "note" } else { "FAULT" }, &fault.message);
    }
    lines.join("\n")
}

fn ends(certificate: &Certificate) -> String {
    let day = certificate.not_after.split('T').next().unwrap_or_default();
    match certificate.days_left {
        Some(days) if days < 0 => format!("{day}, expired"),
        Some(days) => format!("{day}, {} left", counted(usize::try_from(days).unwrap_or(usize::MAX), "day")),
        None => day.to_owned(),
    }
}

fn stapled(certificate: &Certificate) -> String {
    match &certificate.ocsp {
        None => "no".to_owned(),
        Some(ocsp) => match &ocsp.next_update {
            Some(end) => format!("yes, until {end}"),
            None => format!("no, the response is {}", ocsp.state),
        },
    }
}

/// The width of what stands in front of a value, and of its head.
const COLUMN: usize = HEAD + 2;
const HEAD: usize = 11;
