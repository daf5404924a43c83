//! The six promises, checked after every step of long random histories of several pools that share one budget.

mod owner;
mod promises;
mod steps;

use owner::World;
use proptest::collection::vec;
use proptest::prelude::*;

proptest! {
    // About 150,000 steps. A failing history is shrunk and printed; nothing is written to disk.
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_history_keeps_the_promises(setting in vec(any::<u32>(), 8), history in vec(any::<u32>(), 0..600)) {
        let mut world = World::new(&setting);
        for word in history {
            world.step(word);
            world.check_promises();
        }
        world.everyone_is_served_in_the_end();
    }
}
