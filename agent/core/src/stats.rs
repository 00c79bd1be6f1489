//! Every counter of the line, in one struct.

use serde::Serialize;

/// Counters since start. Each names one thing that may be lost, refused or estimated.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Stats {
    /// Ring records taken in.
    pub records: u64,
    /// Ring records that could not be decoded.
    pub records_malformed: u64,
    /// Plaintext bytes taken in, as written by processes.
    pub written_bytes: u64,
    /// Plaintext bytes taken in, as read by processes.
    pub read_bytes: u64,
    /// Records that the kernel lost.
    pub lost_records: u64,
    /// Bytes that the kernel lost.
    pub lost_bytes: u64,
    /// Gaps noticed in connections.
    pub gaps: u64,
    /// Bytes in those gaps.
    pub gap_bytes: u64,
    /// Chunks dropped because they go back in the stream or belong to an ended connection.
    pub chunks_stale: u64,
    /// Chunks that were read while a write was under way, and held back until it came.
    pub reads_held: u64,
    /// Times that what was held back of a connection had to go on before its write, because of a
    /// limit: if it is what answers that write, the call may be lost.
    pub reads_given_up: u64,
    /// Connections seen.
    pub connections_opened: u64,
    /// Connections that are open now.
    pub connections_open: u64,
    /// Connections given up because of a limit.
    pub connections_evicted: u64,
    /// Connections that are no LLM traffic, told to the kernel.
    pub connections_ignored: u64,
    /// Connections dismissed: no HTTP.
    pub dismissed_not_http: u64,
    /// Connections dismissed: switched to a protocol that is not read.
    pub dismissed_upgraded: u64,
    /// Connections dismissed: became a tunnel, whose inner connection is read by itself.
    pub dismissed_tunnel: u64,
    /// Connections dismissed: contradictory framing.
    pub dismissed_ambiguous: u64,
    /// Connections dismissed: over a limit.
    pub dismissed_over_limit: u64,
    /// Connections dismissed: out of step, and no frame of HTTP/2 found again.
    pub dismissed_lost: u64,
    /// Streams of HTTP/2 that were not followed: too many at once, or a head over the limit.
    pub streams_refused: u64,
    /// Streams of HTTP/2 that became tunnels (CONNECT), whose content is not read.
    pub tunnels: u64,
    /// Requests over HTTP/2 whose head could not be read whole, because the connection was joined
    /// midway or bytes of it are missing.
    pub heads_unread: u64,
    /// TCP sockets seen: those that carry TLS, where sends are seen.
    pub sockets_connected: u64,
    /// Sockets forgotten because of a limit.
    pub sockets_evicted: u64,
    /// Connections whose socket the kernel programs told.
    pub bound_by_thread: u64,
    /// Connections whose socket is known by its descriptor.
    pub bound_by_descriptor: u64,
    /// Connections whose socket is the only one of their process.
    pub bound_as_only_socket: u64,
    /// Sockets bound to no connection, and taken for that of one with the same host.
    pub sockets_explained: u64,
    /// Sockets whose plaintext was not seen, to whatever host.
    pub sockets_unprobed: u64,
    /// TLS handshakes that contradict themselves.
    pub hellos_malformed: u64,
    /// Exchanges seen, LLM calls or not.
    pub exchanges: u64,
    /// Exchanges whose process is the server; the client's side is counted.
    pub exchanges_server_side: u64,
    /// Bodies whose compression was refused: corrupt, unknown or over a limit.
    pub bodies_refused: u64,
    /// Connections that switched to WebSocket.
    pub websockets: u64,
    /// WebSocket messages read.
    pub messages: u64,
    /// WebSocket messages that were seen to be sent but could not be read, because bytes of them or
    /// of what they build on are missing.
    pub messages_lost: u64,
    /// WebSocket messages whose compression was refused: corrupt, or over a limit.
    pub messages_refused: u64,
    /// LLM calls finished.
    pub calls: u64,
    /// Of these, calls recognised by the shape of their bodies alone, because the head of the
    /// request could not be read; they may lack host, user agent and what else only headers tell.
    pub calls_headless: u64,
    /// Calls with the provider's final usage.
    pub calls_usage_provider: u64,
    /// Calls with a partial figure of the provider.
    pub calls_usage_partial: u64,
    /// Calls counted here.
    pub calls_usage_estimated: u64,
    /// Calls without any usage.
    pub calls_usage_none: u64,
    /// Calls given up because too many were open.
    pub calls_evicted: u64,
    /// Bytes of bodies whose text was measured but not kept, because the open calls held too much:
    /// their tokens are taken from its length.
    pub body_bytes_unkept: u64,
    /// Texts whose tokens were taken from their length, because there is no memory for vocabularies.
    pub texts_without_vocabulary: u64,
    /// Usage fields refused: negative, no integer, or beyond the limit.
    pub usage_refused: u64,
    /// Calls whose reported total fits none of the known sums of their counters, or with a part that
    /// is larger than its whole; they are stored as reported.
    pub usage_inconsistent: u64,
    /// Bodies that are no valid JSON, or nested too deeply.
    pub json_malformed: u64,
    /// Calls whose process is unknown.
    pub calls_unattributed: u64,
    /// Exchanges with the path of an LLM API whose bodies are none.
    pub not_a_call: u64,
    /// Responses that were read again, or before their end; they are no calls.
    pub responses_reread: u64,
    /// Responses in the background that were forgotten because too many went on at once.
    pub responses_forgotten: u64,
    /// Requests over a WebSocket that only made a response ready, without generating any.
    pub warm_ups: u64,
    /// Models run inside a call beyond the limit of one call, or results of a batch without an id,
    /// whose tokens no row holds.
    pub usage_unrecorded: u64,
    /// Times that a connection fell out of step, or was joined in the middle: its next message is
    /// looked for where a segment begins.
    pub steps_lost: u64,
    /// Observed bytes that the line holds back now: undecoded ones, text that waits to be counted,
    /// and the memory of decompressors.
    pub held_bytes: u64,
}
