//! Which route wins, and the verdicts on the others: examples, and a naive model.

use super::*;
use proptest::prelude::*;

fn exact(n: &str) -> NamePattern {
    NamePattern::Exact(n.into())
}
fn suffix(n: &str) -> NamePattern {
    NamePattern::Suffix(n.into())
}
fn offers(list: &[&str]) -> Offers {
    Offers::of(list.iter().map(|p| p.as_bytes()))
}
fn rule(names: Vec<NamePattern>, alpn: &[&str], source: &[&str]) -> Match {
    Match {
        names,
        alpn: alpn.iter().map(|a| a.as_bytes().to_vec()).collect(),
        source: source.iter().map(|s| s.parse().unwrap()).collect(),
    }
}
const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 1, 2, 3));

#[test]
fn the_most_specific_name_wins_in_any_order() {
    let table = Table::build(vec![
        (rule(vec![], &[], &[]), "anything"),
        (rule(vec![NamePattern::AnyName], &[], &[]), "any name"),
        (rule(vec![suffix("example.com")], &[], &[]), "short"),
        (rule(vec![suffix("api.example.com")], &[], &[]), "long"),
        (rule(vec![exact("a.api.example.com")], &[], &[]), "exact"),
    ])
    .unwrap();
    for (name, want) in [
        (Some("a.api.example.com"), "exact"),
        (Some("b.api.example.com"), "long"),
        (Some("x.b.api.example.com"), "long"),
        (Some("api.example.com"), "short"),
        (Some("example.com"), "any name"),
        (Some("notexample.com"), "any name"),
        (None, "anything"),
    ] {
        assert_eq!(table.lookup(name, &Offers::default(), HERE), Some(&want), "{name:?}");
    }
}

#[test]
fn alpn_then_the_longest_prefix_decide_within_a_name() {
    let table = Table::build(vec![
        (rule(vec![exact("a.b")], &[], &["10.0.0.0/8"]), "ten"),
        (rule(vec![exact("a.b")], &[], &["10.1.0.0/16"]), "ten one"),
        (rule(vec![exact("a.b")], &["h2"], &[]), "h2"),
        (rule(vec![exact("a.b")], &["acme-tls/1"], &[]), "acme"),
        (rule(vec![suffix("b")], &[], &[]), "wild"),
    ])
    .unwrap();
    let at =
        |alpn: &[&str], ip: &str| *table.lookup(Some("a.b"), &offers(alpn), ip.parse().unwrap()).unwrap();
    assert_eq!(at(&[], "10.1.0.1"), "ten one");
    assert_eq!(at(&["http/1.1"], "10.2.0.1"), "ten");
    assert_eq!(at(&["http/1.1", "h2"], "10.1.0.1"), "h2");
    assert_eq!(at(&["acme-tls/1", "h2"], "10.1.0.1"), "acme", "the client's order decides");
    assert_eq!(at(&[], "192.0.2.1"), "wild", "a name without its source falls through");
}

#[test]
fn a_challenge_goes_by_its_protocol_before_any_name() {
    let table = Table::build(vec![
        (rule(vec![exact("a.b")], &[], &[]), "exact"),
        (rule(vec![suffix("b")], &["h2"], &["10.0.0.0/8"]), "wild"),
        (rule(vec![], &["acme-tls/1"], &[]), "responder"),
        (rule(vec![exact("own.b")], &["acme-tls/1", "h2"], &[]), "own responder"),
        (rule(vec![suffix("near.b")], &["acme-tls/1"], &["10.0.0.0/8"]), "near responder"),
        (rule(vec![exact("x.near.b")], &[], &[]), "exact, far"),
    ])
    .unwrap();
    let at = |name, alpn: &[&str], ip: &str| table.lookup(name, &offers(alpn), ip.parse().unwrap()).copied();
    let challenge = &["acme-tls/1"][..];
    for (name, ip, want) in [
        (Some("a.b"), "10.1.2.3", "responder"),
        (Some("other.test"), "10.1.2.3", "responder"),
        (None, "192.0.2.1", "responder"),
        (Some("own.b"), "192.0.2.1", "own responder"),
        (Some("x.near.b"), "10.1.2.3", "near responder"),
        (Some("x.near.b"), "192.0.2.1", "responder"),
    ] {
        assert_eq!(at(name, challenge, ip), Some(want), "{name:?} from {ip}");
    }
    // RFC 8737 §3: a validation offers this protocol and no other. Whatever offers more is an ordinary client.
    assert_eq!(at(Some("a.b"), &["acme-tls/1", "h2"], "10.1.2.3"), Some("exact"));
    assert_eq!(at(Some("a.b"), &["acme-tls/1", "acme-tls/1"], "10.1.2.3"), Some("exact"));
    assert_eq!(at(Some("a.b"), &["acme-tls/11"], "10.1.2.3"), Some("exact"));
    assert_eq!(at(Some("a.b"), &["h2"], "10.1.2.3"), Some("exact"));
    assert_eq!(at(Some("other.test"), &["acme-tls/1", "h2"], "10.1.2.3"), Some("responder"), "as ever");
}

#[test]
fn a_challenge_that_no_route_is_for_is_routed_as_ever() {
    let table = Table::build(vec![
        (rule(vec![exact("a.b")], &[], &[]), "exact"),
        (rule(vec![], &["acme-tls/1"], &["192.0.2.0/24"]), "responder elsewhere"),
        (rule(vec![suffix("b")], &[], &["10.0.0.0/8"]), "wild"),
    ])
    .unwrap();
    let challenge = offers(&["acme-tls/1"]);
    assert_eq!(table.lookup(Some("a.b"), &challenge, HERE), Some(&"exact"));
    assert_eq!(table.lookup(Some("c.b"), &challenge, HERE), Some(&"wild"));
    assert_eq!(table.lookup(Some("c.d"), &challenge, HERE), None);
    use Verdict::{LessSpecific, Matched, NameDiffers, SourceOutside};
    let far = "192.0.2.1".parse().unwrap();
    assert_eq!(
        table.explain(Some("a.b"), &challenge, HERE),
        [Matched, SourceOutside, LessSpecific(Rule::Name)]
    );
    assert_eq!(
        table.explain(Some("a.b"), &challenge, far),
        [LessSpecific(Rule::Challenge), Matched, SourceOutside]
    );
    assert_eq!(table.explain(Some("c.d"), &challenge, far), [NameDiffers, Matched, NameDiffers]);
}

#[test]
fn equal_matches_are_reported() {
    let two = |a, b| Table::build(vec![(a, 0), (b, 1)]).map(|_| ());
    let a = || vec![exact("a.b")];
    assert_eq!(two(rule(a(), &[], &[]), rule(a(), &[], &[])), Err(vec![Ambiguous(0, 1)]));
    assert_eq!(two(rule(a(), &["h2"], &[]), rule(a(), &["x", "h2"], &[])), Err(vec![Ambiguous(0, 1)]));
    assert_eq!(
        two(rule(a(), &[], &["10.1.0.0/16"]), rule(a(), &[], &["10.1.2.3/16"])),
        Err(vec![Ambiguous(0, 1)])
    );
    assert!(two(rule(a(), &["h2"], &[]), rule(a(), &[], &[])).is_ok());
    assert!(two(rule(vec![exact("a.b"), exact("a.b")], &[], &[]), rule(vec![], &[], &[])).is_err());
}

fn pattern() -> impl Strategy<Value = NamePattern> {
    let name = "[ab](\\.[ab]){0,3}";
    prop_oneof![
        name.prop_map(|n| exact(&n)),
        name.prop_map(|n| suffix(&n)),
        Just(NamePattern::AnyName),
        Just(NamePattern::Anything)
    ]
}

/// How well one route matches: challenge, name, protocol, prefix, larger is better. Or its first mismatch.
type Rank = (bool, usize, usize, usize);

/// The rules in the module's header, one after the other.
fn rank(m: &Match, sni: Option<&str>, offers: &Offers, ip: IpAddr) -> Result<Rank, Verdict> {
    let name = m.names.iter().filter_map(|p| match (p, sni) {
        (NamePattern::Exact(n), Some(s)) => (**n == *s).then_some(1000),
        (NamePattern::Suffix(n), Some(s)) => {
            s.strip_suffix(&**n).filter(|rest| rest.ends_with('.')).map(|_| 10 + n.len())
        }
        (NamePattern::AnyName, Some(_)) => Some(2),
        (NamePattern::Anything, _) => Some(1),
        _ => None,
    });
    let name = name.max().ok_or(Verdict::NameDiffers)?;
    let alpn = if m.alpn.is_empty() {
        0
    } else {
        let at = offers.iter().position(|o| m.alpn.iter().any(|a| **a == *o));
        100 - at.ok_or(Verdict::AlpnNotOffered)?
    };
    let source = if m.source.is_empty() {
        0
    } else {
        let inside = m.source.iter().filter(|s| s.contains(&ip));
        inside.map(|s| 1 + usize::from(s.prefix_len())).max().ok_or(Verdict::SourceOutside)?
    };
    let challenge = offers.iter().eq([CHALLENGE]) && m.alpn.iter().any(|a| a == CHALLENGE);
    Ok((challenge, name, alpn, source))
}

/// The verdicts that follow from the ranks of all routes.
fn naive(ranks: &[Result<Rank, Verdict>]) -> Vec<Verdict> {
    let best = ranks.iter().filter_map(|r| r.as_ref().ok()).max().copied();
    let verdict = |rank: Rank| match best {
        Some(best) if rank.0 != best.0 => Verdict::LessSpecific(Rule::Challenge),
        Some(best) if rank.1 < best.1 => Verdict::LessSpecific(Rule::Name),
        Some(best) if rank.2 < best.2 => Verdict::LessSpecific(Rule::Alpn),
        Some(best) if rank.3 < best.3 => Verdict::LessSpecific(Rule::Source),
        _ => Verdict::Matched,
    };
    ranks.iter().map(|rank| rank.map_or_else(|fails| fails, verdict)).collect()
}

proptest! {
    #[test]
    fn look_ups_agree_with_the_naive_model(
        rules in prop::collection::vec(
            (prop::collection::vec(pattern(), 1..3), prop::sample::subsequence(vec!["h2", "x", "acme-tls/1"], 0..=3),
             prop::sample::subsequence(vec!["10.0.0.0/8", "10.1.0.0/16", "::/0"], 0..=2)), 1..8),
        sni in prop::option::of("[ab](\\.[ab]){0,4}"),
        alpn in prop_oneof![
            1 => Just(vec!["acme-tls/1"]),
            3 => prop::sample::subsequence(vec!["h2", "x", "y", "acme-tls/1"], 0..=4).prop_shuffle(),
        ],
        ip in prop::sample::select(vec!["10.1.2.3", "10.9.9.9", "192.0.2.1", "::1"]),
    ) {
        let routes: Vec<(Match, usize)> =
            rules.into_iter().enumerate().map(|(i, (n, a, s))| (rule(n, &a, &s), i)).collect();
        if let Ok(table) = Table::build(routes.clone()) {
            let (sni, alpn, ip) = (sni.as_deref(), offers(&alpn), ip.parse().unwrap());
            let ranks: Vec<_> = routes.iter().map(|(m, _)| rank(m, sni, &alpn, ip)).collect();
            let explained = table.explain(sni, &alpn, ip);
            prop_assert_eq!(&explained, &naive(&ranks));
            let told: Vec<_> = table.conditions().into_iter().zip(0..).collect();
            let again = Table::build(told).map_err(|clash| TestCaseError::fail(format!("{clash:?}")))?;
            prop_assert_eq!(again.explain(sni, &alpn, ip), explained.clone(), "from the conditions as told");
            let matched = (0..routes.len()).filter(|n| explained[*n] == Verdict::Matched).collect::<Vec<_>>();
            prop_assert_eq!(table.lookup(sni, &alpn, ip).copied().into_iter().collect::<Vec<_>>(), matched);
        }
    }
}

#[test]
fn each_losing_route_has_a_verdict() {
    use Verdict::{AlpnNotOffered, LessSpecific, Matched, NameDiffers, SourceOutside};
    let table = Table::build(vec![
        (rule(vec![exact("a.b")], &[], &["10.1.0.0/16"]), "ten one"),
        (rule(vec![exact("a.b")], &[], &["10.0.0.0/8"]), "ten"),
        (rule(vec![exact("a.b")], &["h2"], &["192.0.2.0/24"]), "h2 elsewhere"),
        (rule(vec![exact("a.b")], &["acme-tls/1"], &[]), "acme"),
        (rule(vec![suffix("b"), exact("c.b")], &[], &[]), "wild"),
        (rule(vec![exact("x.b")], &[], &[]), "another"),
    ])
    .unwrap();
    let [by_name, by_alpn, by_source] = [Rule::Name, Rule::Alpn, Rule::Source].map(LessSpecific);
    let told = |name, alpn: &[&str], ip: &str| table.explain(name, &offers(alpn), ip.parse().unwrap());
    assert_eq!(
        told(Some("a.b"), &["h2"], "10.1.2.3"),
        [Matched, by_source, SourceOutside, AlpnNotOffered, by_name, NameDiffers]
    );
    assert_eq!(
        told(Some("a.b"), &["h2", "acme-tls/1"], "10.9.9.9"),
        [SourceOutside, by_alpn, SourceOutside, Matched, by_name, NameDiffers]
    );
    assert_eq!(told(None, &[], "10.1.2.3"), [NameDiffers; 6], "nothing is found, and each says why");
}

#[test]
fn conditions_print_as_they_are_written() {
    let written = |m: &Match| m.to_string();
    let names = vec![NamePattern::AnyName, suffix("b"), exact("c.b"), exact("a.b")];
    let table = Table::build(vec![
        (rule(names, &["h2", "\n"], &["10.1.2.3/8", "fd00::/8"]), ()),
        (rule(vec![], &[], &["10.0.0.0/8"]), ()),
        (rule(vec![], &[], &[]), ()),
    ])
    .unwrap();
    assert_eq!(
        table.conditions().iter().map(written).collect::<Vec<_>>(),
        ["sni=a.b,c.b,*.b,* alpn=h2,\\n source=10.0.0.0/8,fd00::/8", "source=10.0.0.0/8", "any"]
    );
}
