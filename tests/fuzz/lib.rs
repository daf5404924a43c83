//! What the fuzz targets share.

pub mod postgres;
pub mod settings;
pub mod text;

use protocol::Header;

/// A message as it stands on the wire: its header and its body.
pub fn framed(tag: u8, body: &[u8]) -> (Header, Vec<u8>) {
    let mut bytes = Vec::with_capacity(Header::SIZE + body.len());
    protocol::messages::message(&mut bytes, tag, |out| out.extend_from_slice(body));
    let header = Header::peek(&bytes).expect("its length is right").expect("it is whole");
    (header, bytes.split_off(Header::SIZE))
}
