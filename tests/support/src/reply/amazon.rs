//! Amazon's event stream, `application/vnd.amazon.eventstream`: binary messages, each with its
//! lengths, its headers, and two CRC-32.
//!
//! <https://smithy.io/2.0/aws/amazon-eventstream.html>

use flate2::Crc;

/// `content-type` of a stream.
pub(super) const CONTENT_TYPE: &str = "application/vnd.amazon.eventstream";

/// Bytes of the prelude: the length of the message, that of its headers, and the CRC of both.
const PRELUDE_BYTES: usize = 12;

/// Bytes of the CRC that ends a message.
const CRC_BYTES: usize = 4;

/// Type of a header whose value is a string.
const STRING: u8 = 7;

/// What a message tells of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Something of the reply.
    Event,
    /// The failure that ends it.
    Exception,
}

/// One message of that type with a payload of JSON.
pub fn message(kind: Kind, name: &str, payload: &[u8]) -> Vec<u8> {
    let (message_type, type_header) = match kind {
        Kind::Event => ("event", ":event-type"),
        Kind::Exception => ("exception", ":exception-type"),
    };
    let mut headers = Vec::new();
    for (header, value) in [
        (type_header, name),
        (":content-type", "application/json"),
        (":message-type", message_type),
    ] {
        headers.push(u8::try_from(header.len()).unwrap_or(u8::MAX));
        headers.extend(header.as_bytes());
        headers.push(STRING);
        let length = u16::try_from(value.len()).unwrap_or(u16::MAX);
        headers.extend(length.to_be_bytes());
        headers.extend(value.as_bytes());
    }
    let length = PRELUDE_BYTES + headers.len() + payload.len() + CRC_BYTES;
    let mut message = Vec::with_capacity(length);
    for length in [length, headers.len()] {
        message.extend(u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
    }
    message.extend(crc(&message).to_be_bytes());
    message.extend(headers);
    message.extend(payload);
    message.extend(crc(&message).to_be_bytes());
    message
}

fn crc(bytes: &[u8]) -> u32 {
    let mut crc = Crc::new();
    crc.update(bytes);
    crc.sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_has_its_lengths_headers_and_both_sums() {
        let message = message(Kind::Event, "chunk", b"{}");

        let word = |at: usize| u32::from_be_bytes(message[at..at + 4].try_into().unwrap());
        assert_eq!(word(0) as usize, message.len());
        let headers = b"\x0b:event-type\x07\x00\x05chunk\
            \x0d:content-type\x07\x00\x10application/json\
            \x0d:message-type\x07\x00\x05event";
        assert_eq!(word(4) as usize, headers.len());
        assert_eq!(word(8), crc(&message[..8]));
        assert_eq!(&message[12..12 + headers.len()], headers);
        assert_eq!(&message[12 + headers.len()..message.len() - 4], b"{}");
        let end = message.len() - 4;
        assert_eq!(word(end), crc(&message[..end]));
    }

    #[test]
    fn the_sum_is_the_crc_32_of_every_check_table() {
        assert_eq!(crc(b"123456789"), 0xCBF4_3926);
    }
}
