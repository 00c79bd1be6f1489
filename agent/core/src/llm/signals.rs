//! What the structure of a call says about the kind of its work: counts, lengths, enumerations and
//! hashes, no content.

/// What a call's structure says. A field is unknown, or false, where the part of the request that
/// tells it was not seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Signals {
    /// Tools that the request offers.
    pub tools_offered: Option<u32>,
    /// Families that the offered tools' names belong to.
    pub families: ToolFamilies,
    /// What the last item of the conversation is; instructions count only before all others.
    pub last_item: Option<LastItem>,
    /// Items of the conversation that the model wrote, or asked for tools in.
    pub assistant_items: u32,
    /// Whether the reply has to follow a JSON schema, or to be JSON.
    pub asks_for_json: bool,
    /// Whether the model has to use a certain tool, or any.
    pub forces_tool: bool,
    /// Most tokens that the reply may have.
    pub max_output_tokens: Option<u64>,
    /// Tools that the reply asks for.
    pub tool_calls: u32,
    /// Keyed hash of the names and arguments of those tools, in their order.
    pub tool_signature: Option<u64>,
    /// Class that the client itself gives the request, by a word or by the path of a compaction.
    pub class: Option<Class>,
    /// Whether the provider compacted the context as a part of the call.
    pub compacts: bool,
    /// Keyed hash of the whole request, without what changes with each try.
    pub request_hash: Option<u64>,
    /// Keyed hashes of the conversation's beginnings.
    pub prefix: Option<Prefix>,
}

/// Families of tools that tell a coding agent, by a list of well-known names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ToolFamilies {
    /// Tools that change files.
    pub edit: bool,
    /// Tools that run commands.
    pub shell: bool,
    /// Tools that read or search files.
    pub read: bool,
}

impl ToolFamilies {
    /// How many of them are offered.
    pub fn count(self) -> u8 {
        u8::from(self.edit) + u8::from(self.shell) + u8::from(self.read)
    }
}

/// What an item of a conversation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LastItem {
    /// Words of the user, or of the program that stands for one.
    User,
    /// What a tool gave back.
    ToolResult,
    /// Words of the model, to go on from.
    Assistant,
    /// Instructions.
    System,
}

/// Class of a request, as some clients say it in a header or in the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// A step of the main conversation.
    Main,
    /// A step of a subagent.
    Subagent,
    /// Something small beside: a title, a summary for the user, a check.
    Auxiliary,
    /// A step that nobody waits for.
    Background,
    /// A summary that takes the place of a conversation that grew too long.
    Compaction,
}

/// Keyed hashes of what a conversation begins with, so that a request that continues an earlier one
/// is found without its content. Each covers the items before it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Prefix {
    /// Instructions and tools.
    pub setting: u64,
    /// The conversation up to the first item of the user, with the setting.
    pub first: u64,
    /// The whole conversation, with the setting.
    pub whole: u64,
    /// The conversation after each of its items before the last, with the setting, latest first; at
    /// most [`Prefix::EARLIER`].
    pub earlier: Vec<u64>,
}

impl Prefix {
    /// LIMIT: beginnings that are kept of one request. A request continues one that had at most so
    /// many items fewer: an answer, some tool results and a message of the user.
    pub const EARLIER: usize = 16;
}
