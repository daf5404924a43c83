//! What a client may send once it is logged in, by tag.

/// The type of a message from a client. Source: protocol chapter, "Message Formats", those marked (F).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tag {
    /// `B`
    Bind,
    /// `C`
    Close,
    /// `d`
    CopyData,
    /// `c`
    CopyDone,
    /// `f`
    CopyFail,
    /// `D`
    Describe,
    /// `E`
    Execute,
    /// `H`
    Flush,
    /// `F`
    FunctionCall,
    /// `P`
    Parse,
    /// `Q`
    Query,
    /// `S`
    Sync,
    /// `X`
    Terminate,
}

impl Tag {
    /// Names the tag byte; `None` for one that no logged-in client may send (`p` among them).
    pub fn of(tag: u8) -> Option<Self> {
        Some(match tag {
            b'B' => Self::Bind,
            b'C' => Self::Close,
            b'd' => Self::CopyData,
            b'c' => Self::CopyDone,
            b'f' => Self::CopyFail,
            b'D' => Self::Describe,
            b'E' => Self::Execute,
            b'H' => Self::Flush,
            b'F' => Self::FunctionCall,
            b'P' => Self::Parse,
            b'Q' => Self::Query,
            b'S' => Self::Sync,
            b'X' => Self::Terminate,
            _ => return None,
        })
    }

    /// Whether messages of this type have a body of exactly no bytes.
    pub fn is_bare(self) -> bool {
        matches!(self, Self::CopyDone | Self::Flush | Self::Sync | Self::Terminate)
    }
}
