//! Redis loses everything it knew.

use std::time::Instant;

use crate::scene::{CONVERGENCE, Scene};
use crate::times;

#[test]
fn clients_are_told_that_their_rooms_have_ended_and_join_anew() {
    Scene::start("FLUSHALL", false, &[]).that_forgets().play(|scene, people| {
        for _ in 0..times(2) {
            let closed = || people.all().map(|person| people.shown(person).closed).collect::<Vec<_>>();
            let before = closed();
            let since = Instant::now();
            scene.redis().command(&["FLUSHALL"]);
            people.wait("everybody is told that their rooms have ended", CONVERGENCE, || {
                closed().iter().zip(&before).all(|(now, before)| *now >= before + 2)
            });
            eprintln!("everybody was told after {:.1?}", since.elapsed());
            scene.recover(people, since);
            assert!(closed().iter().zip(&before).all(|(now, before)| *now == before + 2), "once each");
        }
    });
}
