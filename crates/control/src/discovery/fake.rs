//! A DNS server for tests, over UDP and TCP, that answers as it is told to.

use hickory_resolver::proto::op::{Edns, Message, OpCode, ResponseCode};
use hickory_resolver::proto::rr::rdata::{CNAME, SRV};
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};
use tokio::task::JoinSet;

/// The reply for a name and kind.
#[derive(Clone, Debug)]
pub(crate) enum Reply {
    Records(Vec<Record>),
    /// As `Records`, but truncated over UDP.
    TooLarge(Vec<Record>),
    Code(ResponseCode),
    /// With records all the same.
    CodeWith(ResponseCode, Vec<Record>),
    /// As `Records`, but to a question with EDNS this code, or silence.
    WithoutEdns(Option<ResponseCode>, Vec<Record>),
    Silence,
    Garbage,
}

type Zone = HashMap<(Name, RecordType), Reply>;

/// A running server. A name without any reply does not exist (NXDOMAIN); with one of another kind it has no data.
#[derive(Debug)]
pub(crate) struct Fake {
    pub(crate) address: SocketAddr,
    zone: Arc<Mutex<Zone>>,
    asked: Arc<Mutex<Vec<(String, RecordType)>>>,
    /// Questions with EDNS.
    pub(crate) with_edns: Arc<AtomicUsize>,
    /// TCP connections that the client has not closed. It serves one at a time.
    pub(crate) open: Arc<AtomicUsize>,
    _tasks: JoinSet<()>,
}

impl Fake {
    pub(crate) async fn start() -> Self {
        let (udp, tcp) = both().await;
        let address = udp.local_addr().unwrap();
        let mut tasks = JoinSet::new();
        let (zone, asked, open) = (Arc::default(), Arc::default(), Arc::default());
        let with_edns = Arc::default();
        let fake = Self { address, zone, asked, with_edns, open, _tasks: JoinSet::new() };
        let reply = fake.replier();
        tasks.spawn(async move {
            let mut bytes = [0; 4096];
            loop {
                let (length, from) = udp.recv_from(&mut bytes).await.unwrap();
                if let Some(answer) = reply(&bytes[..length], false) {
                    udp.send_to(&answer, from).await.unwrap();
                }
            }
        });
        let (reply, open) = (fake.replier(), Arc::clone(&fake.open));
        tasks.spawn(async move {
            loop {
                let (mut stream, _) = tcp.accept().await.unwrap();
                open.fetch_add(1, Ordering::Relaxed);
                while let Ok(length) = stream.read_u16().await {
                    let mut bytes = vec![0; length.into()];
                    stream.read_exact(&mut bytes).await.unwrap();
                    if let Some(answer) = reply(&bytes, true) {
                        stream.write_u16(u16::try_from(answer.len()).unwrap()).await.unwrap();
                        stream.write_all(&answer).await.unwrap();
                    }
                }
                open.fetch_sub(1, Ordering::Relaxed);
            }
        });
        Self { _tasks: tasks, ..fake }
    }

    pub(crate) fn set(&self, name: &str, kind: RecordType, reply: Reply) {
        self.zone.lock().unwrap().insert((Name::from_ascii(name).unwrap(), kind), reply);
    }

    /// Gives `name` these addresses, and no others.
    pub(crate) fn host(&self, name: &str, ttl: u32, addresses: &[&str]) {
        let all: Vec<IpAddr> = addresses.iter().map(|a| a.parse().unwrap()).collect();
        for (kind, v4) in [(RecordType::A, true), (RecordType::AAAA, false)] {
            let of = all.iter().filter(|ip| ip.is_ipv4() == v4);
            let records: Vec<_> = of.map(|ip| record(name, ttl, RData::from(*ip))).collect();
            self.set(name, kind, Reply::Records(records));
        }
    }

    /// What was asked so far, each name without its final dot.
    pub(crate) fn asked(&self) -> Vec<(String, RecordType)> {
        self.asked.lock().unwrap().clone()
    }

    fn replier(&self) -> impl Fn(&[u8], bool) -> Option<Vec<u8>> + Send + 'static {
        let (zone, asked) = (Arc::clone(&self.zone), Arc::clone(&self.asked));
        let with_edns = Arc::clone(&self.with_edns);
        move |bytes, tcp| {
            let question = Message::from_vec(bytes).unwrap();
            with_edns.fetch_add(usize::from(question.edns.is_some()), Ordering::Relaxed);
            let query = question.queries[0].clone();
            let name = query.name().clone();
            asked
                .lock()
                .unwrap()
                .push((name.to_ascii().trim_end_matches('.').to_owned(), query.query_type()));
            let zone = zone.lock().unwrap();
            let reply = zone.get(&(name.clone(), query.query_type())).cloned();
            let reply = reply.unwrap_or_else(|| {
                let exists = zone.keys().any(|(n, _)| *n == name);
                Reply::Code(if exists { ResponseCode::NoError } else { ResponseCode::NXDomain })
            });
            let mut message = Message::response(question.id, OpCode::Query);
            message.add_query(query);
            let reply = match reply {
                Reply::WithoutEdns(code, _) if question.edns.is_some() => {
                    code.map_or(Reply::Silence, Reply::Code)
                }
                Reply::WithoutEdns(_, records) => Reply::Records(records),
                reply => reply,
            };
            match reply {
                Reply::Silence | Reply::WithoutEdns(..) => return None,
                Reply::Garbage => return Some([&bytes[..2], &[0x80; 9][..]].concat()),
                Reply::CodeWith(code, records) => {
                    message.metadata.response_code = code;
                    message.add_answers(records);
                }
                Reply::Code(code) => {
                    message.metadata.response_code = code;
                    if u16::from(code) > 15 {
                        // The upper bits of the code stand in it.
                        message.edns = Some(Edns::new());
                    }
                }
                Reply::TooLarge(_) if !tcp => message.metadata.truncation = true,
                Reply::Records(records) | Reply::TooLarge(records) => {
                    message.add_answers(records);
                }
            }
            Some(message.to_vec().unwrap())
        }
    }
}

/// The same port for UDP and TCP: the kernel gives one, the other may be taken.
async fn both() -> (UdpSocket, TcpListener) {
    for _ in 0..50 {
        let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        if let Ok(tcp) = TcpListener::bind(udp.local_addr().unwrap()).await {
            return (udp, tcp);
        }
    }
    panic!("no port that is free for UDP and TCP");
}

pub(crate) fn record(name: &str, ttl: u32, data: RData) -> Record {
    Record::from_rdata(Name::from_ascii(name).unwrap(), ttl, data)
}

pub(crate) fn alias(name: &str, ttl: u32, end: &str) -> Record {
    record(name, ttl, RData::CNAME(CNAME(Name::from_ascii(end).unwrap())))
}

pub(crate) fn srv(name: &str, ttl: u32, [priority, weight, port]: [u16; 3], host: &str) -> Record {
    record(name, ttl, RData::SRV(SRV::new(priority, weight, port, Name::from_ascii(host).unwrap())))
}
