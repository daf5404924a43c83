//! What was asked for and has not been answered, one word each.

/// A request that has not been answered to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owed {
    Query,
    FunctionCall,
    Parse,
    Bind,
    Describe,
    Execute,
    Close,
    Sync,
    /// CopyDone or CopyFail: owes nothing itself, but tells which Syncs a COPY swallows.
    CopyEnd,
    /// A Bind, and a Describe, of a statement that is shared.
    NamedBind,
    NamedDescribe,
    /// A Parse, and a Close, of the client's that change the notes about statements.
    NotedParse,
    NotedClose,
    /// A Parse that is refused: what was sent in its place is an error.
    Refused,
    /// Messages of our own: the client must not hear of the answer.
    SilentQuery,
    SilentParse,
    SilentBind,
    SilentExecute,
    SilentClose,
    SilentSync,
    /// Several messages of our own that ask a question, up to the Close of its statement.
    Question,
    /// A Parse, and a Close, that we answer ourselves when it is their turn.
    OwnParse,
    OwnClose,
}

impl Owed {
    pub(super) fn changes(self) -> bool {
        match self {
            Self::NotedParse | Self::NotedClose | Self::SilentParse | Self::SilentClose => true,
            Self::OwnParse | Self::OwnClose | Self::Refused => true,
            Self::Query | Self::FunctionCall | Self::Parse | Self::Bind | Self::Describe => false,
            Self::NamedBind
            | Self::NamedDescribe
            | Self::Question
            | Self::SilentQuery
            | Self::SilentBind
            | Self::SilentExecute => false,
            Self::Execute | Self::Close | Self::Sync | Self::SilentSync | Self::CopyEnd => false,
        }
    }

    pub(super) fn is_reference(self) -> bool {
        matches!(self, Self::NamedBind | Self::NamedDescribe)
    }

    pub(super) fn is_sync(self) -> bool {
        matches!(self, Self::Sync | Self::SilentSync)
    }
}
