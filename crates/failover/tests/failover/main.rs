//! The follower seen from outside, as its owner sees it.

mod bad_days;
mod early;
mod hints;
mod hosts;
mod identity;
mod model;
mod planned;
mod procedure;
mod report;
mod scene;
mod signals;
mod unplanned;
