//! Files that change while a policy is in use.

use super::*;
use crate::rotation::{Peers, Rotation};
use crate::tickets::unix_now;

fn numbered(serial: u64) -> CertificateParams {
    let mut params = params(&[NAME]);
    params.serial_number = Some(serial.into());
    params
}

async fn resumed(client: &BackendClient, server: &Arc<ServerConfig>) -> Result<Resumed, HandshakeFailure> {
    connect(client, server).await.map(|(_, session)| session.resumed).map_err(|error| error.reason)
}

#[tokio::test]
async fn a_revocation_ends_sessions_and_is_in_force_for_clients_in_use() {
    let pki = Pki::new();
    let server = Arc::new(plain_server(&pki.issue_for("a", &ecdsa(), numbered(1)), 2));
    let list = pki.revoke("crl.pem", &[7], 2100);
    let settings = BackendSettings { crl: vec![list], ..trusting(&pki.ca) };
    let (tls, _) = BackendTls::build(&settings).expect("a policy");
    for client in [tls.client(), tls.client_for("10.0.0.1:443")] {
        pki.revoke("crl.pem", &[7], 2100);
        tls.take();
        assert_eq!((tls.look(), tls.take()), (None, Vec::new()), "nothing has changed");
        assert_eq!(resumed(&client, &server).await, Ok(Resumed::No));
        assert_eq!(resumed(&client, &server).await, Ok(Resumed::Ticket));
        let probe = tls.probe();
        pki.revoke("crl.pem", &[1, 7], 2100);
        assert_eq!(resumed(&client, &server).await, Ok(Resumed::Ticket), "not looked at yet");
        assert!(tls.look().is_some() && tls.look() == tls.look());
        let rotations = tls.take();
        let path = settings.crl[0].clone();
        assert_eq!(rotations, [Rotation::InForce { path, of: Peers::Backends, warnings: Vec::new() }]);
        assert_eq!(resumed(&client, &server).await, Err(HandshakeFailure::Revoked));
        let presented = probe::probed(&probe, &server, Some(NAME)).await.expect("a session");
        let verdict = presented.verdict.expect("a verifier");
        assert_eq!(verdict.expect_err("revoked").reason, HandshakeFailure::Revoked);
    }
}

#[tokio::test]
async fn an_unsound_file_changes_nothing_and_is_told_once() {
    let pki = Pki::new();
    let server = Arc::new(plain_server(&pki.issue_for("a", &ecdsa(), numbered(1)), 2));
    let (own, other) = (pki.issue("own", &[]), pki.issue("other", &[]));
    let settings = BackendSettings {
        crl: vec![pki.revoke("crl.pem", &[7], 2100)],
        client_cert: Some(own.clone()),
        ..trusting(&pki.ca)
    };
    let (tls, _) = BackendTls::build(&settings).expect("a policy");
    let client = tls.client();
    assert_eq!(resumed(&client, &server).await, Ok(Resumed::No));
    let sound: Vec<_> = [&pki.ca, &settings.crl[0], &own.cert, &own.key]
        .map(|path| (path.clone(), fs::read(path).expect("a file")))
        .into();
    let expired = pki.issue_for("expired", &ecdsa(), dated(2000, 2001));
    let bytes = |path| fs::read(path).expect("a file");
    type Change = (usize, Vec<u8>);
    let unsound: [(usize, Vec<Change>); 7] = [
        (0, vec![(0, b"-----BEGIN CERTIFICATE-----\nMII".to_vec())]),
        (1, vec![(1, bytes(&settings.crl[0])[..90].to_vec())]),
        (2, vec![(2, Vec::new())]),
        (3, vec![(3, bytes(&other.key))]),
        (2, vec![(2, bytes(&expired.cert)), (3, bytes(&expired.key))]),
        (1, vec![(1, Vec::new())]),
        (0, vec![(0, vec![b'#'; TOO_LONG])]),
    ];
    for (file, changes) in unsound {
        for (number, content) in changes {
            pki.file(sound[number].0.file_name().expect("a name").to_str().expect("UTF-8"), content);
        }
        let rotations = tls.take();
        assert!(
            matches!(&rotations[..], [Rotation::Refused { path, serves_on: true, .. }] if *path == sound[file].0),
            "{rotations:?}"
        );
        assert_eq!((tls.look(), tls.take()), (None, Vec::new()), "told once");
        assert!(
            tls.refused().is_some_and(|(path, _)| path == sound[file].0),
            "it lasts: {:?}",
            tls.refused()
        );
        assert_eq!(resumed(&client, &server).await, Ok(Resumed::Ticket), "{file}");
        for (path, content) in &sound {
            pki.file(path.file_name().expect("a name").to_str().expect("UTF-8"), content);
        }
        assert_eq!((tls.take(), tls.refused()), (Vec::new(), None), "as it was before");
        assert_eq!(resumed(&client, &server).await, Ok(Resumed::Ticket));
    }
    // A file that is gone is told once too.
    fs::remove_file(&pki.ca).expect("a file");
    assert!(matches!(&tls.take()[..], [Rotation::Refused { path, .. }] if *path == pki.ca));
    assert_eq!(tls.take(), []);
}

#[tokio::test]
async fn other_authorities_are_trusted_after_a_look() {
    let (pki, other) = (Pki::new(), Pki::new());
    let files = pki.issue("a", &[NAME]);
    let server = Arc::new(plain_server(&files, 2));
    let ca = pki.file("trusted.pem", bytes_of(&pki.ca));
    let (tls, _) = BackendTls::build(&trusting(&ca)).expect("a policy");
    let client = tls.client();
    assert_eq!(resumed(&client, &server).await, Ok(Resumed::No));
    pki.file("trusted.pem", [bytes_of(&pki.ca), bytes_of(&other.ca)].concat());
    assert!(matches!(tls.take()[..], [Rotation::InForce { .. }]));
    assert_eq!(resumed(&client, &server).await, Ok(Resumed::No), "a session of another trust");
    pki.file("trusted.pem", bytes_of(&other.ca));
    assert!(matches!(tls.take()[..], [Rotation::InForce { .. }]));
    assert_eq!(resumed(&client, &server).await, Err(HandshakeFailure::UnknownCa));
}

/// Now, in seconds since 1970.
fn now() -> i64 {
    i64::try_from(unix_now()).expect("a date")
}

#[test]
fn a_certificate_of_weirs_own_that_is_not_valid_yet_is_taken_when_its_time_comes() {
    let pki = Pki::new();
    let own = pki.issue_for("own", &ecdsa(), dated(2020, 2090));
    let settings = BackendSettings { client_cert: Some(own.clone()), ..trusting(&pki.ca) };
    let (tls, _) = BackendTls::build(&settings).expect("a policy");
    let begins = || tls.client_certificate().expect("a certificate").not_before;
    let year = |year| rcgen::date_time_ymd(year, 1, 1).unix_timestamp();
    pki.issue_for("own", &ecdsa(), dated(2080, 2095));
    let rotations = tls.take();
    let [Rotation::Refused { path, reason, serves_on: true }] = &rotations[..] else {
        panic!("it is not valid yet: {rotations:?}")
    };
    assert!(*path == own.cert && reason.contains("not valid before"), "{reason}");
    for now in [now(), year(2080) - 1] {
        assert_eq!((tls.policy.look(now), tls.policy.take(now)), (None, Vec::new()), "told once");
    }
    assert_eq!(begins(), year(2020), "the old one is shown on");
    assert!(tls.refused().is_some_and(|(path, _)| path == own.cert));
    assert!(tls.policy.look(year(2080)).is_some());
    let rotations = tls.policy.take(year(2080));
    assert!(matches!(&rotations[..], [Rotation::InForce { path, .. }] if *path == own.cert), "{rotations:?}");
    assert_eq!((begins(), tls.refused()), (year(2080), None));
    assert_eq!((tls.policy.look(year(2080)), tls.policy.take(year(2080))), (None, Vec::new()));
}

#[test]
fn a_list_that_becomes_overdue_is_told_once() {
    let pki = Pki::new();
    let list = pki.revoke("crl.pem", &[7], 2080);
    let settings = BackendSettings { crl: vec![list.clone()], ..trusting(&pki.ca) };
    let (tls, _) = BackendTls::build(&settings).expect("a policy");
    let due = rcgen::date_time_ymd(2080, 1, 1).unix_timestamp();
    assert_eq!((tls.policy.look(due), tls.policy.take(due)), (None, Vec::new()));
    assert!(tls.policy.look(due + 1).is_some(), "the file is as before, and its time is over");
    let warned = Rotation::Warned(Warning::CrlStale { path: list, next_update: due });
    assert_eq!(tls.policy.take(due + 1), [warned]);
    assert_eq!((tls.policy.look(due + 2), tls.policy.take(due + 2)), (None, Vec::new()), "told once");
}

/// Longer than a file of authorities may be, and shorter than one of lists may be.
const TOO_LONG: usize = (8 << 20) + 1;

fn bytes_of(path: &std::path::Path) -> Vec<u8> {
    fs::read(path).expect("a file")
}
