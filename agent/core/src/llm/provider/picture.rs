//! What a prompt has beside its text, and the size of a picture, read from the beginning of its
//! base64.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use imagesize::ImageError;

use super::Word;
use crate::llm::json::{Key, Value};
use crate::llm::picture::{Detail, Picture, Pictures};

/// LIMIT: 64 KiB of base64 in which the size is looked for, which are held meanwhile. A PNG, a GIF
/// and a WebP have it in their first 30 bytes; a JPEG behind what a camera or an editor wrote about
/// it, a small preview at most. Beyond, the size is unknown.
const HEADER_BYTES: usize = 64 << 10;

/// Bytes at which it is looked for: most pictures need the first.
const LOOK_AT: [usize; 4] = [128, 1 << 10, 8 << 10, HEADER_BYTES];

/// LIMIT: 256 bytes of a data URL before its content: a type and its parameters (RFC 2397).
const URL_HEAD_BYTES: usize = 256;

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// What a string of a prompt is, if it is no text.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Content {
    /// A picture, or a document, or a link to either.
    Picture,
    /// How much of the picture is looked at.
    Detail,
    /// Something that has tokens which nothing here tells.
    Unknown,
}

impl Content {
    /// What stands at a path inside a member of the prompt; `None` for text and what has no tokens.
    pub(super) fn of(root: Key, inner: &[Key]) -> Option<Self> {
        // What a tool is given and gives may have any names.
        let is_free =
            |key: &Key| matches!(key, Key::Args | Key::Arguments | Key::Input | Key::Response);
        if inner.iter().any(is_free) {
            return None;
        }
        match inner {
            [.., Key::ImageUrl] | [.., Key::Data | Key::ImageUrl | Key::Source, Key::Url] => {
                Some(Self::Picture)
            }
            [
                ..,
                Key::Data | Key::InlineData | Key::Item | Key::Source,
                Key::Data,
            ] => Some(Self::Picture),
            [.., Key::Images, Key::Item] => Some(Self::Picture),
            [Key::Item] if root == Key::Images => Some(Self::Picture),
            [.., Key::Detail] => Some(Self::Detail),
            [
                ..,
                Key::BytesBase64
                | Key::DocumentUrl
                | Key::EncryptedContent
                | Key::FileData
                | Key::FileId
                | Key::FileUri,
            ]
            | [.., Key::InputAudio, Key::Data]
            | [.., Key::DocumentUrl, Key::Url] => Some(Self::Unknown),
            _ => None,
        }
    }
}

/// Where the reader of a picture stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// There is none.
    #[default]
    None,
    /// Its beginning is gathered.
    Header,
    /// Its size was found.
    Known { width: u32, height: u32 },
    /// It has none that can be found.
    Unknown,
}

/// Reads the pictures of a prompt. It has no `Debug`: it carries observed bytes.
#[derive(Default)]
pub(in crate::llm) struct PictureReader {
    state: State,
    header: String,
    detail: Word<8>,
    pictures: Pictures,
}

impl PictureReader {
    /// Takes a value of such a string.
    pub(super) fn take(&mut self, content: Content, value: Value<'_>, keeps_bytes: bool) {
        match (content, value) {
            (Content::Detail, _) => self.detail.last(value),
            // A signature or a link that is empty is none.
            (Content::Unknown, Value::Begin) => self.pictures.push_unknown(),
            (Content::Picture, Value::Begin) => {
                if self.state != State::None {
                    self.end();
                }
                self.state = State::Header;
            }
            (Content::Picture, Value::Piece(piece)) if self.state == State::Header => {
                self.gather(piece, keeps_bytes);
            }
            (Content::Picture, Value::End) if self.state == State::Header => {
                self.state = match look(&self.header) {
                    Look::Found { width, height } => State::Known { width, height },
                    Look::More | Look::Nothing => State::Unknown,
                };
                self.header = String::new();
            }
            _ => {}
        }
    }

    /// Takes the beginning or the end of an object or array: a picture and what is said about it
    /// stand in one.
    pub(super) fn edge(&mut self, path: &[Key]) {
        let is_inside = matches!(
            path.last(),
            Some(Key::Data | Key::ImageUrl | Key::InlineData | Key::Source)
        );
        if !is_inside {
            self.end();
        }
    }

    /// Bytes that it holds.
    pub(in crate::llm) const fn held_bytes(&self) -> usize {
        self.header.len()
    }

    /// What was found.
    pub(in crate::llm) fn finish(mut self) -> Pictures {
        self.end();
        self.pictures
    }

    fn gather(&mut self, piece: &str, keeps_bytes: bool) {
        if !keeps_bytes || !piece.is_ascii() {
            self.conclude(State::Unknown);
            return;
        }
        // The alphabet for URLs stands for the other, and lines may be wrapped.
        let plain = piece.chars().filter_map(|character| match character {
            '-' => Some('+'),
            '_' => Some('/'),
            character if character.is_ascii_whitespace() => None,
            character => Some(character),
        });
        for character in plain {
            self.header.push(character);
            if LOOK_AT.contains(&self.header.len()) {
                match look(&self.header) {
                    Look::Found { width, height } => {
                        return self.conclude(State::Known { width, height });
                    }
                    Look::Nothing => return self.conclude(State::Unknown),
                    Look::More if self.header.len() >= HEADER_BYTES => {
                        return self.conclude(State::Unknown);
                    }
                    Look::More => {}
                }
            }
        }
    }

    fn conclude(&mut self, state: State) {
        self.state = state;
        self.header = String::new();
    }

    /// Notes the picture, if there is one.
    fn end(&mut self) {
        let detail = match std::mem::take(&mut self.detail).as_str() {
            "low" => Detail::Low,
            "high" => Detail::High,
            _ => Detail::Auto,
        };
        match std::mem::take(&mut self.state) {
            State::None => {}
            State::Known { width, height } => self.pictures.push(Picture {
                width,
                height,
                detail,
            }),
            State::Header | State::Unknown => self.pictures.push_unknown(),
        }
        self.header = String::new();
    }
}

/// What the beginning of a picture tells.
enum Look {
    /// Its size.
    Found { width: u32, height: u32 },
    /// More of it is needed.
    More,
    /// It is none, or none whose size can be read.
    Nothing,
}

fn look(header: &str) -> Look {
    let base64 = if header.starts_with("data:") {
        let Some((head, content)) = header.split_once(',') else {
            return if header.len() < URL_HEAD_BYTES {
                Look::More
            } else {
                Look::Nothing
            };
        };
        if !head.ends_with(";base64") {
            return Look::Nothing;
        }
        content
    } else {
        header
    };
    // Whole groups of four, of which each is three bytes.
    let whole = base64.len() - base64.len() % 4;
    let Some(Ok(bytes)) = base64.get(..whole).map(|base64| BASE64.decode(base64)) else {
        return Look::Nothing;
    };
    let size = match imagesize::blob_size(&bytes) {
        Ok(size) => size,
        Err(ImageError::IoError(_)) => return Look::More,
        Err(ImageError::NotSupported | ImageError::CorruptedImage) => return Look::Nothing,
    };
    match (u32::try_from(size.width), u32::try_from(size.height)) {
        (Ok(width @ 1..=Picture::MAX_SIDE), Ok(height @ 1..=Picture::MAX_SIDE)) => {
            Look::Found { width, height }
        }
        _ => Look::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PNG: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR\0\0\x04\0\0\0\x03\0\x08\x06\0\0\0";
    const GIF: &[u8] = b"GIF89a\x40\x01\xf0\0\xf7\0\0\0\0";
    const WEBP: &[u8] = b"RIFF\x24\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0\xff\x03\0\xff\x02\0\0\0\0\0\0\0";

    /// A JPEG of 640 by 480 behind so many bytes of what a camera says.
    fn jpeg(comment: u16) -> Vec<u8> {
        let mut bytes = vec![0xff, 0xd8, 0xff, 0xe1];
        bytes.extend((comment + 2).to_be_bytes());
        bytes.resize(bytes.len() + usize::from(comment), b'x');
        bytes.extend([0xff, 0xc0, 0, 17, 8, 1, 0xe0, 2, 0x80, 3]);
        bytes
    }

    fn read(pieces: &[&str]) -> Pictures {
        let mut reader = PictureReader::default();
        reader.take(Content::Picture, Value::Begin, true);
        for piece in pieces {
            reader.take(Content::Picture, Value::Piece(piece), true);
            assert!(reader.held_bytes() <= HEADER_BYTES);
        }
        reader.take(Content::Picture, Value::End, true);
        assert_eq!(reader.held_bytes(), 0, "bytes are dropped");
        reader.finish()
    }

    fn size(pictures: &Pictures) -> Option<(u32, u32)> {
        let (picture, number) = pictures.known().first()?;
        assert_eq!((*number, pictures.unknown()), (1, 0));
        Some((picture.width, picture.height))
    }

    #[test]
    fn each_format_tells_its_size_however_it_is_written_and_cut() {
        let long = [PNG, &[7; 100_000]].concat();
        for (bytes, expected) in [
            (PNG.to_vec(), (1024, 768)),
            (long, (1024, 768)),
            (GIF.to_vec(), (320, 240)),
            (WEBP.to_vec(), (1024, 768)),
            (jpeg(10), (640, 480)),
            (jpeg(20_000), (640, 480)),
        ] {
            let base64 = BASE64.encode(&bytes);
            let url = base64.replace('+', "-").replace('/', "_");
            let lines: String = base64
                .as_bytes()
                .chunks(76)
                .map(|line| format!("{}\r\n", str::from_utf8(line).unwrap()))
                .collect();
            let data = format!("data:image/png;charset=utf-8;base64,{base64}");
            for text in [base64, url, lines, data] {
                assert_eq!(size(&read(&[&text])), Some(expected));
                let (a, b) = text.split_at(text.len().min(300) / 2);
                assert_eq!(size(&read(&[a, b])), Some(expected));
                let single: Vec<&str> = text.split_inclusive(|_: char| true).collect();
                assert_eq!(size(&read(&single)), Some(expected));
            }
        }
    }

    #[test]
    fn what_tells_no_size_is_unknown() {
        let huge = [&PNG[..16], &[0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 1]].concat();
        let none = [&PNG[..16], &[0; 8]].concat();
        for text in [
            "",
            "A",
            "https://example.com/a.png",
            "data:image/svg+xml,<svg/>",
            "data:image/png;base64,",
            "é",
            &format!("data:{}", "x".repeat(100_000)),
            &BASE64.encode(huge),
            &BASE64.encode(none),
            &BASE64.encode(&PNG[..20]),
            &BASE64.encode(b"%PDF-1.7 and so on"),
            &BASE64.encode(jpeg(60_000)),
            &BASE64.encode([0xff, 0xd8, 0xff, 0xe1].repeat(50_000)),
            &BASE64.encode([0xff, 0xd8, 0xff, 0xe1, 0, 0].repeat(50_000)),
        ] {
            let pictures = read(&[text]);
            assert_eq!(
                (pictures.known(), pictures.unknown()),
                (&[][..], 1),
                "{text:.40}"
            );
        }
    }

    #[test]
    fn without_memory_for_texts_no_byte_is_held() {
        let mut reader = PictureReader::default();
        reader.take(Content::Picture, Value::Begin, false);
        reader.take(Content::Picture, Value::Piece(&BASE64.encode(PNG)), false);
        assert_eq!((reader.held_bytes(), reader.finish().unknown()), (0, 1));
    }

    #[test]
    fn no_bytes_panic() {
        let mut state = 1_u32;
        for header in [PNG, GIF, WEBP, &jpeg(40)] {
            for _ in 0..2_000 {
                let mut bytes = header.to_vec();
                for _ in 0..4 {
                    state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    let place = state as usize % bytes.len();
                    bytes[place] = state.to_le_bytes()[3];
                }
                let pictures = read(&[&BASE64.encode(&bytes)]);
                assert_eq!(pictures.known().len() + pictures.unknown() as usize, 1);
            }
        }
    }
}
