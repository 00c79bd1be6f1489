//! The kind of work of a call, by its structure alone.

/// Kind of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TaskType {
    /// Asked for in a batch.
    Batch,
    /// Vectors of texts.
    Embedding,
    /// Pictures.
    Image,
    /// Speech, heard or spoken.
    Audio,
    /// Orders of documents.
    Rerank,
    /// A summary that takes the place of a long conversation.
    Compaction,
    /// Something small beside the work: a title, a class, a check.
    Auxiliary,
    /// A step of an agent that works on files.
    Coding,
    /// A step of any agent with tools.
    Agentic,
    /// A reply in a form that was asked for.
    Structured,
    /// Text that is completed, as editors ask for it.
    Completion,
    /// Everything else.
    Chat,
}

impl TaskType {
    /// Name in the ledger.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Batch => "batch",
            Self::Embedding => "embedding",
            Self::Image => "image",
            Self::Audio => "audio",
            Self::Rerank => "rerank",
            Self::Compaction => "compaction",
            Self::Auxiliary => "auxiliary",
            Self::Coding => "coding",
            Self::Agentic => "agentic",
            Self::Structured => "structured",
            Self::Completion => "completion",
            Self::Chat => "chat",
        }
    }
}
