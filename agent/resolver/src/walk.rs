//! Follows all paths through a function and notes which error calls it makes.
//!
//! Control flow is followed as the processor would follow it, so an instruction counts only if a
//! path from the start of the function leads onto it. Constants are kept per path: compilers let
//! several errors share the call and set the arguments in front of a jump to it.

use std::collections::{BTreeMap, BTreeSet};

use crate::code::{Flow, State, Value};
use crate::text::Text;

/// LIMIT: instructions executed for one function. The largest of interest have a few hundred, and
/// a few paths through each; beyond it the function counts as not understood.
const MAX_STEPS: usize = 1 << 15;

/// LIMIT: different states in which a place is entered. Errors that share a call are about five; with
/// more than this the function counts as not understood.
const MAX_STATES: usize = 24;

/// An error call: a call with the address of a text among its arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Site {
    /// Address of the text.
    pub(crate) text: u64,
    /// The argument in front of the text and the one behind it. Link-time optimisation drops
    /// arguments that no error call varies, but does not change their order.
    pub(crate) before: Option<u64>,
    pub(crate) after: Option<u64>,
    /// What is called, if the instruction says it.
    pub(crate) target: Option<u64>,
}

/// What a function does, as far as it matters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Body {
    pub(crate) start: u64,
    pub(crate) sites: BTreeSet<Site>,
    /// Texts, each with the first two arguments of the call that followed its error call.
    pub(crate) followed: BTreeSet<(u64, [u64; 2])>,
    /// Targets of direct calls.
    pub(crate) calls: BTreeSet<u64>,
    /// Addresses behind the instructions that were executed.
    pub(crate) ends: BTreeSet<u64>,
    /// Whether it writes to memory outside of its own frame.
    pub(crate) stores: bool,
    /// Where it goes on into what looks like another function, without a call that might not return.
    pub(crate) runs_into: BTreeSet<u64>,
    /// Instructions executed to find all this.
    pub(crate) steps: usize,
    /// Whether all paths were followed to their ends.
    pub(crate) is_complete: bool,
}

/// A path that is to be followed.
struct Path {
    at: u64,
    state: State,
    /// Text of the error call before: its reason may be an argument of the next call.
    open: Option<u64>,
}

/// Follows the function at `start`. `texts` is sorted.
pub(crate) fn walk(text: &Text, start: u64, texts: &[u64]) -> Body {
    let mut walk = Walk {
        text,
        texts,
        body: Body {
            start,
            is_complete: true,
            ..Body::default()
        },
        seen: BTreeMap::new(),
        waiting: Vec::new(),
        has_table: false,
    };
    walk.enter(Path {
        at: start,
        state: State::new(text.arch),
        open: None,
    });
    walk.follow_all();
    if walk.has_table {
        walk.sweep();
    }
    walk.body
}

struct Walk<'a> {
    text: &'a Text,
    texts: &'a [u64],
    body: Body,
    /// States in which places were entered.
    seen: BTreeMap<u64, Vec<(State, Option<u64>)>>,
    waiting: Vec<Path>,
    /// Whether it jumps where only the running program knows.
    has_table: bool,
}

impl Walk<'_> {
    /// Lets a path wait, unless it adds nothing.
    fn enter(&mut self, mut path: Path) {
        path.state.simplify(self.text.arch);
        let seen = self.seen.entry(path.at).or_default();
        let known = (path.state.clone(), path.open);
        if seen.contains(&known) {
            return;
        }
        if seen.len() == MAX_STATES {
            self.body.is_complete = false;
            return;
        }
        seen.push(known);
        self.waiting.push(path);
    }

    fn follow_all(&mut self) {
        while let Some(path) = self.waiting.pop() {
            self.follow(path);
        }
    }

    /// Enters what is only reached through a table of addresses: whatever no path has come to and
    /// lies behind an instruction that does not go on. This needs the end of the function, which
    /// only unwind information tells.
    fn sweep(&mut self) {
        let start = self.body.start;
        let is_known = self
            .text
            .witness(start)
            .is_some_and(|witness| witness.unwind);
        let Some(end) = self.text.function_behind(start).filter(|_| is_known) else {
            return;
        };
        let (mut at, mut goes_on) = (start, true);
        for _ in 0..MAX_STEPS {
            let Some(instruction) = self.text.instruction(at).filter(|_| at < end) else {
                break;
            };
            let next = at.wrapping_add(instruction.length.into());
            if !goes_on && !self.body.ends.contains(&next) {
                self.enter(Path {
                    at,
                    state: State::new(self.text.arch),
                    open: None,
                });
                self.follow_all();
            }
            goes_on = match instruction.flow {
                Flow::Next | Flow::Call(_) | Flow::Branch(_) => true,
                Flow::Jump(_) | Flow::Away | Flow::Elsewhere => false,
            };
            at = next;
        }
    }

    fn follow(&mut self, mut path: Path) {
        let arch = self.text.arch;
        loop {
            self.body.steps += 1;
            if self.body.steps > MAX_STEPS {
                self.body.is_complete = false;
                return;
            }
            let Some(instruction) = self.text.instruction(path.at) else {
                self.body.is_complete = false;
                return;
            };
            let next = path.at.wrapping_add(instruction.length.into());
            self.body.ends.insert(next);
            self.body.stores |= path.state.stores_outside(&instruction);
            path.state.execute(arch, &instruction);
            match instruction.flow {
                Flow::Next => {}
                Flow::Away => return,
                Flow::Elsewhere => {
                    self.has_table = true;
                    return;
                }
                Flow::Call(target) => {
                    self.body.calls.extend(target);
                    self.call(&mut path, target);
                    path.state.call(arch);
                }
                Flow::Jump(target) => {
                    if self.leaves(target) {
                        self.call(&mut path, Some(target));
                    } else {
                        path.at = target;
                        self.enter(path);
                    }
                    return;
                }
                Flow::Branch(target) => {
                    if !self.leaves(target) {
                        self.enter(Path {
                            at: target,
                            state: path.state.clone(),
                            open: path.open,
                        });
                    }
                }
            }
            // Behind a call that does not return another function may begin.
            if next != self.body.start && self.text.witness(next).is_some() {
                if !matches!(instruction.flow, Flow::Call(_)) {
                    self.body.runs_into.insert(next);
                }
                return;
            }
            path.at = next;
        }
    }

    /// Whether a jump there is a call in disguise, or leads out of what was read. A part of the
    /// function that is kept elsewhere has unwind information of its own, but nobody calls it.
    fn leaves(&self, target: u64) -> bool {
        let is_called = self
            .text
            .witness(target)
            .is_some_and(|witness| witness.calls);
        target != self.body.start && is_called || self.text.instruction(target).is_none()
    }

    /// Notes an error call.
    fn call(&mut self, path: &mut Path, target: Option<u64>) {
        let arguments = path.state.arguments(self.text.arch).map(Value::constant);
        if let (Some(text), [Some(first), Some(second), ..]) = (path.open.take(), arguments) {
            self.body.followed.insert((text, [first, second]));
        }
        let at = arguments.iter().position(|argument| {
            argument.is_some_and(|argument| self.texts.binary_search(&argument).is_ok())
        });
        let Some(at) = at else { return };
        let argument = |index: Option<usize>| *arguments.get(index?)?;
        if let Some(text) = argument(Some(at)) {
            path.open = Some(text);
            self.body.sites.insert(Site {
                text,
                before: argument(at.checked_sub(1)),
                after: argument(at.checked_add(1)),
                target,
            });
        }
    }
}
