//! Backends that are known by their public keys.

use rcgen::{KeyPair, PublicKeyData};

use super::*;
use crate::pin::Pin;

fn pinning(keys: &[&KeyPair]) -> BackendSettings {
    let pinned = keys.iter().map(|key| Pin::of(&key.subject_public_key_info())).collect();
    BackendSettings { pinned, ..BackendSettings::default() }
}

#[tokio::test]
async fn a_pinned_key_replaces_chain_name_and_dates() {
    let (pki, strangers) = (Pki::new(), Pki::new());
    let (key, other) = (ecdsa(), ecdsa());
    let certificates = [
        pki.issue_for("named", &key, params(&[NAME])),
        pki.issue_for("misnamed", &key, params(&["other.test"])),
        pki.issue_for("expired", &key, dated(2000, 2001)),
        strangers.issue_for("stranger", &key, params(&[NAME])),
    ];
    for files in &certificates {
        assert_eq!(reason(&pinning(&[&key]), files).await, None, "{files:?}");
        assert_eq!(reason(&pinning(&[&other, &key]), files).await, None, "one of several: {files:?}");
        assert_eq!(reason(&pinning(&[&other]), files).await, Some(HandshakeFailure::NotPinned), "{files:?}");
    }
}

#[tokio::test]
async fn a_key_that_is_not_pinned_is_shown_with_its_pin() {
    let pki = Pki::new();
    let (key, other) = (ecdsa(), ecdsa());
    let files = pki.issue_for("a", &key, params(&[NAME]));
    let server = Arc::new(plain_server(&files, 1));
    let (tls, warnings) = BackendTls::build(&pinning(&[&other])).expect("a policy");
    assert_eq!(warnings, []);
    let seen = Pin::of(&key.subject_public_key_info()).to_string();
    let error = connect(&tls.client(), &server).await.expect_err("another key");
    assert!(error.to_string().contains(&seen), "{error}");
    let probe = tls.probe();
    assert!(probe.verifies());
    let presented = probe::probed(&probe, &server, Some(NAME)).await.expect("a session");
    let error = presented.verdict.expect("a verifier").expect_err("another key");
    assert_eq!(error.reason, HandshakeFailure::NotPinned);
    assert!(error.to_string().contains(&seen), "{error}");
}

#[tokio::test]
async fn sessions_do_not_outlive_a_change_of_the_pins() {
    let pki = Pki::new();
    let (key, other) = (ecdsa(), ecdsa());
    let server = Arc::new(plain_server(&pki.issue_for("a", &key, params(&[NAME])), 2));
    let sessions = Sessions::random().expect("randomness");
    let client = |keys: &[&KeyPair]| {
        BackendTls::build(&pinning(keys)).expect("a policy").0.keeping(&sessions).client_for("10.0.0.1:443")
    };
    let both = client(&[&key, &other]);
    assert_eq!(connect(&both, &server).await.expect("a session").1.resumed, Resumed::No);
    assert_eq!(connect(&both, &server).await.expect("a session").1.resumed, Resumed::Ticket);
    let error = connect(&client(&[&other]), &server).await.expect_err("not pinned any more");
    assert_eq!(error.reason, HandshakeFailure::NotPinned);
    assert_eq!(connect(&client(&[&key]), &server).await.expect("a session").1.resumed, Resumed::No);
}
