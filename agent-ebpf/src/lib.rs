//! Pure helpers of the kernel programs, tested on the host.
//!
//! The programs themselves are compiled for the kernel only: `multi.rs` and `single.rs` are the
//! two objects, with `looped.rs` or `chained.rs` for long calls; `maps.rs`, `emit.rs`, `ssl.rs`,
//! `socket.rs` and `process.rs` are what they share.
#![no_std]
#![forbid(unsafe_code)]

use agent_common::record::PAYLOAD_SIZES;
use agent_common::site;

/// `cmd` of `SSL_ctrl` that sets the host name (OpenSSL `tls1.h`,
/// `SSL_CTRL_SET_TLSEXT_HOSTNAME`), unchanged since 0.9.8.
pub const CTRL_SET_HOST_NAME: i32 = 55;

/// Shortest time between two wake-ups of the reader, in nanoseconds. A wake-up costs the
/// observed thread more than copying 16 KiB, so records of one millisecond share one.
pub const WAKE_INTERVAL_NS: u64 = 1_000_000;

/// Which of [`PAYLOAD_SIZES`] holds `bytes`; the last one for anything longer.
#[inline(always)]
pub fn payload_class(bytes: u64) -> usize {
    if bytes <= PAYLOAD_SIZES[0] as u64 {
        0
    } else if bytes <= PAYLOAD_SIZES[1] as u64 {
        1
    } else if bytes <= PAYLOAD_SIZES[2] as u64 {
        2
    } else {
        3
    }
}

/// The stack pointer at a function's entry, from the one after its return. On x86-64 the return
/// has popped the return address; on arm64 it never was on the stack.
#[inline(always)]
pub const fn entry_stack_pointer(at_return: u64, pops_return_address: bool) -> u64 {
    if pops_return_address {
        at_return.wrapping_sub(8)
    } else {
        at_return
    }
}

/// How a TLS call reports what it moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Returns {
    /// The count itself, zero or negative on failure.
    Count,
    /// 1 on success, the count behind a pointer.
    Flag,
}

/// How the function at `site` reports, and `None` for one that moves no bytes.
#[inline(always)]
pub const fn returns(site: u64) -> Option<Returns> {
    match site {
        site::READ | site::WRITE => Some(Returns::Count),
        site::READ_EX | site::WRITE_EX | site::WRITE_EX2 => Some(Returns::Flag),
        _ => None,
    }
}

/// Whether the function at `site` moves bytes to the peer; the others of those that move bytes
/// take them from it.
#[inline(always)]
pub const fn writes(site: u64) -> bool {
    matches!(site, site::WRITE | site::WRITE_EX | site::WRITE_EX2)
}

/// Whether the bytes of a call that returns are counted already. One thread at a time uses a
/// direction of a TLS object: if it advanced while the call ran, then by a probed function that
/// this one called, as OpenSSL's `SSL_write_ex` calls `SSL_write_ex2`. `since_ns` and `moved` say
/// when the connection was first seen and what had moved in that direction, at the call's entry (0
/// if it was not known then) and now. A connection that was forgotten in between is another one.
#[inline(always)]
pub const fn is_counted(entry_since_ns: u64, entry_moved: u64, since_ns: u64, moved: u64) -> bool {
    (entry_since_ns == 0 || entry_since_ns == since_ns) && moved != entry_moved
}

/// Whether a handshake that returned `value` is one of a new connection on a used object. On an
/// object whose handshake is done it returns 1 at once, and one that is under way has to wait for
/// the peer. Bytes in one direction alone may be early data (RFC 8446, section 2.3), which
/// moves before the handshake is done.
#[inline(always)]
pub const fn handshake_starts_anew(value: i32, written: u64, read: u64) -> bool {
    value <= 0 && written != 0 && read != 0
}

/// Bytes that a finished call moved; `None` for one that failed or has to be retried.
/// `counted` is the number behind the pointer of an `_ex` call, and `asked` the length of the
/// caller's buffer: a call can't move more, so a larger number is somebody else's memory.
#[inline(always)]
pub const fn moved_bytes(returns: Returns, value: i32, counted: u64, asked: u64) -> Option<u64> {
    let moved = match returns {
        Returns::Count => {
            if value <= 0 {
                return None;
            }
            value.unsigned_abs() as u64
        }
        Returns::Flag => {
            if value != 1 {
                return None;
            }
            counted
        }
    };
    if moved == 0 || moved > asked {
        None
    } else {
        Some(moved)
    }
}

/// Whether the reader is to be woken for a record: it was not for a millisecond, or a quarter of
/// the ring is waiting for it.
#[inline(always)]
pub const fn wakes_reader(now_ns: u64, last_wake_ns: u64, waiting: u64, quarter: u64) -> bool {
    now_ns.wrapping_sub(last_wake_ns) >= WAKE_INTERVAL_NS || waiting >= quarter
}

/// Bytes of a send that tell whether it is a ClientHello.
pub const HELLO_START_BYTES: usize = 6;

/// Whether a send begins with a ClientHello: a handshake record (RFC 8446, section 5.1) of a
/// version that starts with 3, whose first message has type 1 (section 4).
#[inline(always)]
pub const fn is_client_hello(start: [u8; HELLO_START_BYTES]) -> bool {
    start[0] == 22 && start[1] == 3 && start[2] <= 4 && (start[3] | start[4]) != 0 && start[5] == 1
}

/// Whether a send begins with any TLS record: alert, handshake, data or change of cipher
/// (RFC 8446, section 5.1).
#[inline(always)]
pub const fn is_tls_record(start: [u8; HELLO_START_BYTES]) -> bool {
    start[0] >= 20 && start[0] <= 23 && start[1] == 3 && start[2] <= 4
}

/// Most plaintext in a TLS record (RFC 8446, section 5.1).
const RECORD_BYTES: u64 = 16_384;

/// What TLS adds to a record: least with ChaCha20 in TLS 1.2 (header 5, tag 16; RFC 7905), most
/// with a block cipher and SHA-384 there (header 5, vector 16, code 48, padding 16; RFC 5246,
/// section 6.2.3.2).
const LEAST_ADDED: u64 = 21;
const MOST_ADDED: u64 = 85;

/// Records that a write of `bytes` becomes.
#[inline(always)]
pub const fn tls_records(bytes: u64) -> u64 {
    // A shift, because kernel programs should not divide.
    bytes.wrapping_add(RECORD_BYTES - 1) >> 14
}

/// Whether `transferred` bytes on a socket can be `plaintext` bytes in `records` TLS records, and
/// nothing else.
#[inline(always)]
pub const fn is_length_of(transferred: u64, plaintext: u64, records: u64) -> bool {
    let added = transferred.wrapping_sub(plaintext);
    transferred > plaintext
        && added >= records.wrapping_mul(LEAST_ADDED)
        && added <= records.wrapping_mul(MOST_ADDED)
}

/// Most bytes of a handshake that a client sends together with its first write: what follows the
/// server's part, in TLS 1.2 with an RSA key of 2,048 bits or in TLS 1.3 (RFC 8446, section 2).
const HANDSHAKE_END_BYTES: u64 = 400;

/// The same for the first send after a ClientHello, which may begin with the end of the handshake.
#[inline(always)]
pub const fn is_length_with_handshake(transferred: u64, plaintext: u64, records: u64) -> bool {
    let added = transferred.wrapping_sub(plaintext);
    transferred > plaintext
        && added >= records.wrapping_mul(LEAST_ADDED)
        && added
            <= records
                .wrapping_mul(MOST_ADDED)
                .wrapping_add(HANDSHAKE_END_BYTES)
}

/// LIMIT: bytes of stack between a TLS function and the system call that it makes. More is taken
/// for another stack: a coroutine's, or one that an exception has left.
const CALL_STACK_BYTES: u64 = 1 << 20;

/// Whether code whose stack pointer is `inner` runs inside the function that was entered at
/// `outer`. Stacks grow downwards.
#[inline(always)]
pub const fn is_inside(inner: u64, outer: u64) -> bool {
    inner < outer && outer.wrapping_sub(inner) <= CALL_STACK_BYTES
}

/// The number of a socket: the CPU that saw it connect, and how many that CPU saw before.
#[inline(always)]
pub const fn socket_number(cpu: u32, count: u64) -> u64 {
    ((cpu as u64) << 48) | (count & 0xffff_ffff_ffff)
}

/// Upper and lower half of a number.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "the halves are meant")]
pub const fn halves(number: u64) -> (u32, u32) {
    ((number >> 32) as u32, number as u32)
}

/// `bytes`, at most `limit`, as the kernel's helpers take lengths.
#[inline(always)]
#[expect(
    clippy::cast_possible_truncation,
    reason = "the limit is the size of a record"
)]
pub const fn clamp(bytes: u64, limit: usize) -> u32 {
    if bytes > limit as u64 {
        limit as u32
    } else {
        bytes as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_class_that_fits_is_taken() {
        let classes: [(u64, usize); 9] = [
            (0, 0),
            (1, 0),
            (256, 0),
            (257, 1),
            (1_024, 1),
            (1_025, 2),
            (4_096, 2),
            (4_097, 3),
            (16_384, 3),
        ];
        for (bytes, class) in classes {
            assert_eq!(payload_class(bytes), class, "{bytes} bytes");
            assert!(bytes <= PAYLOAD_SIZES[class] as u64);
        }
    }

    #[test]
    fn a_failed_or_retried_call_moved_nothing() {
        for value in [0, -1, i32::MIN] {
            assert_eq!(moved_bytes(Returns::Count, value, 7, 100), None);
            assert_eq!(moved_bytes(Returns::Flag, value, 7, 100), None);
        }
        assert_eq!(moved_bytes(Returns::Flag, 1, 0, 100), None);
    }

    #[test]
    fn a_successful_call_moved_what_it_says() {
        assert_eq!(moved_bytes(Returns::Count, 42, 0, 100), Some(42));
        assert_eq!(
            moved_bytes(Returns::Count, i32::MAX, 0, u64::MAX),
            Some(2_147_483_647)
        );
        assert_eq!(
            moved_bytes(Returns::Flag, 1, 1 << 40, 1 << 41),
            Some(1 << 40)
        );
    }

    #[test]
    fn a_count_larger_than_the_buffer_is_not_believed() {
        assert_eq!(moved_bytes(Returns::Count, 101, 0, 100), None);
        assert_eq!(moved_bytes(Returns::Flag, 1, 101, 100), None);
    }

    #[test]
    fn the_entry_stack_pointer_follows_the_architecture() {
        assert_eq!(entry_stack_pointer(0x7fff_0008, true), 0x7fff_0000);
        assert_eq!(entry_stack_pointer(0x7fff_0008, false), 0x7fff_0008);
    }

    #[test]
    fn only_functions_that_move_bytes_are_awaited() {
        assert_eq!(returns(site::READ), Some(Returns::Count));
        assert_eq!(returns(site::WRITE_EX), Some(Returns::Flag));
        assert_eq!(returns(site::WRITE_EX2), Some(Returns::Flag));
        for other in [
            0,
            site::FREE,
            site::CTRL,
            site::SET_HOST_NAME,
            site::SET_FD,
            site::NEW,
            site::HANDSHAKE,
            99,
        ] {
            assert_eq!(returns(other), None);
        }
    }

    #[test]
    fn a_function_that_moves_bytes_either_writes_or_reads() {
        for site in [site::WRITE, site::WRITE_EX, site::WRITE_EX2] {
            assert!(writes(site));
        }
        for site in [site::READ, site::READ_EX] {
            assert!(!writes(site));
        }
    }

    #[test]
    fn a_call_inside_of_another_one_counts_and_the_outer_one_does_not() {
        assert!(is_counted(7, 100, 7, 150));
        assert!(is_counted(0, 0, 7, 50));
        // Nothing moved in between.
        assert!(!is_counted(7, 100, 7, 100));
        assert!(!is_counted(0, 0, 7, 0));
        // Forgotten while the call waited, and seen again since.
        assert!(!is_counted(7, 100, 9, 0));
        assert!(!is_counted(7, 100, 9, 30));
    }

    #[test]
    fn a_handshake_on_a_connection_in_use_does_not_split_it() {
        // Repeated after it is done, as event loops do, and before any byte.
        assert!(!handshake_starts_anew(1, 10, 10));
        assert!(!handshake_starts_anew(-1, 0, 0));
        // Early data of a client, and of a server.
        assert!(!handshake_starts_anew(-1, 10, 0));
        assert!(!handshake_starts_anew(-1, 0, 10));
        // The object of a connection that ended serves another one.
        assert!(handshake_starts_anew(-1, 10, 10));
        assert!(handshake_starts_anew(0, 10, 10));
    }

    #[test]
    fn the_reader_is_woken_once_a_millisecond_or_at_a_quarter_of_the_ring() {
        assert!(wakes_reader(2_000_000, 1_000_000, 0, 4_096));
        assert!(!wakes_reader(1_999_999, 1_000_000, 4_095, 4_096));
        assert!(wakes_reader(1_000_001, 1_000_000, 4_096, 4_096));
    }

    #[test]
    fn only_a_client_hello_looks_like_one() {
        assert!(is_client_hello([22, 3, 1, 2, 0, 1]));
        assert!(is_client_hello([22, 3, 3, 0, 0xf1, 1]));
        for other in [
            *b"GET / ",
            *b"CONNEC",
            [22, 3, 1, 0, 0, 1],
            [22, 3, 3, 0, 0x5a, 2],
            [23, 3, 3, 0, 0x5a, 1],
            [22, 2, 0, 0, 0x5a, 1],
            [22, 3, 5, 0, 0x5a, 1],
            [0; 6],
        ] {
            assert!(!is_client_hello(other), "{other:?}");
        }
    }

    #[test]
    fn a_socket_of_which_the_hello_was_missed_is_known_by_its_records() {
        assert!(is_tls_record([22, 3, 3, 0, 0x5a, 2]));
        assert!(is_tls_record([23, 3, 3, 0x40, 0, 9]));
        for other in [*b"GET / ", [24, 3, 3, 0, 1, 1], [23, 2, 0, 0, 1, 1]] {
            assert!(!is_tls_record(other), "{other:?}");
        }
    }

    #[test]
    fn a_length_is_that_of_a_write_only_within_what_tls_adds() {
        // Sent and written by OpenSSL with TLS 1.3, and with AES-GCM in TLS 1.2.
        assert!(is_length_of(294, 272, tls_records(272)));
        assert!(is_length_of(301, 272, tls_records(272)));
        assert!(is_length_of(
            100_000 + 7 * 22,
            100_000,
            tls_records(100_000)
        ));
        assert!(!is_length_of(292, 272, 1));
        assert!(!is_length_of(358, 272, 1));
        assert!(!is_length_of(272, 272, 1));
        assert!(!is_length_of(10, 272, 1));
        assert!(!is_length_of(0, 0, 0));
    }

    #[test]
    fn a_first_write_may_follow_the_end_of_the_handshake_in_one_send() {
        // Node with TLS 1.3: 80 bytes of handshake before a request of 64.
        assert!(is_length_with_handshake(166, 64, 1));
        assert!(!is_length_of(166, 64, 1));
        assert!(is_length_with_handshake(64 + 85 + 400, 64, 1));
        assert!(!is_length_with_handshake(64 + 85 + 401, 64, 1));
        assert!(is_length_with_handshake(85, 64, 1));
        assert!(!is_length_with_handshake(84, 64, 1));
    }

    #[test]
    fn a_write_becomes_one_record_for_each_16_kib() {
        let counts = [0, 1, 16_384, 16_385, 32_768].map(tls_records);
        assert_eq!(counts, [0, 1, 1, 2, 2]);
    }

    #[test]
    fn only_what_lies_below_on_the_same_stack_is_inside() {
        assert!(is_inside(0x7000_0000, 0x7000_0100));
        assert!(!is_inside(0x7000_0100, 0x7000_0100));
        assert!(!is_inside(0x7000_0200, 0x7000_0100));
        assert!(!is_inside(0x7000_0000, 0x7020_0000));
        assert!(!is_inside(0x7000_0000, 0));
    }

    #[test]
    fn sockets_of_different_cpus_have_different_numbers() {
        assert_ne!(socket_number(0, 1), socket_number(1, 1));
        assert_ne!(socket_number(0, 1), socket_number(0, 2));
        assert_eq!(socket_number(2, 1), 2 << 48 | 1);
    }

    #[test]
    fn a_length_never_exceeds_its_record() {
        assert_eq!(clamp(255, 256), 255);
        assert_eq!(clamp(257, 256), 256);
        assert_eq!(clamp(u64::MAX, 16_384), 16_384);
        assert_eq!(clamp(1 << 32, 256), 256);
    }

    #[test]
    fn a_number_has_two_halves() {
        assert_eq!(halves(0x0000_0007_0000_0009), (7, 9));
    }
}
