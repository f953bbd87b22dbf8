//! Calls of scripts: each is answered, in bounded time, and those of one key are done in the order in which they were given.

use std::time::Duration;

use switchboard::message::redis::{CallError, RedisState};

use crate::desk::{ADD, APPEND, WRONG, with_desk};
use crate::support::redis::RedisServer;
use crate::support::way::Way;

/// The numbers in a list, in its order.
fn list(redis: &RedisServer, key: &str) -> Vec<u32> {
    redis.ask(&format!("LRANGE {key} 0 -1"))
}

fn is_in_order(numbers: &[u32]) -> bool {
    numbers.windows(2).all(|pair| pair[0] < pair[1])
}

#[test]
fn calls_of_a_key_are_done_in_order_and_each_is_answered() {
    let redis = RedisServer::start();
    with_desk(&redis.url(), async |mut desk| {
        for number in 0..5_000_u32 {
            let script = if number % 3 == 0 { &ADD } else { &APPEND };
            desk.call(script, &format!("k{}", number % 7), &number.to_string());
        }
        desk.until("all answers", |desk| desk.answers.len() == 5_000).await;
        for (ticket, outcome) in &desk.answers {
            assert_eq!(outcome.as_deref(), Ok((ticket - 1).to_string().as_bytes()));
        }
        for key in 0..7 {
            let expected: Vec<u32> = (0..5_000).filter(|number| number % 7 == key).collect();
            assert_eq!(list(&redis, &format!("k{key}")), expected);
        }
    });
}

#[test]
fn a_refusal_says_why_and_harms_no_other_call() {
    let redis = RedisServer::start();
    with_desk(&redis.url(), async |mut desk| {
        let before = desk.call(&APPEND, "k", "1");
        let wrong = desk.call(&WRONG, "k", "");
        let after = desk.call(&APPEND, "k", "2");
        assert!(desk.is_done(before).await && desk.is_done(after).await && !desk.is_done(wrong).await);
        assert!(
            matches!(&desk.answers[&wrong], Err(CallError::Rejected(why)) if why.contains("Unknown") && why.contains("command"))
        );
        assert_eq!(desk.states, [RedisState::Good]);
    });
}

#[test]
fn scripts_that_redis_has_forgotten_are_given_again() {
    let redis = RedisServer::start();
    with_desk(&redis.url(), async |mut desk| {
        redis.ask::<redis::Value>("SCRIPT FLUSH");
        let tickets: Vec<u32> = (0..100)
            .map(|number| desk.call(if number % 2 == 0 { &APPEND } else { &ADD }, "k", &number.to_string()))
            .collect();
        for ticket in tickets {
            assert!(desk.is_done(ticket).await);
        }
        assert_eq!(list(&redis, "k"), (0..100).collect::<Vec<u32>>());
    });
}

#[test]
fn order_holds_while_scripts_are_forgotten_again_and_again() {
    let redis = RedisServer::start();
    with_desk(&redis.url(), async |mut desk| {
        let mut last = 0;
        for number in 0..4_000_u32 {
            last = desk.call(if number % 2 == 0 { &APPEND } else { &ADD }, "k", &number.to_string());
            if number % 100 == 0 {
                redis.ask::<redis::Value>("SCRIPT FLUSH");
                desk.until("something", |desk| desk.answers.len() as u32 + 300 > number).await;
            }
        }
        desk.until("all answers", |desk| desk.answers.len() as u32 == last).await;
        let done = list(&redis, "k");
        assert!(is_in_order(&done));
        for (ticket, outcome) in &desk.answers {
            assert_eq!(outcome.is_ok(), done.binary_search(&(ticket - 1)).is_ok(), "{ticket}: {outcome:?}");
        }
    });
}

#[test]
fn after_a_restart_calls_are_done_again() {
    let mut redis = RedisServer::start();
    let url = redis.url();
    with_desk(&url, async |mut desk| {
        desk.insist("k", "1").await;
        redis.stop();
        let ticket = desk.call(&APPEND, "k", "2");
        assert!(!desk.is_done(ticket).await);
        desk.until("word of it", |desk| desk.states == [RedisState::Good, RedisState::Away]).await;
        let ticket = desk.call(&APPEND, "k", "3");
        assert!(!desk.is_done(ticket).await);
        assert_eq!(desk.answers[&ticket], Err(CallError::Away));
        redis.restart();
        desk.until("word of it", |desk| desk.states == [RedisState::Good, RedisState::Away, RedisState::Good]).await;
        desk.insist("k", "4").await;
        assert_eq!(list(&redis, "k"), [4]);
    });
}

#[test]
fn a_redis_that_hangs_is_away_and_does_nothing_late_out_of_order() {
    let redis = RedisServer::start();
    with_desk(&redis.url(), async |mut desk| {
        desk.insist("k", "1").await;
        redis.ask::<redis::Value>("CLIENT PAUSE 4000 ALL");
        let mut number = 1;
        let mut slowest = Duration::ZERO;
        loop {
            number += 1;
            let since = std::time::Instant::now();
            let ticket = desk.call(&APPEND, "k", &number.to_string());
            let is_done = desk.is_done(ticket).await;
            slowest = slowest.max(since.elapsed());
            if is_done {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert!(slowest <= Duration::from_secs(3), "an answer took {slowest:?}");
        assert_eq!(desk.states, [RedisState::Good, RedisState::Away, RedisState::Good]);
        let done = list(&redis, "k");
        assert!(is_in_order(&done) && done.last() == Some(&number), "{done:?}");
    });
}

#[test]
fn a_way_that_is_cut_is_found_again() {
    let redis = RedisServer::start();
    let way = Way::to(redis.port());
    with_desk(&way.url(), async |mut desk| {
        for round in 0..3_u32 {
            desk.insist("k", &round.to_string()).await;
            way.cut();
            desk.until("word of it", |desk| !desk.is_good()).await;
            way.mend();
            desk.until("word of it", |desk| desk.is_good()).await;
        }
        assert!(is_in_order(&list(&redis, "k")));
    });
}
