//! Several files as one configuration: the merged result, and every mistake at its position in its file.

use std::path::Path;

use crate::fixture::{Folder, with_input};
use weir_config::{Diagnostic, Loaded, Rejected, compile, parse};
use weir_core::plan::Plan;

/// A main file that is valid alone, and includes more.
const MAIN: &str = r#"
include: [conf.d/*.yaml]
listeners:
  - name: edge
    address: "127.0.0.1:8443"
    mode: passthrough
    default_pool: web
pools:
  - name: web
    backends: ["127.0.0.1:9443"]
"#;

/// A folder with these files; `conf.d` always exists.
fn folder(files: &[(&str, &str)]) -> Folder {
    let folder = Folder::with_certificate("a", &["api.example.com"]);
    std::fs::create_dir(folder.path().join("conf.d")).unwrap();
    files.iter().for_each(|(name, text)| folder.write(name, text));
    folder
}

fn loaded(folder: &Folder, main: &str) -> Loaded {
    let variable = |name: &str| match name {
        "DIR" => Some("conf.d".to_owned()),
        "PORT" => Some("9444".to_owned()),
        _ => None,
    };
    parse("weir.yaml", folder.path(), main.as_bytes().to_vec(), &variable).unwrap()
}

fn compiled(folder: &Folder, main: &str) -> Result<(Plan, Vec<Diagnostic>), Rejected> {
    with_input(|input| compile(&loaded(folder, main), input))
}

/// The errors: `file:line:column message / hint`, with files relative to the folder.
fn errors(folder: &Folder, main: &str) -> Vec<String> {
    let found = compiled(folder, main).err().map(|rejected| rejected.0).unwrap_or_default();
    let prefix = format!("{}/", folder.path().display());
    let line = |d: &Diagnostic| {
        let hint = d.hint.as_deref().unwrap_or_default();
        format!("{}:{}:{} {} / {hint}", d.file, d.line, d.column, d.message).replace(&prefix, "")
    };
    found.iter().map(line).collect()
}

/// The errors of the main file with one included file.
fn with_one(text: &str) -> Vec<String> {
    errors(&folder(&[("conf.d/a.yaml", text)]), MAIN)
}

#[track_caller]
fn starts(found: &[String], wanted: &[&str]) {
    let fits = found.len() == wanted.len() && found.iter().zip(wanted).all(|(f, w)| f.starts_with(w));
    assert!(fits, "wanted {wanted:#?}, got {found:#?}");
}

fn pool(name: &str) -> String {
    format!("pools: [{{name: {name}, backends: [\"127.0.0.1:1\"]}}]\n")
}

#[test]
fn lists_come_together_in_the_order_of_the_patterns_and_of_the_paths() {
    let listener = "listeners: [{name: late, address: \":9\", mode: passthrough, default_pool: b}]";
    let folder = folder(&[
        ("conf.d/b.yaml", &(pool("b") + listener)),
        ("conf.d/a.yaml", &pool("a")),
        ("conf.d/.hidden.yaml", "no: configuration"),
        ("first.yaml", &pool("first")),
    ]);
    let main = MAIN.replace("[conf.d/*.yaml]", "[first.yaml, conf.d/*.yaml, none/*.yaml]");
    let (plan, warnings) = compiled(&folder, &main).unwrap();
    let pools: Vec<&str> = plan.pools.iter().map(|pool| &*pool.name).collect();
    let listeners: Vec<&str> = plan.listeners.iter().map(|listener| &*listener.name).collect();
    assert_eq!(pools, ["web", "first", "a", "b"]);
    assert_eq!(listeners, ["edge", "late"]);
    let warnings: Vec<_> =
        warnings.iter().filter(|one| one.message.contains("used by no listener")).collect();
    assert_eq!(warnings.len(), 2, "two pools are not used: {warnings:#?}");
    assert!(warnings[0].file.ends_with("first.yaml") && warnings[0].line == 1, "{warnings:#?}");
    let loaded = loaded(&folder, &main);
    let path = |name: &str| folder.path().join(name);
    assert_eq!(
        loaded.files,
        [Path::new("weir.yaml").into(), path("first.yaml"), path("conf.d/a.yaml"), path("conf.d/b.yaml")]
    );
    let patterns: Vec<String> = loaded.patterns().iter().map(ToString::to_string).collect();
    assert_eq!(patterns, ["first.yaml", "conf.d/*.yaml", "none/*.yaml"]);
}

#[test]
fn lists_may_be_in_included_files_alone() {
    let rest = MAIN.replace("include: [conf.d/*.yaml]", "");
    let folder = folder(&[("conf.d/a.yaml", &rest)]);
    assert_eq!(errors(&folder, "include: conf.d/a.yaml"), [""; 0]);
    assert_eq!(errors(&folder, "include: conf.d/a.yaml\nlisteners:\npools: ~\n"), [""; 0]);
    let none = errors(&folder, "include: none*");
    starts(&none, &["weir.yaml:1:1 there is no listener", "weir.yaml:1:1 there is no pool"]);
}

#[test]
fn empty_files_and_patterns_without_files_are_fine() {
    for text in ["", "# switched off\n", "~", "{}", "pools:\nlisteners: []\n", "x-a: 1\n"] {
        assert_eq!(with_one(text), [""; 0], "{text:?}");
    }
    for include in ["[]", "~", "none/*.yaml", "\"conf.d/[x-z]*\""] {
        assert_eq!(errors(&folder(&[]), &MAIN.replace("[conf.d/*.yaml]", include)), [""; 0], "{include}");
    }
}

#[test]
fn mistakes_of_all_files_come_at_once_in_the_order_of_reading() {
    let folder = folder(&[
        ("conf.d/b.yaml", "pools:\n  - name: b\n    backends: [\"127.0.0.1:0\"]\n    retires: 3\n"),
        (
            "conf.d/a.yaml",
            "\n\nlisteners:\n  - {name: two, address: \":7\", mode: passthrough, default_pool: wbe}\n",
        ),
        ("0.yaml", "pools:\n - name: 0\n   backends: [\"127.0.0.1:1\"]\n"),
    ]);
    let main = MAIN
        .replace("default_pool: web", "default_pool: bee")
        .replace("conf.d/*.yaml", "conf.d/*.yaml, 0.yaml");
    starts(
        &errors(&folder, &main),
        &[
            "conf.d/b.yaml:3:16 `127.0.0.1:0`: port 0",
            "conf.d/b.yaml:4:5 unknown key `retires` / did you mean `retries`?",
            "0.yaml:2:10 `name`: expected text",
        ],
    );
    // Without the refused name, references can be checked too.
    std::fs::remove_file(folder.path().join("0.yaml")).unwrap();
    folder.write("0.yaml", &pool("zero"));
    starts(
        &errors(&folder, &main),
        &[
            "weir.yaml:7:19 there is no pool `bee`",
            "conf.d/a.yaml:4:65 there is no pool `wbe` / did you mean `web`?",
            "conf.d/b.yaml:3:16 ",
            "conf.d/b.yaml:4:5 ",
        ],
    );
}

#[test]
fn shown_lines_are_those_of_the_included_file() {
    let folder = folder(&[("conf.d/a.yaml", "# one\npools:\n  - nam: x\n")]);
    let rejected = compiled(&folder, MAIN).unwrap_err();
    let file = folder.path().join("conf.d/a.yaml");
    let expected = format!("  --> {}:3:5\n   |\n 3 |   - nam: x\n   |     ^^^", file.display());
    let rendered = rejected.to_string().replace("  |", "   |").replace("\n3 |", "\n 3 |");
    assert!(rendered.contains(expected.trim_start()), "{rejected}");
    let json = serde_json::to_value(&rejected.0).unwrap();
    assert!(json[0]["file"].as_str().unwrap().ends_with("conf.d/a.yaml"), "{json}");
    assert_eq!((&json[0]["line"], &json[0]["column"]), (&3.into(), &5.into()));
}

#[test]
fn names_are_unique_over_all_files() {
    starts(
        &with_one(&pool("web")),
        &["conf.d/a.yaml:1:16 there is another pool `web`, in line 9 of weir.yaml /"],
    );
    let text = "pools:\n- {name: b, backends: [\"127.0.0.1:1\"]}\n- {name: b, backends: [\"127.0.0.1:2\"]}\n";
    starts(&with_one(text), &["conf.d/a.yaml:3:10 there is another pool `b`, in line 2 /"]);
    let folder = folder(&[("conf.d/a.yaml", &pool("b")), ("conf.d/b.yaml", &("\n".to_owned() + &pool("b")))]);
    let found = errors(&folder, MAIN);
    starts(&found, &["conf.d/b.yaml:2:16 there is another pool `b`, in line 1 of conf.d/a.yaml /"]);
    let listener = "listeners: [{name: edge, address: \":8443\", mode: passthrough, default_pool: web}]\n";
    starts(
        &with_one(listener),
        &[
            "conf.d/a.yaml:1:20 there is another listener `edge`, in line 4 of weir.yaml",
            "conf.d/a.yaml:1:35 the address `:8443` is taken by `127.0.0.1:8443` of the listener `edge`, in line 5 of weir.yaml",
        ],
    );
}

#[test]
fn keys_of_the_process_belong_in_the_main_file() {
    let text = "runtime: {workers: 2}\nlog: {}\nadmin: {address: \"127.0.0.1:1\"}\nmetrics: {}\nfleet: {}\ninclude: [b.yaml]\n";
    let found = with_one(text);
    assert_eq!(found.len(), 6, "{found:#?}");
    for (number, key) in ["runtime", "log", "admin", "metrics", "fleet", "include"].iter().enumerate() {
        let line = number + 1;
        let wanted = format!(
            "conf.d/a.yaml:{line}:1 `{key}` is not allowed in an included file / only in the main file"
        );
        assert_eq!(found[number], wanted);
    }
    starts(
        &with_one(
            "pool:\n  - name: web2\nlisteners: [{name: l, address: \":1\", mode: passthrough, default_pool: web2}]",
        ),
        &["conf.d/a.yaml:1:1 unknown key `pool` / did you mean `pools`?"],
    );
}

#[test]
fn files_that_cannot_be_included_are_errors_at_their_pattern() {
    let folder = folder(&[("conf.d/a.yaml", "")]);
    let pipe = folder.path().join("conf.d/pipe");
    assert!(std::process::Command::new("mkfifo").arg(pipe).status().unwrap().success());
    std::os::unix::fs::symlink("nowhere", folder.path().join("conf.d/dangling")).unwrap();
    let find = |include: &str| errors(&folder, &MAIN.replace("[conf.d/*.yaml]", include));
    for (include, wanted) in [
        ("conf.d/b.yaml", "weir.yaml:2:10 there is no file conf.d/b.yaml / "),
        ("[conf.d/a.yaml, ../nowhere/b.yaml]", "weir.yaml:2:26 there is no file ../nowhere/b.yaml"),
        ("conf.d", "weir.yaml:2:10 conf.d is a folder / name the files in it"),
        ("conf.*", "weir.yaml:2:10 conf.d is a folder"),
        ("conf.d/p*", "weir.yaml:2:10 conf.d/pipe cannot be read: it is not a regular file"),
        ("conf.d/d*", "weir.yaml:2:10 conf.d/dangling cannot be read: "),
        ("conf.d/a.yaml/b", "weir.yaml:2:10 conf.d/a.yaml/b cannot be read: "),
        ("\"conf.d/[\"", "weir.yaml:2:10 `[` is not a pattern for files"),
        ("\"\"", "weir.yaml:2:10 `` is not a pattern for files"),
        ("5", "weir.yaml:2:10 `include`: expected text, or a list of texts, found the number 5"),
        ("[conf.d/a.yaml, {a: 1}]", "weir.yaml:2:27 expected text, found a section"),
        ("\"${NOWHERE}/*\"", "weir.yaml:2:10 the environment variable `NOWHERE` is not set"),
    ] {
        starts(&find(include), &[wanted]);
    }
}

#[test]
fn unreadable_files_are_one_error_and_their_names_are_not_missed() {
    let main = MAIN.replace("default_pool: web", "default_pool: theirs");
    for (text, wanted) in [
        ("pools: [\n", "conf.d/a.yaml:2:1 not YAML"),
        ("- a\n", "conf.d/a.yaml:1:3 expected a section (keys and values), found a list"),
        ("${NOWHERE}", "conf.d/a.yaml:1:1 the environment variable"),
        ("pools: 5", "conf.d/a.yaml:1:8 `pools`: expected a list, found the number 5"),
        ("pools: ${NOWHERE}", "conf.d/a.yaml:1:8 the environment variable"),
        ("pools: [5]", "conf.d/a.yaml:1:9 expected a section"),
        ("pools: *theirs", "conf.d/a.yaml:1:8 not YAML"),
        (&"[".repeat(65), "conf.d/a.yaml:1:65 the file is nested too deep"),
        (&"#".repeat(5 << 20), "conf.d/a.yaml:0:0 the file is larger than 4 MiB"),
        ("pools: [{backends: [\"127.0.0.1:1\"]}]", "conf.d/a.yaml:1:10 this pool has no `name`"),
    ] {
        starts(&errors(&folder(&[("conf.d/a.yaml", text)]), &main), &[wanted]);
    }
    let folder = folder(&[]);
    std::fs::write(folder.path().join("conf.d/a.yaml"), b"a: 1\nb: \xff\n").unwrap();
    starts(
        &errors(&folder, &main),
        &["conf.d/a.yaml:0:0 the file is not UTF-8 text: the first bad byte is in line 2"],
    );
    starts(
        &errors(&folder, &MAIN.replace("pools:\n", "pools: 5\nx-pools:\n")),
        &["weir.yaml:8:8 `pools`", "conf.d/a.yaml:0:0"],
    );
    starts(
        &errors(&folder, &main.replace("[conf.d/*.yaml]", "none.yaml")),
        &["weir.yaml:2:10 there is no file"],
    );
}

#[test]
fn values_without_a_position_get_a_nearby_one() {
    for (text, place) in [
        ("\npools: [{}]", "2:1"),
        ("pools:\n- {}\n", "1:1"),
        ("pools:\n- {name: b, backends: [\"127.0.0.1:1\"]}\n- {}\n", "2:4"),
    ] {
        let place = format!("conf.d/a.yaml:{place} ");
        starts(&with_one(text), &[&place, &place]);
    }
}

#[test]
fn paths_start_from_the_folder_of_their_file() {
    let folder = folder(&[]);
    for (from, to) in [("a.pem", "conf.d/b.pem"), ("a.key", "conf.d/b.key")] {
        std::fs::copy(folder.path().join(from), folder.path().join(to)).unwrap();
    }
    let theirs = "tls_profiles: [{name: p, certificates: [{cert: b.pem, key: b.key}]}]
listeners: [{name: l, address: \":1\", mode: bridging, tls: p, default_pool: b}]
pools: [{name: b, backends: [\"127.0.0.1:2\"], tls: {ca: b.pem}}]
";
    folder.write("conf.d/a.yaml", theirs);
    assert_eq!(errors(&folder, MAIN), [""; 0]);
    folder.write("conf.d/a.yaml", &theirs.replace("b.pem", "a.pem"));
    let found = errors(&folder, MAIN);
    starts(&found, &["conf.d/a.yaml:1:48 conf.d/a.pem", "conf.d/a.yaml:3:56 conf.d/a.pem"]);
    // The main file's paths start from its own folder.
    let inline = "mode: offload\n    tls: {certificates: [{cert: a.pem, key: a.key}]}";
    folder.write("conf.d/a.yaml", "");
    assert_eq!(errors(&folder, &MAIN.replace("mode: passthrough", inline)), [""; 0]);
}

#[test]
#[allow(clippy::literal_string_with_formatting_args, reason = "the braces are what the user writes")]
fn variables_and_anchors_work_within_a_file() {
    let text = "x-b: &b [\"127.0.0.1:${PORT}\"]\npools: [{name: theirs, backends: *b}]\n";
    let folder = folder(&[("conf.d/a.yaml", text)]);
    let main = MAIN.replace("[conf.d/*.yaml]", "\"${DIR}/*.${NONE:-yaml}\"");
    let (plan, _) = compiled(&folder, &main).unwrap();
    assert_eq!(plan.pools.len(), 2);
    assert!(format!("{:?}", plan.pools[1]).contains("9444"));
}

#[test]
fn files_are_read_once_however_they_are_named() {
    let folder = folder(&[("conf.d/a.yaml", &pool("b")), ("weir.yaml", "")]);
    std::os::unix::fs::symlink("a.yaml", folder.path().join("conf.d/b.yaml")).unwrap();
    let include = "[conf.d/a.yaml, \"conf.d/*.yaml\", conf.d/../conf.d/a.yaml, \"**/*.yaml\", ./weir.yaml]";
    let main = MAIN.replace("[conf.d/*.yaml]", include);
    let path = folder.path().join("weir.yaml");
    std::fs::write(&path, &main).unwrap();
    let loaded = weir_config::load(&path).unwrap();
    assert_eq!(loaded.files, [path, folder.path().join("conf.d/a.yaml")]);
    assert_eq!(with_input(|input| compile(&loaded, input)).unwrap().0.pools.len(), 2);
}

#[test]
fn too_many_and_too_large_files_end_in_one_error() {
    let folder = folder(&[]);
    for number in 0..1_001 {
        folder.write(&format!("conf.d/{number}.yaml"), "");
    }
    starts(&errors(&folder, MAIN), &["weir.yaml:2:11 this includes too much / at most 1000 files, 64 MiB"]);
    std::fs::remove_file(folder.path().join("conf.d/7.yaml")).unwrap();
    assert_eq!(errors(&folder, MAIN), [""; 0]);
    for number in 0..20 {
        let file = std::fs::File::create(folder.path().join(format!("conf.d/{number}.large"))).unwrap();
        file.set_len(5 << 20).unwrap();
    }
    let found = errors(&folder, &MAIN.replace("*.yaml", "*.large"));
    // Each is too large by itself; fifteen are read before they are too large together.
    assert_eq!(found.len(), 16, "{found:#?}");
    assert!(found[0].starts_with("weir.yaml:2:11 this includes too much"), "{found:#?}");
}

#[test]
fn lost_folders_are_refused_and_folders_that_never_existed_are_empty() {
    let folder = folder(&[("conf.d/a.yaml", "pools:\n  - {name: a, backends: [\"127.0.0.1:1\"]}\n")]);
    let read = |main: &str| loaded(&folder, main);
    let before = read(MAIN).folders();
    assert_eq!(before, [folder.path().join("conf.d")]);
    let refused = |main: &str, before: &[std::path::PathBuf]| {
        let mut loaded = read(main);
        loaded.expect_folders(before);
        let compiled = with_input(|input| compile(&loaded, input));
        compiled.err().map(|rejected| rejected.0.iter().map(|one| one.message.clone()).collect::<Vec<_>>())
    };
    assert_eq!(refused(MAIN, &before), None);
    std::fs::rename(folder.path().join("conf.d"), folder.path().join("away")).unwrap();
    let told = refused(MAIN, &before).unwrap();
    assert!(told.len() == 1 && told[0].contains("conf.d is gone"), "{told:?}");
    assert_eq!(refused(MAIN, &[]), None, "at a start nothing is lost");
    assert_eq!(
        refused(&MAIN.replace("include: [conf.d/*.yaml]", ""), &before),
        None,
        "it is not named any more"
    );
    std::fs::create_dir(folder.path().join("conf.d")).unwrap();
    assert_eq!(refused(MAIN, &before), None, "an empty folder is what somebody has made");
}
