//! The file of a secret: a bounded read, what counts as the secret, and how much there is to guess in it.
//!
//! Any file of 32 random bytes will do. A file of printable characters is a text: its white space does not count, so
//! that a line end that an editor or a copy adds changes nothing. Digits are not decoded: a secret in hexadecimal
//! digits is as good as its bytes.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use weir_files::ReadError;
use zeroize::Zeroizing;

use super::problem::{SecretProblem, Weakness};
use crate::provider::TlsError;
use crate::secret::{SECRET_LEN, Secret, random_bytes};

/// A secret as it stands in a file.
pub(super) struct Content {
    pub(super) secret: Secret,
    /// The permission bits of the file.
    pub(super) mode: u32,
    pub(super) weakness: Option<Weakness>,
}

/// Reads a secret. A pipe is none: it could not be read again.
pub(super) fn read(path: &Path) -> Result<Content, SecretProblem> {
    if !std::fs::metadata(path).map_err(|source| SecretProblem::Unreadable { source })?.is_file() {
        return Err(SecretProblem::NotAFile);
    }
    let (bytes, state) = weir_files::read(path, LARGEST_FILE).map_err(|(error, _)| match error {
        ReadError::TooLarge => SecretProblem::TooLarge,
        ReadError::Changing => SecretProblem::Changing,
        ReadError::Io(source) => SecretProblem::Unreadable { source },
    })?;
    let (secret, weakness) = of_bytes(&bytes)?;
    Ok(Content { secret, mode: state.mode().unwrap_or_default(), weakness })
}

fn of_bytes(bytes: &[u8]) -> Result<(Secret, Option<Weakness>), SecretProblem> {
    if bytes.windows(PEM.len()).any(|window| window == PEM) {
        return Err(SecretProblem::Pem);
    }
    let is_text = bytes.iter().all(|byte| byte.is_ascii_graphic() || byte.is_ascii_whitespace());
    let kept = |byte: &u8| !(is_text && byte.is_ascii_whitespace());
    // Of its final size from the beginning, for the same reason as above.
    let mut own = Zeroizing::new(Vec::with_capacity(bytes.len()));
    own.extend(bytes.iter().copied().filter(kept));
    if own.len() < SHORTEST_SECRET {
        return Err(SecretProblem::TooShort { bytes: own.len() });
    }
    if own.iter().all(|byte| *byte == 0) {
        return Err(SecretProblem::Zeros);
    }
    Ok((Secret::from_bytes(&own), weakness(&own, is_text)))
}

/// The most obvious weakness of a secret. Random bytes have none, but for one time in a billion.
fn weakness(own: &[u8], is_text: bool) -> Option<Weakness> {
    let digits = |is_digit: fn(&u8) -> bool| is_text && own.iter().all(is_digit);
    let bits = if digits(u8::is_ascii_hexdigit) {
        4
    } else if digits(|byte| byte.is_ascii_alphanumeric() || b"+/-_=".contains(byte)) {
        6
    } else if is_text {
        return Some(Weakness::Guessable);
    } else {
        8
    };
    let padding = if bits == 6 { own.iter().rev().take_while(|byte| **byte == b'=').count() } else { 0 };
    let bytes = (own.len() - padding) * bits / 8;
    let mut seen = [false; 256];
    for byte in own {
        if let Some(seen) = seen.get_mut(usize::from(*byte)) {
            *seen = true;
        }
    }
    let different = seen.iter().filter(|seen| **seen).count();
    // Of 32 random bytes 30 are different on average, of 43 digits of base64 31, of 64 hexadecimal digits 16.
    let least = if bits == 4 { 10 } else { 16 };
    let ascends = own.windows(2).filter(|pair| matches!(pair, [a, b] if a.wrapping_add(1) == *b)).count();
    if different < least || ascends > own.len() / 2 {
        return Some(Weakness::Guessable);
    }
    (bytes < SHORTEST_SECRET).then_some(Weakness::FewBytes { bytes })
}

/// A new secret as the text of its file: a line of hexadecimal digits, which survives every copy.
///
/// # Errors
/// The operating system gives no random bytes.
pub fn new_secret() -> Result<Zeroizing<String>, TlsError> {
    let mut text = Zeroizing::new(String::with_capacity(2 * SECRET_LEN + 1));
    for byte in random_bytes()?.iter() {
        for digit in [byte >> 4, byte & 15] {
            text.extend(char::from_digit(u32::from(digit), 16));
        }
    }
    text.push('\n');
    Ok(text)
}

/// Writes a new secret to a file that does not exist yet, with mode 0600, and waits until it is on the disk. A file
/// that could not be written whole is removed again.
///
/// # Errors
/// The file exists already, or cannot be written.
pub fn write_new_secret(path: &Path) -> io::Result<()> {
    use std::io::Write as _;
    let text = new_secret().map_err(io::Error::other)?;
    let mut file = OpenOptions::new().write(true).create_new(true).mode(MODE).open(path)?;
    let mut write = || {
        // The umask may have taken bits away.
        file.set_permissions(std::fs::Permissions::from_mode(MODE))?;
        file.write_all(text.as_bytes())?;
        file.sync_all()
    };
    if let Err(error) = write() {
        let _removed = std::fs::remove_file(path);
        return Err(error);
    }
    // The entry in the folder, too. Some file systems refuse that, and then it is safe without.
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let _synced = std::fs::File::open(folder).and_then(|folder| folder.sync_all());
    Ok(())
}

const MODE: u32 = 0o600;
const PEM: &[u8] = b"-----BEGIN";
/// As long as the output of HKDF's hash.
pub(super) const SHORTEST_SECRET: usize = SECRET_LEN;
/// Room for any secret that a person or a tool makes, and none for a log or a device that stands in its place.
pub(super) const LARGEST_FILE: u64 = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    fn random(bytes: usize) -> Vec<u8> {
        let mut random = vec![0; bytes];
        aws_lc_rs::rand::fill(&mut random).expect("random bytes");
        random
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn taken(bytes: &[u8]) -> (Secret, Option<Weakness>) {
        of_bytes(bytes).unwrap()
    }

    #[test]
    fn white_space_of_a_text_does_not_count_and_that_of_bytes_does() {
        let text = hex(&random(32));
        let (first, second) = text.split_at(40);
        for same in [
            format!("{text}\n"),
            format!("{text}\r\n"),
            format!("{first}\n{second}\n"),
            format!("{first}\r\n{second}\r\n"),
            format!(" {text}\t\n\n"),
        ] {
            assert_eq!(taken(same.as_bytes()), taken(text.as_bytes()), "{same:?}");
        }
        let mut bytes = random(32);
        bytes[0] = 0xff;
        bytes[31] = b'\n';
        let mut more = bytes.clone();
        more.push(b'\n');
        assert_eq!(taken(&bytes).1, None, "a line end of 32 bytes is a byte like others");
        assert_ne!(taken(&bytes).0, taken(&more).0);
    }

    #[test]
    fn random_secrets_are_not_suspected() {
        for _ in 0..2_000 {
            assert_eq!(taken(&random(32)).1, None);
            assert_eq!(taken(hex(&random(32)).as_bytes()).1, None);
            assert_eq!(taken(new_secret().unwrap().as_bytes()).1, None);
        }
    }

    #[test]
    fn short_and_lost_and_wrong_files_are_refused() {
        let refused = |bytes: &[u8]| of_bytes(bytes).map(|_| ()).unwrap_err().to_string();
        assert_eq!(refused(b""), "a secret has at least 32 bytes, and this one has 0");
        assert_eq!(refused(&[0xf1; 31]), "a secret has at least 32 bytes, and this one has 31");
        let padded = [b"0123456789abcdef0123456789abcde".as_slice(), &[b'\n'; 9]].concat();
        assert_eq!(refused(&padded), "a secret has at least 32 bytes, and this one has 31");
        assert!(refused(&[0; 64]).contains("nothing but zeros"));
        assert!(refused(b"-----BEGIN PRIVATE KEY-----\nMIGHAgEAMBMGByqGSM49AgEG\n").contains("PEM"));
    }

    #[test]
    fn weak_secrets_are_pointed_out() {
        let of = |bytes: &[u8]| taken(bytes).1;
        assert_eq!(of(&[7; 32]), Some(Weakness::Guessable));
        assert_eq!(of(&(0..64).collect::<Vec<u8>>()), Some(Weakness::Guessable), "ascending");
        assert_eq!(of(b"correct horse battery staple, and more of it"), Some(Weakness::Guessable));
        assert_eq!(
            of(b"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"),
            Some(Weakness::Guessable)
        );
        assert_eq!(of(hex(&random(31)).as_bytes()), Some(Weakness::FewBytes { bytes: 31 }));
        assert_eq!(of(b"tJ9vXkQ2mB7eLrD0aZ5wYc8uHs3fNg6P"), Some(Weakness::FewBytes { bytes: 24 }));
        assert_eq!(of(b"V6ahLcOIR+oVf5GzQ0cM3mSxk0RzU1Wc3q9dEwq7yXs="), None, "32 bytes in base64");
    }
}
