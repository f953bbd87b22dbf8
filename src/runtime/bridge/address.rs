//! Where Redis is: one server, a group that Sentinels watch over, or a cluster.

use redis::sentinel::{SentinelClient, SentinelClientBuilder, SentinelServerType};
use redis::{
    ConnectionAddr, ConnectionInfo, IntoConnectionInfo, ProtocolVersion, RedisResult, TlsCertificates, TlsMode,
};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

/// See the module.
#[derive(Clone, Debug)]
pub struct RedisAddress {
    kind: Kind,
    /// Authorities in PEM form, one of which has signed the servers' certificates; `None`: those that the system trusts.
    authorities: Option<Vec<u8>>,
}

#[derive(Clone, Debug)]
pub(super) enum Kind {
    /// One server.
    Single(ConnectionInfo),
    /// The master of this name, which these Sentinels know. The first of the addresses says how to log in to it.
    Sentinel { sentinels: Vec<ConnectionInfo>, master: String },
    /// Servers of a cluster; the others are learnt from them.
    Cluster(Vec<ConnectionInfo>),
}

/// What addresses look like, in words.
pub const ADDRESS_FORMS: &str = "redis://[user:password@]host[:port][/database], redis+sentinel://host:port,…/master or \
                         redis+cluster://host:port,…, each with TLS when it begins with rediss";

impl RedisAddress {
    /// Reads an address.
    ///
    /// ```
    /// use switchboard::runtime::bridge::Address;
    /// for good in ["redis://:p@10.0.0.1:6379/2", "redis+sentinel://a:1,b:2/mymaster", "rediss+cluster://a:1,b:2"] {
    ///     assert!(Address::parse(good).is_some(), "{good}");
    /// }
    /// for bad in ["http://a", "redis://a:1,b:2", "redis+sentinel://a:1", "redis+cluster://", "redis://a/x"] {
    ///     assert!(Address::parse(bad).is_none(), "{bad}");
    /// }
    /// ```
    pub fn parse(text: &str) -> Option<Self> {
        let (scheme, rest) = text.split_once("://")?;
        let (plain, kind) = scheme.split_once('+').unwrap_or((scheme, ""));
        if !matches!(plain, "redis" | "rediss") {
            return None;
        }
        // People forget to escape an `@` within a password, so the last one ends it.
        let (login, place) = rest.rsplit_once('@').map_or(("", rest), |(login, place)| (login, place));
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
                Kind::Single(server(hosts, &if path.is_empty() { String::new() } else { format!("/{path}") })?)
            }
            "sentinel" => {
                let (master, database) = path.split_once('/').unwrap_or((path, ""));
                let is_name = !master.is_empty() && database.bytes().all(|digit| digit.is_ascii_digit());
                Kind::Sentinel {
                    sentinels: all(&format!("/{database}")).filter(|_| is_name)?,
                    master: master.to_owned(),
                }
            }
            "cluster" if path.is_empty() => Kind::Cluster(all("")?),
            _ => return None,
        };
        Some(Self { kind, authorities: None })
    }

    /// The same, where nobody but these authorities is trusted; their certificates are in PEM form.
    ///
    /// # Errors
    /// There is no certificate in it, or one that is none.
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

    /// Whether it is reached by TLS.
    pub fn is_secure(&self) -> bool {
        let first = match &self.kind {
            Kind::Single(info) => Some(info),
            Kind::Sentinel { sentinels: all, .. } | Kind::Cluster(all) => all.first(),
        };
        first.is_some_and(|info| matches!(info.addr(), ConnectionAddr::TcpTls { .. }))
    }

    /// Whom to trust, if not those whom the system does.
    pub(super) fn certificates(&self) -> Option<TlsCertificates> {
        self.authorities.clone().map(|authorities| TlsCertificates { client_tls: None, root_cert: Some(authorities) })
    }

    /// Whether channels belong to single servers of a cluster.
    pub fn is_sharded(&self) -> bool {
        matches!(self.kind, Kind::Cluster(_))
    }

    /// The address without what opens it.
    pub fn shown(&self) -> String {
        let hosts = |all: &[ConnectionInfo]| {
            let hosts: Vec<String> = all.iter().map(|info| info.addr().to_string()).collect();
            hosts.join(", ")
        };
        match &self.kind {
            Kind::Single(info) => info.addr().to_string(),
            Kind::Sentinel { sentinels, master } => {
                format!("{master}, which the Sentinels at {} know", hosts(sentinels))
            }
            Kind::Cluster(servers) => format!("the cluster of {}", hosts(servers)),
        }
    }

    pub(super) fn kind(&self) -> &Kind {
        &self.kind
    }
}

/// Whoever asks Sentinels for their master.
pub(super) fn sentinel_client(
    sentinels: &[ConnectionInfo],
    master: &str,
    certificates: Option<TlsCertificates>,
) -> RedisResult<SentinelClient> {
    let addresses = sentinels.iter().map(|info| info.addr().clone());
    let mut builder = SentinelClientBuilder::new(addresses, master, SentinelServerType::Master)?;
    builder = builder.set_client_to_redis_protocol(ProtocolVersion::RESP3);
    if let Some(first) = sentinels.first() {
        let settings = first.redis_settings();
        builder = builder.set_client_to_redis_db(settings.db());
        if let Some(user) = settings.username() {
            builder = builder.set_client_to_redis_username(user);
        }
        if let Some(password) = settings.password() {
            builder = builder.set_client_to_redis_password(password);
        }
        if matches!(first.addr(), ConnectionAddr::TcpTls { .. }) {
            builder = builder.set_client_to_redis_tls_mode(TlsMode::Secure);
            builder = builder.set_client_to_sentinel_tls_mode(TlsMode::Secure);
            if let Some(certificates) = certificates {
                builder = builder.set_client_to_redis_certificates(certificates.clone());
                builder = builder.set_client_to_sentinel_certificates(certificates);
            }
        }
    }
    builder.build()
}

/// A login whose password may have characters that mean something else in an address.
fn escaped(login: &str) -> String {
    login.replace('@', "%40").replace('/', "%2F")
}
