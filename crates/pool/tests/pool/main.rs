//! The pool seen from outside, as its owner sees it.

mod check_out;
mod control;
mod desk;
mod model;
mod opening;
mod upkeep;
mod warm_up;
