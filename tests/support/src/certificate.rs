//! An authority made for one run, and the endpoint's certificate under it.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

/// Names that the endpoint's certificate is valid for. With the providers' own, a test can send
/// a client to loopback under the name that it uses in life.
pub const NAMES: [&str; 22] = [
    "localhost",
    "127.0.0.1",
    "api.anthropic.com",
    "statsig.anthropic.com",
    "api.openai.com",
    "auth.openai.com",
    "chatgpt.com",
    "ab.chatgpt.com",
    "generativelanguage.googleapis.com",
    "play.googleapis.com",
    "cloudcode-pa.googleapis.com",
    "oauth2.googleapis.com",
    "api.githubcopilot.com",
    "api.github.com",
    "models.dev",
    "opencode.ai",
    "bedrock-runtime.us-east-1.amazonaws.com",
    "api.mistral.ai",
    "api.cohere.com",
    "api.groq.com",
    "ollama.com",
    "ai-gateway.vercel.sh",
];

/// A certificate with its key, and the files that other programs take them from.
#[derive(Debug)]
pub struct Certificate {
    /// The authority's certificate, in PEM; clients trust it by `SSL_CERT_FILE` and the like.
    pub ca_path: PathBuf,
    /// The endpoint's certificate, in PEM.
    pub leaf_path: PathBuf,
    /// The endpoint's key, in PEM.
    pub key_path: PathBuf,
    /// The endpoint's certificate.
    pub leaf: CertificateDer<'static>,
    /// The endpoint's key.
    pub key: PrivateKeyDer<'static>,
}

impl Certificate {
    /// Makes an authority and a certificate for [`NAMES`] and `further` names, and writes `ca.pem`,
    /// `leaf.pem` and `key.pem` to `dir`.
    ///
    /// # Errors
    /// If a file can't be written.
    pub fn create(dir: &Path, further: &[String]) -> anyhow::Result<Self> {
        let mut ca = CertificateParams::new(Vec::new())?;
        ca.distinguished_name
            .push(DnType::CommonName, "bpftok test authority");
        ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let ca_key = KeyPair::generate()?;
        let ca_pem = ca.self_signed(&ca_key)?.pem();
        let issuer = Issuer::new(ca, ca_key);

        let names: Vec<_> = NAMES
            .into_iter()
            .chain(further.iter().map(String::as_str))
            .map(str::to_owned)
            .collect();
        let mut leaf = CertificateParams::new(names)?;
        leaf.distinguished_name
            .push(DnType::CommonName, "bpftok test endpoint");
        leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        leaf.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate()?;
        let leaf = leaf.signed_by(&key, &issuer)?;

        let write = |name: &str, pem: &str| {
            let path = dir.join(name);
            fs::write(&path, pem).with_context(|| format!("cannot write {}", path.display()))?;
            anyhow::Ok(path)
        };
        Ok(Self {
            ca_path: write("ca.pem", &ca_pem)?,
            leaf_path: write("leaf.pem", &leaf.pem())?,
            key_path: write("key.pem", &key.serialize_pem())?,
            key: PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
            leaf: leaf.into(),
        })
    }

    /// TLS of a server with this certificate; which protocols it offers is still open.
    ///
    /// # Errors
    /// If rustls refuses the certificate.
    pub fn server(&self) -> anyhow::Result<ServerConfig> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![self.leaf.clone()], self.key.clone_key())?;
        Ok(config)
    }
}
