use super::*;

fn read(text: &str) -> Result<Loaded, Rejected> {
    let variable = |name: &str| (name == "WORKERS").then(|| "4".to_owned());
    parse("weir.yaml", Path::new("."), text.as_bytes().to_vec(), &variable)
}

/// Everything found by loading alone, as (line, column, message, hint).
fn found(text: &str) -> Vec<(usize, usize, String, String)> {
    let errors = match read(text) {
        Ok(loaded) => loaded.report().finish().errors,
        Err(rejected) => rejected.0,
    };
    errors.into_iter().map(|d| (d.line, d.column, d.message, d.hint.unwrap_or_default())).collect()
}

#[test]
fn demo() {
    let text = r#"
x-common: &common {mode: passthrough, peek: 3}
runtime: {workers: "${WORKERS}", affinity: true}
log:
  levle: info
admin: 5
listeners:
  - name: edge
    address: ":443"
    <<: *common
    timeouts: {idle: 5, connect: 3x}
    mode: passthru
    limits:
      client_hello: 16
    limits: {}
    default_pool: ${POOL}
  - web
pools:
  - name: 7
    backends: ["10.0.0.1:80", {addres: 1, backup: true}, 4]
    balance: round_robbin
    tls: {min_version: 1.3}
"#;
    for d in read(text).unwrap().report().finish().errors {
        println!("{}\n", d.render());
    }
}
