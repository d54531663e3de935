use super::*;
use proptest::prelude::*;

fn read(text: &str) -> Result<Loaded, Rejected> {
    let variable = |name: &str| match name {
        "WORKERS" => Some("4".to_owned()),
        "ON" => Some("true".to_owned()),
        "PORT" => Some("8443".to_owned()),
        _ => None,
    };
    parse("weir.yaml", Path::new("."), text.as_bytes().to_vec(), &variable)
}

fn file(text: &str) -> File {
    let loaded = read(text).unwrap();
    assert_eq!(loaded.found.kept, [], "{text}");
    loaded.file
}

/// All findings of loading alone: `line:column message`.
fn found(text: &str) -> Vec<String> {
    let errors = match read(text) {
        Ok(loaded) => loaded.report().finish().errors,
        Err(rejected) => rejected.0,
    };
    errors.into_iter().map(|d| format!("{}:{} {}", d.line, d.column, d.message)).collect()
}

#[test]
fn all_mistakes_of_form_are_found_in_one_go() {
    let text = r#"
x-common: &common {mode: passthrough, peek: 3}
runtime: {workers: "${WORKERS}", max_memory: 1}
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
    tls: {min_version: 1.4}
"#;
    let expected = [
        "2:45 `peek`: expected true or false, found the number 3",
        "3:46 `1` is not a size: a bare number has no unit",
        "5:3 unknown key `levle`",
        "6:8 `admin`: expected a section (keys and values), found the number 5",
        "11:22 `5` is not a duration: a bare number has no unit",
        "11:34 `3x` is not a duration: its unit is unknown",
        "12:11 `passthru` is not a value of this key",
        "14:21 `16` is not a size: a bare number has no unit",
        "15:5 the key `limits` is here twice",
        "16:19 the environment variable `POOL` is not set",
        "17:5 expected a section (keys and values), found the text \"web\"",
        "19:11 `name`: expected text, found the number 7",
        "20:32 unknown key `addres`",
        "20:58 expected a backend: \"10.0.0.11:8080\", or {address: \"10.0.0.11:8080\", …}, found the number 4",
        "21:24 `1.4` is not a value of this key",
    ];
    assert_eq!(found(text), expected);
}

#[test]
fn positions_are_right_in_every_style_of_yaml() {
    for (text, place) in [
        ("nope: 1", "1:1"),
        ("\u{feff}nope: 1", "1:1"),
        ("# é\n\"nope\": 1", "2:1"),
        ("log: {format: text, nope: 1}", "1:21"),
        ("log:\r\n  nope: 1\r\n", "2:3"),
        ("log:\n  level: \"é${X\"\n", "2:10"),
        ("log:\n  level: >-\n    two\n    lines ${X\n", "2:10"),
        ("pools:\n- name: a\n  nope: [1,\n   2]", "3:3"),
        ("pools:\n- {name: é, nope: 1}", "2:13"),
        ("log: &l {level: info}\nx: *l", "2:1"),
        ("pools:\n  - name: a\n    backends:\n    - 10.0.0.1:80\n    -  5", "5:8"),
        ("tls_profiles: []\nlisteners:\n  - {}\n  - nope: 1", "4:5"),
        ("listeners:\n  - name: a\n    routes:\n      - match: {}\n        pol: x", "5:9"),
    ] {
        let found = found(text);
        assert!(
            found.len() == 1 && found[0].starts_with(&format!("{place} ")),
            "{text:?} {place}: {found:?}"
        );
    }
}

#[test]
fn invalid_yaml_has_a_position() {
    for (text, place) in
        [("log: [\n", "2:1"), ("a: b: c", "1:5"), ("a:\n\tb: 1", "2:1"), ("a: *nowhere", "1:4")]
    {
        let found = found(text);
        assert!(
            found.len() == 1 && found[0].starts_with(&format!("{place} not YAML")),
            "{text:?}: {found:?}"
        );
    }
}

#[test]
fn variables_may_be_numbers_and_switches() {
    let text = "runtime: {workers: \"${WORKERS}\"}\nlisteners:\n- peek: ${ON}\n  address: \"[::1]:${PORT}\"\n  limits: {pending: \"${WORKERS}0\"}\n";
    let file = file(text);
    assert_eq!(file.runtime().workers(), crate::schema::Auto::Count(4));
    let listener = &file.listeners.items()[0];
    assert_eq!(listener.peek.get(), Some(&true));
    assert_eq!(listener.address.get().unwrap().iter().collect::<Vec<_>>(), ["[::1]:8443"]);
    assert_eq!(listener.limits().pending(), 40);
    let quoted = "listeners:\n- peek: \"true\"\n  limits: {pending: \"7\"}\npools: [{retries: \"3\"}]\n";
    assert_eq!(found(quoted), [""; 0], "quotes do not change the meaning");
    assert!(found("listeners: [{limits: {pending: \"many\"}}]")[0].contains("`pending`"));
}

#[test]
fn anchors_and_merges_work_and_own_keys_win() {
    let text = "
x-a: &a {idle: 1s, connect: 1s}
x-b: &b {connect: 2s, handshake: 2s}
listeners:
  - timeouts: {<<: [*a, *b], handshake: 3s}
  - timeouts: *b
";
    let file = file(text);
    let first = file.listeners.items()[0].timeouts();
    let times = [&first.idle, &first.connect, &first.handshake].map(|time| time.get().unwrap().to_string());
    assert_eq!(times, ["1s", "1s", "3s"]);
    assert_eq!(file.listeners.items()[1].timeouts().connect().to_string(), "2s");
    assert_eq!(found("log: {<<: 5}"), ["1:7 `<<` takes a section, or a list of sections"]);
}

#[test]
fn null_asks_for_nothing() {
    let file = file("include: null\nadmin:\nlisteners:\n  - {routes: , deny: ~, tls: null}\npools:\n");
    assert!(file.admin.is_none() && file.listeners.items().len() == 1 && file.pools.items().is_empty());
}

#[test]
fn excessive_files_are_refused_early() {
    let over = usize::try_from(LARGEST_FILE).unwrap() + 1;
    assert!(found(&"a".repeat(over))[0].contains("larger than 4 MiB"));
    assert!(found(&"[".repeat(100_000))[0].starts_with("1:65 the file is nested too deep"));
    assert!(found(&format!("a: {}", "{b: ".repeat(65)))[0].contains("nested too deep"));
    assert!(found(&"- ".repeat(100_000))[0].contains("nested too deep"));
    assert!(found(&"# [[[[[[[[[[\n".repeat(100)) == ["0:0 the file is empty"], "a comment is no nesting");
    for end in ["\n", "\r", "\r\n", "\u{85}", "\u{2028}", "\u{2029}"] {
        let directives: String = (0..65).map(|n| format!("%TAG !a{n}! b{end}")).collect();
        let refused = found(&format!("{directives}---\na: 1\n"));
        assert!(refused[0].contains("more than 64 lines that begin with `%`"), "{end:?}: {refused:?}");
    }
    let bomb = "x-a: &a [1,1,1,1,1,1,1,1,1,1]\n".to_owned()
        + &(0..8)
            .map(|n| {
                format!(
                    "y{n}: &{} [{}]\n",
                    n + 1,
                    vec![if n == 0 { "*a".to_owned() } else { format!("*{n}") }; 10].join(",")
                )
            })
            .collect::<String>();
    assert!(found(&bomb).len() == 1, "an alias bomb: {:?}", found(&bomb));
    let bytes = parse("weir.yaml", Path::new("."), b"a: 1\nb: \xff\n".to_vec(), &|_| None).unwrap_err();
    assert!(bytes.0[0].message.contains("not UTF-8") && bytes.0[0].message.contains("line 2"));
}

#[test]
fn missing_files_are_named() {
    let rejected = load(Path::new("/nowhere/weir.yaml")).unwrap_err();
    assert!(
        rejected.to_string().contains("/nowhere/weir.yaml")
            && rejected.to_string().contains("cannot be read")
    );
}

#[test]
fn deep_indentation_ends_in_time() {
    let deep: String = (0..2_000).map(|level| format!("{}a:\n", " ".repeat(level))).collect();
    assert_eq!(found(&deep).len(), 1);
}

/// Bytes that resemble a configuration more often than random ones.
fn scraps() -> impl Strategy<Value = Vec<u8>> {
    let words = prop::sample::select(vec![
        "listeners:",
        "pools:",
        "tls_profiles:",
        "\n",
        "\n  ",
        "\n    ",
        "- ",
        "name: ",
        "a",
        "address: ",
        "\":443\"",
        "mode: ",
        "offload",
        "tls: ",
        "{",
        "}",
        "[",
        "]",
        ", ",
        "&x ",
        "*x",
        "<<: ",
        "${A",
        "}",
        ":-",
        "5s",
        "5",
        "~",
        "!t ",
        "|",
        ">",
        "'",
        "\"",
        "#",
        "---\n",
        "\t",
        "\u{85}",
        "\u{feff}",
        "\0",
        "match: ",
        "sni: ",
        "*.a.b",
        "0x1",
        "backends: ",
        "\"10.0.0.1:80\"",
        "? ",
        "\r",
        "é",
        "%YAML 1.1\n",
        "1.2",
        "true",
    ]);
    prop::collection::vec(words, 0..60).prop_map(|words| words.concat().into_bytes())
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes in prop_oneof![scraps(), prop::collection::vec(any::<u8>(), 0..200)]) {
        match parse("weir.yaml", Path::new("."), bytes, &|_| None) {
            Ok(loaded) => for d in loaded.report().finish().errors { d.render(); },
            Err(rejected) => prop_assert!(!rejected.to_string().is_empty()),
        }
    }
}

#[test]
fn pipes_are_not_read_again() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("weir.yaml");
    std::fs::write(&file, "log: {level: info}\n").unwrap();
    assert!(load_again(&file).is_ok());
    // Nothing writes into it, so opening it would block forever.
    let pipe = folder.path().join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let refused = |path: &Path| load_again(path).unwrap_err().0.remove(0).message;
    assert!(refused(&pipe).contains("cannot be read a second time"), "{}", refused(&pipe));
    assert!(refused(folder.path()).starts_with("the file cannot be read: "), "{}", refused(folder.path()));
}
