//! `bpftok top`: what goes on, as it goes on.
//!
//! *Takes* what is committed to the ledger, read-only as every report, and keys. *Gives* frames: on a
//! screen of its own, as plain text, or as a document. It asks no agent for anything, so whoever may
//! read the ledger may watch. *Remembers* what was read last, and reads again when the ledger has
//! changed. *Nonsense* in the ledger is shown with its control characters visible.

mod input;
mod model;
mod screen;
#[cfg(test)]
mod tests;
mod view;
mod watch;

use std::io;
use std::thread;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use ratatui::crossterm::event::Event;

use crate::report::{self, Error, Format, Found, Page, Part};
use crate::store::{self, Reader};
use input::{Next, Pane, State};
use model::{Frame, RowId};
use screen::Screen;
use view::Look;
use watch::Watch;

pub use model::Sort;

/// Detail of a session is made anew this often: it goes over all of the session's calls.
const DETAIL_AGE: Duration = Duration::from_secs(5);

/// Where frames go to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum To {
    /// A screen, which also gives keys.
    Screen,
    /// Plain text, or documents.
    Batch,
}

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// Where to.
    pub to: To,
    /// So many frames; `None` for no end.
    pub frames: Option<u64>,
    /// Time between two frames.
    pub delay: Duration,
    /// Order of the sessions to begin with.
    pub sort: Sort,
    /// Minutes without a call after which a session is not shown.
    pub window_minutes: u32,
}

/// Shows frames until there are enough of them, or until somebody ends it. Nothing is found where the
/// last frame had no session in it.
///
/// # Errors
/// All of [`Error`].
pub fn run(
    page: &mut Page<'_>,
    open: &dyn Fn() -> Result<Reader, store::Error>,
    wanted: Wanted,
) -> Result<Found, Error> {
    let window_ms = i64::from(wanted.window_minutes) * 60_000;
    let mut watch = Watch::new(open, window_ms)?;
    let look = Look {
        zone: page.zone.clone(),
        style: page.style,
        window_minutes: wanted.window_minutes,
    };
    let state = State {
        sort: wanted.sort,
        ..State::default()
    };
    match wanted.to {
        To::Screen => on_screen(page, &mut watch, &look, state, wanted),
        To::Batch => as_text(page, &mut watch, &look, &state, wanted),
    }
}

fn now_ms() -> i64 {
    Timestamp::now().as_millisecond()
}

/// Whether there are to be more frames than these.
fn is_more(shown: u64, wanted: Wanted) -> bool {
    wanted.frames.is_none_or(|frames| shown < frames)
}

fn as_text(
    page: &mut Page<'_>,
    watch: &mut Watch<'_>,
    look: &Look,
    state: &State,
    wanted: Wanted,
) -> Result<Found, Error> {
    let mut shown = 0;
    loop {
        let next = Instant::now() + wanted.delay;
        let frame = Frame::of(watch.refresh(now_ms())?, state.sort, state.order);
        if page.format == Format::Json {
            report::table::write_json(page.out, &view::document(&frame, look))?;
        } else {
            let gap = if shown > 0 { "\n" } else { "" };
            write!(
                page.out,
                "{gap}{}",
                view::text(&frame, state, look, page.width)?
            )?;
        }
        page.out.flush()?;
        shown += 1;
        if !is_more(shown, wanted) {
            return Ok(found(&frame));
        }
        thread::sleep(next.saturating_duration_since(Instant::now()));
    }
}

const fn found(frame: &Frame) -> Found {
    if frame.rows.is_empty() {
        Found::Nothing
    } else {
        Found::Something
    }
}

fn on_screen(
    page: &Page<'_>,
    watch: &mut Watch<'_>,
    look: &Look,
    mut state: State,
    wanted: Wanted,
) -> Result<Found, Error> {
    // What keeps the ledger from being read is told before the terminal is taken.
    let mut frame = Frame::of(watch.refresh(now_ms())?, state.sort, state.order);
    let mut detail = Detail::default();
    let mut screen = Screen::enter()?;
    let mut shown = 0;
    while is_more(shown, wanted) {
        let next = Instant::now() + wanted.delay;
        if !state.is_frozen {
            frame = Frame::of(watch.refresh(now_ms())?, state.sort, state.order);
        }
        shown += 1;
        loop {
            let size = screen.terminal.size()?;
            if state.pane == Pane::Detail {
                detail.renew(page, watch.reader(), &state, usize::from(size.width))?;
            }
            let mut drawn = Ok(());
            screen.terminal.draw(|canvas| {
                let area = canvas.area();
                let buffer = canvas.buffer_mut();
                drawn = view::draw(&frame, &mut state, look, &detail.lines, area, buffer);
            })?;
            drawn?;
            let event = wait(&screen, next)?;
            if screen.is_ended() {
                return Ok(found(&frame));
            }
            match event {
                None => break,
                Some(Event::Key(key)) => {
                    if state.press(key, &frame) == Next::Quit {
                        return Ok(found(&frame));
                    }
                    // Another order takes no other rows.
                    frame.sort(state.sort, state.order);
                }
                // The next look at the size does the rest.
                Some(
                    Event::Resize(..)
                    | Event::FocusGained
                    | Event::FocusLost
                    | Event::Mouse(_)
                    | Event::Paste(_),
                ) => {}
            }
        }
    }
    Ok(found(&frame))
}

/// What happens until `next`, or until the program is ended.
fn wait(screen: &Screen, next: Instant) -> io::Result<Option<Event>> {
    loop {
        let left = next.saturating_duration_since(Instant::now());
        let event = screen.event(left)?;
        if event.is_some() || left.is_zero() || screen.is_ended() {
            return Ok(event);
        }
    }
}

/// What is shown of one session: the report on it, as of a moment.
#[derive(Default)]
struct Detail {
    of: Option<(RowId, usize)>,
    made: Option<Instant>,
    lines: Vec<String>,
}

impl Detail {
    /// Makes it for the selected session, unless it is the last one and fresh.
    fn renew(
        &mut self,
        page: &Page<'_>,
        reader: &Reader,
        state: &State,
        width: usize,
    ) -> Result<(), Error> {
        let of = state.selected.clone().map(|id| (id, width));
        let is_fresh = self.made.is_some_and(|made| made.elapsed() < DETAIL_AGE);
        if of == self.of && (is_fresh || state.is_frozen) {
            return Ok(());
        }
        self.lines = match &of {
            Some((RowId::Stored(session_id), _)) => {
                let mut text = Vec::new();
                let mut page = Page {
                    out: &mut text,
                    format: Format::Table,
                    width: Some(width),
                    style: report::Style::Plain,
                    zone: page.zone.clone(),
                    now: Timestamp::now(),
                    prices: page.prices,
                };
                match report::session_of(&mut page, reader, *session_id, &[Part::Tree]) {
                    // The writer holds the file for a moment.
                    Err(Error::Store(error)) if error.is_retryable() => return Ok(()),
                    made => drop(made?),
                }
                let text = String::from_utf8_lossy(&text);
                text.lines().map(str::to_owned).collect()
            }
            Some((RowId::Begun(key, _), _)) => vec![
                format!("session {}", report::visible(key)),
                "Its first call still runs; its threads and costs are known when that has ended."
                    .to_owned(),
            ],
            None => Vec::new(),
        };
        self.of = of;
        self.made = Some(Instant::now());
        Ok(())
    }
}
