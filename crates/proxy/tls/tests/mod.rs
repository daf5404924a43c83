//! Whole handshakes in memory between rustls and our configurations, with certificates of every kind.

mod bindings;
mod clients;
mod loading;
mod servers;
mod shown;
mod workshop;
