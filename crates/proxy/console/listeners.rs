//! SHOW LISTENERS: each connection that listens for clients.

use super::table::{Answer, Table, int4, int8, maybe, text};
use crate::listen::HubSnapshot;
use crate::services::Services;

pub(super) static LISTENERS: Table<HubSnapshot> = Table {
    columns: &[
        text("database", |r| r.database.to_string()),
        text("encoding", |r| String::from_utf8_lossy(&r.encoding).into_owned()),
        maybe("server", |r| r.server.as_ref().map(|(address, _)| address.clone())),
        maybe("remote_pid", |r| r.server.as_ref().map(|(_, pid)| pid.to_string())),
        int4("clients", |r| r.listeners as u64),
        int4("channels", |r| r.channels as u64),
        int8("deliveries", |r| r.deliveries),
        int8("pending_bytes", |r| r.pending as u64),
    ],
};

pub(super) fn listeners(services: &Services) -> Answer {
    LISTENERS.answer(services.listening.all().iter().map(|hub| hub.snapshot()).collect::<Vec<_>>().into_iter())
}
