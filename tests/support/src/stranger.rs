//! A client whose TLS library no probe knows: rustls, inside the process that asks for it.

use std::io::{Read, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

/// LIMIT: bytes of a reply that are read, 16 MiB.
const MAX_REPLY: u64 = 16 << 20;

/// A connection of such a client.
#[derive(Debug)]
pub struct Stranger(StreamOwned<ClientConnection, TcpStream>);

impl Stranger {
    /// Connects to `address` and asks for `host`, whose certificate is one under that in the file
    /// `ca`. The handshake is made with the first bytes.
    ///
    /// # Errors
    ///
    /// The file can't be read, or nobody listens there.
    pub fn connect(address: SocketAddr, host: &str, ca: &Path) -> anyhow::Result<Self> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(ca).context("no authority")?)?;
        let config = ClientConfig::builder()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from(host.to_owned())?;
        let connection = ClientConnection::new(Arc::new(config), name)?;
        let socket = TcpStream::connect(address).context("can't connect")?;
        Ok(Self(StreamOwned::new(connection, socket)))
    }

    /// Posts `body`, JSON, to `path`, and gives all that comes until the server closes.
    ///
    /// # Errors
    ///
    /// The handshake fails, or the connection breaks.
    pub fn post(mut self, path: &str, body: &str) -> anyhow::Result<Vec<u8>> {
        write!(
            self.0,
            "POST {path} HTTP/1.1\r\nhost: stranger\r\nconnection: close\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )?;
        let mut reply = Vec::new();
        match Read::by_ref(&mut self.0)
            .take(MAX_REPLY)
            .read_to_end(&mut reply)
        {
            // A server that closes without a word of TLS has said all it had to say in HTTP.
            Err(error) if error.kind() != std::io::ErrorKind::UnexpectedEof => Err(error.into()),
            _ => Ok(reply),
        }
    }
}
