//! The alerts of docs/metrics.md are rules that Prometheus takes, on metrics that weir has; each fires when it should, and
//! only then.

use std::path::Path;
use std::time::Duration;
use tokio::process::Command;
use weir_tests::program::run;

fn page() -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    std::fs::read_to_string(root.join("docs/metrics.md")).unwrap()
}

fn rules() -> String {
    let page = page();
    let (_, rest) = page.split_once("```prometheus\n").expect("the page has rules");
    rest.split("```").next().unwrap().to_owned()
}

async fn promtool(folder: &Path, arguments: &[&str]) -> String {
    let mut promtool = Command::new("promtool");
    promtool.args(arguments).current_dir(folder);
    let said = run(promtool, b"", Duration::from_secs(60)).await;
    assert_eq!(said.code, Some(0), "{}", said.both());
    said.both()
}

/// An hour of a counter that grows by `step` each minute.
fn growing(series: &str, step: u32) -> String {
    format!("      - {{series: '{series}', values: '0+{step}x60'}}\n")
}

/// A test in which these alerts fire after half an hour, each with these labels, and no others do.
fn test(series: &[String], firing: &[(&str, &str)]) -> String {
    let names = rules();
    let names = names.lines().filter_map(|line| line.trim_start().strip_prefix("- alert: "));
    let names: Vec<_> = names.map(|rest| rest.split_whitespace().next().unwrap().to_owned()).collect();
    assert!(names.len() >= 7 && firing.iter().all(|(name, _)| names.iter().any(|known| known == name)));
    let mut text = format!("  - interval: 1m\n    input_series:\n{}    alert_rule_test:\n", series.concat());
    for name in names {
        text += &format!("      - eval_time: 30m\n        alertname: {name}\n        exp_alerts:\n");
        for (_, labels) in firing.iter().filter(|(fires, _)| *fires == name) {
            text += &format!("          - exp_labels: {{{labels}}}\n");
        }
    }
    text.replace("exp_alerts:\n      -", "exp_alerts: []\n      -")
}

#[tokio::test]
async fn each_when_it_should() {
    let folder = tempfile::tempdir().unwrap();
    // The texts for people are no matter of this test.
    let lines: Vec<_> =
        rules().lines().filter(|line| !line.contains("annotations:")).map(str::to_owned).collect();
    std::fs::write(folder.path().join("rules.yml"), lines.join("\n")).unwrap();
    promtool(folder.path(), &["check", "rules", "rules.yml"]).await;

    let requests = |pool: &str, code: &str, step| {
        let labels = format!("listener=\"www\",pool=\"{pool}\",method=\"GET\",code=\"{code}\"");
        growing(&format!("weir_http_requests_total{{{labels}}}"), step)
    };
    let took = |pool: &str, le: &str, step| {
        let labels = format!("listener=\"www\",pool=\"{pool}\",le=\"{le}\"");
        growing(&format!("weir_http_request_duration_seconds_bucket{{{labels}}}"), step)
    };
    let limited = |reason: &str, step| {
        growing(&format!("weir_limited_total{{listener=\"www\",reason=\"{reason}\"}}"), step)
    };
    let stuck = |result: &str, step| {
        growing(&format!("weir_http_sticky_total{{pool=\"web\",result=\"{result}\"}}"), step)
    };
    let quiet = [
        requests("web", "200", 1000),
        requests("web", "502", 10),
        requests("", "404", 100),
        took("web", "1", 1000),
        took("web", "10", 1005),
        took("web", "+Inf", 1005),
        // Answers of weir itself, such as long redirects, are in no pool.
        took("", "1", 0),
        took("", "10", 100),
        took("", "+Inf", 100),
        limited("request_rate", 60),
        limited("h2_resets", 6),
        stuck("hit", 1000),
        stuck("moved", 10),
        growing("weir_rate_limit_forgotten_total", 0),
    ];
    let of_web = "listener: www, pool: web";
    let loud = [
        requests("web", "200", 1000),
        requests("web", "none", 100),
        requests("", "421", 900),
        took("web", "1", 900),
        took("web", "10", 1000),
        took("web", "+Inf", 1000),
        limited("request_rate", 1200),
        limited("h2_resets", 120),
        stuck("hit", 100),
        stuck("invalid", 100),
        growing("weir_rate_limit_forgotten_total", 1),
    ];
    let fires = [
        ("WeirRequestsFail", of_web),
        ("WeirRequestsAreSlow", of_web),
        ("WeirRefusesRequests", "listener: www"),
        ("WeirClientsFloodHttp2", "listener: www"),
        ("WeirFindsNoRoute", "listener: www"),
        ("WeirClientsLoseTheirBackend", "pool: web"),
        ("WeirForgetsRates", ""),
    ];
    let tests = format!(
        "rule_files: [rules.yml]\nevaluation_interval: 1m\ntests:\n{}{}",
        test(&quiet, &[]),
        test(&loud, &fires)
    );
    std::fs::write(folder.path().join("tests.yml"), tests).unwrap();
    promtool(folder.path(), &["test", "rules", "tests.yml"]).await;
}

#[test]
fn on_metrics_that_weir_has() {
    let (page, rules) = (page(), rules());
    let is_name = |byte: char| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == '_';
    let mut seen = 0;
    for name in rules.split(|byte| !is_name(byte)).filter(|word| word.starts_with("weir_")) {
        // A test of weir-metrics compares the tables with the program.
        let family = name.strip_suffix("_bucket").unwrap_or(name);
        assert!(page.contains(&format!("\n| `{family}` | ")), "{name} is in no table");
        seen += 1;
    }
    assert!(seen >= 10, "only {seen} names were found: are the rules still written in this way?");
}
