//! The functions that make error calls.

use std::collections::BTreeMap;

use crate::Unreadable;
use crate::image::Image;
use crate::resolution::{Confidence, Function, Refusal};
use crate::scan;
use crate::source::Reader;
use crate::text::Text;
use crate::walk::{Body, walk};

/// LIMIT: functions walked. A library has about a hundred with error calls in one source file; a
/// file with more than this is not understood.
const MAX_BODIES: usize = 2_048;

/// LIMIT: instructions executed, all functions together. The programs that people run take up to
/// 30,000; a file that takes more is not understood, after some tenths of a second.
const MAX_STEPS: usize = 1 << 19;

/// Functions in front of a load that are tried: what looks like the start of a function may be
/// none.
const TRIES: usize = 3;

/// Functions with error calls, and the code they are in.
pub(crate) struct Bodies {
    text: Text,
    texts: Vec<u64>,
    loads: Vec<u64>,
    pub(crate) bodies: BTreeMap<u64, Body>,
}

impl Bodies {
    /// Finds the functions that load one of `texts`, which are sorted; `None` if there is none,
    /// or too much of anything.
    pub(crate) fn find(
        image: &Image,
        reader: &Reader<'_>,
        texts: &[u64],
    ) -> Result<Option<Self>, Unreadable> {
        if texts.is_empty() {
            return Ok(None);
        }
        let loads = scan::loads(image, reader, texts)?.unwrap_or_default();
        if loads.is_empty() {
            return Ok(None);
        }
        let Some(text) = Text::read(image, reader, &loads)? else {
            return Ok(None);
        };
        let mut bodies: BTreeMap<u64, Body> = BTreeMap::new();
        let mut steps = 0;
        for load in &loads {
            let mut before = load.saturating_sub(1);
            for _ in 0..TRIES {
                let Some((start, _)) = text.function_before(before) else {
                    break;
                };
                let body = bodies.entry(start).or_insert_with(|| {
                    let body = walk(&text, start, texts);
                    steps += body.steps;
                    body
                });
                if body.ends.contains(load) {
                    break;
                }
                before = start.saturating_sub(1);
            }
            if steps > MAX_STEPS || bodies.len() > MAX_BODIES {
                return Ok(None);
            }
        }
        Ok(Some(Self {
            text,
            texts: texts.to_vec(),
            loads,
            bodies,
        }))
    }

    /// How many loads of the texts are on paths through `body`.
    pub(crate) fn loads_in(&self, body: &Body) -> usize {
        self.loads
            .iter()
            .filter(|load| body.ends.contains(load))
            .count()
    }

    /// What most of the error calls call that have one of the texts: the library's own function.
    pub(crate) fn usual_target(&self, is_text: impl Fn(u64) -> bool) -> Option<u64> {
        let mut counts: BTreeMap<Option<u64>, usize> = BTreeMap::new();
        for site in self.bodies.values().flat_map(|body| &body.sites) {
            if is_text(site.text) {
                *counts.entry(site.target).or_default() += 1;
            }
        }
        let most = counts.into_iter().max_by_key(|(_, count)| *count);
        most.and_then(|(target, _)| target)
    }

    /// Checks what must hold before `function` may be probed at the start of `body`, and says how
    /// sure it is. Its error calls with one of the library's texts must call `target`.
    pub(crate) fn confirm(
        &self,
        body: &Body,
        function: Function,
        is_text: impl Fn(u64) -> bool,
        target: Option<u64>,
    ) -> Result<Confidence, Refusal> {
        let witness = self
            .text
            .witness(body.start)
            .ok_or(Refusal::Unconfirmed(function))?;
        // Bytes that look like a call may point into a function, behind what looks like an end.
        let before = self.text.function_before(body.start.saturating_sub(1));
        let is_inside = before.is_some_and(|(before, _)| {
            let before = walk(&self.text, before, &self.texts);
            before.runs_into.contains(&body.start)
        });
        if is_inside && !witness.unwind {
            return Err(Refusal::Unconfirmed(function));
        }
        let confidence = match (witness.unwind, witness.calls) {
            (true, true) => Confidence::High,
            (true, false) | (false, true) => Confidence::Fair,
            (false, false) => return Err(Refusal::Unconfirmed(function)),
        };
        // Every load up to the next function must be on a path from the start.
        let end = self.text.function_behind(body.start).unwrap_or(u64::MAX);
        let is_reached = self
            .loads
            .iter()
            .filter(|load| (body.start + 1..=end).contains(load))
            .all(|load| body.ends.contains(load));
        // Code that does not lie where it was linked to has the same errors, but calls beside what
        // it means to call.
        let is_in_place = body
            .sites
            .iter()
            .all(|site| !is_text(site.text) || site.target == target);
        if body.is_complete && is_reached && is_in_place {
            Ok(confidence)
        } else {
            Err(Refusal::Unreached(function))
        }
    }
}
