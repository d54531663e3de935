//! What people want to know of a certificate and its chain beyond its names and dates.

use std::fmt;

use aws_lc_rs::digest::{SHA256, digest};
use rustls::pki_types::CertificateDer;
use x509_parser::extensions::ParsedExtension;
use x509_parser::oid_registry::Oid;
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::public_key::PublicKey;
use x509_parser::x509::SubjectPublicKeyInfo;

use crate::date::date;

/// More about a certificate, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateDetails {
    /// The serial number in hexadecimal, as `openssl x509 -serial` shows it.
    pub serial: String,
    /// The issuer's name, such as `C=US, O=Example, CN=Example CA`.
    pub issuer: String,
    /// SHA-256 of the certificate, in hexadecimal.
    pub fingerprint: String,
    /// The kind of its key: `RSA 2048`, `ECDSA P-256`, `Ed25519`, `ML-DSA-65`; of others the object identifier.
    pub key: String,
    /// What is wrong with the chain whatever the time.
    faults: Vec<ChainFault>,
    /// The validity of each member of the chain, the certificate itself first; in seconds since 1970.
    dates: Vec<Option<(i64, i64)>>,
}

/// A fault of a certificate or of its chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChainFault {
    /// A member has expired.
    Expired {
        /// Its position in the file, from 1.
        position: usize,
        /// The end of its validity, in seconds since 1970.
        not_after: i64,
    },
    /// A member is not valid yet.
    NotYetValid {
        /// Its position in the file, from 1.
        position: usize,
        /// The start of its validity, in seconds since 1970.
        not_before: i64,
    },
    /// The certificate has no DNS name.
    NoNames,
    /// The file has the certificate alone, and its issuer is another one.
    Incomplete {
        /// Does the certificate say where its issuer can be fetched? Then the issuer is hardly a root.
        fetchable: bool,
    },
    /// A member did not issue the one before it.
    Misplaced {
        /// Its position in the file, from 1.
        position: usize,
        /// The position of the member that should stand there, if the file has it.
        instead: Option<usize>,
    },
    /// A member is not X.509.
    Unreadable {
        /// Its position in the file, from 1.
        position: usize,
    },
    /// The chain ends with a self-signed root. Clients do not need it: they trust their own copy, or none.
    RootIncluded {
        /// Its position in the file, from 1.
        position: usize,
    },
}

impl ChainFault {
    /// Its word in JSON.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Expired { .. } => "expired",
            Self::NotYetValid { .. } => "not_yet_valid",
            Self::NoNames => "no_names",
            Self::Incomplete { .. } => "incomplete",
            Self::Misplaced { instead: Some(_), .. } => "wrong_order",
            Self::Misplaced { instead: None, .. } => "misplaced",
            Self::Unreadable { .. } => "unreadable",
            Self::RootIncluded { .. } => "root_included",
        }
    }

    /// Is it no more than a note: can clients make a connection all the same?
    #[must_use]
    pub const fn is_note(&self) -> bool {
        matches!(self, Self::RootIncluded { .. } | Self::Incomplete { fetchable: false } | Self::NoNames)
    }
}

impl fmt::Display for ChainFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Expired { position: 1, not_after } => write!(f, "expired on {}", date(*not_after)),
            Self::Expired { position, not_after } => {
                write!(f, "certificate {position} of the chain expired on {}", date(*not_after))
            }
            Self::NotYetValid { position: 1, not_before } => {
                write!(f, "not valid before {}", date(*not_before))
            }
            Self::NotYetValid { position, not_before } => {
                write!(f, "certificate {position} of the chain is not valid before {}", date(*not_before))
            }
            Self::NoNames => f.write_str("no DNS name, so no SNI selects it"),
            Self::Incomplete { .. } => f.write_str(
                "the issuer is not in the file: if it is an intermediate, clients find the chain broken",
            ),
            Self::Misplaced { position, instead: Some(instead) } => {
                write!(f, "wrong order: certificate {instead} belongs at place {position}")
            }
            Self::Misplaced { position, instead: None } => {
                write!(f, "certificate {position} of the chain did not issue the one before it")
            }
            Self::Unreadable { position } => {
                write!(f, "certificate {position} of the chain cannot be parsed")
            }
            Self::RootIncluded { position } => {
                write!(f, "certificate {position} is a self-signed root, which clients do not need")
            }
        }
    }
}

impl CertificateDetails {
    /// Of the first certificate of `chain`, which is `leaf`; `has_names` says whether it has a DNS name.
    pub(super) fn of(chain: &[CertificateDer<'_>], leaf: &X509Certificate<'_>, has_names: bool) -> Self {
        let members: Vec<_> =
            chain.iter().map(|der| X509Certificate::from_der(der).ok().map(|(_, one)| one)).collect();
        let mut faults = chain_faults(&members);
        if !has_names {
            faults.push(ChainFault::NoNames);
        }
        let dates = members.iter().map(|member| {
            let validity = member.as_ref()?.validity();
            Some((validity.not_before.timestamp(), validity.not_after.timestamp()))
        });
        let serial = leaf.raw_serial();
        let zeros = serial.iter().take_while(|byte| **byte == 0).count().min(serial.len().saturating_sub(1));
        Self {
            serial: hex(serial.get(zeros..).unwrap_or_default()).to_ascii_uppercase(),
            issuer: leaf.issuer().to_string(),
            fingerprint: hex(digest(&SHA256, chain.first().map_or(&[][..], AsRef::as_ref)).as_ref()),
            key: key(leaf.public_key()),
            faults,
            dates: dates.collect(),
        }
    }

    /// The faults of the certificate and its chain at `now`, in seconds since 1970.
    #[must_use]
    pub fn faults(&self, now: i64) -> Vec<ChainFault> {
        let mut faults = Vec::new();
        for (index, dates) in self.dates.iter().enumerate() {
            let position = index + 1;
            match dates {
                Some((_, not_after)) if now > *not_after => {
                    faults.push(ChainFault::Expired { position, not_after: *not_after });
                }
                Some((not_before, _)) if now < *not_before => {
                    faults.push(ChainFault::NotYetValid { position, not_before: *not_before });
                }
                _ => {}
            }
        }
        faults.extend(self.faults.iter().cloned());
        faults
    }
}

fn chain_faults(members: &[Option<X509Certificate<'_>>]) -> Vec<ChainFault> {
    let mut faults = Vec::new();
    for (index, pair) in members.windows(2).enumerate() {
        let position = index + 2;
        match pair {
            [_, None] => faults.push(ChainFault::Unreadable { position }),
            [Some(before), Some(member)] if before.issuer() != member.subject() => {
                let issued = |one: &Option<X509Certificate<'_>>| {
                    one.as_ref().is_some_and(|one| one.subject() == before.issuer())
                };
                let instead = members.iter().position(issued).map(|index| index + 1);
                // A root is its own issuer: what stands behind one is superfluous, not in the wrong order.
                let instead = instead.filter(|instead| *instead != position - 1);
                faults.push(ChainFault::Misplaced { position, instead });
            }
            _ => {}
        }
    }
    let is_root = |one: &X509Certificate<'_>| one.subject() == one.issuer();
    match members {
        [Some(alone)] if !is_root(alone) => {
            faults.push(ChainFault::Incomplete { fetchable: names_issuer(alone) });
        }
        [_, .., Some(last)] if is_root(last) => {
            faults.push(ChainFault::RootIncluded { position: members.len() });
        }
        _ => {}
    }
    faults
}

/// Does the certificate say where its issuer can be fetched (`caIssuers`, RFC 5280 §4.2.2.1)?
fn names_issuer(certificate: &X509Certificate<'_>) -> bool {
    certificate.extensions().iter().any(|extension| match extension.parsed_extension() {
        ParsedExtension::AuthorityInfoAccess(access) => {
            access.accessdescs.iter().any(|one| one.access_method.to_id_string() == CA_ISSUERS)
        }
        _ => false,
    })
}

fn key(info: &SubjectPublicKeyInfo<'_>) -> String {
    let curve = || info.algorithm.parameters.as_ref().and_then(|one| one.as_oid().ok());
    let named = |oid: &Oid<'_>| {
        let id = oid.to_id_string();
        KEYS.iter().find(|(known, _)| *known == id).map_or(id, |(_, name)| (*name).to_owned())
    };
    match info.parsed() {
        Ok(PublicKey::RSA(rsa)) => format!("RSA {}", rsa.key_size()),
        Ok(PublicKey::EC(_)) => {
            curve().map_or_else(|| "ECDSA".to_owned(), |curve| format!("ECDSA {}", named(&curve)))
        }
        _ => named(&info.algorithm.algorithm),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// id-ad-caIssuers.
const CA_ISSUERS: &str = "1.3.6.1.5.5.7.48.2";

/// Curves (RFC 5480 §2.1.1.1) and kinds of keys (RFC 8410 §3, RFC 9881 §2) by their object identifiers.
const KEYS: [(&str, &str); 8] = [
    ("1.2.840.10045.3.1.7", "P-256"),
    ("1.3.132.0.34", "P-384"),
    ("1.3.132.0.35", "P-521"),
    ("1.3.101.112", "Ed25519"),
    ("1.3.101.113", "Ed448"),
    ("2.16.840.1.101.3.4.3.17", "ML-DSA-44"),
    ("2.16.840.1.101.3.4.3.18", "ML-DSA-65"),
    ("2.16.840.1.101.3.4.3.19", "ML-DSA-87"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::certificate::{CertificateFiles, CertificateStore, load_all};
    use crate::fixtures::{Pki, ecdsa, params, rsa};
    use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

    const NOW: i64 = 1_800_000_000;

    fn details(files: &CertificateFiles) -> CertificateDetails {
        let loaded = load_all(std::slice::from_ref(files), &CertificateStore::default(), None, NOW);
        loaded.expect("a certificate").0[0].facts.details.clone()
    }

    #[test]
    fn keys_have_names() {
        let pki = Pki::new();
        let of = |key: &KeyPair| details(&pki.issue_for("a", key, params(&["a.test"]))).key;
        assert_eq!(of(&rsa()), "RSA 2048");
        assert_eq!(of(&ecdsa()), "ECDSA P-256");
        assert_eq!(of(&KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap()), "ECDSA P-384");
        assert_eq!(of(&KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap()), "Ed25519");
    }

    #[test]
    fn serial_numbers_and_fingerprints_are_openssls() {
        let pki = Pki::new();
        for serial in [vec![1], vec![0x0f, 0xa0], vec![0xff, 1], vec![0]] {
            let mut params = params(&["a.test"]);
            params.serial_number = Some(serial.into());
            let files = pki.issue_for("a", &ecdsa(), params);
            let mut openssl = std::process::Command::new("openssl");
            openssl.args(["x509", "-noout", "-serial", "-fingerprint", "-sha256", "-in"]).arg(&files.cert);
            let said = String::from_utf8(openssl.output().expect("openssl").stdout).unwrap();
            let details = details(&files);
            let (serial, print) = said.trim().split_once('\n').unwrap();
            assert_eq!(format!("serial={}", details.serial), serial);
            let (_, print) = print.split_once('=').unwrap();
            assert_eq!(details.fingerprint, print.replace(':', "").to_ascii_lowercase());
            assert!(details.issuer.contains("CN=authority of"), "{}", details.issuer);
        }
    }

    #[test]
    fn chains_are_judged() {
        let pki = Pki::new();
        let root = std::fs::read_to_string(&pki.ca).unwrap();
        let mut authority = CertificateParams::new(Vec::new()).unwrap();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        authority.distinguished_name.push(DnType::CommonName, "intermediate");
        authority.not_after = rcgen::date_time_ymd(2030, 1, 1);
        let key = ecdsa();
        let between = pki.issue_for("between", &key, authority.clone());
        let between = std::fs::read_to_string(&between.cert).unwrap();
        let issuer = Issuer::new(authority, key);
        let (leaf_key, mut params) = (ecdsa(), params(&["a.test"]));
        params.not_after = rcgen::date_time_ymd(2040, 1, 1);
        let leaf = params.signed_by(&leaf_key, &issuer).unwrap().pem();
        let stranger = std::fs::read_to_string(Pki::new().ca).unwrap();
        let key = pki.file("leaf.key", leaf_key.serialize_pem());
        let of = |parts: &[&str], now| {
            let cert = pki.file("chain.pem", parts.concat());
            details(&CertificateFiles::new(cert, key.clone())).faults(now)
        };
        let codes = |parts: &[&str]| of(parts, NOW).iter().map(ChainFault::code).collect::<Vec<_>>();
        assert_eq!(codes(&[&leaf, &between]), [""; 0]);
        assert_eq!(codes(&[&leaf]), ["incomplete"]);
        assert_eq!(codes(&[&leaf, &between, &root]), ["root_included"]);
        assert_eq!(codes(&[&leaf, &root, &between]), ["wrong_order", "misplaced"]);
        assert_eq!(codes(&[&leaf, &stranger]), ["misplaced", "root_included"]);
        assert_eq!(codes(&[&leaf, &between, &stranger]), ["misplaced", "root_included"]);
        let late = of(&[&leaf, &between], 1_950_000_000);
        assert!(matches!(late[..], [ChainFault::Expired { position: 2, .. }]), "{late:?}");
        let later = of(&[&leaf, &between], 2_300_000_000);
        assert!(matches!(later[..], [ChainFault::Expired { position: 1, .. }, ChainFault::Expired { .. }]));
        let early = of(&[&leaf, &between], 0);
        assert!(early.iter().all(|fault| fault.code() == "not_yet_valid") && !early.is_empty());
        assert!(of(&[&leaf], NOW)[0].is_note(), "its issuer may be a root");
    }

    #[test]
    fn self_signed_certificates_are_complete() {
        let pki = Pki::new();
        assert_eq!(details(&pki.self_signed("a", params(&["a.test"]))).faults(NOW), []);
        let nameless = details(&pki.self_signed("b", params(&[])));
        assert_eq!(nameless.faults(NOW), [ChainFault::NoNames]);
    }
}
