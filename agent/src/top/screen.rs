//! The terminal while it is ours, and how it is given back.

use std::fs::File;
use std::io::{self, Stdout};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::cursor::Show;
use ratatui::crossterm::event::{self, Event};
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{
    EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use tokio::signal::unix::{SignalKind, signal};

/// LIMIT: how long an end that was asked for by a signal waits for the next look.
const LOOK: Duration = Duration::from_millis(200);

/// The terminal in raw mode, with a screen of its own.
pub(super) struct Screen {
    pub(super) terminal: Terminal<CrosstermBackend<Stdout>>,
    /// Where keys come from.
    keys: File,
    /// Set by a signal that ends the program.
    is_ended: Arc<AtomicBool>,
}

impl Screen {
    /// Takes the terminal.
    ///
    /// # Errors
    /// It is none, or cannot do what is needed.
    pub(super) fn enter() -> io::Result<Self> {
        let is_ended = Arc::new(AtomicBool::new(false));
        let keys = File::open("/dev/tty")?;
        end_at_signals(Arc::clone(&is_ended))?;
        restore_at_panic();
        enable_raw_mode()?;
        let entered = execute!(io::stdout(), EnterAlternateScreen)
            .and_then(|()| Terminal::new(CrosstermBackend::new(io::stdout())))
            .and_then(|mut terminal| terminal.hide_cursor().map(|()| terminal));
        match entered {
            Ok(terminal) => Ok(Self {
                terminal,
                keys,
                is_ended,
            }),
            Err(error) => {
                restore();
                Err(error)
            }
        }
    }

    /// What is typed or resized within `wait`; `None` where nothing is.
    ///
    /// # Errors
    /// The terminal is gone.
    pub(super) fn event(&self, wait: Duration) -> io::Result<Option<Event>> {
        // What was read before may hold several keys.
        if !event::poll(Duration::ZERO)? {
            self.wait(wait.min(LOOK))?;
        }
        match event::poll(Duration::ZERO)? {
            true => event::read().map(Some),
            false => Ok(None),
        }
    }

    /// Waits for something to read. The library would read the end of a terminal that is gone again
    /// and again, so that it is only asked where there is more than that.
    fn wait(&self, wait: Duration) -> io::Result<()> {
        let millis = i64::try_from(wait.as_millis()).unwrap_or(i64::MAX);
        let wait = Timespec {
            tv_sec: millis / 1_000,
            tv_nsec: millis % 1_000 * 1_000_000,
        };
        let mut waiting = [PollFd::new(&self.keys, PollFlags::IN)];
        match poll(&mut waiting, Some(&wait)) {
            // A signal may have changed the size, or ended the program.
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let gone = PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL;
        let is_gone = waiting.iter().any(|keys| keys.revents().intersects(gone));
        match is_gone {
            true => Err(io::Error::new(
                io::ErrorKind::BrokenPipe,
                "the terminal is gone",
            )),
            false => Ok(()),
        }
    }

    /// Whether a signal has ended the program.
    pub(super) fn is_ended(&self) -> bool {
        self.is_ended.load(Ordering::Relaxed)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        restore();
    }
}

/// Gives the terminal back as it was.
fn restore() {
    // Where the terminal is gone, nothing has to be given back.
    disable_raw_mode().unwrap_or_default();
    execute!(io::stdout(), LeaveAlternateScreen, Show).unwrap_or_default();
}

/// Gives the terminal back before a defect is told, for the program ends there.
fn restore_at_panic() {
    let tell = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        restore();
        tell(panic);
    }));
}

/// Lets signals that end a program set `is_ended`. Ctrl-C is a key while the terminal is ours.
fn end_at_signals(is_ended: Arc<AtomicBool>) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let inside = runtime.enter();
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    drop(inside);
    // The thread ends with the program.
    thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                    _ = hangup.recv() => {}
                }
            });
            is_ended.store(true, Ordering::Relaxed);
        })
        .map(drop)
}
