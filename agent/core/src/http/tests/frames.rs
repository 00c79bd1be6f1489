//! Frames of HTTP/2 for tests, in the words of RFC 9113.

pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const PRIORITY: u8 = 2;
pub(super) const RST_STREAM: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
pub(super) const PUSH_PROMISE: u8 = 5;
pub(super) const PING: u8 = 6;
pub(super) const GOAWAY: u8 = 7;
pub(super) const WINDOW_UPDATE: u8 = 8;
pub(super) const CONTINUATION: u8 = 9;

pub(super) const END_STREAM: u8 = 1;
pub(super) const END_HEADERS: u8 = 4;
pub(super) const PADDED: u8 = 8;
pub(super) const WITH_PRIORITY: u8 = 0x20;

/// `:method POST` and `:status 200` of the static table.
pub(super) const POST: u8 = 0x83;
pub(super) const GET: u8 = 0x82;
pub(super) const OK: u8 = 0x88;

pub(super) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// A whole head, in one frame.
pub(super) fn headers(flags: u8, stream: u32, block: &[u8]) -> Vec<u8> {
    frame(HEADERS, flags | END_HEADERS, stream, block)
}

pub(super) fn data(flags: u8, stream: u32, bytes: impl AsRef<[u8]>) -> Vec<u8> {
    frame(DATA, flags, stream, bytes.as_ref())
}

/// Settings that say nothing.
pub(super) fn settings() -> Vec<u8> {
    frame(SETTINGS, 0, 0, &[])
}

/// Settings with one value.
pub(super) fn setting(id: u16, value: u32) -> Vec<u8> {
    frame(
        SETTINGS,
        0,
        0,
        &[&id.to_be_bytes()[..], &value.to_be_bytes()].concat(),
    )
}

/// An integer whose first bits share a byte with `first` (RFC 7541, section 5.1).
pub(super) fn integer(first: u8, prefix: u32, value: usize) -> Vec<u8> {
    let mask = u8::MAX >> (8 - prefix);
    if let Ok(small) = u8::try_from(value)
        && small < mask
    {
        return vec![first | small];
    }
    let mut bytes = vec![first | mask];
    let mut rest = value - usize::from(mask);
    while rest >= 128 {
        bytes.push(u8::try_from(rest % 128).unwrap() | 0x80);
        rest /= 128;
    }
    bytes.push(u8::try_from(rest).unwrap());
    bytes
}

pub(super) fn string(text: &str) -> Vec<u8> {
    [integer(0, 7, text.len()), text.as_bytes().to_vec()].concat()
}

/// A field that is not added to the table.
pub(super) fn literal(name: &str, value: &str) -> Vec<u8> {
    [vec![0], string(name), string(value)].concat()
}

/// A field that is added to the table.
pub(super) fn added(name: &str, value: &str) -> Vec<u8> {
    [vec![0x40], string(name), string(value)].concat()
}

/// A field of one of the tables.
pub(super) fn indexed(index: usize) -> Vec<u8> {
    integer(0x80, 7, index)
}

/// A change of the size of the table.
pub(super) fn resized(bytes: usize) -> Vec<u8> {
    integer(0x20, 5, bytes)
}

/// The head of a request, without using the table.
pub(super) fn post(path: &str) -> Vec<u8> {
    [vec![POST], literal(":path", path)].concat()
}

/// A request and its response, each in one call.
pub(super) fn exchange(stream: u32, path: &str, request: &str, response: &str) -> [Vec<u8>; 2] {
    [
        [
            headers(0, stream, &post(path)),
            data(END_STREAM, stream, request),
        ]
        .concat(),
        [
            headers(0, stream, &[OK]),
            data(END_STREAM, stream, response),
        ]
        .concat(),
    ]
}
