//! A way to the broker that can be cut: everything through it breaks off, and whoever comes back is let
//! through.

use std::net::SocketAddr;

use holdfast::settings::Broker;
use secrecy::{ExposeSecret, SecretString};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;
use url::Url;

/// A way that goes on until it is dropped.
pub struct Proxy {
    url: Url,
    cuts: watch::Sender<u32>,
    _task: AbortOnDropHandle<()>,
}

impl Proxy {
    /// To this broker.
    pub async fn to(broker: &Broker) -> Self {
        let mut url = Url::parse(broker.url.expose_secret()).unwrap();
        let to = SocketAddr::new(url.host_str().unwrap().parse().unwrap(), url.port().unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        url.set_port(Some(listener.local_addr().unwrap().port())).unwrap();
        let cuts = watch::Sender::new(0);
        let cut = cuts.clone();
        let task = tokio::spawn(async move {
            loop {
                let (from, _) = listener.accept().await.unwrap();
                tokio::spawn(carry(from, to, cut.subscribe()));
            }
        });
        Self { url, cuts, _task: AbortOnDropHandle::new(task) }
    }

    /// The broker's address by this way.
    pub fn url(&self) -> SecretString {
        self.url.to_string().into()
    }

    /// Cuts every connection, in the middle of whatever it carries.
    pub fn cut(&self) {
        self.cuts.send_modify(|cuts| *cuts += 1);
    }
}

async fn carry(mut from: TcpStream, to: SocketAddr, mut cut: watch::Receiver<u32>) {
    let Ok(mut to) = TcpStream::connect(to).await else { return };
    tokio::select! {
        _ = tokio::io::copy_bidirectional(&mut from, &mut to) => {}
        _ = cut.changed() => {}
    }
}
