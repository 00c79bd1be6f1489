//! Who calls whom, as the head of a request says.

use super::lineage::Lineage;
use super::payer::Payer;
use super::provider::{Target, printable};
use super::{Account, Credential, Provider, form};
use crate::http::{Headers, RequestHead};

/// Who calls whom, as the head of the request says.
#[derive(Clone)]
pub(super) struct Caller {
    pub(super) provider: Provider,
    pub(super) server_name: Option<String>,
    pub(super) user_agent: Option<String>,
    pub(super) originator: Option<String>,
    pub(super) lineage: Lineage,
    pub(super) payer: Payer,
    /// Account that its head names.
    account: Option<Account>,
    /// Number of the try, as the client says.
    pub(super) attempt: Option<u32>,
    /// The path, which may tell the provider as well.
    path: String,
    pub(super) target: Target,
    /// What separates the fields of a request that is a form.
    pub(super) boundary: Option<String>,
    /// True if a response is read that was asked for before.
    pub(super) is_retrieval: bool,
    /// True if the head did not tell the API, so that the one given stands for any.
    pub(super) is_headless: bool,
}

impl Caller {
    pub(super) fn new(
        provider: Provider,
        server_name: Option<String>,
        head: &RequestHead,
        target: Target,
    ) -> Self {
        let field = |name| {
            head.headers
                .first(name)
                .and_then(|value| printable(value, 256))
        };
        Self {
            provider,
            server_name,
            user_agent: field("user-agent"),
            originator: field("originator").or_else(|| field("x-app")),
            lineage: Lineage::of(&head.headers),
            payer: Payer::of(head),
            account: Account::of(&head.headers),
            attempt: attempt(&head.headers),
            path: head.path.clone(),
            target,
            boundary: head
                .headers
                .first("content-type")
                .and_then(form::boundary)
                .map(str::to_owned),
            is_retrieval: head.method == "GET",
            is_headless: head.is_headless(),
        }
    }

    /// Whose account it is.
    pub(super) const fn account(&self) -> Option<&Account> {
        self.account.as_ref()
    }

    /// Provider, as far as the request told.
    pub(super) const fn provider(&self) -> Provider {
        self.provider
    }

    /// Path that is called.
    pub(super) fn path(&self) -> &str {
        &self.path
    }

    /// Host that is called; empty if nothing tells it.
    pub(super) fn host(&self) -> String {
        self.server_name.clone().unwrap_or_default()
    }

    /// Who pays, as far as the host is known.
    pub(super) fn credential(&self) -> Credential {
        self.payer.credential(self.server_name.as_deref())
    }

    /// The same for calls to a model that is named later.
    pub(super) fn with_model(mut self, model: Option<String>) -> Self {
        self.target.model = model.or(self.target.model);
        self
    }

    /// The same for a call to another model.
    pub(super) fn without_model(mut self) -> Self {
        self.target.model = None;
        self
    }
}

/// Number of the try, from 1: the official SDKs count retries, those of AWS count tries.
fn attempt(headers: &Headers) -> Option<u32> {
    let retries = || {
        let retries: u32 = headers
            .first("x-stainless-retry-count")?
            .trim()
            .parse()
            .ok()?;
        retries.checked_add(1)
    };
    let tries = || {
        headers
            .first("amz-sdk-request")?
            .split(';')
            .find_map(|part| part.trim().strip_prefix("attempt="))?
            .parse()
            .ok()
            .filter(|tries| *tries > 0)
    };
    retries().or_else(tries)
}
