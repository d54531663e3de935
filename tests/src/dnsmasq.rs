//! A real DNS server, dnsmasq, whose answers can be changed while it runs.

use crate::eventually::eventually;
use crate::ports::Port;
use crate::program::Program;
use rustix::process::Signal;
use std::net::SocketAddr;
use std::time::Duration;
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::process::Command;

/// Names that end in this are dnsmasq's own: unknown ones do not exist. Others it refuses to answer.
pub const DOMAIN: &str = "test";
/// The TTL of every record, in seconds.
pub const TTL: u32 = 1;
const SOON: Duration = Duration::from_secs(10);

/// A running dnsmasq.
#[derive(Debug)]
pub struct Dnsmasq {
    /// Where it answers, over UDP and TCP.
    pub addr: SocketAddr,
    program: Program,
    folder: TempDir,
    _port: Port,
}

impl Dnsmasq {
    /// Starts it with `hosts`, lines of an address and names as in /etc/hosts, and further options for records
    /// of other kinds: `--srv-host=_https._tcp.api.test,a.test,8443,10,5` (port, priority, weight),
    /// `--cname=alias.test,a.test`.
    ///
    /// # Panics
    /// When it does not answer soon.
    pub async fn start(hosts: &str, options: &[&str]) -> Self {
        Self::at(Port::free(), hosts, options).await
    }

    /// As [`Dnsmasq::start`], on a port that was reserved before.
    ///
    /// # Panics
    /// When it does not answer soon.
    pub async fn at(port: Port, hosts: &str, options: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("hosts");
        std::fs::write(&file, hosts).unwrap();
        let mut command = Command::new("dnsmasq");
        command.args([
            "--no-daemon",
            "--conf-file=/dev/null",
            "--no-resolv",
            "--no-hosts",
            "--bind-interfaces",
        ]);
        command.args(["--user=root", "--pid-file=", "--listen-address=127.0.0.1"]);
        command.arg(format!("--port={port}")).arg(format!("--local=/{DOMAIN}/"));
        command.arg(format!("--local-ttl={TTL}")).arg(format!("--addn-hosts={}", file.display()));
        command.args(options);
        let program = Program::start(command);
        let addr = port.addr();
        let this = Self { addr, program, folder, _port: port };
        eventually(SOON, "dnsmasq listens", async || {
            let connected = TcpStream::connect(addr).await.map_err(|error| error.to_string());
            connected.map_err(|error| format!("{error} {}", this.program.stderr.text()))
        })
        .await;
        this.hosts_read(0).await;
        this
    }

    /// Gives it other hosts, and waits until it has read them. SRV records and aliases stay.
    ///
    /// # Panics
    /// When it does not read them soon.
    pub async fn change(&self, hosts: &str) {
        let known = self.program.stderr.count();
        std::fs::write(self.folder.path().join("hosts"), hosts).unwrap();
        self.program.signal(Signal::HUP);
        self.hosts_read(known).await;
    }

    /// Stops its answers: questions time out.
    pub fn fall_silent(&self) {
        self.program.signal(Signal::STOP);
    }

    /// Lets it answer again, also the questions asked meanwhile.
    pub fn resume(&self) {
        self.program.signal(Signal::CONT);
    }

    /// The lines it has logged.
    pub fn log(&self) -> String {
        self.program.stderr.text()
    }

    /// Waits until its log says so, behind the first `known` lines.
    async fn hosts_read(&self, known: usize) {
        let file = self.folder.path().join("hosts").display().to_string();
        eventually(SOON, "dnsmasq has read its hosts", async || {
            let read = self.program.stderr.after(known).iter().any(|line| line.contains(&file));
            read.then_some(()).ok_or_else(|| self.log())
        })
        .await;
    }
}

#[cfg(test)]
mod tests {
    //! dnsmasq without weir: it gives the answers it was started with, and other ones once told to.
    use super::*;
    use tokio::net::UdpSocket;
    use tokio::time::timeout;

    /// The response code and the addresses of a question for A records, asked byte by byte (RFC 1035 §4.1).
    async fn ask(server: SocketAddr, name: &str) -> Option<(u8, Vec<[u8; 4]>)> {
        let labels = name.split('.').flat_map(|l| [&[l.len() as u8], l.as_bytes()].concat());
        let question: Vec<u8> = [7, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0].into_iter().chain(labels).collect();
        let question = [&question, &[0, 0, 1, 0, 1][..]].concat();
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        socket.send_to(&question, server).await.unwrap();
        let mut answer = [0; 512];
        let length = timeout(Duration::from_secs(1), socket.recv(&mut answer)).await.ok()?.unwrap();
        // Behind the question stand records of 16 bytes: a pointer to the name, 10 bytes of header, the address.
        let records = answer[question.len()..length].chunks_exact(16);
        let addresses = records.take(answer[7].into()).map(|r| [r[12], r[13], r[14], r[15]]).collect();
        Some((answer[3] & 15, addresses))
    }

    #[tokio::test]
    async fn answers_change_while_it_runs() {
        let dnsmasq = Dnsmasq::start("10.0.0.1 api.test\n", &[]).await;
        assert_eq!(ask(dnsmasq.addr, "api.test").await, Some((0, vec![[10, 0, 0, 1]])), "{}", dnsmasq.log());
        assert_eq!(ask(dnsmasq.addr, "other.test").await, Some((3, vec![])), "NXDOMAIN");
        assert_eq!(ask(dnsmasq.addr, "example.com").await, Some((5, vec![])), "REFUSED");
        dnsmasq.change("10.0.0.2 api.test\n10.0.0.3 other.test\n").await;
        assert_eq!(ask(dnsmasq.addr, "api.test").await, Some((0, vec![[10, 0, 0, 2]])), "{}", dnsmasq.log());
        assert_eq!(ask(dnsmasq.addr, "other.test").await, Some((0, vec![[10, 0, 0, 3]])));
    }

    #[tokio::test]
    async fn silence_and_back() {
        let dnsmasq = Dnsmasq::start("10.0.0.1 api.test\n", &[]).await;
        dnsmasq.fall_silent();
        assert_eq!(ask(dnsmasq.addr, "api.test").await, None);
        dnsmasq.resume();
        assert!(ask(dnsmasq.addr, "api.test").await.is_some());
    }
}
