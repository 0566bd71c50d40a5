//! What a person or a program sees while work runs.
//!
//! Events come on the path of the run, which a slow terminal must not hold up: they pass a bounded queue to a thread
//! that writes. What does not fit is dropped and counted; the last event always arrives.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use animus_core::{
    event::{Event, HookAction, Watcher},
    work::State,
};
use indicatif::{ProgressBar, ProgressStyle};

use crate::out::{self, BAD, BOLD, DIM, GOOD, Out, WARN, paint};

const QUEUE: usize = 4_096;

/// Takes events; hand it to the run, and [`Viewer::finish`] when the run is over.
pub(crate) struct Viewer {
    queue: Arc<Queue>,
    writer: JoinHandle<()>,
}

struct Queue {
    sender: Mutex<Option<SyncSender<Event>>>,
    last: Mutex<Option<Event>>,
    dropped: AtomicU64,
}

impl Watcher for Queue {
    fn event(&self, event: Event) {
        if matches!(event, Event::Done { .. }) {
            *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(event);
            return;
        }
        let sender = self.sender.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sender) = &*sender
            && let Err(TrySendError::Full(_)) = sender.try_send(event)
        {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Viewer {
    /// Starts the writing thread. `idle` says what is going on between events.
    pub(crate) fn start(out: &Out, idle: &str) -> Self {
        let (sender, events) = sync_channel(QUEUE);
        let (out, idle) = (out.clone(), idle.to_owned());
        Self {
            queue: Arc::new(Queue {
                sender: Mutex::new(Some(sender)),
                last: Mutex::default(),
                dropped: AtomicU64::default(),
            }),
            writer: std::thread::spawn(move || write(&out, &idle, &events)),
        }
    }

    /// What the run reports to.
    pub(crate) fn watcher(&self) -> Arc<dyn Watcher> {
        self.queue.clone()
    }

    /// Writes what is still under way, then the last event.
    pub(crate) fn finish(self, out: &Out) {
        drop(self.queue.sender.lock().unwrap_or_else(PoisonError::into_inner).take());
        // A panic in the writer was already told by the panic handler; the result still follows.
        let _ = self.writer.join();
        let dropped = self.queue.dropped.load(Ordering::Relaxed);
        if dropped > 0 {
            out.note(format_args!("{dropped} events came faster than they could be written, and were left out"));
        }
        if let Some(last) = self.queue.last.lock().unwrap_or_else(PoisonError::into_inner).take() {
            if out.is_json() {
                out.object(&last);
            } else {
                Terminal::new(out, "").done(&last);
            }
        }
    }
}

fn write(out: &Out, idle: &str, events: &Receiver<Event>) {
    if out.is_json() {
        events.iter().for_each(|event| out.object(&event));
    } else {
        let mut terminal = Terminal::new(out, idle);
        terminal.wait();
        events.iter().for_each(|event| terminal.event(&event));
        terminal.rest();
    }
}

/// Says on a terminal that something takes a while. Says nothing on anything else.
pub(crate) struct Spinner(ProgressBar);

impl Spinner {
    /// A spinner with the time since now.
    pub(crate) fn start(out: &Out, what: &str) -> Self {
        Self::since(Instant::now(), out, what)
    }

    /// A spinner with the time since `begun`.
    fn since(begun: Instant, out: &Out, what: &str) -> Self {
        // It draws on standard error, and only on a terminal.
        let bar = if out.is_json() { ProgressBar::hidden() } else { ProgressBar::new_spinner() };
        let bar = bar.with_elapsed(begun.elapsed());
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} {elapsed}") {
            bar.set_style(style);
        }
        bar.set_message(out::short(what, 60));
        bar.enable_steady_tick(Duration::from_millis(120));
        Self(bar)
    }
}

impl Drop for Spinner {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

/// The events as a person reads them, on standard error.
struct Terminal<'a> {
    out: &'a Out,
    idle: &'a str,
    begun: Instant,
    waiting: Option<Spinner>,
    /// Tools under way, in the order in which they began.
    tools: Vec<(String, String)>,
    /// Text was written on the current line.
    mid_line: bool,
    /// Text of the current message was streamed.
    streamed: bool,
    tokens: u64,
    microusd: u64,
}

impl<'a> Terminal<'a> {
    fn new(out: &'a Out, idle: &'a str) -> Self {
        Self {
            out,
            idle,
            begun: Instant::now(),
            waiting: None,
            tools: Vec::new(),
            mid_line: false,
            streamed: false,
            tokens: 0,
            microusd: 0,
        }
    }

    fn event(&mut self, event: &Event) {
        self.waiting = None;
        match event {
            Event::Started { work, faculty, .. } => {
                self.remark(&format!("{} {faculty} {}", paint(BOLD, "▸"), paint(DIM, work)));
            }
            Event::Token { text } => {
                self.out.aside(&out::safe(text));
                self.streamed = true;
                self.mid_line = !text.ends_with('\n');
            }
            Event::Message { text, .. } => {
                if !self.streamed && !text.is_empty() {
                    self.out.aside(&out::safe(text));
                    self.mid_line = !text.ends_with('\n');
                }
                self.end_line();
                self.streamed = false;
            }
            Event::Retry { reason, wait_ms } => {
                self.streamed = false;
                let wait = Duration::from_millis(*wait_ms).as_secs_f32();
                self.remark(&paint(WARN, format_args!("again in {wait:.1} s: {}", out::safe(reason))));
            }
            Event::ToolStart { id, tool, args } => {
                self.tools.push((id.clone(), format!("{tool} {args}")));
            }
            Event::ToolEnd { id, tool, text, bytes, is_error, elapsed_ms, .. } => {
                let at = self.tools.iter().position(|(known, _)| known == id);
                let call = at.map(|at| self.tools.remove(at).1).unwrap_or_else(|| tool.clone());
                let (style, mark) = if *is_error { (BAD, "✗") } else { (GOOD, "✓") };
                let said = if *is_error { out::short(text, 160) } else { format!("{bytes} bytes") };
                self.remark(&format!(
                    "  {} {} {}",
                    paint(style, mark),
                    out::short(&call, 100),
                    paint(DIM, format_args!("{said}, {elapsed_ms} ms")),
                ));
            }
            Event::Ledger { entry } => {
                let text = format!("  {} {}", entry.entry_type, out::short(&entry.content, 120));
                self.remark(&paint(DIM, text));
            }
            Event::ChildSpawned { child, faculty, description } => {
                let what = out::short(description, 100);
                self.remark(&format!("  {} {faculty} {} {what}", paint(BOLD, "⤷"), paint(DIM, child)));
            }
            Event::ChildFinished { child, faculty, state, tokens, .. } => {
                let (style, mark) = if *state == State::Completed { (GOOD, "✓") } else { (BAD, "✗") };
                let said = format_args!("{child} {state}, {tokens} tokens");
                self.remark(&format!("  {} {faculty} {}", paint(style, mark), paint(DIM, said)));
            }
            Event::Compacted { before, after, .. } => {
                self.remark(&paint(
                    DIM,
                    format_args!("the conversation was shortened from {before} to {after} tokens"),
                ));
            }
            Event::Usage { usage, cost_microusd } => {
                self.tokens = self.tokens.saturating_add(usage.total());
                self.microusd = self.microusd.saturating_add(cost_microusd.unwrap_or(0));
            }
            Event::Budget { percent, .. } => {
                self.remark(&paint(WARN, format_args!("{percent} % of the budget is used")));
            }
            Event::Notice { text } => self.remark(&paint(DIM, out::safe(text))),
            Event::Hook { hook, point, subject, action, reason } => {
                let (style, what) = match action {
                    HookAction::Modified => (DIM, "changed"),
                    HookAction::Blocked => (WARN, "stopped"),
                    HookAction::Failed => (WARN, "failed and was passed over:"),
                };
                let why = reason.as_ref().map_or(String::new(), |reason| format!(": {}", out::safe(reason)));
                let subject = out::safe(subject);
                self.remark(&paint(style, format_args!("hook {hook} {what} {subject} ({point}){why}")));
            }
            Event::Log { plugin, line } => self.remark(&paint(DIM, format_args!("{plugin}: {}", out::safe(line)))),
            Event::Reload { plugin, text, .. } => {
                let plugin = plugin.as_deref().unwrap_or("plugins");
                self.remark(&paint(WARN, format_args!("{plugin}: {}", out::safe(text))));
            }
            Event::Done { .. } => {}
        }
        self.wait();
    }

    fn wait(&mut self) {
        if self.mid_line {
            return;
        }
        let mut what = match self.tools.as_slice() {
            [] => self.idle.to_owned(),
            [(_, only)] => out::short(only, 40),
            more => format!("{} tools", more.len()),
        };
        if self.tokens > 0 {
            what = format!("{what} · {} tokens · {}", self.tokens, out::usd(self.microusd));
        }
        self.waiting = Some(Spinner::since(self.begun, self.out, &what));
    }

    /// Text on lines of its own.
    fn remark(&mut self, text: &str) {
        self.end_line();
        self.out.note(text);
    }

    fn end_line(&mut self) {
        if self.mid_line {
            self.out.aside("\n");
            self.mid_line = false;
        }
    }

    fn rest(&mut self) {
        self.waiting = None;
        self.end_line();
    }

    fn done(&mut self, event: &Event) {
        let Event::Done { success, ending, summary, standing, .. } = event else { return };
        let (style, word) = if *success { (GOOD, "done") } else { (BAD, "not done") };
        let ending = ending.as_deref().filter(|ending| *ending != "done").map(|e| format!(" ({e})"));
        self.out.note(format_args!(
            "{} {} tokens · {}",
            paint(style, format_args!("{word}{}:", ending.unwrap_or_default())),
            standing.spent.tokens,
            out::usd(standing.spent.microusd),
        ));
        // The answer is the result: where the stream above did not already show it to a person, it goes to standard
        // output, alone.
        if !success {
            self.out.note(out::safe(summary));
        } else if !out::is_watched() {
            self.out.line(out::safe(summary));
        }
    }
}
