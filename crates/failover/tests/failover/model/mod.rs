//! Long random histories of a formation with a monitor, of networks and of liars; after each event the promises are checked.

mod ledger;
mod steps;
mod world;

use proptest::collection::vec;
use proptest::prelude::*;
use world::World;

proptest! {
    // A failing history is shrunk and printed; nothing is written to disk.
    #![proptest_config(ProptestConfig { cases: 4096, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_history_keeps_the_promises(early_open in any::<bool>(), history in vec(any::<u32>(), 0..400)) {
        let mut world = World::new(early_open);
        for word in history {
            world.step(word);
        }
        world.a_stable_truth_is_served_in_the_end();
    }
}
