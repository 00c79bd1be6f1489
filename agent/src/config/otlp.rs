//! Section `[otlp]`: where calls are handed to OpenTelemetry.

use std::path::PathBuf;

use super::file::{self, Section};
use super::{Check, Url};

/// The release of the conventions that is told.
const SEMCONV: &str = "genai-0.1.0";

/// Where calls are handed to; nowhere by default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Otlp {
    /// Base of the URLs, to which `/v1/traces` and `/v1/metrics` are added.
    pub endpoint: Option<Url>,
    /// A file with further headers, a line each.
    pub headers_file: Option<PathBuf>,
    /// How messages are written.
    pub encoding: Encoding,
}

/// How messages are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Encoding {
    /// As every receiver has to take them.
    #[default]
    Protobuf,
    /// As people read them; many receivers take it in part or not at all.
    Json,
}

impl Encoding {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Protobuf => "protobuf",
            Self::Json => "json",
        }
    }
}

impl Otlp {
    /// The values as they are written; what may be secret in the endpoint is left out.
    pub(super) fn show(&self) -> [(&'static str, String); 4] {
        let text = |text: String| toml::Value::String(text).to_string();
        let endpoint = self.endpoint.as_ref().map(Url::to_string);
        let file = self.headers_file.as_ref();
        let file = file.map(|path| path.display().to_string());
        [
            ("otlp.endpoint", text(endpoint.unwrap_or_default())),
            ("otlp.headers_file", text(file.unwrap_or_default())),
            ("otlp.encoding", text(self.encoding.as_str().to_owned())),
            ("otlp.semconv", text(SEMCONV.to_owned())),
        ]
    }
}

impl Check<'_> {
    pub(super) fn otlp(&mut self, section: Section<file::Otlp>) {
        let Some(section) = self.section("otlp", section) else {
            return;
        };
        let endpoint = self.value(
            "otlp.endpoint",
            section.endpoint,
            "a string",
            |text| match text.is_empty() {
                true => Ok(None),
                false => Url::parse(text).map(Some),
            },
        );
        if let Some(endpoint) = endpoint {
            self.loaded.config.otlp.endpoint = endpoint;
        }
        let key = "otlp.headers_file";
        let file = self.value(key, section.headers_file, "a string", |text| {
            let path = PathBuf::from(&text);
            match (text.is_empty(), path.is_absolute()) {
                (true, _) => Ok(None),
                (false, true) => Ok(Some(path)),
                (false, false) => Err("must be an absolute path".to_owned()),
            }
        });
        if let Some(file) = file {
            self.loaded.config.otlp.headers_file = file;
        }
        let encoding = self.value("otlp.encoding", section.encoding, "a string", |text| {
            [Encoding::Protobuf, Encoding::Json]
                .into_iter()
                .find(|encoding| encoding.as_str() == text)
                .ok_or_else(|| format!("{text:?} is neither \"protobuf\" nor \"json\""))
        });
        if let Some(encoding) = encoding {
            self.loaded.config.otlp.encoding = encoding;
        }
        self.value("otlp.semconv", section.semconv, "a string", |text| {
            match text == SEMCONV {
                true => Ok(()),
                false => Err(format!(
                    "{text:?} is not told; there is \"{SEMCONV}\", of OpenTelemetry's conventions for generative AI"
                )),
            }
        });
        self.unknown(
            "otlp",
            &section.unknown,
            "endpoint, headers_file, encoding, semconv",
        );
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{mistakes_of, parse};

    #[test]
    fn an_endpoint_is_a_url_and_the_conventions_are_those_that_are_told() {
        let text = "[otlp]\nendpoint = \"http://127.0.0.1:4318\"\nheaders_file = \"/etc/bpftok/otlp\"\nencoding = \"json\"\nsemconv = \"genai-0.1.0\"\n";
        let otlp = parse(text).unwrap().config.otlp;
        let endpoint = otlp.endpoint.as_ref().map(super::Url::reveal);
        assert_eq!(otlp.encoding, super::Encoding::Json);
        assert_eq!(endpoint, Some("http://127.0.0.1:4318"));
        let wrong = "[otlp]\nendpoint = \"127.0.0.1:4318\"\nheaders_file = \"otlp\"\nencoding = \"proto\"\nsemconv = \"1.36\"\nprotocol = \"grpc\"\n";
        let keys: Vec<String> = mistakes_of(wrong)
            .iter()
            .filter_map(|mistake| Some(mistake.split_once(':')?.0.to_owned()))
            .collect();
        assert_eq!(
            keys,
            [
                "otlp.endpoint",
                "otlp.headers_file",
                "otlp.encoding",
                "otlp.semconv",
                "otlp.protocol"
            ]
        );
    }
}
