//! The system's resolver settings: resolv.conf and the hosts file.
//!
//! Both are checked before each resolution, and read again if they have changed: a process that runs for
//! months must notice that the network's DNS server has moved. A file that becomes unreadable
//! changes nothing. A file that could never be read fails each resolution; a weir without names does not need it.

use super::error::ResolveError;
use super::servers::Servers;
use hickory_resolver::Hosts;
use hickory_resolver::net::NetError;
use hickory_resolver::proto::op::Query;
use hickory_resolver::proto::rr::{Name, RecordType};
use hickory_resolver::system_conf::parse_resolv_conf;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use std::{fs, io};
use weir_log::throttle::LogThrottle;

/// The system's files.
#[derive(Debug)]
pub(super) struct System {
    resolv_conf: CachedFile<ResolvConf>,
    hosts: CachedFile<Hosts>,
}

/// What resolv.conf says.
#[derive(Debug)]
pub(super) struct ResolvConf {
    pub(super) servers: Arc<Servers>,
    search: Vec<Name>,
    ndots: usize,
}

impl System {
    /// By `/etc/resolv.conf` and `/etc/hosts`; either may be absent. Reads neither yet.
    pub(super) fn new() -> Self {
        Self::at("/etc/resolv.conf".into(), "/etc/hosts".into())
    }

    fn at(resolv_conf: PathBuf, hosts: PathBuf) -> Self {
        Self {
            resolv_conf: CachedFile::new(resolv_conf, ResolvConf::parse),
            hosts: CachedFile::new(hosts, parse_hosts),
        }
    }

    /// resolv.conf as it is now.
    pub(super) fn resolv_conf(&self) -> Result<Arc<ResolvConf>, ResolveError> {
        self.resolv_conf.now()
    }

    /// The addresses that the hosts file has for `name`. If it has any, DNS is not asked.
    pub(super) fn hosts(&self, name: &Name) -> Result<Vec<IpAddr>, ResolveError> {
        let hosts = self.hosts.now()?;
        let of = |kind| hosts.lookup_static_host(&Query::query(name.to_lowercase(), kind));
        let found = [RecordType::A, RecordType::AAAA].into_iter().filter_map(of);
        let addresses =
            found.flat_map(|l| l.answers().iter().filter_map(|r| r.data.ip_addr()).collect::<Vec<_>>());
        Ok(addresses.collect())
    }
}

impl ResolvConf {
    /// The names to ask for, in this order, until one exists: with fewer than `ndots` dots the search list
    /// comes before the name itself. A final dot marks an absolute name.
    pub(super) fn candidates(&self, name: Name) -> Vec<Name> {
        let mut whole = name.clone();
        whole.set_fqdn(true);
        if name.is_fqdn() {
            return vec![whole];
        }
        let dots = usize::from(name.num_labels()).saturating_sub(1);
        // A name that is too long with its domain is no candidate.
        let searched = self.search.iter().filter_map(|domain| name.clone().append_domain(domain).ok());
        let mut all: Vec<Name> = searched.collect();
        all.iter_mut().for_each(|n| n.set_fqdn(true));
        all.insert(if dots >= self.ndots { 0 } else { all.len() }, whole);
        all
    }

    fn parse(path: &Path, text: &[u8]) -> Result<Self, ResolveError> {
        let mut text = sound_lines(text);
        // Without a server, the one on this machine, as in the C library.
        if !text.lines().any(|line| line.trim_start().starts_with("nameserver")) {
            text.push_str("nameserver 127.0.0.1\n");
        }
        let (config, options) = parse_resolv_conf(text).map_err(|error| unusable(path, error))?;
        let servers: Vec<_> = config.name_servers.iter().map(|s| SocketAddr::new(s.ip, 53)).collect();
        let search =
            if config.search.is_empty() { config.domain.into_iter().collect() } else { config.search };
        Ok(Self { servers: Arc::new(Servers::new(&servers)?), search, ndots: options.ndots })
    }
}

/// The text of resolv.conf without the parts that would make the library refuse all of it: bytes that are not UTF-8 (a
/// comment in Latin-1), search domains that are not names.
fn sound_lines(text: &[u8]) -> String {
    let mut sound = String::new();
    for line in String::from_utf8_lossy(text).lines() {
        let mut words = line.split_whitespace();
        match words.next() {
            Some(key @ ("search" | "domain")) => {
                sound.push_str(key);
                let domains = words.take_while(|word| !word.starts_with(['#', ';']));
                for domain in domains.filter(|word| Name::from_str_relaxed(word).is_ok()) {
                    sound.extend([" ", domain]);
                }
            }
            _ => sound.push_str(line),
        }
        sound.push('\n');
    }
    sound
}

/// A byte that is not UTF-8, as in a comment in Latin-1, spoils only its own word.
fn parse_hosts(path: &Path, text: &[u8]) -> Result<Hosts, ResolveError> {
    let mut hosts = Hosts::default();
    let text = String::from_utf8_lossy(text);
    hosts.read_hosts_conf(text.as_bytes()).map_err(|error| unusable(path, error))?;
    Ok(hosts)
}

fn unusable(path: &Path, why: impl Into<NetError>) -> ResolveError {
    ResolveError::UnusableFile { path: path.to_owned(), why: Box::new(why.into()) }
}

/// A file, read when it is first asked for and again when it has changed.
#[derive(Debug)]
struct CachedFile<T> {
    path: PathBuf,
    parse: Parse<T>,
    /// `None` until it could be used for the first time.
    seen: Mutex<Option<(Option<Stamp>, Arc<T>)>>,
    /// Limits log lines about the file, which may change often. The value is why the file cannot be used, if it cannot.
    lines: LogThrottle<Option<String>>,
}

/// What a file's text says; the path is for the error.
type Parse<T> = fn(&Path, &[u8]) -> Result<T, ResolveError>;

/// What changes when a file does: device and inode (it may be replaced), length, and the time of change.
type Stamp = (u64, u64, u64, i64, i64);

impl<T> CachedFile<T> {
    fn new(path: PathBuf, parse: Parse<T>) -> Self {
        Self { path, parse, seen: Mutex::default(), lines: LogThrottle::new(4, Duration::from_secs(60)) }
    }

    fn now(&self) -> Result<Arc<T>, ResolveError> {
        // Before the text, so that a change in between is noticed later.
        self.stamped(stamp(&self.path))
    }

    /// What the file says, which had this stamp a moment ago.
    fn stamped(&self, stamp: Option<Stamp>) -> Result<Arc<T>, ResolveError> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((then, value)) = &mut *seen else {
            let value = Arc::new(self.parsed(read(&self.path).or_else(absent_is_empty))?);
            *seen = Some((stamp, Arc::clone(&value)));
            return Ok(value);
        };
        if stamp.is_some() && stamp != *then {
            // The file may just have vanished, to be replaced: then its last good text stays in use.
            match self.parsed(read(&self.path)) {
                Ok(new) => {
                    self.lines.note(None);
                    *value = Arc::new(new);
                }
                Err(error) => self.lines.note(Some(error.to_string())),
            }
            // A broken file is not read again either, until it changes.
            *then = stamp;
        }
        self.tell();
        Ok(Arc::clone(value))
    }

    /// Logs the changes since the last line, if a line is due. Changes held back are logged at a later question.
    fn tell(&self) {
        match self.lines.take() {
            Some((times, None)) => {
                tracing::info!(path = %self.path.display(), times, "a file of the system's name resolution has changed");
            }
            Some((times, Some(error))) => tracing::warn!(error, times, "its last good text stays in use"),
            None => {}
        }
    }

    fn parsed(&self, text: io::Result<Vec<u8>>) -> Result<T, ResolveError> {
        let unreadable =
            |error| ResolveError::UnreadableFile { path: self.path.clone(), why: Arc::new(error) };
        (self.parse)(&self.path, &text.map_err(unreadable)?)
    }
}

fn absent_is_empty(error: io::Error) -> io::Result<Vec<u8>> {
    if error.kind() == io::ErrorKind::NotFound { Ok(Vec::new()) } else { Err(error) }
}

fn stamp(path: &Path) -> Option<Stamp> {
    let of = fs::metadata(path).ok()?;
    Some((of.dev(), of.ino(), of.len(), of.ctime(), of.ctime_nsec()))
}

/// Reads a file on the control plane's thread, since it is usually small.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    let length = fs::metadata(path)?.len();
    if length > LARGEST {
        return Err(io::Error::from(io::ErrorKind::FileTooLarge));
    }
    fs::read(path)
}

/// Block lists of hundreds of thousands of names, kept as a hosts file, stay below this.
const LARGEST: u64 = 16 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn conf(text: &str) -> ResolvConf {
        ResolvConf::parse(Path::new("resolv.conf"), text.as_bytes()).unwrap()
    }

    /// An empty folder, and where the files would be in it.
    fn folder(name: &str) -> (PathBuf, PathBuf, PathBuf) {
        let folder = std::env::temp_dir().join(format!("weir-system-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let (resolv, hosts) = (folder.join("resolv.conf"), folder.join("hosts"));
        (folder, resolv, hosts)
    }

    fn candidates(conf: &ResolvConf, name: &str) -> Vec<String> {
        conf.candidates(Name::from_ascii(name).unwrap()).iter().map(Name::to_ascii).collect()
    }

    #[test]
    fn dots_decide_whether_the_search_list_comes_first() {
        let conf = conf("nameserver 127.0.0.1\nsearch a.test b.test\noptions ndots:2\n");
        assert_eq!(candidates(&conf, "api"), ["api.a.test.", "api.b.test.", "api."]);
        assert_eq!(candidates(&conf, "api.x"), ["api.x.a.test.", "api.x.b.test.", "api.x."]);
        assert_eq!(candidates(&conf, "api.x.y"), ["api.x.y.", "api.x.y.a.test.", "api.x.y.b.test."]);
        assert_eq!(candidates(&conf, "api."), ["api."]);
    }

    #[tokio::test]
    async fn this_machine_answers_without_a_server() {
        assert_eq!(format!("{:?}", conf("# nothing\n").servers), "[127.0.0.1:53]");
        let two = conf("nameserver 10.0.0.1\n  nameserver ::1\n");
        assert_eq!(format!("{:?}", two.servers), "[10.0.0.1:53, [::1]:53]");
    }

    #[test]
    fn files_are_read_again_when_they_change() {
        let (folder, resolv, hosts) = folder("change");
        fs::write(&hosts, "10.0.0.1 Web web.test # one\n::7 web\n10.0.0.2 web\n").unwrap();
        let system = System::at(resolv.clone(), hosts.clone());
        let found = |name: &str| -> Vec<String> {
            system.hosts(&Name::from_ascii(name).unwrap()).unwrap().iter().map(ToString::to_string).collect()
        };
        assert_eq!(found("WEB"), ["10.0.0.1", "10.0.0.2", "::7"]);
        assert_eq!(found("web.test."), ["10.0.0.1"]);
        fs::write(&hosts, "10.0.0.33 web\n").unwrap();
        assert_eq!(found("web"), ["10.0.0.33"]);
        assert_eq!(
            format!("{:?}", system.resolv_conf().unwrap().servers),
            "[127.0.0.1:53]",
            "absent is empty"
        );
        fs::write(&resolv, "nameserver 10.9.9.9\n").unwrap();
        assert_eq!(format!("{:?}", system.resolv_conf().unwrap().servers), "[10.9.9.9:53]");
        fs::remove_dir_all(&folder).unwrap();
        assert_eq!(found("web"), ["10.0.0.33"], "what vanishes stays as it was");
        let just_changed = Some((0, 0, 0, 0, 0));
        assert!(system.hosts.stamped(just_changed).is_ok());
        assert_eq!(found("web"), ["10.0.0.33"], "also where it vanishes before it can be read");
    }

    #[tokio::test(start_paused = true)]
    async fn changes_of_a_file_that_were_held_back_are_told_by_a_later_question() {
        let (folder, _, hosts) = folder("held");
        fs::write(&hosts, "10.0.0.1 web\n").unwrap();
        let file = CachedFile::new(hosts, parse_hosts);
        for change in 0..6 {
            assert!(file.stamped(Some((0, 0, 0, 0, change))).is_ok());
        }
        let last = Some((0, 0, 0, 0, 5));
        assert!(file.lines.due().is_some(), "one of five changes is held back");
        tokio::time::advance(Duration::from_secs(60)).await;
        assert!(file.stamped(last).is_ok() && file.lines.due().is_none());
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn wrong_lines_spoil_no_others() {
        let (folder, resolv, hosts) = folder("latin");
        let lines = [
            b"# caf\xe9\n10.0.0.1 web # \xfcber\n".as_slice(),
            b"10.0.0.2 caf\xe9 other \xff\xfe\n",
            b"not-an-address web\n10.0.0 web\n10.0.0.3 a..b last\n\xff\n::9\n",
        ];
        fs::write(&hosts, lines.concat()).unwrap();
        let text = b"# \xe9\nnameserver 10.9.9.9 # caf\xe9\nsearch a..b a.test caf\xe9 b.test\nnonsense\n";
        fs::write(&resolv, text).unwrap();
        let system = System::at(resolv, hosts);
        let found = |name: &str| {
            let all = system.hosts(&Name::from_ascii(name).unwrap()).unwrap();
            all.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(["web", "other", "last"].map(found), ["10.0.0.1", "10.0.0.2", "10.0.0.3"]);
        let conf = system.resolv_conf().unwrap();
        assert_eq!(format!("{:?}", conf.servers), "[10.9.9.9:53]");
        assert!(candidates(&conf, "api").starts_with(&["api.a.test.".to_owned()]), "{conf:?}");
        assert!(candidates(&conf, "api").contains(&"api.b.test.".to_owned()), "{conf:?}");
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn unusable_files_fail_only_their_lookups_and_until_they_are_mended() {
        let (folder, resolv, hosts) = folder("unusable");
        // Not to be read by anyone, the superuser included.
        fs::create_dir(&resolv).unwrap();
        fs::create_dir(&hosts).unwrap();
        let system = System::at(resolv.clone(), hosts.clone());
        let error = system.resolv_conf().unwrap_err().to_string();
        assert!(error.starts_with(&format!("cannot read {}: ", resolv.display())), "{error}");
        let name = Name::from_ascii("web").unwrap();
        let error = system.hosts(&name).unwrap_err().to_string();
        assert!(error.starts_with(&format!("cannot read {}: ", hosts.display())), "{error}");
        fs::remove_dir(&resolv).unwrap();
        fs::remove_dir(&hosts).unwrap();
        fs::write(&resolv, "nameserver here\n").unwrap();
        let error = system.resolv_conf().unwrap_err().to_string();
        assert!(error.starts_with(&format!("cannot use {}: ", resolv.display())), "{error}");
        fs::write(&resolv, "nameserver 10.9.9.9\n").unwrap();
        fs::write(&hosts, "10.0.0.1 web\n").unwrap();
        assert_eq!(format!("{:?}", system.resolv_conf().unwrap().servers), "[10.9.9.9:53]");
        assert_eq!(system.hosts(&name).unwrap(), ["10.0.0.1".parse::<IpAddr>().unwrap()]);
        fs::remove_dir_all(&folder).unwrap();
    }
}
