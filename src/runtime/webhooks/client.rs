//! The HTTP client of a webhook: signed requests, no redirects, and public addresses only unless the settings say otherwise.
//!
//! The addresses are checked after the name was resolved and are those that are connected to, so a name cannot lead to a
//! private address, whatever its server answers next.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use ureq::config::{Config, ConfigBuilder};
use ureq::http::Uri;
use ureq::tls::{Certificate, RootCerts, TlsConfig};
use ureq::typestate::AgentScope;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{DefaultConnector, NextTimeout};
use ureq::{Agent, Body, Error};

use crate::base::network::is_public;
use crate::base::time::Now;
use crate::codec::webhook::{WebhookSecret, signatures};
use crate::dialect::webhook;
use crate::runtime::storage::WaitingEvent;
use crate::runtime::webhooks::WebhookEndpoint;

/// Bytes of an answer's body that are read; more end its connection.
const ANSWER_BYTES_MAX: u64 = 64 << 10;

/// Bytes of the body of an answer that decides.
const DECISION_BYTES_MAX: u64 = 1 << 20;

/// How long an idle connection to an endpoint is kept.
const IDLE_MAX: Duration = Duration::from_secs(15);

/// A request, complete with its signature.
pub(super) struct PreparedRequest {
    pub(super) id: String,
    pub(super) seconds: u64,
    pub(super) signature: String,
    pub(super) body: Vec<u8>,
}

impl PreparedRequest {
    /// A request with these events, in order. The same events get the same id.
    pub(super) fn new(events: &[WaitingEvent], secrets: &[WebhookSecret], now: Now) -> Self {
        let mut body = Vec::with_capacity(128 + events.iter().map(|event| event.body.len() + 1).sum::<usize>());
        webhook::batch(&mut body, now.wall, events.iter().map(|event| event.body.as_bytes()));
        let (first, last) = (events.first(), events.last());
        let number = |event: Option<&WaitingEvent>| event.map_or(0, |event| event.number);
        let id = format!("msg_{:x}_{}_{}", first.map_or(0, |event| event.at), number(first), number(last));
        let seconds = now.unix_seconds();
        let signature = signatures(secrets, &id, seconds, &body);
        Self { id, seconds, signature, body }
    }
}

/// The reason that a request failed.
pub(super) struct RequestFailure {
    pub(super) reason: String,
    pub(super) retry_after_ms: Option<u64>,
}

/// The client of a hook that decides, for several threads.
pub(in crate::runtime) struct HookClient {
    agent: Agent,
    url: String,
}

impl HookClient {
    /// A client with at most so many idle connections.
    pub(in crate::runtime) fn new(
        url: &str,
        timeout: Duration,
        allow_private: bool,
        idle: usize,
    ) -> Result<Self, String> {
        let setting = (allow_private, "hooks.allow_private");
        Ok(Self { agent: agent(url, timeout, setting, idle)?, url: url.to_owned() })
    }

    /// Sends a signed request, and returns the body of an answer with a status of 2xx.
    pub(in crate::runtime) fn post(
        &self,
        id: &str,
        seconds: u64,
        secrets: &[WebhookSecret],
        body: &[u8],
    ) -> Result<Vec<u8>, String> {
        let sent = self
            .agent
            .post(&self.url)
            .header("content-type", "application/json")
            .header("webhook-id", id)
            .header("webhook-timestamp", seconds.to_string())
            .header("webhook-signature", signatures(secrets, id, seconds, body))
            .send(body);
        let mut answer = sent.map_err(|error| error.to_string())?;
        let status = answer.status();
        if !status.is_success() {
            drain(answer.body_mut());
            return Err(format!("status {}", status.as_u16()));
        }
        answer.body_mut().with_config().limit(DECISION_BYTES_MAX).read_to_vec().map_err(|error| error.to_string())
    }
}

/// The client of a document that is fetched again and again.
pub(in crate::runtime) struct DocumentClient {
    agent: Agent,
    url: String,
}

impl DocumentClient {
    /// A client whose requests take at most so long; with the setting that allows private addresses.
    pub(in crate::runtime) fn new(url: &str, timeout: Duration, setting: (bool, &'static str)) -> Result<Self, String> {
        Ok(Self { agent: agent(url, timeout, setting, 1)?, url: url.to_owned() })
    }

    /// The document, which has at most `bytes_max` bytes.
    pub(in crate::runtime) fn get(&self, bytes_max: u64) -> Result<Vec<u8>, String> {
        let mut answer =
            self.agent.get(&self.url).header("accept", "application/json").call().map_err(|error| error.to_string())?;
        let status = answer.status();
        if !status.is_success() {
            drain(answer.body_mut());
            return Err(format!("status {}", status.as_u16()));
        }
        answer.body_mut().with_config().limit(bytes_max).read_to_vec().map_err(|error| error.to_string())
    }
}

/// The client of a command that asks a running server.
pub struct ServerClient {
    agent: Agent,
}

impl ServerClient {
    /// A client whose requests take at most so long, and that trusts further authorities (PEM).
    ///
    /// # Errors
    /// TLS cannot be set up.
    pub fn new(timeout: Duration, authorities: Option<&[u8]>) -> Result<Self, String> {
        let config = settings(timeout, 1).tls_config(tls(authorities)?);
        Ok(Self { agent: config.build().into() })
    }

    /// Sends a request with a token and, unless it is empty, a body in JSON; returns the status and the body of its answer.
    ///
    /// # Errors
    /// There was no answer; the reason in one sentence.
    pub fn ask(&self, method: &str, url: &str, token: &str, body: String) -> Result<(u16, String), String> {
        let wrong = |error: String| format!("{url}: {error}");
        let request = ureq::http::Request::builder().method(method).uri(url);
        let request = request.header("authorization", format!("Bearer {token}")).header("accept", "application/json");
        let sent = match body.is_empty() {
            true => self.agent.run(request.body(()).map_err(|error| wrong(error.to_string()))?),
            false => {
                let request = request.header("content-type", "application/json").body(body);
                self.agent.run(request.map_err(|error| wrong(error.to_string()))?)
            }
        };
        let mut answer = sent.map_err(|error| wrong(error.to_string()))?;
        let text = answer.body_mut().with_config().limit(DECISION_BYTES_MAX).read_to_string();
        Ok((answer.status().as_u16(), text.map_err(|error| wrong(error.to_string()))?))
    }
}

/// The client of one endpoint.
pub(super) struct WebhookClient {
    agent: Agent,
    url: String,
    pub(super) secrets: Vec<WebhookSecret>,
}

impl WebhookClient {
    pub(super) fn new(endpoint: &WebhookEndpoint, allow_private: bool) -> Result<Self, String> {
        let setting = (allow_private, "webhooks.allow_private");
        let agent = agent(&endpoint.url, endpoint.timeout, setting, 1)?;
        Ok(Self { agent, url: endpoint.url.clone(), secrets: endpoint.secrets.clone() })
    }

    /// Sends a request; a status of 2xx is a success.
    pub(super) fn send(&self, request: &PreparedRequest) -> Result<(), RequestFailure> {
        let sent = self
            .agent
            .post(&self.url)
            .header("content-type", "application/json")
            .header("webhook-id", &request.id)
            .header("webhook-timestamp", request.seconds.to_string())
            .header("webhook-signature", &request.signature)
            .send(&request.body[..]);
        let mut answer = sent.map_err(|error| RequestFailure { reason: error.to_string(), retry_after_ms: None })?;
        let status = answer.status();
        let seconds = answer.headers().get("retry-after").and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
        drain(answer.body_mut());
        match status.is_success() {
            true => Ok(()),
            false => Err(RequestFailure {
                reason: format!("status {}", status.as_u16()),
                retry_after_ms: seconds.map(|seconds| seconds.saturating_mul(1_000)),
            }),
        }
    }
}

/// A client that follows no redirects, uses no proxy and keeps so many idle connections; with the setting that allows private
/// addresses.
fn agent(
    url: &str,
    timeout: Duration,
    (allow_private, setting): (bool, &'static str),
    idle: usize,
) -> Result<Agent, String> {
    let mut config = settings(timeout, idle);
    if url.starts_with("https://") {
        config = config.tls_config(tls(None)?);
    }
    let resolver = GuardedResolver { allow_private, setting, inner: DefaultResolver::default() };
    Ok(Agent::with_parts(config.build(), DefaultConnector::default(), resolver))
}

/// Settings of all clients: no redirects, no proxy, statuses are no errors.
fn settings(timeout: Duration, idle: usize) -> ConfigBuilder<AgentScope> {
    Agent::config_builder()
        .timeout_global(Some(timeout))
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .proxy(None)
        .max_idle_age(IDLE_MAX)
        .max_idle_connections(idle.max(10))
        .max_idle_connections_per_host(idle.max(3))
        .user_agent(concat!("switchboard/", env!("CARGO_PKG_VERSION")))
}

/// Reads the rest of an answer, so that its connection can be used again.
fn drain(body: &mut Body) {
    let mut reader = body.with_config().limit(ANSWER_BYTES_MAX).reader();
    let _ = io::copy(&mut reader, &mut io::sink());
}

/// TLS with the certificate authorities of the operating system, and those in a PEM file.
fn tls(more: Option<&[u8]>) -> Result<TlsConfig, String> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots: Vec<_> = found.certs.iter().map(|root| Certificate::from_der(root.as_ref()).to_owned()).collect();
    for certificate in more.into_iter().flat_map(CertificateDer::pem_slice_iter) {
        let certificate = certificate.map_err(|error| format!("the authority is no PEM certificate: {error}"))?;
        roots.push(Certificate::from_der(&certificate).to_owned());
    }
    if roots.is_empty() {
        let why = found.errors.first().map_or("none is installed".to_owned(), ToString::to_string);
        return Err(format!("requests by https need certificate authorities: {why}"));
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let roots = RootCerts::from(roots);
    Ok(TlsConfig::builder().root_certs(roots).unversioned_rustls_crypto_provider(provider).build())
}

/// Resolves names as the operating system does, to public addresses only.
#[derive(Debug)]
struct GuardedResolver {
    allow_private: bool,
    setting: &'static str,
    inner: DefaultResolver,
}

impl Resolver for GuardedResolver {
    fn resolve(&self, uri: &Uri, config: &Config, timeout: NextTimeout) -> Result<ResolvedSocketAddrs, Error> {
        let found = self.inner.resolve(uri, config, timeout)?;
        if self.allow_private {
            return Ok(found);
        }
        let mut public = self.empty();
        for address in found.iter().filter(|address| is_public(address.ip())) {
            public.push(*address);
        }
        match public.is_empty() {
            false => Ok(public),
            true => Err(Error::Io(io::Error::new(
                io::ErrorKind::PermissionDenied,
                format!("the host has a private address, which {} does not allow", self.setting),
            ))),
        }
    }
}
