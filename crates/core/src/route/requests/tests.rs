//! Which route a request gets, and the verdicts on the others: examples, and a naive model.

use super::*;
use http::{HeaderName, HeaderValue};
use proptest::prelude::*;

/// Reads conditions as `Match` writes them: `host=a.b path_prefix=/a method=GET header=x-a:1,x-b:* alpn=h2`.
fn rule(text: &str) -> Match {
    let mut conditions = Match::default();
    for (key, values) in text.split_whitespace().map(|part| part.split_once('=').unwrap()) {
        for value in values.split(',') {
            match key {
                "host" => conditions.names.push(match value.strip_prefix("*.") {
                    _ if value == "*" => NamePattern::AnyName,
                    Some(rest) => NamePattern::Suffix(rest.into()),
                    None => NamePattern::Exact(value.into()),
                }),
                "path_prefix" => conditions.paths.push(PathPrefix::parse(value).unwrap()),
                "method" => conditions.methods.push(value.parse().unwrap()),
                "header" => conditions.fields.push(field(value)),
                "alpn" => conditions.alpn.push(value.into()),
                "source" => conditions.source.push(value.parse().unwrap()),
                _ => panic!("{key}"),
            }
        }
    }
    conditions
}

fn field(text: &str) -> Field {
    let (name, value) = text.split_once(':').unwrap();
    let pattern = match value {
        "*" => FieldPattern::Present,
        value => FieldPattern::Exact(HeaderValue::from_str(value).unwrap()),
    };
    Field { name: name.parse().unwrap(), pattern }
}

fn table(rules: &[&str]) -> Table<String> {
    Table::build(rules.iter().map(|text| (rule(text), (*text).to_owned())).collect()).unwrap()
}

/// A request, kept so that `Wanted` can borrow from it.
#[derive(Clone, Debug)]
struct Asked {
    host: Option<String>,
    path: String,
    method: Method,
    headers: HeaderMap,
    offers: Offers,
    source: IpAddr,
}

impl Asked {
    /// `GET a.b/path x-a:1`; the host may be missing.
    fn new(text: &str) -> Self {
        let mut words = text.split_whitespace();
        let method = words.next().unwrap().parse().unwrap();
        let target = words.next().unwrap();
        let at = target.find('/').unwrap_or(0);
        let (host, path) = target.split_at(at);
        let mut headers = HeaderMap::new();
        for (name, value) in words.map(|word| word.split_once(':').unwrap()) {
            headers.append(name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
        }
        Self {
            host: (!host.is_empty()).then(|| host.to_owned()),
            path: path.to_owned(),
            method,
            headers,
            offers: Offers::default(),
            source: [10, 1, 2, 3].into(),
        }
    }

    fn wanted(&self) -> Wanted<'_> {
        Wanted {
            host: self.host.as_deref(),
            path: &self.path,
            method: &self.method,
            headers: &self.headers,
            offers: &self.offers,
            source: self.source,
        }
    }
}

/// The route for each request; `400` for an unclear path, `-` for none.
fn served<'t>(table: &'t Table<String>, asked: &str) -> &'t str {
    match table.lookup(&Asked::new(asked).wanted()) {
        Ok(found) => found.map_or("-", String::as_str),
        Err(Unclear) => "400",
    }
}

#[test]
fn each_rule_decides_after_those_before_it() {
    let routes = table(&[
        "source=10.0.0.0/8",
        "alpn=h2",
        "header=x-a:1",
        "header=x-a:1,x-b:*",
        "method=GET,PUT",
        "path_prefix=/a",
        "path_prefix=/a/b",
        "host=*",
        "host=*.b",
        "host=a.b",
        "host=a.b path_prefix=/a",
    ]);
    for (asked, want) in [
        ("POST /x", "source=10.0.0.0/8"),
        ("POST /x x-a:1", "header=x-a:1"),
        ("POST /x x-a:1 x-b:9", "header=x-a:1,x-b:*"),
        ("POST /x x-a:2 x-b:9", "source=10.0.0.0/8"),
        ("GET /x x-a:1 x-b:9", "method=GET,PUT"),
        ("HEAD /x", "source=10.0.0.0/8"),
        ("GET /a", "path_prefix=/a"),
        ("GET /a/bc", "path_prefix=/a"),
        ("GET /a/b/c", "path_prefix=/a/b"),
        ("GET /ab", "method=GET,PUT"),
        ("GET x/a/b", "host=*"),
        ("GET x.b/a/b", "host=*.b"),
        ("GET a.b/x", "host=a.b"),
        ("GET a.b/a/x", "host=a.b path_prefix=/a"),
    ] {
        assert_eq!(served(&routes, asked), want, "{asked}");
    }
    let mut asked = Asked::new("POST /x");
    asked.offers = Offers::of([&b"http/1.1"[..], b"h2"]);
    assert_eq!(routes.lookup(&asked.wanted()).unwrap().unwrap(), "alpn=h2");
}

#[test]
fn less_specific_routes_serve_where_a_condition_fails() {
    let routes = table(&["host=a.b path_prefix=/a method=GET", "host=*.b path_prefix=/a", "path_prefix=/"]);
    assert_eq!(served(&routes, "GET a.b/a"), "host=a.b path_prefix=/a method=GET");
    assert_eq!(served(&routes, "PUT a.b/a"), "host=*.b path_prefix=/a");
    assert_eq!(served(&routes, "PUT a.b/c"), "path_prefix=/");
    assert_eq!(served(&routes, "OPTIONS *"), "-", "the whole server has no path");
}

#[test]
fn fields_match_exactly_and_once() {
    let routes = table(&["header=x-a:1", "header=x-a:2", "header=x-c:*,x-d:*"]);
    assert_eq!(served(&routes, "GET / X-A:1"), "header=x-a:1");
    assert_eq!(served(&routes, "GET / x-a:2"), "header=x-a:2");
    assert_eq!(served(&routes, "GET / x-a:1 x-a:2"), "-");
    assert_eq!(served(&routes, "GET / x-a:12"), "-");
    assert_eq!(served(&routes, "GET / x-c:1 x-c:2 x-d:"), "header=x-c:*,x-d:*");
    assert_eq!(served(&routes, "GET / x-c:1"), "-");
}

#[test]
fn paths_cannot_be_written_around_a_route() {
    let routes = table(&["path_prefix=/", "path_prefix=/admin", "path_prefix=/admin/open", "host=x.b"]);
    for (path, want) in [
        ("/admin", "path_prefix=/admin"),
        ("/admin/", "path_prefix=/admin"),
        ("/admin/x?", "path_prefix=/admin"),
        ("/administrator", "path_prefix=/"),
        ("/%61dmin/x", "path_prefix=/admin"),
        ("/%61%64%6D%69%6e", "path_prefix=/admin"),
        ("/admin//x", "path_prefix=/admin"),
        ("/admin/x%2Fy;z", "path_prefix=/admin"),
        ("/files/a%2Fb//c;d", "path_prefix=/"),
        ("/admin/open/x", "path_prefix=/admin/open"),
        ("/x/admin", "path_prefix=/"),
        ("/ADMIN", "path_prefix=/"),
        ("/x%zz", "path_prefix=/"),
        // Some backends would take these for /admin.
        ("//admin", "400"),
        ("/%2Fadmin", "400"),
        ("/;x/admin", "400"),
        ("/\\admin", "400"),
        ("/%5cadmin/x", "400"),
        ("/admin;x=1/y", "400"),
        ("/admin%3bx", "400"),
        ("/admin%2fx", "400"),
        ("/%2561dmin", "400"),
        ("/admin//open", "400"),
        ("/admin%2Fopen", "400"),
        ("/admin\\open", "400"),
        // Some would take these for something else.
        ("/admin/../x", "400"),
        ("/x/../admin", "400"),
        ("/x/%2e%2e/admin", "400"),
        ("/x/%252e%252e/admin", "400"),
        ("/x/..%2fadmin", "400"),
        ("/x/..;/admin", "400"),
        ("/x\\..\\admin", "400"),
        ("/./admin", "400"),
        ("/y/../admin//../x", "400"),
        ("/admin%00/x", "400"),
    ] {
        assert_eq!(served(&routes, &format!("GET {path}")), want, "{path}");
    }
    let by_name = table(&["host=x.b"]);
    assert_eq!(served(&by_name, "GET x.b//a/../b"), "host=x.b", "no route asks for a path");
}

#[test]
fn readings_between_the_two_lead_to_no_third_route() {
    let mut both = rule("path_prefix=/x,/x/y/z");
    both.paths.reverse();
    let routes = vec![(both, "outer".to_owned()), (rule("path_prefix=/x/y"), "inner".to_owned())];
    let routes = Table::build(routes).unwrap();
    // Both readings lead to `outer`; a backend that decodes `%2F` and keeps `;` would see /x/y.
    assert_eq!(served(&routes, "GET /x%2Fy%2Fz"), "400");
    assert_eq!(served(&routes, "GET /x%2Fy/z;a"), "400");
}

#[test]
fn equal_matches_are_errors() {
    let clash = |one: &str, other: &str| {
        let built = Table::build(vec![(rule(one), ()), (rule(other), ())]);
        built.err().is_some_and(|pairs| pairs == [Ambiguous(0, 1)])
    };
    for (one, other) in [
        ("host=a.b", "host=a.b,c.d"),
        ("path_prefix=/a", "path_prefix=/%61/"),
        ("method=GET,PUT", "method=PUT"),
        ("header=x-a:1", "header=x-a:1"),
        ("header=x-a:1", "header=x-a:*"),
        ("header=x-a:1", "header=x-b:1"),
        ("alpn=h2", "alpn=http/1.1,h2"),
        ("source=10.0.0.0/8", "source=10.1.0.0/8"),
    ] {
        assert!(clash(one, other), "{one} and {other}");
        assert!(clash(other, one), "{other} and {one}");
    }
    for (one, other) in [
        ("host=a.b", "host=*.b"),
        ("path_prefix=/a", "path_prefix=/a/b"),
        ("path_prefix=/", "host=*"),
        ("method=GET", "method=HEAD"),
        ("method=GET", "header=x-a:1"),
        ("header=x-a:1", "header=x-a:2"),
        ("header=x-a:1", "header=x-a:1,x-b:1"),
        ("header=x-a:1,x-b:1", "header=x-a:2,x-c:1"),
        ("alpn=h2", "alpn=http/1.1"),
        ("alpn=h2", "source=10.0.0.0/8"),
        ("source=10.0.0.0/8", "source=10.0.0.0/9"),
    ] {
        assert!(!clash(one, other), "{one} and {other}");
    }
    let twice = Table::build(vec![(rule("path_prefix=/a,/a/"), ())]);
    assert_eq!(twice.err(), Some(vec![Ambiguous(0, 0)]));
}

#[test]
fn explanations_name_the_first_rule_that_decides() {
    let routes = table(&[
        "host=a.b path_prefix=/a method=GET header=x-a:1 source=10.0.0.0/8",
        "host=a.b path_prefix=/a method=GET header=x-a:1 source=10.1.0.0/16",
        "host=a.b path_prefix=/a method=GET header=x-a:1 alpn=h2",
        "host=a.b path_prefix=/a method=GET",
        "host=a.b path_prefix=/a",
        "host=a.b",
        "host=*.b",
        "host=a.b path_prefix=/b",
        "host=a.b path_prefix=/a method=PUT",
        "host=a.b path_prefix=/a method=GET header=x-a:2",
        "host=a.b path_prefix=/a method=GET source=192.0.2.0/24",
        "host=c.d",
    ]);
    let asked = Asked::new("GET a.b/a/x x-a:1");
    let verdicts = routes.explain(&asked.wanted()).unwrap();
    let labels: Vec<_> = verdicts.iter().map(|verdict| verdict.label()).collect();
    assert_eq!(
        labels,
        [
            "less_specific_source",
            "matched",
            "alpn_not_offered",
            "less_specific_headers",
            "less_specific_method",
            "less_specific_path",
            "less_specific_name",
            "path_differs",
            "method_differs",
            "header_differs",
            "source_outside",
            "name_differs",
        ]
    );
    assert_eq!(routes.explain(&Asked::new("GET a.b/..").wanted()), Err(Unclear));
}

#[test]
fn conditions_are_shown_as_they_are_compared() {
    let text = "host=a.b,*.c path_prefix=/a,/b method=GET header=x-a:1,x-b:* alpn=h2 source=10.0.0.0/8";
    let routes = table(&[text]);
    assert_eq!(routes.conditions()[0].to_string(), text);
    assert_eq!(Match::default().to_string(), "any");
}

#[test]
fn ten_thousand_routes_are_looked_up_by_hashing() {
    let rules: Vec<String> = (0..10_000)
        .map(|n| format!("host=h{}.example path_prefix=/api/v{}/p{n}", n % 100, n % 7))
        .chain((0..10_000).map(|n| format!("path_prefix=/all/{n}")))
        .collect();
    let routes = table(&rules.iter().map(String::as_str).collect::<Vec<_>>());
    let begun = tokio::time::Instant::now();
    for n in (0..10_000).step_by(7) {
        let asked = Asked::new(&format!("GET h{}.example/api/v{}/p{n}/x/y", n % 100, n % 7));
        assert_eq!(routes.lookup(&asked.wanted()).unwrap().unwrap(), &rules[n]);
        let asked = Asked::new(&format!("GET h1.example/all/{n}/{}", "x/".repeat(500)));
        assert_eq!(routes.lookup(&asked.wanted()).unwrap().unwrap(), &rules[10_000 + n]);
    }
    assert!(begun.elapsed().as_secs() < 5, "{:?}", begun.elapsed());
}

/// What a table must find, by looking at every route: the index, or `None`.
fn naive(rules: &[Match], asked: &Asked) -> Option<usize> {
    let name_rank = |pattern: &NamePattern| match (pattern, asked.host.as_deref()) {
        (NamePattern::Exact(name), Some(host)) => (**name == *host).then_some(1_000),
        (NamePattern::Suffix(suffix), Some(host)) => {
            host.strip_suffix(&**suffix).is_some_and(|front| front.ends_with('.')).then_some(suffix.len() + 2)
        }
        (NamePattern::AnyName, Some(_)) => Some(1),
        (NamePattern::Anything, _) => Some(0),
        (_, None) => None,
    };
    let path_rank = |prefix: &PathPrefix| {
        let text = prefix.to_string();
        let inside = text == "/" || asked.path == text || asked.path.starts_with(&format!("{text}/"));
        inside.then(|| prefix.segments().count() + 1)
    };
    let rank = |rule: &Match| {
        let name = match rule.names.is_empty() {
            true => Some(0),
            false => rule.names.iter().filter_map(name_rank).max(),
        };
        let path = match rule.paths.is_empty() {
            true => Some(0),
            false => rule.paths.iter().filter_map(path_rank).max(),
        };
        let method = rule.methods.is_empty() || rule.methods.contains(&asked.method);
        let fields = rule.fields.iter().all(|field| {
            let values: Vec<_> = asked.headers.get_all(&field.name).iter().collect();
            match &field.pattern {
                FieldPattern::Present => !values.is_empty(),
                FieldPattern::Exact(wanted) => values == [wanted],
            }
        });
        let offered: Vec<&[u8]> = asked.offers.iter().collect();
        let alpn = match rule.alpn.is_empty() {
            true => Some(0),
            false => {
                let place = offered.iter().position(|offer| rule.alpn.iter().any(|name| name == offer));
                place.map(|place| 100 - place)
            }
        };
        let source = match rule.source.is_empty() {
            true => Some(0),
            false => {
                let inside = rule.source.iter().filter(|network| network.contains(&asked.source));
                inside.map(|network| 1 + network.prefix_len()).max()
            }
        };
        if !method || !fields {
            return None;
        }
        Some((name?, path?, !rule.methods.is_empty(), rule.fields.len(), alpn?, source?))
    };
    let ranked = rules.iter().enumerate().filter_map(|(index, rule)| Some((rank(rule)?, index)));
    ranked.max().map(|(_, index)| index)
}

fn rules() -> impl Strategy<Value = Match> {
    let list = |from: &'static [&'static str]| proptest::sample::subsequence(from, 0..=2);
    (
        list(&["a.b", "c.b", "*.b", "*.a.b", "*"]),
        list(&["/", "/a", "/a/b", "/b", "/a/b/c"]),
        list(&["GET", "PUT", "POST"]),
        list(&["x-a:1", "x-b:*", "x-c:2"]),
        list(&["h2", "http/1.1"]),
        list(&["10.0.0.0/8", "10.1.0.0/16", "::/0", "0.0.0.0/0"]),
    )
        .prop_map(|(names, paths, methods, fields, alpn, source)| {
            let parts = [
                ("host", names),
                ("path_prefix", paths),
                ("method", methods),
                ("header", fields),
                ("alpn", alpn),
                ("source", source),
            ];
            let given = parts.iter().filter(|(_, values)| !values.is_empty());
            let text: Vec<_> = given.map(|(key, values)| format!("{key}={}", values.join(","))).collect();
            rule(&text.join(" "))
        })
}

fn requests() -> impl Strategy<Value = Asked> {
    (
        proptest::sample::select(&["", "a.b", "c.b", "x.a.b", "b", "z"][..]),
        proptest::sample::select(&["/", "/a", "/a/", "/a/b", "/ab", "/a/b/c/d", "/b/x", "/z"][..]),
        proptest::sample::select(&["GET", "PUT", "HEAD"][..]),
        proptest::sample::subsequence(&["x-a:1", "x-a:3", "x-b:1", "x-c:2"][..], 0..=4),
        proptest::sample::subsequence(vec![&b"h2"[..], b"http/1.1", b"other"], 0..=3).prop_shuffle(),
        proptest::sample::select(&["10.1.2.3", "10.9.9.9", "192.0.2.1", "2001:db8::1"][..]),
    )
        .prop_map(|(host, path, method, fields, offers, source)| Asked {
            offers: Offers::of(offers),
            source: source.parse().unwrap(),
            ..Asked::new(&format!("{method} {host}{path} {}", fields.join(" ")))
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn the_table_agrees_with_a_naive_model(
        rules in proptest::collection::vec(rules(), 1..8),
        asked in proptest::collection::vec(requests(), 1..12),
    ) {
        let mut kept: Vec<Match> = Vec::new();
        for rule in rules {
            kept.push(rule);
            let numbered = kept.iter().cloned().enumerate().map(|(n, rule)| (rule, n)).collect();
            if Table::build(numbered).is_err() {
                kept.pop();
            }
        }
        let numbered = kept.iter().cloned().enumerate().map(|(n, rule)| (rule, n)).collect();
        let table = Table::build(numbered).unwrap();
        for asked in asked {
            let found = table.lookup(&asked.wanted()).unwrap().copied();
            prop_assert_eq!(found, naive(&kept, &asked));
            let verdicts = table.explain(&asked.wanted()).unwrap();
            prop_assert_eq!(verdicts.iter().position(|verdict| *verdict == Verdict::Matched), found);
        }
    }

    /// A path that its reader changes in one of these ways must not lead that reader into a route that the path did
    /// not lead to.
    #[test]
    fn backends_see_no_other_route_than_weir(path in "(/|%2[fF]|%5c|\\\\|a|b|%61|%2561|;|;x|\\.|%2e|%|%25){0,8}") {
        let routes = table(&["path_prefix=/", "path_prefix=/a", "path_prefix=/a/b", "path_prefix=/b"]);
        let path = format!("/{path}");
        let found = served(&routes, &format!("GET {path}"));
        for how in (0..32_u8).filter(|_| found != "400") {
            let read = as_a_backend(&path, how);
            prop_assert_eq!(served(&routes, &format!("GET {read}")), found, "{} as {}", path, read);
        }
    }
}

/// A path as some backend reads it: each bit of `how` says whether it does one of the things that some do.
fn as_a_backend(path: &str, how: u8) -> String {
    let does = |bit: u8| how & (1 << bit) != 0;
    // RFC 3986 §6.2.2.2: the letter and its code are the same.
    let mut path = path.replace("%61", "a");
    let without_parameters = |path: String| {
        path.split('/').map(|segment| segment.split(';').next().unwrap()).collect::<Vec<_>>().join("/")
    };
    if does(0) {
        path = without_parameters(path);
    }
    for _ in 0..u8::from(does(1)) + u8::from(does(1) && does(2)) {
        path = decode(&path);
    }
    if does(3) {
        path = path.replace('\\', "/");
    }
    if does(4) {
        path = without_parameters(path);
        while path.contains("//") {
            path = path.replace("//", "/");
        }
    }
    // What is left of a special character means nothing more to this backend.
    path = path.replace(['%', '\\', ';'], "_");
    while path.contains("//") {
        path = path.replace("//", "/_/");
    }
    path
}

fn decode(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let hex = rest.get(1..3).filter(|_| c == '%').and_then(|digits| u8::from_str_radix(digits, 16).ok());
        out.push(hex.map_or(c, char::from));
        rest = &rest[if hex.is_some() { 3 } else { c.len_utf8() }..];
    }
    out
}
