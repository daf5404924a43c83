//! What clients are told at login: the parameters that the pool's first server reported, with the client's own in them.

use std::sync::{Arc, Mutex};

use protocol::messages;
use protocol::params::Params;

use crate::services::{Services, lock};

/// What the first server of a pool reported at login.
#[derive(Debug)]
pub struct Greeting {
    /// Names and values in the server's order.
    parameters: Vec<(Vec<u8>, Vec<u8>)>,
    /// Most clients of a pool want the same: what the last one was told.
    last: Mutex<Option<Welcome>>,
}

/// What one client is told.
#[derive(Clone, Debug)]
pub struct Welcome {
    wishes: Arc<Params>,
    /// The tracked parameters it has from now on.
    pub params: Arc<Params>,
    /// Its ParameterStatus messages.
    pub statuses: Arc<[u8]>,
}

impl Greeting {
    /// Of a server that reported these parameters.
    pub fn new(parameters: Vec<(Vec<u8>, Vec<u8>)>) -> Self {
        Self { parameters, last: Mutex::default() }
    }

    /// For a client with these wishes: its wishes, and the server's values for all else.
    pub fn welcome(&self, services: &Services, wishes: Params) -> Welcome {
        if let Some(last) = lock(&self.last).as_ref().filter(|last| *last.wishes == wishes) {
            return last.clone();
        }
        let welcome = self.prepare(services, wishes);
        *lock(&self.last) = Some(welcome.clone());
        welcome
    }

    fn prepare(&self, services: &Services, wishes: Params) -> Welcome {
        let mut reported = services.tracked.empty();
        for (name, value) in &self.parameters {
            if let Some(position) = services.tracked.position(name) {
                reported.set(position, value);
            }
        }
        let mut params = wishes.clone();
        params.demote_unreported(&services.tracked, &reported);
        params.fill_from(&reported);
        let mut statuses = Vec::with_capacity(512);
        for (name, value) in &self.parameters {
            let position = services.tracked.position(name);
            let tracked = position.and_then(|position| params.get(position));
            let wanted = tracked.or_else(|| params.other(&name.to_ascii_lowercase()));
            messages::parameter_status(&mut statuses, name, wanted.unwrap_or(value));
        }
        Welcome { wishes: Arc::new(wishes), params: services.intern(params), statuses: statuses.into() }
    }
}
