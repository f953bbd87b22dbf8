//! A connection to Redis: to one server, or to each server of a cluster.

use std::time::Duration;

use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::cluster::ClusterClient;
use redis::cluster_async::ClusterConnection;
use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, ConnectionInfo, Pipeline, PushInfo, RedisResult, TlsCertificates,
    Value, cmd,
};
use tokio::sync::mpsc::UnboundedSender;

use crate::message::redis::Bytes;
use crate::owner::redis::KeySchema;
use crate::runtime::bridge::address::{AddressKind, RedisAddress};
use crate::runtime::bridge::probes::{SlotOwners, slot_owners_in};
use crate::runtime::bridge::server::name_of_server;

/// Time to connect.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(1_000);

/// Time for a reply. Requesters get an error after two seconds at most.
pub(super) const REPLY_TIMEOUT: Duration = Duration::from_millis(1_500);

/// Host and port of a server.
pub(super) type Address = (String, u16);

/// A connection of the Redis library.
#[derive(Clone)]
pub(super) enum RedisConnection {
    Single(MultiplexedConnection),
    Cluster(ClusterConnection),
}

impl RedisConnection {
    /// Connects. Push messages, and the end of the connection, go to `pushes`.
    pub(super) async fn open(address: &RedisAddress, pushes: UnboundedSender<PushInfo>) -> RedisResult<Self> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_TIMEOUT))
            .set_response_timeout(Some(REPLY_TIMEOUT))
            .set_push_sender(pushes.clone());
        let certificates = address.certificates();
        Ok(match address.kind() {
            AddressKind::Single(info) => {
                let client = client(info.clone(), certificates)?;
                Self::Single(client.get_multiplexed_async_connection_with_config(&config).await?)
            }
            AddressKind::Sentinel(sentinels) => {
                let master = sentinels.find_master(certificates.as_ref()).await?;
                let client = client(sentinels.info(master.clone()), certificates.clone())?;
                let mut connection = Self::Single(client.get_multiplexed_async_connection_with_config(&config).await?);
                name_of_server(&mut connection).await?;
                tokio::spawn(sentinels.clone().watch(master, certificates, pushes));
                connection
            }
            AddressKind::Cluster(servers) => {
                let builder = ClusterClient::builder(servers.clone());
                let builder = match certificates.filter(|_| address.is_secure()) {
                    Some(certificates) => builder.certs(certificates),
                    None => builder,
                };
                let client = builder
                    .use_protocol(redis::ProtocolVersion::RESP3)
                    .connection_timeout(CONNECT_TIMEOUT)
                    .response_timeout(REPLY_TIMEOUT)
                    .overall_response_timeout(Some(REPLY_TIMEOUT))
                    .push_sender(pushes)
                    // A retry would repeat calls that the server can have done.
                    .retries(0)
                    .build()?;
                Self::Cluster(client.get_async_connection().await?)
            }
        })
    }

    /// Sends commands with one write. Returns their replies in order. In a cluster, all commands are for one server.
    pub(super) async fn perform(&mut self, pipeline: &Pipeline) -> RedisResult<Vec<Value>> {
        let count = pipeline.len();
        match self {
            Self::Single(connection) => connection.req_packed_commands(pipeline, 0, count).await,
            Self::Cluster(connection) => connection.req_packed_commands(pipeline, 0, count).await,
        }
    }

    /// Sends one command; to all servers of a cluster if it concerns all of them.
    pub(super) async fn ask(&mut self, command: &redis::Cmd) -> RedisResult<Value> {
        match self {
            Self::Single(connection) => connection.req_packed_command(command).await?,
            Self::Cluster(connection) => connection.req_packed_command(command).await?,
        }
        .extract_error()
    }

    /// Servers of a cluster by slots; `None` without a cluster.
    pub(super) async fn slot_owners(&mut self) -> RedisResult<Option<SlotOwners>> {
        match self {
            Self::Single(_) => Ok(None),
            Self::Cluster(_) => Ok(Some(slot_owners_in(self.ask(cmd("CLUSTER").arg("SLOTS")).await?))),
        }
    }

    /// Subscribes to channels. Returns when all subscriptions are confirmed.
    pub(super) async fn subscribe(&mut self, channels: &[Bytes]) -> RedisResult<()> {
        match self {
            _ if channels.is_empty() => Ok(()),
            Self::Single(connection) => {
                let (patterns, channels) = names(channels);
                if !channels.is_empty() {
                    connection.subscribe(channels).await?;
                }
                match patterns.is_empty() {
                    true => Ok(()),
                    false => connection.psubscribe(patterns).await,
                }
            }
            Self::Cluster(connection) => {
                for channel in channels {
                    match &channel[..] {
                        name if KeySchema::is_sharded(name) => connection.ssubscribe(name).await?,
                        name if KeySchema::is_pattern(name) => connection.psubscribe(name).await?,
                        name => connection.subscribe(name).await?,
                    }
                }
                Ok(())
            }
        }
    }

    /// Unsubscribes from channels. No pattern is ever given up.
    pub(super) async fn unsubscribe(&mut self, channels: &[Bytes]) -> RedisResult<()> {
        match self {
            _ if channels.is_empty() => Ok(()),
            Self::Single(connection) => connection.unsubscribe(names(channels).1).await,
            Self::Cluster(connection) => {
                for channel in channels {
                    match KeySchema::is_sharded(channel) {
                        true => connection.sunsubscribe(&channel[..]).await?,
                        false => connection.unsubscribe(&channel[..]).await?,
                    }
                }
                Ok(())
            }
        }
    }
}

/// A client of a server, with TLS if its address says so.
pub(super) fn client(info: ConnectionInfo, certificates: Option<TlsCertificates>) -> RedisResult<Client> {
    match certificates.filter(|_| matches!(info.addr(), ConnectionAddr::TcpTls { .. })) {
        Some(certificates) => Client::build_with_tls(info, certificates),
        None => Client::open(info),
    }
}

/// The address of another server, with login and TLS of this one.
pub(super) fn at(seed: ConnectionInfo, (host, port): Address) -> ConnectionInfo {
    let address = match seed.addr() {
        ConnectionAddr::TcpTls { .. } => ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None },
        _ => ConnectionAddr::Tcp(host, port),
    };
    seed.set_addr(address)
}

/// The patterns among channels, and the others.
fn names(channels: &[Bytes]) -> (Vec<&[u8]>, Vec<&[u8]>) {
    channels.iter().map(|channel| &channel[..]).partition(|channel| KeySchema::is_pattern(channel))
}
