//! What the loader sets in the kernel programs before they are loaded.

/// Name of the `u32` global that holds the agent's own process id; its calls are not observed.
pub const AGENT_PID: &str = "AGENT_PID";

/// Name of the `u32` global that says which socket programs are attached, one of [`sockets`].
pub const FOLLOWED_SOCKETS: &str = "FOLLOWED_SOCKETS";

/// How far sockets are followed.
pub mod sockets {
    /// Not at all.
    pub const NONE: u32 = 0;
    /// Connects and closes are seen.
    pub const CONNECTS: u32 = 1;
    /// Sends and receives as well.
    pub const TRAFFIC: u32 = 2;
}

/// Most bytes of one call that are copied. What lies beyond is counted in
/// [`crate::record::Losses::oversized_bytes`] and shows as a gap.
/// LIMIT: 32 tail calls of 64 records each, what kernels since 5.10 allow in one run.
pub const MAX_CALL_BYTES: u64 = 32 * 64 * crate::record::MAX_PAYLOAD_BYTES as u64;

/// Bytes of the ring by default. Small, because plaintext stays in it until it is overwritten.
pub const DEFAULT_RING_BYTES: u32 = 16 << 20;
