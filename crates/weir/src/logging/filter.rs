//! Selects the lines that are written.

use anyhow::{Context, Result};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;
use weir_core::plan::Log;

/// The filter of a configuration.
///
/// A level alone in `log.level` is that of weir's own lines. Libraries are silent unless `log.level` names them: a
/// stranger can make them warn (rustls about a name that is an IP address, the DNS library about forged answers), and
/// weir itself logs all that its operator must know.
///
/// # Errors
/// When `log.level` is no level and no filter.
pub(super) fn of(log: &Log) -> Result<EnvFilter> {
    EnvFilter::try_new(directives(&log.level)).with_context(|| format!("log.level: {:?}", log.level))
}

fn directives(level: &str) -> String {
    // The last of two directives for one target counts.
    let mut all = vec!["off".to_owned(), format!("{OWN}=error")];
    for part in level.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        match part.parse::<LevelFilter>() {
            Ok(level) => all.push(format!("{OWN}={level}")),
            Err(_no_level) => all.push(part.to_owned()),
        }
    }
    all.join(",")
}

/// What the targets of all of weir's own lines begin with: they are its crates' names.
const OWN: &str = "weir";

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};
    use tracing::subscriber::with_default;
    use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
    use tracing_subscriber::registry;
    use weir_core::plan::{LogFormat, Recording};

    /// Keeps `target level` of each event.
    #[derive(Clone, Default)]
    struct Seen(Arc<Mutex<Vec<String>>>);

    impl<S: tracing::Subscriber> Layer<S> for Seen {
        fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
            let of = event.metadata();
            self.0.lock().unwrap().push(format!("{} {}", of.target(), of.level()));
        }
    }

    /// What such a level lets through of a warning and a debug line of each of these.
    fn seen(level: &str) -> String {
        let seen = Seen::default();
        let (level, access, access_file) = (level.to_owned(), Recording::default(), None);
        let log = Log { level, format: LogFormat::Json, access, access_file };
        with_default(registry().with(of(&log).unwrap()).with(seen.clone()), || {
            tracing::warn!(target: "weir::run", "");
            tracing::debug!(target: "weir_router::conn", "");
            tracing::warn!(target: "rustls::msgs::handshake", "");
            tracing::error!(target: "hickory_net::udp", "");
            tracing::debug!(target: "rustls::conn", "");
            tracing::warn!(target: "hyper::proto", "");
        });
        seen.0.lock().unwrap().join(", ")
    }

    #[test]
    fn libraries_say_nothing_unless_they_are_named() {
        let own_warning = "weir::run WARN";
        let own = "weir::run WARN, weir_router::conn DEBUG";
        for (level, expected) in [
            ("info", own_warning),
            ("WARN", own_warning),
            ("debug", own),
            ("trace", own),
            ("off", ""),
            ("error", ""),
            ("weir_router=debug", "weir_router::conn DEBUG"),
            ("info, weir_router=debug", own),
            ("weir_router=debug,info", own),
            ("weir=debug", own),
        ] {
            assert_eq!(seen(level), expected, "{level}");
        }
        assert_eq!(
            seen("warn,rustls=debug"),
            "weir::run WARN, rustls::msgs::handshake WARN, rustls::conn DEBUG"
        );
        assert_eq!(seen("off,hyper=warn"), "hyper::proto WARN");
    }
}
