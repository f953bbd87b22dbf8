//! One connection: to one server, or one to each server of a cluster.

use std::time::Duration;

use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::cluster::ClusterClient;
use redis::cluster_async::ClusterConnection;
use redis::sentinel::SentinelClient;
use redis::{AsyncConnectionConfig, Client, ConnectionAddr, Pipeline, PushInfo, PushKind, RedisResult, Value, cmd};
use tokio::sync::mpsc::UnboundedSender;
use tokio::time::{sleep, timeout};

use crate::message::redis::Bytes;
use crate::owner::redis::KeySchema;
use crate::runtime::bridge::address::{Kind, RedisAddress, sentinel_client};
use crate::runtime::bridge::probes::{Keepers, keepers_in};

/// How long a connection may take to be made.
const CONNECT: Duration = Duration::from_millis(1_000);

/// How long an answer may take. Whoever asked is told after two seconds at the most that there is none.
pub(super) const ANSWER: Duration = Duration::from_millis(1_500);

/// How often Sentinels are asked which server is the master.
const WATCH: Duration = Duration::from_millis(1_000);

/// See the module.
#[derive(Clone)]
pub(super) enum Line {
    Single(MultiplexedConnection),
    Cluster(ClusterConnection),
}

impl Line {
    /// Connects. What comes unasked, and word of the connection's end, goes to `pushes`.
    pub(super) async fn open(address: &RedisAddress, pushes: UnboundedSender<PushInfo>) -> RedisResult<Self> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT))
            .set_response_timeout(Some(ANSWER))
            .set_push_sender(pushes.clone());
        let certificates = address.certificates();
        Ok(match address.kind() {
            Kind::Single(info) => {
                let client = match certificates.filter(|_| address.is_secure()) {
                    Some(certificates) => Client::build_with_tls(info.clone(), certificates)?,
                    None => Client::open(info.clone())?,
                };
                Self::Single(client.get_multiplexed_async_connection_with_config(&config).await?)
            }
            Kind::Sentinel { sentinels, master } => {
                let mut sentinels = sentinel_client(sentinels, master, certificates)?;
                let client = sentinels.async_get_client().await?;
                let line = Self::Single(client.get_multiplexed_async_connection_with_config(&config).await?);
                tokio::spawn(watch(sentinels, client.get_connection_info().addr().clone(), pushes));
                line
            }
            Kind::Cluster(servers) => {
                let builder = ClusterClient::builder(servers.clone());
                let builder = match certificates.filter(|_| address.is_secure()) {
                    Some(certificates) => builder.certs(certificates),
                    None => builder,
                };
                let client = builder
                    .use_protocol(redis::ProtocolVersion::RESP3)
                    .connection_timeout(CONNECT)
                    .response_timeout(ANSWER)
                    .overall_response_timeout(Some(ANSWER))
                    .push_sender(pushes)
                    // It would repeat what may have been done.
                    .retries(0)
                    .build()?;
                Self::Cluster(client.get_async_connection().await?)
            }
        })
    }

    /// Sends commands by one write; their answers, in order. In a cluster all of them are for one server.
    pub(super) async fn perform(&mut self, pipeline: &Pipeline) -> RedisResult<Vec<Value>> {
        let count = pipeline.len();
        match self {
            Self::Single(connection) => connection.req_packed_commands(pipeline, 0, count).await,
            Self::Cluster(connection) => connection.req_packed_commands(pipeline, 0, count).await,
        }
    }

    /// Sends one command, to all servers of a cluster if it concerns them all.
    pub(super) async fn ask(&mut self, command: &redis::Cmd) -> RedisResult<Value> {
        match self {
            Self::Single(connection) => connection.req_packed_command(command).await?,
            Self::Cluster(connection) => connection.req_packed_command(command).await?,
        }
        .extract_error()
    }

    /// Which server of a cluster keeps which slots; nothing where there is one server.
    pub(super) async fn keepers(&mut self) -> RedisResult<Option<Keepers>> {
        match self {
            Self::Single(_) => Ok(None),
            Self::Cluster(_) => Ok(Some(keepers_in(self.ask(cmd("CLUSTER").arg("SLOTS")).await?))),
        }
    }

    /// Listens to channels; returns when all of them are listened to.
    pub(super) async fn follow(&mut self, channels: &[Bytes]) -> RedisResult<()> {
        match self {
            _ if channels.is_empty() => Ok(()),
            Self::Single(connection) => connection.subscribe(names(channels)).await,
            Self::Cluster(connection) => {
                for channel in channels {
                    match KeySchema::is_sharded(channel) {
                        true => connection.ssubscribe(&channel[..]).await?,
                        false => connection.subscribe(&channel[..]).await?,
                    }
                }
                Ok(())
            }
        }
    }

    /// Listens to channels no longer.
    pub(super) async fn leave(&mut self, channels: &[Bytes]) -> RedisResult<()> {
        match self {
            _ if channels.is_empty() => Ok(()),
            Self::Single(connection) => connection.unsubscribe(names(channels)).await,
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

/// Looks whether the master is still the one at `own`. One that has lost its place goes on answering until it learns so, and
/// what it is told until then is lost: the connection is said to have ended as soon as another is known.
async fn watch(mut sentinels: SentinelClient, own: ConnectionAddr, pushes: UnboundedSender<PushInfo>) {
    while !pushes.is_closed() {
        sleep(WATCH).await;
        // While none is known, this one will do.
        if let Ok(Ok(client)) = timeout(ANSWER, sentinels.async_get_client()).await
            && *client.get_connection_info().addr() != own
        {
            tracing::info!("the Sentinels know another master");
            let _ = pushes.send(PushInfo { kind: PushKind::Disconnection, data: Vec::new() });
            return;
        }
    }
}

fn names(channels: &[Bytes]) -> Vec<&[u8]> {
    channels.iter().map(|channel| &channel[..]).collect()
}
