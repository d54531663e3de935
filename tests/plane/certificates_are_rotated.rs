//! Changed certificate files are served to new handshakes without a reload, and only if they are valid.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::time::Duration;
use weir_tests::certificates::{Authority, Dates, Kind, Leaf};
use weir_tests::client::{TlsClient, shown_certificate};
use weir_tests::eventually::eventually;
use weir_tests::peers::{Backend, Role};
use weir_tests::plane::Plane;
use weir_tests::ports::Port;
use weir_tests::weir::Launch;

const NAME: &str = "www.example.test";
/// How long a change may take on a loaded machine; `certificates_rotate_under_load` measures it.
const PATIENCE: Duration = Duration::from_secs(20);
/// Long enough for several looks.
const LOOKS: Duration = Duration::from_millis(900);

/// An offload weir whose profile has these keys beside `reload: 50ms`.
struct Shop {
    weir: Plane,
    edge: Port,
    client: TlsClient,
    _backend: Backend,
}

impl Shop {
    async fn open(folder: tempfile::TempDir, authority: &Authority, keys: &str) -> Self {
        let backend = Backend::plain(Role::Echo).await;
        let edge = Port::free();
        let body = format!(
            "listeners:\n  - name: edge\n    address: \"{}\"\n    mode: offload\n    default_pool: main\n    \
             tls: {{reload: 50ms, {keys}}}\n\
             pools:\n  - {{name: main, backends: [\"{}\"], health_check: {{type: none}}}}\n",
            edge.addr(),
            backend.addr
        );
        let weir = Launch::new(folder, body).plane().await;
        let client = TlsClient::trusting(&[authority]).forgetful();
        Self { weir, edge, client, _backend: backend }
    }

    /// The certificate that a new client is shown.
    async fn shown(&self, name: &str) -> Result<String, String> {
        let stream = self.client.connect(self.edge.addr(), name).await;
        stream.map(|stream| shown_certificate(&stream)).map_err(|error| error.to_string())
    }

    /// Waits until a new client is shown this certificate.
    async fn shows(&self, leaf: &Leaf, name: &str) {
        eventually(PATIENCE, name, async || match self.shown(name).await? {
            shown if shown == leaf.fingerprint() => Ok(()),
            other => Err(other),
        })
        .await;
    }

    async fn reloads(&self, result: &str) -> u64 {
        self.weir.metrics().await.count("weir_certificate_reloads_total", &[("result", result)])
    }

    fn folder(&self) -> &Path {
        self.weir.folder()
    }
}

/// A folder with the pair `a`.
fn with(leaf: &Leaf) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    leaf.write(folder.path(), "a");
    folder
}

const PAIR: &str = "certificates: [{cert: a.pem, key: a.key}]";

#[tokio::test]
async fn a_valid_pair_is_served_and_nothing_else_changes() {
    let authority = Authority::new("root");
    let [first, second] = [authority.issue(&[NAME]), authority.issue(&[NAME, "new.example.test"])];
    let shop = Shop::open(with(&first), &authority, PAIR).await;
    let mut open = shop.client.connect(shop.edge.addr(), NAME).await.unwrap();
    assert_eq!(shown_certificate(&open), first.fingerprint());
    second.write(shop.folder(), "a");
    shop.shows(&second, NAME).await;
    shop.shows(&second, "new.example.test").await;
    open.send(b"still here").await.unwrap();
    assert_eq!(open.exactly(10).await.unwrap(), b"still here");
    assert_eq!((shop.reloads("ok").await, shop.reloads("refused").await), (1, 0));
    assert_eq!(shop.weir.node().plan().generation, 1);
    let end = shop.weir.node().plan().listeners[0].profiles()[0].certificates()[0].not_after;
    let metric = shop.weir.metrics().await.sum("weir_certificate_not_after_timestamp_seconds", &[]);
    assert!((metric - end as f64).abs() < 1.0);
}

#[tokio::test]
async fn bad_pairs_are_refused_once_each_and_the_old_one_stays() {
    let authority = Authority::new("root");
    let [first, second] = [authority.issue(&[NAME]), authority.issue(&[NAME])];
    let expired = authority.issue_as(&[NAME], Kind::Ecdsa, Dates::Expired);
    let shop = Shop::open(with(&first), &authority, PAIR).await;
    let cert = shop.folder().join("a.pem");
    let pem = |text: &str| fs::write(&cert, text).unwrap();
    let cases: [(&str, &dyn Fn()); 4] = [
        ("half-written", &|| pem(&second.pem[..second.pem.len() / 4])),
        ("mismatched", &|| pem(&second.pem)),
        ("expired", &|| expired.write(shop.folder(), "a")),
        ("gone", &|| fs::remove_file(&cert).unwrap()),
    ];
    for (number, (what, change)) in (1..).zip(cases) {
        change();
        let refused = async || match shop.reloads("refused").await {
            count if count == number => Ok(()),
            count => Err(count.to_string()),
        };
        eventually(PATIENCE, what, refused).await;
        tokio::time::sleep(LOOKS).await;
        assert_eq!(shop.reloads("refused").await, number, "{what}: once");
        assert_eq!(shop.shown(NAME).await, Ok(first.fingerprint()), "{what}");
    }
    second.write(shop.folder(), "a");
    shop.shows(&second, NAME).await;
    assert_eq!((shop.reloads("ok").await, shop.reloads("refused").await), (1, 4));
}

/// Writes a pair into a folder under the names of a layout.
fn lay(folder: &Path, leaf: &Leaf, cert: &str, key: &str) {
    fs::create_dir_all(folder.join(cert).parent().unwrap()).unwrap();
    leaf.write(folder, "laid");
    fs::rename(folder.join("laid.key"), folder.join(key)).unwrap();
    fs::rename(folder.join("laid.pem"), folder.join(cert)).unwrap();
}

#[tokio::test]
async fn a_directory_has_three_layouts_whose_entries_come_and_go() {
    let authority = Authority::new("root");
    let folder = tempfile::tempdir().unwrap();
    let live = folder.path().join("live");
    let names = ["a.test", "b.test", "c.test", "d.test"];
    let leaves = names.map(|name| authority.issue(&[name]));
    lay(&live, &leaves[0], "a/fullchain.pem", "a/privkey.pem");
    fs::write(live.join("README"), "This directory contains your keys and certificates.").unwrap();
    let shop = Shop::open(folder, &authority, "directory: live").await;
    let live = shop.folder().join("live");
    shop.shows(&leaves[0], names[0]).await;
    lay(&live, &leaves[1], "b/tls.crt", "b/tls.key");
    let both = leaves[2].pem.clone() + &leaves[2].key_pem;
    fs::write(live.join("c.pem"), both).unwrap();
    lay(&live, &leaves[3], "..d/tls.crt", "..d/tls.key");
    shop.shows(&leaves[1], names[1]).await;
    shop.shows(&leaves[2], names[2]).await;
    let hidden = shop.shown(names[3]).await.unwrap_err();
    assert!(hidden.contains("UnrecognisedName"), "{hidden}");

    let renewed = authority.issue(&[names[1]]);
    lay(&live, &renewed, "b/tls.crt", "b/tls.key");
    shop.shows(&renewed, names[1]).await;
    fs::remove_dir_all(live.join("b")).unwrap();
    fs::remove_file(live.join("c.pem")).unwrap();
    for name in [names[1], names[2]] {
        eventually(PATIENCE, name, async || match shop.shown(name).await {
            Err(error) if error.contains("UnrecognisedName") => Ok(()),
            other => Err(format!("{other:?}")),
        })
        .await;
    }
    assert_eq!(shop.shown(names[0]).await, Ok(leaves[0].fingerprint()));
    let reloads = (shop.reloads("ok").await, shop.reloads("refused").await, shop.reloads("removed").await);
    assert_eq!(reloads, (3, 0, 2));

    // Lost as a whole, for instance while it is not mounted, it keeps what it had.
    fs::rename(&live, shop.folder().join("elsewhere")).unwrap();
    eventually(PATIENCE, "a lost folder is told", async || match shop.reloads("refused").await {
        1 => Ok(()),
        count => Err(count.to_string()),
    })
    .await;
    tokio::time::sleep(LOOKS).await;
    assert_eq!((shop.reloads("refused").await, shop.reloads("removed").await), (1, 2));
    assert_eq!(shop.shown(names[0]).await, Ok(leaves[0].fingerprint()));
}

#[tokio::test]
async fn a_secret_of_kubernetes_is_swapped_as_one() {
    let authority = Authority::new("root");
    let folder = tempfile::tempdir().unwrap();
    let mount = folder.path().join("live");
    let leaves = [authority.issue(&[NAME]), authority.issue(&[NAME])];
    let point = |mount: &Path, to: &str| {
        symlink(to, mount.join("..data_tmp")).unwrap();
        fs::rename(mount.join("..data_tmp"), mount.join("..data")).unwrap();
    };
    for (revision, leaf) in ["..1", "..2"].iter().zip(&leaves) {
        lay(&mount, leaf, &format!("{revision}/shop/tls.crt"), &format!("{revision}/shop/tls.key"));
    }
    point(&mount, "..1");
    symlink("..data/shop", mount.join("shop")).unwrap();
    let shop = Shop::open(folder, &authority, "directory: live").await;
    shop.shows(&leaves[0], NAME).await;
    point(&shop.folder().join("live"), "..2");
    fs::remove_dir_all(shop.folder().join("live/..1")).unwrap();
    shop.shows(&leaves[1], NAME).await;
    assert_eq!((shop.reloads("ok").await, shop.reloads("refused").await), (1, 0));
}

#[tokio::test]
async fn a_directory_that_is_empty_at_first_serves_what_comes() {
    let authority = Authority::new("root");
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("live")).unwrap();
    let shop = Shop::open(folder, &authority, "directory: live").await;
    let error = shop.shown(NAME).await.unwrap_err();
    assert!(error.contains("UnrecognisedName"), "{error}");
    assert!(shop.client.clone().nameless().connect(shop.edge.addr(), NAME).await.is_err());
    let (live, leaf) = (shop.folder().join("live"), authority.issue(&[NAME]));
    fs::write(live.join("half.pem"), &leaf.pem).unwrap();
    eventually(PATIENCE, "half an entry", async || match shop.reloads("refused").await {
        1 => Ok(()),
        count => Err(count.to_string()),
    })
    .await;
    fs::write(live.join("half.pem"), leaf.pem.clone() + &leaf.key_pem).unwrap();
    shop.shows(&leaf, NAME).await;
}

#[tokio::test]
async fn strict_permissions_hold_for_rotated_and_new_keys_too() {
    let authority = Authority::new("root");
    let [first, second] = [authority.issue(&[NAME]), authority.issue(&[NAME])];
    let folder = with(&first);
    fs::create_dir(folder.path().join("live")).unwrap();
    let keys = format!("{PAIR}, directory: live, strict_permissions: true");
    let shop = Shop::open(folder, &authority, &keys).await;
    let chmod = |name: &str, mode| {
        fs::set_permissions(shop.folder().join(name), fs::Permissions::from_mode(mode)).unwrap();
    };
    let refused = async |number| {
        eventually(PATIENCE, "a key that others can read", async || match shop.reloads("refused").await {
            count if count == number => Ok(()),
            count => Err(count.to_string()),
        })
        .await;
    };
    chmod("a.key", 0o640);
    refused(1).await;
    second.write(shop.folder(), "a");
    shop.shows(&second, NAME).await;
    let both = authority.issue(&["b.test"]);
    fs::write(shop.folder().join("live/b.pem"), both.pem.clone() + &both.key_pem).unwrap();
    chmod("live/b.pem", 0o644);
    refused(2).await;
    assert!(shop.shown("b.test").await.is_err());
    chmod("live/b.pem", 0o600);
    shop.shows(&both, "b.test").await;
}

#[tokio::test]
async fn reloads_beside_rotations_never_bring_an_old_certificate_back() {
    let authority = Authority::new("root");
    let shop = Shop::open(with(&authority.issue(&[NAME])), &authority, PAIR).await;
    for round in 0..12 {
        let leaf = authority.issue(&[NAME]);
        // A configuration that comes to nothing changes nothing that is served.
        if round % 3 == 0 {
            let file = shop.folder().join("weir.yaml");
            let text = fs::read_to_string(&file).unwrap();
            fs::write(&file, "listeners: nonsense").unwrap();
            shop.weir.reload_in_vain().await;
            fs::write(&file, text).unwrap();
        }
        let rotate = async {
            tokio::time::sleep(Duration::from_millis(round * 7)).await;
            leaf.write(shop.folder(), "new");
            fs::rename(shop.folder().join("new.key"), shop.folder().join("a.key")).unwrap();
            fs::rename(shop.folder().join("new.pem"), shop.folder().join("a.pem")).unwrap();
        };
        // The reload may read the pair in the middle of the change, and is refused then.
        let ((), _reloaded) = tokio::join!(rotate, shop.weir.try_reload());
        shop.shows(&leaf, NAME).await;
        for _ in 0..5 {
            assert_eq!(shop.shown(NAME).await, Ok(leaf.fingerprint()), "round {round}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}
