//! TLS for the other clients: a tunnel that speaks plain TCP with them and TLS with the server, and what a handshake shows.

use std::io::{Error, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, Mutex};

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, HandshakeKind, ProtocolVersion, RootCertStore, StreamOwned};
use tokio::net::{TcpListener, TcpStream as TokioStream};
use tokio_rustls::TlsConnector;

use super::certificates::CertificateAuthority;
use super::client::PATIENCE;

/// A client's options.
pub struct TlsClient {
    config: Arc<ClientConfig>,
}

/// What a client learned from a handshake.
#[derive(Debug, PartialEq, Eq)]
pub struct Handshake {
    pub version: Option<ProtocolVersion>,
    pub alpn: Option<Vec<u8>>,
    pub is_resumed: bool,
    /// The certificate that the server showed; in a resumed session that of the first one.
    pub certificate: Vec<u8>,
}

impl TlsClient {
    /// A client that trusts this authority.
    pub fn new(authority: &CertificateAuthority) -> Self {
        Self::with(authority, &[&rustls::version::TLS13, &rustls::version::TLS12], None)
    }

    /// A client with these versions of TLS and a certificate of this name.
    pub fn with(
        authority: &CertificateAuthority,
        versions: &[&'static rustls::SupportedProtocolVersion],
        certificate: Option<&str>,
    ) -> Self {
        let mut roots = RootCertStore::empty();
        let own = CertificateDer::from_pem_file(authority.path("ca.pem")).expect("a certificate");
        roots.add(own).expect("an authority");
        let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
        let builder = builder.with_protocol_versions(versions).expect("versions").with_root_certificates(roots);
        let mut config = match certificate {
            None => builder.with_no_client_auth(),
            Some(name) => {
                let chain = CertificateDer::from_pem_file(authority.path(&format!("{name}.pem"))).expect("a file");
                let key = PrivateKeyDer::from_pem_file(authority.path(&format!("{name}.key"))).expect("a file");
                builder.with_client_auth_cert(vec![chain], key).expect("a key")
            }
        };
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Self { config: Arc::new(config) }
    }

    /// A blocking connection to a server of this name.
    pub fn connect(&self, address: &str, name: &str) -> StreamOwned<ClientConnection, TcpStream> {
        let name = ServerName::try_from(name.to_owned()).expect("a name");
        let connection = ClientConnection::new(self.config.clone(), name).expect("a configuration");
        let stream = TcpStream::connect(address).expect("the server listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("an option");
        stream.set_nodelay(true).expect("an option");
        StreamOwned::new(connection, stream)
    }

    /// Asks for the server's health, and tells of the handshake.
    ///
    /// # Errors
    /// The server or the client refused the other.
    pub fn handshake(&self, address: &str, name: &str) -> std::io::Result<Handshake> {
        let mut stream = self.connect(address, name);
        stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        assert!(answer.starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(&answer));
        Ok(Handshake {
            version: stream.conn.protocol_version(),
            alpn: stream.conn.alpn_protocol().map(<[u8]>::to_vec),
            is_resumed: stream.conn.handshake_kind() == Some(HandshakeKind::Resumed),
            certificate: stream.conn.peer_certificates().expect("a certificate")[0].to_vec(),
        })
    }

    /// A tunnel to a server for clients that speak no TLS.
    pub fn tunnel(&self, to: &str) -> TlsTunnel {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let faults = Arc::new(Mutex::new(Vec::new()));
        let (connector, to, noted) = (TlsConnector::from(self.config.clone()), to.to_owned(), faults.clone());
        runtime.spawn(async move {
            while let Ok((plain, _)) = listener.accept().await {
                let (connector, to, noted) = (connector.clone(), to.clone(), noted.clone());
                tokio::spawn(async move {
                    let is_fault =
                        |error: &Error| [ErrorKind::InvalidData, ErrorKind::UnexpectedEof].contains(&error.kind());
                    if let Err(error) = carry(&connector, plain, &to).await
                        && is_fault(&error)
                    {
                        noted.lock().expect("no panic").push(error.to_string());
                    }
                });
            }
        });
        TlsTunnel { _runtime: runtime, address, faults }
    }
}

/// A tunnel, which ends with this value.
pub struct TlsTunnel {
    _runtime: tokio::runtime::Runtime,
    /// Where it listens.
    pub address: String,
    faults: Arc<Mutex<Vec<String>>>,
}

impl TlsTunnel {
    /// Faults of TLS that have been seen: an end without an alert is one.
    pub fn faults(&self) -> Vec<String> {
        self.faults.lock().expect("no panic").clone()
    }
}

async fn carry(connector: &TlsConnector, mut plain: TokioStream, to: &str) -> std::io::Result<()> {
    let server = TokioStream::connect(to).await?;
    server.set_nodelay(true)?;
    plain.set_nodelay(true)?;
    let name = ServerName::try_from("localhost").expect("a name");
    let mut secure = connector.connect(name, server).await?;
    tokio::io::copy_bidirectional(&mut plain, &mut secure).await.map(drop)
}
