//! One request and its response, while they are under way.

use super::body::Content;
use super::conversation::Surroundings;
use super::{BodyEnd, ExchangeId, HttpEvent};
use crate::event::{Plaintext, Timestamp};
use crate::stats::Stats;

/// An exchange that is not over.
pub(super) struct Exchange {
    pub(super) id: ExchangeId,
    pub(super) method: Method,
    pub(super) request: Half,
    pub(super) response: Half,
}

/// How the method changes what a response means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Method {
    Head,
    Connect,
    Other,
}

/// One half of an exchange.
pub(super) enum Half {
    Awaited,
    Body(Content),
    Over(BodyEnd),
}

impl Half {
    pub(super) const fn is_over(&self) -> bool {
        matches!(self, Self::Over(_))
    }

    /// Its framing says that it is whole; `how` ends the content.
    pub(super) fn completed(
        self,
        how: fn(Content, &mut dyn FnMut(Plaintext)) -> BodyEnd,
        stats: &mut Stats,
        mut each: impl FnMut(Plaintext),
    ) -> Self {
        let Self::Body(content) = self else {
            return self;
        };
        let end = how(content, &mut each);
        if end == BodyEnd::Refused {
            stats.bodies_refused += 1;
        }
        Self::Over(end)
    }

    /// How it ends if it ends now, early.
    pub(super) const fn stopped(&self, end: BodyEnd, around: &mut Surroundings<'_>) -> BodyEnd {
        match self {
            Self::Awaited => end,
            Self::Body(content) => {
                if content.is_refused() {
                    around.stats.bodies_refused += 1;
                }
                content.stop(end)
            }
            Self::Over(earlier) => *earlier,
        }
    }
}

impl Exchange {
    pub(super) fn complete_request(&mut self, at: Timestamp, around: &mut Surroundings<'_>) {
        let id = self.id;
        let half = std::mem::replace(&mut self.request, Half::Awaited);
        self.request = half.completed(Content::complete, around.stats, |bytes| {
            around.out.push(HttpEvent::RequestBody { id, bytes });
        });
        if let Half::Over(end) = self.request {
            around.out.push(HttpEvent::RequestEnd { at, id, end });
        }
    }

    pub(super) fn complete_response(
        &mut self,
        at: Timestamp,
        how: fn(Content, &mut dyn FnMut(Plaintext)) -> BodyEnd,
        around: &mut Surroundings<'_>,
    ) {
        let id = self.id;
        let half = std::mem::replace(&mut self.response, Half::Awaited);
        self.response = half.completed(how, around.stats, |bytes| {
            around.out.push(HttpEvent::ResponseBody { at, id, bytes });
        });
    }

    /// Ends the request early, unless it is over.
    pub(super) fn stop_request(
        &mut self,
        at: Timestamp,
        end: BodyEnd,
        around: &mut Surroundings<'_>,
    ) {
        if !self.request.is_over() {
            let end = self.request.stopped(end, around);
            self.request = Half::Over(end);
            around.out.push(HttpEvent::RequestEnd {
                at,
                id: self.id,
                end,
            });
        }
    }

    /// Ends the exchange now, early unless it is over.
    pub(super) fn stop(mut self, at: Timestamp, end: BodyEnd, around: &mut Surroundings<'_>) {
        self.stop_request(at, end, around);
        let end = self.response.stopped(end, around);
        around.out.push(HttpEvent::ResponseEnd {
            at,
            id: self.id,
            end,
        });
    }
}
