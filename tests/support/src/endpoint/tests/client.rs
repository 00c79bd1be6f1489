//! Clients of the endpoint inside its own tests.

use std::net::TcpStream as StdTcpStream;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::*;
use crate::served::{Api, Tokens};

/// Trust in the endpoint's authority.
pub(super) fn config(endpoint: &Endpoint, alpn: &[&str]) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    let ca = CertificateDer::from_pem_file(endpoint.ca_path()).unwrap();
    roots.add(ca).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    Arc::new(config)
}

/// TLS over `stream`, under a name of the endpoint.
pub(super) async fn tls<S: AsyncRead + AsyncWrite + Unpin>(
    endpoint: &Endpoint,
    alpn: &[&str],
    stream: S,
    name: &'static str,
) -> TlsStream<S> {
    TlsConnector::from(config(endpoint, alpn))
        .connect(ServerName::try_from(name).unwrap(), stream)
        .await
        .unwrap()
}

/// A connection that waits, for clients that do.
pub(super) fn blocking(endpoint: &Endpoint) -> StreamOwned<ClientConnection, StdTcpStream> {
    let name = ServerName::try_from("localhost").unwrap();
    let tls = ClientConnection::new(config(endpoint, &["http/1.1"]), name).unwrap();
    StreamOwned::new(tls, StdTcpStream::connect(endpoint.addr()).unwrap())
}

/// What a runtime makes of some work of a client.
pub(super) fn run<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(work)
}

/// The tokens that a usage object says, by what each API includes in what.
pub(super) fn tokens(api: Api, usage: &Value) -> Tokens {
    let count = |path: &str| usage.pointer(path).and_then(Value::as_u64).unwrap_or(0);
    match api {
        Api::AnthropicMessages => Tokens {
            input_uncached: count("/input_tokens"),
            cache_read: count("/cache_read_input_tokens"),
            cache_write_5m: count("/cache_creation/ephemeral_5m_input_tokens"),
            cache_write_1h: count("/cache_creation/ephemeral_1h_input_tokens"),
            cache_write_other: 0,
            output: count("/output_tokens"),
            reasoning: count("/output_tokens_details/thinking_tokens"),
        },
        Api::OpenAiChat => {
            let cache_read = count("/prompt_tokens_details/cached_tokens");
            let cache_write_other = count("/prompt_tokens_details/cache_write_tokens");
            Tokens {
                input_uncached: count("/prompt_tokens") - cache_read - cache_write_other,
                cache_read,
                cache_write_other,
                output: count("/completion_tokens"),
                reasoning: count("/completion_tokens_details/reasoning_tokens"),
                ..Tokens::default()
            }
        }
        Api::OpenAiResponses | Api::OpenAiRealtime => {
            let details = if api == Api::OpenAiRealtime {
                "/input_token_details"
            } else {
                "/input_tokens_details"
            };
            let cache_read = count(&format!("{details}/cached_tokens"));
            let cache_write_other = count(&format!("{details}/cache_write_tokens"));
            Tokens {
                input_uncached: count("/input_tokens") - cache_read - cache_write_other,
                cache_read,
                cache_write_other,
                output: count("/output_tokens"),
                reasoning: count("/output_tokens_details/reasoning_tokens"),
                ..Tokens::default()
            }
        }
        Api::OpenAiCompletions
        | Api::OpenAiEmbeddings
        | Api::BedrockConverse
        | Api::BedrockInvoke
        | Api::CohereChat
        | Api::OllamaChat
        | Api::VercelLanguage => panic!("no client of {api:?} here"),
        Api::GeminiGenerate => {
            let cache_read = count("/cachedContentTokenCount");
            let reasoning = count("/thoughtsTokenCount");
            let prompt = count("/promptTokenCount") + count("/toolUsePromptTokenCount");
            let output = count("/candidatesTokenCount") + reasoning;
            assert_eq!(count("/totalTokenCount"), prompt + output);
            Tokens {
                input_uncached: prompt - cache_read,
                cache_read,
                output,
                reasoning,
                ..Tokens::default()
            }
        }
    }
}

/// The usage that a stream of events says, with later ones in place of earlier ones.
pub(super) fn usage(events: &str) -> Value {
    let mut usage = serde_json::Map::new();
    let bodies = events
        .lines()
        .filter_map(|line| line.strip_prefix("data: "))
        .filter_map(|text| serde_json::from_str::<Value>(text).ok());
    for body in bodies {
        let found = ["/usage", "/message/usage", "/response/usage"]
            .iter()
            .filter_map(|path| body.pointer(path)?.as_object());
        for found in found {
            usage.extend(found.clone());
        }
    }
    Value::Object(usage)
}
