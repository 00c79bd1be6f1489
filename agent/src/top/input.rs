//! What keys do.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::model::{Frame, Order, Row, RowId, Sort};

/// LIMIT: characters of a filter.
const LONGEST_FILTER: usize = 64;

/// What fills the screen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Pane {
    /// The sessions.
    #[default]
    List,
    /// The selected one.
    Detail,
    /// What keys do and columns mean.
    Help,
}

/// What is shown, and how.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct State {
    pub(super) pane: Pane,
    pub(super) sort: Sort,
    pub(super) order: Order,
    /// Sessions have this text somewhere; in small letters.
    pub(super) filter: String,
    /// The filter while it is typed.
    pub(super) typed: Option<String>,
    pub(super) is_tree: bool,
    pub(super) is_frozen: bool,
    pub(super) selected: Option<RowId>,
    /// The first line that is shown below the headings.
    pub(super) first: usize,
    /// Lines that were shown.
    pub(super) room: usize,
}

/// Whether to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// With what the state says.
    Stay,
    /// No more.
    Quit,
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "a key that is not named does nothing, whatever keys there will be"
)]
impl State {
    /// Does what a key says, on what is shown.
    pub(super) fn press(&mut self, key: KeyEvent, frame: &Frame) -> Next {
        if key.kind == KeyEventKind::Release {
            return Next::Stay;
        }
        if key.modifiers.contains(KeyModifiers::CONTROL) {
            return match key.code {
                KeyCode::Char('c' | 'd') => Next::Quit,
                _ => Next::Stay,
            };
        }
        if self.typed.is_some() {
            self.type_filter(key.code);
            return Next::Stay;
        }
        match key.code {
            KeyCode::Char('q') => return Next::Quit,
            KeyCode::Char('?' | 'h') => self.turn_to(Pane::Help),
            KeyCode::Char('f' | ' ') => self.is_frozen = !self.is_frozen,
            KeyCode::Esc | KeyCode::Backspace | KeyCode::Left if self.pane != Pane::List => {
                self.turn_to(Pane::List);
            }
            KeyCode::Char('k') | KeyCode::Up => self.step(frame, Step::Back(1)),
            KeyCode::Char('j') | KeyCode::Down => self.step(frame, Step::On(1)),
            KeyCode::PageUp => self.step(frame, Step::Back(self.room.max(1))),
            KeyCode::PageDown => self.step(frame, Step::On(self.room.max(1))),
            KeyCode::Home | KeyCode::Char('g') => self.step(frame, Step::Back(usize::MAX)),
            KeyCode::End | KeyCode::Char('G') => self.step(frame, Step::On(usize::MAX)),
            code if self.pane == Pane::List => self.change_list(code, frame),
            _ => {}
        }
        Next::Stay
    }

    fn change_list(&mut self, code: KeyCode, frame: &Frame) {
        match code {
            KeyCode::Char('s') => {
                self.sort = self.sort.next();
                self.first = 0;
            }
            KeyCode::Char('r') => {
                self.order = match self.order {
                    Order::Falling => Order::Rising,
                    Order::Rising => Order::Falling,
                };
            }
            KeyCode::Char('t') => self.is_tree = !self.is_tree,
            KeyCode::Char('/') => self.typed = Some(self.filter.clone()),
            KeyCode::Esc => self.filter.clear(),
            KeyCode::Enter | KeyCode::Right => {
                if self.selected.is_none() {
                    self.step(frame, Step::On(1));
                }
                if self.selected.is_some() {
                    self.turn_to(Pane::Detail);
                }
            }
            _ => {}
        }
    }

    fn turn_to(&mut self, pane: Pane) {
        self.pane = if self.pane == pane { Pane::List } else { pane };
        self.first = 0;
    }

    /// The filter holds as it is typed; Esc ends it, and Enter ends the typing.
    fn type_filter(&mut self, code: KeyCode) {
        let Some(typed) = &mut self.typed else { return };
        match code {
            KeyCode::Char(c) if typed.chars().count() < LONGEST_FILTER => typed.push(c),
            KeyCode::Backspace => {
                typed.pop();
            }
            KeyCode::Esc => typed.clear(),
            _ => {}
        }
        self.filter = typed.to_lowercase();
        if matches!(code, KeyCode::Esc | KeyCode::Enter) {
            self.typed = None;
        }
    }

    /// Whether a session has the text of the filter somewhere.
    pub(super) fn passes(&self, row: &Row) -> bool {
        if self.filter.is_empty() {
            return true;
        }
        let pid = row.pid.map(|pid| pid.to_string());
        [
            Some(&row.key),
            row.workflow.as_ref(),
            row.client.as_ref(),
            row.user.as_ref(),
        ]
        .into_iter()
        .chain([row.model.as_ref(), pid.as_ref()])
        .flatten()
        .chain(&row.notes)
        .any(|text| text.to_lowercase().contains(&self.filter))
    }

    /// Selects another session, or scrolls what is no list.
    fn step(&mut self, frame: &Frame, step: Step) {
        if self.pane != Pane::List {
            // How far that may go is known when it is drawn.
            self.first = step.from(self.first);
            return;
        }
        let rows: Vec<&RowId> = frame
            .rows
            .iter()
            .filter(|row| self.passes(row))
            .map(|row| &row.id)
            .collect();
        let last = rows.len().saturating_sub(1);
        let here = self
            .selected
            .as_ref()
            .and_then(|id| rows.iter().position(|row| *row == id));
        let next = match here {
            Some(here) => step.from(here).min(last),
            None => match step {
                Step::On(usize::MAX) => last,
                Step::On(_) | Step::Back(_) => 0,
            },
        };
        self.selected = rows.get(next).map(|id| (*id).clone());
    }

    /// The first of `lines` to show where `room` of them fit, so that the selected one is seen.
    pub(super) fn scrolled(&mut self, lines: usize, room: usize, selected: Option<usize>) -> usize {
        self.room = room;
        if let Some(selected) = selected {
            let lowest = selected.saturating_add(1).saturating_sub(room);
            self.first = self.first.clamp(lowest, selected.max(lowest));
        }
        self.first = self.first.min(lines.saturating_sub(room));
        self.first
    }
}

/// How far to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    On(usize),
    Back(usize),
}

impl Step {
    const fn from(self, here: usize) -> usize {
        match self {
            Self::On(by) => here.saturating_add(by),
            Self::Back(by) => here.saturating_sub(by),
        }
    }
}
