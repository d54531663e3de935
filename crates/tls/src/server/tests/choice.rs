//! What a profile's suites, groups and kinds of certificates decide, against rustls clients in memory.

use rustls::crypto::CryptoProvider;
use rustls::version::{TLS12, TLS13};
use rustls::{SignatureScheme, SupportedProtocolVersion};

use super::*;
use crate::fixtures::{Pki, ecdsa, params, profile, rsa, settings};
use crate::provider::provider;
use crate::{Group, Suite};

const ALL: &[&SupportedProtocolVersion] = &[&TLS13, &TLS12];

/// A client with these suites and groups, in its order of preference; empty lists are all.
fn client(
    pki: &Pki,
    versions: &[&'static SupportedProtocolVersion],
    suites: &[Suite],
    groups: &[Group],
) -> Arc<rustls::ClientConfig> {
    let choice = Choice::new(MinVersion::Tls12, suites, groups).expect("a version");
    Arc::new(pki.client_with(choice.provider, versions))
}

/// Trusts the authority, and checks these signatures alone.
fn knowing(
    pki: &Pki,
    versions: &[&'static SupportedProtocolVersion],
    schemes: &[SignatureScheme],
) -> Arc<rustls::ClientConfig> {
    let mut known = CryptoProvider::clone(&provider());
    let mapping = known.signature_verification_algorithms.mapping.iter().copied();
    let mapping: Vec<_> = mapping.filter(|(scheme, _)| schemes.contains(scheme)).collect();
    known.signature_verification_algorithms.mapping = mapping.leak();
    Arc::new(pki.client_with(Arc::new(known), versions))
}

#[tokio::test]
async fn the_profiles_order_of_suites_decides_if_there_is_one() {
    let pki = Pki::new();
    let mut settings = settings(vec![pki.issue("a", &[NAME])]);
    let chacha_first = client(&pki, ALL, &[Suite::ChaCha20, Suite::Aes128, Suite::Aes256], &[]);
    let agreed = async |settings: &ServerSettings, client: &Arc<rustls::ClientConfig>| {
        session(&profile(settings), client, NAME).await.cipher
    };
    assert_eq!(agreed(&settings, &chacha_first).await, "TLS_CHACHA20_POLY1305_SHA256");
    settings.cipher_suites = vec![Suite::Aes128, Suite::ChaCha20, Suite::EcdsaAes128, Suite::EcdsaAes256];
    assert_eq!(agreed(&settings, &chacha_first).await, "TLS_AES_128_GCM_SHA256");
    let only_chacha = client(&pki, ALL, &[Suite::ChaCha20], &[]);
    assert_eq!(agreed(&settings, &only_chacha).await, "TLS_CHACHA20_POLY1305_SHA256");
    let tls12 = client(&pki, &[&TLS12], &[Suite::EcdsaAes256, Suite::EcdsaAes128], &[]);
    assert_eq!(agreed(&settings, &tls12).await, "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256");
}

#[tokio::test]
async fn suites_that_are_not_listed_are_not_spoken() {
    let pki = Pki::new();
    let mut settings = settings(vec![pki.issue("a", &[NAME])]);
    settings.cipher_suites = vec![Suite::Aes128, Suite::EcdsaAes128];
    for versions in [&[&TLS13][..], &[&TLS12]] {
        let (error, _) =
            failure(&profile(&settings), client(&pki, versions, &[Suite::Aes256, Suite::EcdsaAes256], &[]))
                .await;
        assert_eq!(error.reason, HandshakeFailure::NoSharedCipher);
    }
    // A version without a suite is not spoken, and the other one is: also with clients that know both.
    settings.cipher_suites = vec![Suite::EcdsaAes128];
    let agreed = session(&profile(&settings), &client(&pki, ALL, &[], &[]), NAME).await;
    assert_eq!(agreed.version, crate::Version::Tls12);
    let (error, _) = failure(&profile(&settings), client(&pki, &[&TLS13], &[], &[])).await;
    assert_eq!(error.reason, HandshakeFailure::NoSharedVersion);
    settings.cipher_suites = vec![Suite::Aes128];
    let agreed = session(&profile(&settings), &client(&pki, ALL, &[], &[]), NAME).await;
    assert_eq!(agreed.version, crate::Version::Tls13);
    let (error, _) = failure(&profile(&settings), client(&pki, &[&TLS12], &[], &[])).await;
    assert_eq!(error.reason, HandshakeFailure::NoSharedVersion);
}

#[tokio::test]
async fn the_profiles_order_of_groups_decides_if_there_is_one() {
    let pki = Pki::new();
    let mut settings = settings(vec![pki.issue("a", &[NAME])]);
    let classic_first = client(&pki, ALL, &[], &[Group::X25519, Group::P256, Group::X25519MlKem768]);
    let agreed = async |settings: &ServerSettings, client: &Arc<rustls::ClientConfig>| {
        session(&profile(settings), client, NAME).await.group
    };
    assert_eq!(agreed(&settings, &classic_first).await, "X25519");
    // The client has sent no share for it, and is asked for one.
    settings.groups = vec![Group::X25519MlKem768, Group::P256, Group::X25519];
    assert_eq!(agreed(&settings, &classic_first).await, "X25519MLKEM768");
    let tls12 = client(&pki, &[&TLS12], &[], &[Group::X25519, Group::P256]);
    assert_eq!(agreed(&settings, &tls12).await, "secp256r1");
    let (error, _) = failure(&profile(&settings), client(&pki, ALL, &[], &[Group::P384])).await;
    assert_eq!(error.reason, HandshakeFailure::NoSharedGroup);
    settings.groups = vec![Group::P384];
    assert_eq!(agreed(&settings, &client(&pki, ALL, &[], &[])).await, "secp384r1");
}

#[tokio::test]
async fn sessions_are_resumed_whatever_group_they_began_with() {
    let pki = Pki::new();
    let mut settings = settings(vec![pki.issue("a", &[NAME])]);
    settings.groups = vec![Group::X25519MlKem768, Group::X25519];
    let profile = profile(&settings);
    for (versions, groups) in [(&[&TLS13][..], &[][..]), (&[&TLS13], &[Group::X25519]), (&[&TLS12], &[])] {
        let client = client(&pki, versions, &[], groups);
        assert_eq!(session(&profile, &client, NAME).await.resumed, Resumed::No);
        assert_eq!(session(&profile, &client, NAME).await.resumed, Resumed::Ticket);
    }
}

/// One certificate of each kind for one name, the most costly first.
fn every_kind(pki: &Pki) -> ServerSettings {
    let of = |algorithm| rcgen::KeyPair::generate_for(algorithm).expect("a key");
    let kinds = [
        ("rsa", rsa()),
        ("p521", of(&rcgen::PKCS_ECDSA_P521_SHA512)),
        ("p384", of(&rcgen::PKCS_ECDSA_P384_SHA384)),
        ("p256", ecdsa()),
        ("ed25519", of(&rcgen::PKCS_ED25519)),
        ("ml-dsa-44", of(&rcgen::PKCS_ML_DSA_44)),
        ("ml-dsa-65", of(&rcgen::PKCS_ML_DSA_65)),
        ("ml-dsa-87", of(&rcgen::PKCS_ML_DSA_87)),
    ];
    settings(kinds.iter().map(|(file, key)| pki.issue_for(file, key, params(&[NAME]))).collect())
}

#[tokio::test]
async fn each_client_gets_the_first_kind_that_it_can_check() {
    use SignatureScheme as S;
    let pki = Pki::new();
    let profile = profile(&every_kind(&pki));
    // Each can check the authority's signature, which is ECDSA.
    let cases: &[(&[S], &str, &str)] = &[
        (&[S::ML_DSA_65, S::ML_DSA_87, S::ECDSA_NISTP256_SHA256, S::RSA_PSS_SHA256], "ml-dsa-65", "p256"),
        (&[S::ML_DSA_44, S::ECDSA_NISTP256_SHA256], "ml-dsa-44", "p256"),
        (&[S::ML_DSA_87, S::ECDSA_NISTP256_SHA256], "ml-dsa-87", "p256"),
        (&[S::ED25519, S::ECDSA_NISTP256_SHA256], "p256", "p256"),
        (&[S::RSA_PSS_SHA256, S::ECDSA_NISTP256_SHA256], "p256", "p256"),
    ];
    for (schemes, tls13, tls12) in cases {
        for (version, wanted) in [(&TLS13, tls13), (&TLS12, tls12)] {
            let got = leaf(&profile, &knowing(&pki, &[version], schemes)).await;
            let files = profile.serving.load();
            let of = |one: &&Served| one.certified.cert.first().is_some_and(|cert| *cert == got);
            let file = files.served.iter().find(of).map(|one| one.facts.file.clone());
            assert_eq!(file, Some(format!("{wanted}.pem")), "{schemes:?} {version:?}");
        }
    }
}

#[tokio::test]
async fn post_quantum_certificates_are_for_tls13_alone() {
    let pki = Pki::new();
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ML_DSA_65).expect("a key");
    let only = profile(&settings(vec![pki.issue_for("ml-dsa", &key, params(&[NAME]))]));
    let all = client(&pki, ALL, &[], &[]);
    assert_eq!(session(&only, &all, NAME).await.version, crate::Version::Tls13);
    let (error, _) = failure(&only, client(&pki, &[&TLS12], &[], &[])).await;
    // No suite of TLS 1.2 works with the key.
    assert_eq!(error.reason, HandshakeFailure::NoSharedCipher);
    let (error, _) = failure(&only, knowing(&pki, ALL, &[SignatureScheme::ECDSA_NISTP256_SHA256])).await;
    assert_eq!(error.reason, HandshakeFailure::NoSharedSignature);
}
