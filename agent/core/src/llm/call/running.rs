//! What is known of a call while it runs.

use super::{Carrier, OpenCall, named_once};
use crate::event::Timestamp;
use crate::llm::{
    Estimates, LlmCall, Outcome, Signals, Terms, UsageSource, provider::Reply, response::Response,
};

/// Bytes of text that are taken for a token while a call runs. Its end counts them.
const BYTES_A_TOKEN: u64 = 4;

impl OpenCall {
    /// The call as far as it was seen at `at`: with the provider's counters where it told any, and
    /// lengths of text for the others. `None` for what may turn out to be no call, failed, or only
    /// reads what another one asked for.
    pub(in crate::llm) fn so_far(&self, at: Timestamp) -> Option<LlmCall> {
        let is_call = self.carrier != Carrier::Results && !self.is_retrieval();
        let nothing = Reply::default();
        let response = self.response.as_ref();
        let status = response.map(|response: &Response| response.status);
        let reply = response.map_or(&nothing, |response| &response.reader.reply);
        let is_shapely = !self.is_headless() && !self.api.is_ambiguous() || reply.api.is_some();
        let has_shape = self.request.has_shape || self.is_request_torn || !reply.counts.is_empty();
        let has_failed = status.is_some_and(|status| (300..).contains(&status)) || reply.has_failed;
        let is_warm_up = self.request.generates == Some(false);
        if !is_call || !is_shapely || !has_shape || has_failed || is_warm_up {
            return None;
        }
        let api = reply.api.unwrap_or(self.api);
        let mut usage = (api.usage)(&reply.counts);
        let rough = |bytes: u64| (bytes > 0).then(|| bytes.div_ceil(BYTES_A_TOKEN));
        let mut is_estimated = false;
        if api.has_countable_text() {
            let input = rough(self.request.input.seen_bytes());
            if usage.input().is_none() && input.is_some() {
                usage.input_uncached = input;
                is_estimated = true;
            }
            let output = rough(reply.output.seen_bytes());
            if output > usage.output {
                usage.output = output;
                is_estimated = true;
            }
        }
        let usage_source = match (usage.input().or(usage.output), is_estimated) {
            (None, _) => UsageSource::None,
            (Some(_), true) => UsageSource::Estimated,
            (Some(_), false) => UsageSource::ProviderPartial,
        };
        let terms = reply.terms();
        let (hints, class) = self.caller.lineage.clone().with(&self.request);
        let target = &self.caller.target;
        Some(LlmCall {
            exchange: self.id,
            started: self.started,
            first_token: response.and_then(|response| response.reader.first_token),
            ended: at,
            provider: self.caller.provider,
            endpoint: api.endpoint,
            server_name: self.caller.server_name.clone(),
            model_requested: named_once(self.request.model.some(), target.model.clone()),
            model_served: reply.model.some(),
            is_stream: self.request.stream.or(target.stream).unwrap_or_default(),
            http_status: status,
            outcome: Outcome::Unanswered,
            stop_reason: None,
            usage,
            usage_source,
            estimates: Estimates::default(),
            units: reply.counts.units(),
            sub_inferences: Vec::new(),
            terms: Terms {
                region: terms.region.or_else(|| target.region.clone()),
                credential: self.caller.credential(),
                ..terms
            },
            reported_cost_nanousd: None,
            attempt: self.caller.attempt,
            aborted_by: None,
            response_id: reply.id.some(),
            user_agent: self.caller.user_agent.clone(),
            originator: self.caller.originator.clone(),
            hints,
            signals: Signals {
                class,
                ..self.request.signals(self.is_request_whole())
            },
            observed_bytes: self.observed_bytes,
            countable: None,
        })
    }
}
