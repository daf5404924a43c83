//! Channels' names, and notifications as they stand in the protocol.

use std::sync::Arc;

use protocol::Header;

/// A channel's name, in its client's encoding.
pub type Name = Arc<[u8]>;

/// Most bytes of a NotificationResponse within which its channel's name ends.
pub const MAX_FRONT: usize = Header::SIZE + PID + 64;
const PID: usize = 4;

/// The channel that a NotificationResponse is about. `body` is as much of it as has arrived; none if that is too little.
pub fn channel(body: &[u8]) -> Option<&[u8]> {
    let name = body.get(PID..)?;
    name.get(..memchr::memchr(0, name)?)
}

/// What it carries.
pub fn payload(body: &[u8]) -> Option<&[u8]> {
    let payload = body.get(PID + channel(body)?.len() + 1..)?;
    payload.get(..memchr::memchr(0, payload)?)
}

/// The process id of who has sent it.
pub fn pid(body: &[u8]) -> Option<u32> {
    body.first_chunk().map(|pid| u32::from_be_bytes(*pid))
}

/// The whole message, with another process id if there is one.
pub fn message(body: &[u8], pid: Option<u32>) -> Vec<u8> {
    let mut out = Vec::with_capacity(Header::SIZE + body.len());
    protocol::messages::message(&mut out, b'A', |out| out.extend_from_slice(body));
    if let (Some(pid), Some(place)) = (pid, out.get_mut(Header::SIZE..Header::SIZE + PID)) {
        place.copy_from_slice(&pid.to_be_bytes());
    }
    out
}

/// Appends a statement about a channel.
pub fn add_statement(sql: &mut Vec<u8>, command: &str, name: &[u8]) {
    sql.extend_from_slice(command.as_bytes());
    sql.extend_from_slice(b" \"");
    for byte in name {
        sql.extend_from_slice(if *byte == b'"' { b"\"\"" } else { std::slice::from_ref(byte) });
    }
    sql.extend_from_slice(b"\";");
}

/// Appends the NOTIFY of a mark, by its number.
pub fn add_mark(sql: &mut Vec<u8>, marks: &[u8], number: u64) {
    add_statement(sql, "notify", marks);
    sql.pop();
    sql.extend_from_slice(format!(", '{number}';").as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_notification_is_read_as_far_as_it_is_there() {
        let body = b"\0\0\0\x07a channel\0and more\0";
        assert_eq!((channel(body), payload(body)), (Some(&b"a channel"[..]), Some(&b"and more"[..])));
        assert_eq!((channel(&body[..8]), payload(&body[..16]), pid(body)), (None, None, Some(7)));
        let told = message(body, Some(9));
        assert_eq!((told.len(), pid(&told[5..]), channel(&told[5..])), (body.len() + 5, Some(9), channel(body)));
    }

    #[test]
    fn any_name_can_be_a_channels() {
        let mut sql = Vec::new();
        add_statement(&mut sql, "listen", b"say \"x\"; drop");
        assert_eq!(sql, b"listen \"say \"\"x\"\"; drop\";");
    }
}
