//! The member names that some reader asks for.

macro_rules! vocabulary {
    ($($variant:ident = $name:literal),+ $(,)?) => {
        /// One step of a path in a JSON text: a member name that matters, or none of them.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Key {
            /// An element of an array.
            Item,
            /// A member that no reader asks for by name.
            Other,
            $(#[doc = $name] $variant,)+
        }

        impl Key {
            /// The step for a member name.
            pub(crate) fn of(name: &str) -> Self {
                match name {
                    $($name => Self::$variant,)+
                    _ => Self::Other,
                }
            }
        }
    };
}

vocabulary! {
    Arguments = "arguments",
    Audio = "audio",
    CacheControl = "cache_control",
    CacheCreation = "cache_creation",
    CacheCreationInputTokens = "cache_creation_input_tokens",
    CacheReadInputTokens = "cache_read_input_tokens",
    CacheWriteTokens = "cache_write_tokens",
    CachedTokens = "cached_tokens",
    CallId = "call_id",
    Choices = "choices",
    ClientMetadata = "client_metadata",
    CompletionTokens = "completion_tokens",
    CompletionTokensDetails = "completion_tokens_details",
    Content = "content",
    ContentBlock = "content_block",
    Conversation = "conversation",
    ConversationId = "conversation_id",
    Data = "data",
    Delta = "delta",
    Detail = "detail",
    Diagnostics = "diagnostics",
    EncryptedContent = "encrypted_content",
    Ephemeral1h = "ephemeral_1h_input_tokens",
    Ephemeral5m = "ephemeral_5m_input_tokens",
    Error = "error",
    File = "file",
    FileData = "file_data",
    FileId = "file_id",
    Filename = "filename",
    FinishReason = "finish_reason",
    Function = "function",
    FunctionCall = "function_call",
    Functions = "functions",
    Generate = "generate",
    Id = "id",
    ImageUrl = "image_url",
    IncompleteDetails = "incomplete_details",
    Input = "input",
    InputAudio = "input_audio",
    InputAudioTranscription = "input_audio_transcription",
    InputTokenDetails = "input_token_details",
    InputTokens = "input_tokens",
    InputTokensDetails = "input_tokens_details",
    Instructions = "instructions",
    ItemId = "item_id",
    Iterations = "iterations",
    MediaType = "media_type",
    Message = "message",
    Messages = "messages",
    Metadata = "metadata",
    Model = "model",
    Name = "name",
    Output = "output",
    OutputTokens = "output_tokens",
    OutputTokensDetails = "output_tokens_details",
    PartialJson = "partial_json",
    PreviousMessageId = "previous_message_id",
    PreviousResponseId = "previous_response_id",
    PromptCacheHitTokens = "prompt_cache_hit_tokens",
    PromptCache = "prompt_cache_key",
    PromptTokens = "prompt_tokens",
    PromptTokensDetails = "prompt_tokens_details",
    Reason = "reason",
    Reasoning = "reasoning",
    ReasoningContent = "reasoning_content",
    ReasoningTokens = "reasoning_tokens",
    Refusal = "refusal",
    Response = "response",
    ResponseId = "response_id",
    Role = "role",
    Session = "session",
    SessionId = "session_id",
    Signature = "signature",
    Source = "source",
    Status = "status",
    StatusDetails = "status_details",
    StopReason = "stop_reason",
    Stream = "stream",
    StreamId = "stream_id",
    Summary = "summary",
    System = "system",
    Text = "text",
    Thinking = "thinking",
    ThinkingTokens = "thinking_tokens",
    Thread = "thread",
    ThreadId = "thread_id",
    ToolCallId = "tool_call_id",
    ToolCalls = "tool_calls",
    ToolUseId = "tool_use_id",
    Tools = "tools",
    TotalTokens = "total_tokens",
    TraceId = "trace_id",
    Transcription = "transcription",
    Type = "type",
    Url = "url",
    Usage = "usage",
    UserId = "user_id",
    XGroq = "x_groq",
}
