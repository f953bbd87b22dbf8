//! Each op, with its refusals.

use switchboard::domain::op::Reply;

use crate::world::{World, rules};

#[test]
fn a_user_comes_and_goes() {
    let mut world = World::new(2, rules());
    assert!(matches!(world.attach(0, "ann", 1), Ok(Reply::Done)));
    println!("{:?}", world.take_heard());
}
