//! Address of Redis: one server, a group of servers with Sentinels, or a cluster.

use redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo, ProtocolVersion, TlsCertificates};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use crate::runtime::bridge::sentinels::Sentinels;

/// An address with the certificates to trust.
#[derive(Clone, Debug)]
pub struct RedisAddress {
    kind: AddressKind,
    /// Trusted certificate authorities in PEM form; `None`: those of the system.
    authorities: Option<Vec<u8>>,
}

#[derive(Clone, Debug)]
pub(super) enum AddressKind {
    /// One server.
    Single(ConnectionInfo),
    /// A master that Sentinels find.
    Sentinel(Sentinels),
    /// Some servers of a cluster; they name the others.
    Cluster(Vec<ConnectionInfo>),
}

/// The forms of an address, for error messages.
pub const ADDRESS_FORMS: &str = "redis://[user:password@]host[:port][/database], redis+sentinel://host:port,…/master or \
                         redis+cluster://host:port,…, each with TLS when it begins with rediss";

impl RedisAddress {
    /// Reads an address.
    ///
    /// ```
    /// use switchboard::runtime::bridge::RedisAddress;
    /// for good in ["redis://:p@10.0.0.1:6379/2", "redis+sentinel://a:1,b:2/mymaster", "rediss+cluster://a:1,b:2"] {
    ///     assert!(RedisAddress::parse(good).is_some(), "{good}");
    /// }
    /// for bad in ["http://a", "redis://a:1,b:2", "redis+sentinel://a:1", "redis+cluster://", "redis://a/x", "redis://a?password=x"] {
    ///     assert!(RedisAddress::parse(bad).is_none(), "{bad}");
    /// }
    /// ```
    pub fn parse(text: &str) -> Option<Self> {
        let (scheme, rest) = text.split_once("://")?;
        let (plain, kind) = scheme.split_once('+').unwrap_or((scheme, ""));
        if !matches!(plain, "redis" | "rediss") {
            return None;
        }
        // A password can contain an unescaped `@`: the last one ends it.
        let (login, place) = rest.rsplit_once('@').map_or(("", rest), |(login, place)| (login, place));
        // Parameters would be ignored, and a password among them sent to nobody.
        if place.contains(['?', '#']) {
            return None;
        }
        let (hosts, path) = place.split_once('/').unwrap_or((place, ""));
        let server = |host: &str, path: &str| {
            let login = if login.is_empty() { String::new() } else { format!("{}@", escaped(login)) };
            let is_host = !host.is_empty() && !host.starts_with([':', '?', '#']) && !host.contains(char::is_whitespace);
            let info = format!("{plain}://{login}{host}{path}").into_connection_info().ok().filter(|_| is_host)?;
            let settings = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
            Some(info.set_redis_settings(settings))
        };
        let all = |path: &str| hosts.split(',').map(|host| server(host, path)).collect::<Option<Vec<_>>>();
        let kind = match kind {
            "" if !hosts.contains(',') => {
                AddressKind::Single(server(hosts, &if path.is_empty() { String::new() } else { format!("/{path}") })?)
            }
            "sentinel" => {
                let (master, database) = path.split_once('/').unwrap_or((path, ""));
                let is_name = !master.is_empty() && database.bytes().all(|digit| digit.is_ascii_digit());
                let servers = all(&format!("/{database}")).filter(|_| is_name)?;
                AddressKind::Sentinel(Sentinels::new(servers, master.to_owned()))
            }
            "cluster" if path.is_empty() => AddressKind::Cluster(all("")?),
            _ => return None,
        };
        Some(Self { kind, authorities: None })
    }

    /// The same address with only these certificate authorities trusted, in PEM form.
    ///
    /// # Errors
    /// It contains no certificate, or an invalid one.
    pub fn trusting(self, authorities: Vec<u8>) -> Result<Self, String> {
        let mut store = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(&authorities) {
            let certificate = certificate.map_err(|error| format!("not in PEM form: {error}"))?;
            store.add(certificate).map_err(|error| format!("not a certificate: {error}"))?;
        }
        if store.is_empty() {
            return Err("no certificate in PEM form is in it".to_owned());
        }
        Ok(Self { authorities: Some(authorities), ..self })
    }

    /// The same address with this password.
    pub fn with_password(mut self, password: &str) -> Self {
        let all = match &mut self.kind {
            AddressKind::Single(info) => std::slice::from_mut(info),
            AddressKind::Sentinel(sentinels) => sentinels.servers_mut(),
            AddressKind::Cluster(all) => all.as_mut_slice(),
        };
        for info in all {
            let settings = info.redis_settings().clone().set_password(password);
            *info = info.clone().set_redis_settings(settings);
        }
        self
    }

    /// The first server, or Sentinel.
    fn first(&self) -> Option<&ConnectionInfo> {
        match &self.kind {
            AddressKind::Single(info) => Some(info),
            AddressKind::Sentinel(sentinels) => sentinels.servers().first(),
            AddressKind::Cluster(all) => all.first(),
        }
    }

    /// Whether it has a password.
    pub fn has_password(&self) -> bool {
        self.first().is_some_and(|info| info.redis_settings().password().is_some())
    }

    /// Whether connections use TLS.
    pub fn is_secure(&self) -> bool {
        self.first().is_some_and(|info| matches!(info.addr(), ConnectionAddr::TcpTls { .. }))
    }

    /// The certificates to trust; `None`: those of the system.
    pub(super) fn certificates(&self) -> Option<TlsCertificates> {
        self.authorities.clone().map(|authorities| TlsCertificates { client_tls: None, root_cert: Some(authorities) })
    }

    /// Whether channels of rooms are sharded over a cluster.
    pub fn is_sharded(&self) -> bool {
        matches!(self.kind, AddressKind::Cluster(_))
    }

    /// The address without login, for logs.
    pub fn shown(&self) -> String {
        let hosts = |all: &[ConnectionInfo]| {
            let hosts: Vec<String> = all.iter().map(|info| info.addr().to_string()).collect();
            hosts.join(", ")
        };
        match &self.kind {
            AddressKind::Single(info) => info.addr().to_string(),
            AddressKind::Sentinel(sentinels) => {
                format!("{}, which the Sentinels at {} know", sentinels.master(), hosts(sentinels.servers()))
            }
            AddressKind::Cluster(servers) => format!("the cluster of {}", hosts(servers)),
        }
    }

    pub(super) fn kind(&self) -> &AddressKind {
        &self.kind
    }
}

fn escaped(login: &str) -> String {
    login.replace('@', "%40").replace('/', "%2F")
}
