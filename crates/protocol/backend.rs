//! What a server may send, by tag.

/// The type of a message from a server. Source: protocol chapter, "Message Formats", those marked (B).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tag {
    /// `R`
    Authentication,
    /// `K`
    BackendKeyData,
    /// `2`
    BindComplete,
    /// `3`
    CloseComplete,
    /// `C`
    CommandComplete,
    /// `W`
    CopyBothResponse,
    /// `d`
    CopyData,
    /// `c`
    CopyDone,
    /// `G`
    CopyInResponse,
    /// `H`
    CopyOutResponse,
    /// `D`
    DataRow,
    /// `I`
    EmptyQueryResponse,
    /// `E`
    ErrorResponse,
    /// `V`
    FunctionCallResponse,
    /// `v`
    NegotiateProtocolVersion,
    /// `n`
    NoData,
    /// `N`
    NoticeResponse,
    /// `A`
    NotificationResponse,
    /// `t`
    ParameterDescription,
    /// `S`
    ParameterStatus,
    /// `1`
    ParseComplete,
    /// `s`
    PortalSuspended,
    /// `Z`
    ReadyForQuery,
    /// `T`
    RowDescription,
}

impl Tag {
    /// Names the tag byte; `None` for one that no server sends.
    pub fn of(tag: u8) -> Option<Self> {
        Some(match tag {
            b'D' => Self::DataRow,
            b'C' => Self::CommandComplete,
            b'Z' => Self::ReadyForQuery,
            b'T' => Self::RowDescription,
            b'1' => Self::ParseComplete,
            b'2' => Self::BindComplete,
            b'3' => Self::CloseComplete,
            b'd' => Self::CopyData,
            b'c' => Self::CopyDone,
            b'G' => Self::CopyInResponse,
            b'H' => Self::CopyOutResponse,
            b'W' => Self::CopyBothResponse,
            b'I' => Self::EmptyQueryResponse,
            b'E' => Self::ErrorResponse,
            b'N' => Self::NoticeResponse,
            b'A' => Self::NotificationResponse,
            b'S' => Self::ParameterStatus,
            b'n' => Self::NoData,
            b't' => Self::ParameterDescription,
            b's' => Self::PortalSuspended,
            b'V' => Self::FunctionCallResponse,
            b'R' => Self::Authentication,
            b'K' => Self::BackendKeyData,
            b'v' => Self::NegotiateProtocolVersion,
            _ => return None,
        })
    }
}

/// Where a session stands between requests. Source: ReadyForQuery's one byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TxStatus {
    /// `I`: no transaction.
    Idle,
    /// `T`: in a transaction block.
    InBlock,
    /// `E`: in a failed block.
    Failed,
}

impl TxStatus {
    /// Reads ReadyForQuery's body; `None` for anything but `I`, `T` or `E`.
    pub fn of(body: &[u8]) -> Option<Self> {
        match body {
            b"I" => Some(Self::Idle),
            b"T" => Some(Self::InBlock),
            b"E" => Some(Self::Failed),
            _ => None,
        }
    }

    /// The byte that ReadyForQuery carries.
    pub fn byte(self) -> u8 {
        match self {
            Self::Idle => b'I',
            Self::InBlock => b'T',
            Self::Failed => b'E',
        }
    }
}
