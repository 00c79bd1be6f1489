//! The short fields of a request that is a form (RFC 7578): what names the model stands beside a
//! file there, before or behind it.

/// LIMIT: 70 bytes of a boundary (RFC 2046, section 5.1.1); a longer one is none.
const BOUNDARY_BYTES: usize = 70;

/// LIMIT: 1 KiB of a line of a part's head; names of files are the longest, and the rest is dropped.
const LINE_BYTES: usize = 1 << 10;

/// LIMIT: 1 KiB of a field's value; what is looked for is shorter, and the rest is dropped.
const VALUE_BYTES: usize = 1 << 10;

/// The boundary that the content type of a form names.
pub(super) fn boundary(content_type: &str) -> Option<&str> {
    let mut parameters = content_type.split(';');
    let kind = parameters.next()?.trim();
    if !kind.eq_ignore_ascii_case("multipart/form-data") {
        return None;
    }
    let boundary = parameters.find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        let is_boundary = name.trim().eq_ignore_ascii_case("boundary");
        is_boundary.then(|| value.trim().trim_matches('"'))
    })?;
    (1..=BOUNDARY_BYTES)
        .contains(&boundary.len())
        .then_some(boundary)
}

/// Where the reader stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// Between a delimiter and the end of its line.
    Delimiter,
    /// In the head of a part.
    Head,
    /// In its value, or before the first delimiter.
    Value,
    /// Behind the last delimiter.
    Done,
}

/// A form that comes in pieces. Files pass through, fields without a file name are given whole. It
/// has no `Debug`: it carries observed text.
pub(super) struct Form {
    /// Line end, dashes and boundary: what ends a value.
    delimiter: Vec<u8>,
    /// Bytes of the delimiter that were seen. No byte but its first is a CR, so that a mismatch
    /// begins it again at the most.
    matched: usize,
    state: State,
    line: Vec<u8>,
    /// Name of the field that is being read; `None` for a file.
    name: Option<String>,
    value: Vec<u8>,
}

impl Form {
    pub(super) fn new(boundary: &str) -> Self {
        Self {
            delimiter: format!("\r\n--{boundary}").into_bytes(),
            // The first delimiter may begin the body.
            matched: 2,
            state: State::Value,
            line: Vec::new(),
            name: None,
            value: Vec::new(),
        }
    }

    /// Whether its end was seen.
    pub(super) fn is_whole(&self) -> bool {
        self.state == State::Done
    }

    /// Takes the next bytes; `each` receives the name and the value of every field that they end.
    pub(super) fn push(&mut self, bytes: &[u8], each: &mut impl FnMut(&str, &str)) {
        let mut rest = bytes;
        while let Some((&byte, tail)) = rest.split_first() {
            rest = match self.state {
                State::Done => return,
                State::Delimiter | State::Head => {
                    self.head(byte);
                    tail
                }
                State::Value if self.matched == 0 => {
                    let plain = rest.iter().position(|byte| *byte == b'\r');
                    let (run, tail) = rest.split_at(plain.unwrap_or(rest.len()));
                    self.keep(run);
                    let Some((_, tail)) = tail.split_first() else {
                        return;
                    };
                    self.matched = 1;
                    tail
                }
                State::Value if self.delimiter.get(self.matched) == Some(&byte) => {
                    self.matched += 1;
                    if self.matched == self.delimiter.len() {
                        self.end_value(each);
                    }
                    tail
                }
                State::Value => {
                    let begun = std::mem::take(&mut self.matched);
                    self.keep_delimiter(begun);
                    rest
                }
            };
        }
    }

    fn head(&mut self, byte: u8) {
        if byte != b'\n' {
            if self.line.len() < LINE_BYTES {
                self.line.push(byte);
            }
            return;
        }
        let line = std::mem::take(&mut self.line);
        let line = String::from_utf8_lossy(&line);
        let line = line.trim_end();
        if self.state == State::Delimiter {
            self.state = if line.starts_with("--") {
                State::Done
            } else {
                State::Head
            };
        } else if line.is_empty() {
            // A value may be empty, and its end follows at once.
            self.state = State::Value;
            self.matched = 0;
        } else {
            self.name = field_name(line).or_else(|| self.name.take());
        }
    }

    fn keep(&mut self, bytes: &[u8]) {
        if self.name.is_some() {
            let room = VALUE_BYTES.saturating_sub(self.value.len());
            self.value
                .extend_from_slice(bytes.get(..room).unwrap_or(bytes));
        }
    }

    /// Takes bytes that looked like a delimiter and are a part of the value.
    fn keep_delimiter(&mut self, bytes: usize) {
        let begun = self.delimiter.get(..bytes).unwrap_or_default().to_vec();
        self.keep(&begun);
    }

    fn end_value(&mut self, each: &mut impl FnMut(&str, &str)) {
        let value = std::mem::take(&mut self.value);
        if let Some(name) = self.name.take() {
            each(&name, &String::from_utf8_lossy(&value));
        }
        self.matched = 0;
        self.state = State::Delimiter;
    }
}

/// The name in the head of a part that is no file.
fn field_name(line: &str) -> Option<String> {
    let (field, value) = line.split_once(':')?;
    if !field.trim().eq_ignore_ascii_case("content-disposition") {
        return None;
    }
    let mut name = None;
    for parameter in value.split(';').skip(1) {
        let (key, value) = parameter.split_once('=')?;
        match key.trim().to_ascii_lowercase().as_str() {
            "name" => name = Some(value.trim().trim_matches('"').to_owned()),
            "filename" | "filename*" => return None,
            _ => {}
        }
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &[u8] = b"--x1\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nwhisper-1\r\n--x1\r\n\
        Content-Disposition: form-data; name=\"file\"; filename=\"model\"\r\nContent-Type: audio/wav\r\n\r\n\
        RIFF\r\n--x\r\r\n--not\0\xff\r\n\r\n--x1\r\ncontent-disposition: form-data; name=stream\r\n\r\ntrue\r\n--x1\r\n\
        Content-Disposition: form-data; name=\"prompt\"\r\n\r\n\r\n--x1--\r\n";

    fn fields(pieces: &[&[u8]]) -> (Vec<(String, String)>, bool) {
        let mut form = Form::new("x1");
        let mut fields = Vec::new();
        for piece in pieces {
            form.push(piece, &mut |name, value| {
                fields.push((name.to_owned(), value.to_owned()));
            });
        }
        (fields, form.is_whole())
    }

    #[test]
    fn fields_are_found_before_and_behind_a_file_however_they_are_cut() {
        let field = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let expected = vec![
            field("model", "whisper-1"),
            field("stream", "true"),
            field("prompt", ""),
        ];
        for cut in 0..=BODY.len() {
            let (a, b) = BODY.split_at(cut);
            assert_eq!(fields(&[a, b]), (expected.clone(), true), "cut at {cut}");
        }
        let single: Vec<&[u8]> = BODY.chunks(1).collect();
        assert_eq!(fields(&single), (expected, true));
    }

    #[test]
    fn a_form_that_breaks_off_has_the_fields_before() {
        for cut in 0..BODY.len() - 4 {
            let (whole, is_whole) = (fields(&[BODY]).0, fields(&[&BODY[..cut]]).1);
            let found = fields(&[&BODY[..cut]]).0;
            assert!(whole.starts_with(&found) && !is_whole, "cut at {cut}");
        }
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let mut form = Form::new("x1");
        let mut seen = 0;
        let long = vec![b'a'; 100_000];
        let mut each = |_: &str, value: &str| seen = value.len();
        form.push(
            b"--x1\r\nContent-Disposition: form-data; name=\"model\"\r\nX: ",
            &mut each,
        );
        form.push(&long, &mut each);
        form.push(b"\r\n\r\n", &mut each);
        form.push(&long, &mut each);
        assert!(form.line.len() <= LINE_BYTES && form.value.len() <= VALUE_BYTES);
        form.push(b"\r\n--x1--", &mut each);
        assert_eq!(seen, VALUE_BYTES);
    }

    #[test]
    fn only_a_form_has_a_boundary() {
        for (kind, expected) in [
            ("multipart/form-data; boundary=x1", Some("x1")),
            (
                "Multipart/Form-Data; charset=utf-8; Boundary=\"x 1\"",
                Some("x 1"),
            ),
            ("multipart/form-data", None),
            ("multipart/form-data; boundary=", None),
            ("multipart/mixed; boundary=x1", None),
            ("application/json", None),
        ] {
            assert_eq!(boundary(kind), expected, "{kind}");
        }
        let long = format!("multipart/form-data; boundary={}", "x".repeat(71));
        assert_eq!(boundary(&long), None);
    }
}
