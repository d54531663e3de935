//! Neither direction starves the other, and no connection its worker.

use super::*;
use std::cell::Cell;
use tokio::task::coop::poll_proceed;

/// A side that always has more, and always takes more: a peer that is faster than weir.
struct Torrent<'a> {
    tcp: TcpStream,
    left: usize,
    /// What the torrent had still to send when something came for it.
    left_at_answer: &'a Cell<Option<usize>>,
}

/// A side that takes everything, and has one word to say.
struct Word {
    tcp: TcpStream,
    said: bool,
}

impl Wire for Torrent<'_> {
    const BUFFERS: bool = false;
    const CLEAN_END: How = How::Fin;

    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8], _: &Memory) -> Poll<io::Result<usize>> {
        std::task::ready!(poll_proceed(cx)).made_progress(); // As a socket does.
        let n = buf.len().min(self.left);
        self.left -= n;
        Poll::Ready(Ok(n))
    }

    fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &[u8],
        _: Option<Finish>,
        _: &Memory,
    ) -> Poll<io::Result<usize>> {
        std::task::ready!(poll_proceed(cx)).made_progress();
        self.left_at_answer.set(Some(self.left));
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_finish(&mut self, _: &mut Context<'_>, _: Finish, _: bool) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn tcp(&self) -> &TcpStream {
        &self.tcp
    }

    fn bare(&self) -> Option<&TcpStream> {
        None
    }
}

impl Wire for Word {
    const BUFFERS: bool = false;
    const CLEAN_END: How = How::Fin;

    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8], _: &Memory) -> Poll<io::Result<usize>> {
        std::task::ready!(poll_proceed(cx)).made_progress();
        let n = usize::from(!std::mem::replace(&mut self.said, true));
        buf[..n].fill(b'!');
        Poll::Ready(Ok(n))
    }

    fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &[u8],
        _: Option<Finish>,
        _: &Memory,
    ) -> Poll<io::Result<usize>> {
        std::task::ready!(poll_proceed(cx)).made_progress();
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_finish(&mut self, _: &mut Context<'_>, _: Finish, _: bool) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn tcp(&self) -> &TcpStream {
        &self.tcp
    }

    fn bare(&self) -> Option<&TcpStream> {
        None
    }
}

const TORRENT: usize = 256 << 20;

#[tokio::test]
async fn an_upload_that_never_pauses_does_not_starve_the_download() {
    let Sides { client: _client, front, back, backend: _backend } = sides().await;
    let rig = Rig::new(0);
    let left_at_answer = Cell::new(None);
    let torrent = Torrent { tcp: front, left: TORRENT, left_at_answer: &left_at_answer };
    let ended = within(rig.run(torrent, Word { tcp: back, said: false }, b"")).await;
    assert_eq!((ended.up, ended.down), (TORRENT as u64, 1));
    let sent = TORRENT - left_at_answer.get().unwrap();
    assert!(sent <= 16 << 20, "{sent} bytes went up before one came down");
}

#[tokio::test]
async fn a_download_that_never_pauses_does_not_starve_the_upload() {
    let Sides { client: _client, front, back, backend: _backend } = sides().await;
    let rig = Rig::new(0);
    let left_at_answer = Cell::new(None);
    let torrent = Torrent { tcp: back, left: TORRENT, left_at_answer: &left_at_answer };
    let ended = within(rig.run(Word { tcp: front, said: false }, torrent, b"")).await;
    assert_eq!((ended.up, ended.down), (1, TORRENT as u64));
    let sent = TORRENT - left_at_answer.get().unwrap();
    assert!(sent <= 16 << 20, "{sent} bytes came down before one went up");
}

/// A relay in bulk gives way: whatever else its worker has to do is done meanwhile.
#[tokio::test]
async fn bulk_gives_way_to_the_worker_s_other_tasks() {
    let Sides { client: _client, front, back, backend: _backend } = sides().await;
    let rig = Rig::new(0);
    let nobody = Cell::new(None);
    let torrent = Torrent { tcp: front, left: TORRENT, left_at_answer: &nobody };
    let mut turns = 0;
    let other = async {
        while rig.listener.up.get() < TORRENT as u64 {
            turns += 1;
            tokio::task::yield_now().await;
        }
    };
    let (_, ()) =
        within(async { tokio::join!(rig.run(torrent, Word { tcp: back, said: true }, b""), other) }).await;
    assert!(turns >= 16, "{turns} turns within {TORRENT} bytes");
}
