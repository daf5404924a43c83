//! What every test needs: a PostgreSQL, a pooler before it, clients of both, and waiting that ends.

pub mod certificates;
pub mod client;
pub mod config;
pub mod console;
pub mod direct;
pub mod fake;
pub mod load;
pub mod login;
pub mod message;
pub mod pooler;
pub mod stream;
pub mod tls;
pub mod wait;

pub use client::Client;
pub use config::Setup;
pub use console::Console;
pub use login::{Binding, Login};
pub use message::{Message, Report};
pub use pooler::Pooler;
pub use stream::Address;
pub use tls::Tls;
pub use wait::{eventually, until};
