//! Calls of scripts: each is answered, in bounded time, and those of one key are done in the order in which they were given.

use std::time::Duration;

use switchboard::message::redis::{CallError, RedisState};

use crate::redis_client::{ADD, APPEND, WRONG, with_client};
use support::fault_proxy::FaultProxy;
use support::redis::RedisServer;

/// The numbers in a list, in its order.
fn list(redis: &RedisServer, key: &str) -> Vec<u32> {
    redis.ask(&format!("LRANGE {key} 0 -1"))
}

fn is_in_order(numbers: &[u32]) -> bool {
    numbers.windows(2).all(|pair| pair[0] < pair[1])
}

#[test]
fn calls_of_a_key_are_done_in_order_with_one_reply_each() {
    let redis = RedisServer::start();
    with_client(&redis.url(), async |mut client| {
        for number in 0..5_000_u32 {
            let script = if number % 3 == 0 { &ADD } else { &APPEND };
            client.call(script, &format!("k{}", number % 7), &number.to_string());
        }
        client.until("all answers", |client| client.answers.len() == 5_000).await;
        for (ticket, outcome) in &client.answers {
            assert_eq!(outcome.as_deref(), Ok((ticket - 1).to_string().as_bytes()));
        }
        for key in 0..7 {
            let expected: Vec<u32> = (0..5_000).filter(|number| number % 7 == key).collect();
            assert_eq!(list(&redis, &format!("k{key}")), expected);
        }
    });
}

#[test]
fn refused_call_reports_its_reason_and_no_other_call_fails() {
    let redis = RedisServer::start();
    with_client(&redis.url(), async |mut client| {
        let before = client.call(&APPEND, "k", "1");
        let wrong = client.call(&WRONG, "k", "");
        let after = client.call(&APPEND, "k", "2");
        assert!(client.is_done(before).await && client.is_done(after).await && !client.is_done(wrong).await);
        assert!(
            matches!(&client.answers[&wrong], Err(CallError::Rejected(why)) if why.contains("Unknown") && why.contains("command"))
        );
        assert_eq!(client.states, [RedisState::Ready]);
    });
}

#[test]
fn flushed_scripts_are_loaded_again() {
    let redis = RedisServer::start();
    with_client(&redis.url(), async |mut client| {
        redis.ask::<redis::Value>("SCRIPT FLUSH");
        let tickets: Vec<u32> = (0..100)
            .map(|number| client.call(if number % 2 == 0 { &APPEND } else { &ADD }, "k", &number.to_string()))
            .collect();
        for ticket in tickets {
            assert!(client.is_done(ticket).await);
        }
        assert_eq!(list(&redis, "k"), (0..100).collect::<Vec<u32>>());
    });
}

#[test]
fn calls_keep_their_order_when_scripts_are_flushed() {
    let redis = RedisServer::start();
    with_client(&redis.url(), async |mut client| {
        let mut last = 0;
        for number in 0..4_000_u32 {
            last = client.call(if number % 2 == 0 { &APPEND } else { &ADD }, "k", &number.to_string());
            if number % 100 == 0 {
                redis.ask::<redis::Value>("SCRIPT FLUSH");
                client.until("something", |client| client.answers.len() as u32 + 300 > number).await;
            }
        }
        client.until("all answers", |client| client.answers.len() as u32 == last).await;
        let done = list(&redis, "k");
        assert!(is_in_order(&done));
        for (ticket, outcome) in &client.answers {
            assert_eq!(outcome.is_ok(), done.binary_search(&(ticket - 1)).is_ok(), "{ticket}: {outcome:?}");
        }
    });
}

#[test]
fn calls_succeed_after_a_restart() {
    let mut redis = RedisServer::start();
    let url = redis.url();
    with_client(&url, async |mut client| {
        client.insist("k", "1").await;
        redis.stop();
        let ticket = client.call(&APPEND, "k", "2");
        assert!(!client.is_done(ticket).await);
        client.until("word of it", |client| client.states == [RedisState::Ready, RedisState::Unreachable]).await;
        let ticket = client.call(&APPEND, "k", "3");
        assert!(!client.is_done(ticket).await);
        assert_eq!(client.answers[&ticket], Err(CallError::Away));
        redis.restart();
        client
            .until("word of it", |client| {
                client.states == [RedisState::Ready, RedisState::Unreachable, RedisState::Ready]
            })
            .await;
        client.insist("k", "4").await;
        assert_eq!(list(&redis, "k"), [4]);
    });
}

#[test]
fn hanging_redis_is_unavailable_and_keeps_the_order_of_calls() {
    let redis = RedisServer::start();
    with_client(&redis.url(), async |mut client| {
        client.insist("k", "1").await;
        redis.ask::<redis::Value>("CLIENT PAUSE 4000 ALL");
        let mut number = 1;
        let mut slowest = Duration::ZERO;
        loop {
            number += 1;
            let since = std::time::Instant::now();
            let ticket = client.call(&APPEND, "k", &number.to_string());
            let is_done = client.is_done(ticket).await;
            slowest = slowest.max(since.elapsed());
            if is_done {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert!(slowest <= Duration::from_secs(3), "an answer took {slowest:?}");
        assert_eq!(client.states, [RedisState::Ready, RedisState::Unreachable, RedisState::Ready]);
        let done = list(&redis, "k");
        assert!(is_in_order(&done) && done.last() == Some(&number), "{done:?}");
    });
}

#[test]
fn cut_connection_is_renewed() {
    let redis = RedisServer::start();
    let proxy = FaultProxy::to(redis.port());
    with_client(&proxy.url(), async |mut client| {
        for round in 0..3_u32 {
            client.insist("k", &round.to_string()).await;
            proxy.cut();
            client.until("word of it", |client| !client.is_good()).await;
            proxy.restore();
            client.until("word of it", |client| client.is_good()).await;
        }
        assert!(is_in_order(&list(&redis, "k")));
    });
}
