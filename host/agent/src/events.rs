//! What the watchers of work items are told, numbered and kept, so that a stream can be cut anywhere and go on there.
//!
//! The host that runs an item is the only one that numbers its events ([`Channel`]). An event takes the next number, but a
//! [`Event::Token`] takes as many as its text has bytes, and is known by the last of them. So tokens that follow each other
//! can be kept as one, under the number of the last, and whoever has seen a part of it is given exactly the rest.
//!
//! Events are given to watchers of this process at once, and written to the store in batches. Nothing here ever holds up
//! the focus: what the store cannot take in time is kept up to a bound, and beyond it tokens are left out of the store (the
//! message that they make up follows whole).

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use animus_core::{
    Error, Result,
    event::{Event, Watcher},
    id::{FocusId, WorkId},
    store::{MAX_EVENTS, Tenant},
    work::Work,
};
use tokio::{
    sync::{Notify, watch},
    time::Instant,
};

mod poll;

use poll::Seen;

/// How long events are gathered before they are written.
const GATHER: Duration = Duration::from_millis(50);
/// So many are written at once, however short the time.
const BATCH: usize = 64;
/// What of a running item is kept in memory, in events and in bytes.
const KEPT: usize = 4_096;
const KEPT_BYTES: usize = 4 << 20;
/// What waits for a store that does not take it, in bytes.
const WAITING_BYTES: usize = 1 << 20;
/// A host that goes on with an item numbers from so far beyond what the store has: what the host before gave out and could
/// not write any more has no number twice.
const LEAP: u64 = 4 << 20;
/// How long one who follows the store waits for the last events of an item that is settled.
const LINGER: Duration = Duration::from_secs(2);
/// How often the store is asked at most by one who follows it.
const PACE: Duration = Duration::from_millis(50);

/// How many numbers an event takes.
fn width(event: &Event) -> u64 {
    match event {
        Event::Token { text } => u64::try_from(text.len()).unwrap_or(u64::MAX),
        _ => 1,
    }
}

/// About how much memory an event takes.
fn weight(event: &Event) -> usize {
    const FRAME: usize = 128;
    FRAME
        + match event {
            Event::Token { text } | Event::Notice { text } | Event::Message { text, .. } => text.len(),
            Event::Log { line, .. } => line.len(),
            other => serde_json::to_string(other).map_or(0, |json| json.len()),
        }
}

/// What of a numbered event lies beyond `after`; none when all of it was seen.
fn rest(number: u64, event: &Event, after: u64) -> Option<Event> {
    if number <= after {
        return None;
    }
    if let Event::Token { text } = event {
        let begins = number.saturating_sub(width(event));
        let mut seen = usize::try_from(after.saturating_sub(begins)).unwrap_or(usize::MAX);
        // Numbers that were given out end at a character; one that somebody made up may not.
        while seen < text.len() && !text.is_char_boundary(seen) {
            seen += 1;
        }
        let text = text.get(seen..).filter(|text| !text.is_empty())?.to_owned();
        return Some(Event::Token { text });
    }
    Some(event.clone())
}

/// The channels of the items that this process runs, and a way to follow any item.
pub struct Hub {
    tenant: Arc<dyn Tenant>,
    channels: Mutex<HashMap<WorkId, Arc<Channel>>>,
    /// Items that are followed in the store.
    polls: Mutex<HashMap<WorkId, watch::Sender<Seen>>>,
    /// Moves whenever the store may have changed, while somebody follows it.
    pulse: watch::Sender<u64>,
    pulsing: Mutex<bool>,
}

/// The events of one item that this process runs.
pub struct Channel {
    work: WorkId,
    tenant: Arc<dyn Tenant>,
    tape: Mutex<Tape>,
    /// Moves with every event.
    moved: watch::Sender<u64>,
    /// There is something to write.
    unwritten: Notify,
    /// All is written.
    written: Notify,
}

struct Tape {
    /// The last number given.
    last: u64,
    /// The newest events, oldest first.
    kept: VecDeque<(u64, Event)>,
    kept_bytes: usize,
    /// The number of the newest event that is no longer kept: whoever has seen that needs no store.
    floor: u64,
    /// What the store does not have yet, tokens that follow each other as one.
    waiting: Vec<(u64, Event)>,
    waiting_bytes: usize,
    /// What is being written; kept here until it is.
    writing: usize,
    closed: bool,
}

impl Hub {
    /// A hub for one tenant.
    #[must_use]
    pub fn new(tenant: Arc<dyn Tenant>) -> Arc<Self> {
        Arc::new(Self {
            tenant,
            channels: Mutex::default(),
            polls: Mutex::default(),
            pulse: watch::Sender::new(0),
            pulsing: Mutex::new(false),
        })
    }

    /// The channel of an item that this process begins to run, or goes on with.
    ///
    /// # Errors
    /// What the store fails with.
    pub async fn open(&self, work: WorkId) -> Result<Arc<Channel>> {
        let last = self.tenant.events_last(work).await?;
        let first = if last == 0 { 0 } else { last.saturating_add(LEAP) };
        let channel = Arc::new(Channel {
            work,
            tenant: self.tenant.clone(),
            tape: Mutex::new(Tape {
                last: first,
                kept: VecDeque::new(),
                kept_bytes: 0,
                floor: last,
                waiting: Vec::new(),
                waiting_bytes: 0,
                writing: 0,
                closed: false,
            }),
            moved: watch::Sender::new(0),
            unwritten: Notify::new(),
            written: Notify::new(),
        });
        lock(&self.channels).insert(work, channel.clone());
        tokio::spawn(write(channel.clone()));
        Ok(channel)
    }

    /// Ends a channel: waits until the store has everything, as far as it takes it within some seconds.
    pub async fn close(&self, channel: &Arc<Channel>) {
        channel.close().await;
        let mut channels = lock(&self.channels);
        // The next attempt may have one by now.
        if channels.get(&channel.work).is_some_and(|there| Arc::ptr_eq(there, channel)) {
            channels.remove(&channel.work);
        }
        drop(channels);
        channel.moved.send_modify(|n| *n += 1);
    }

    /// The events of an item beyond the number `after`, whoever runs it, until it is settled.
    #[must_use]
    pub fn follow(self: &Arc<Self>, work: WorkId, after: u64) -> Following {
        Following {
            hub: self.clone(),
            work,
            at: after,
            ready: VecDeque::new(),
            begun: None,
            ended: None,
            is_over: false,
            settled_since: None,
            seen: None,
        }
    }

    fn channel(&self, work: WorkId) -> Option<Arc<Channel>> {
        lock(&self.channels).get(&work).cloned()
    }

    /// What moves with the store. One watch serves all who follow, and ends when nobody does.
    fn pulse(self: &Arc<Self>) -> watch::Receiver<u64> {
        let receiver = self.pulse.subscribe();
        let mut pulsing = lock(&self.pulsing);
        if !std::mem::replace(&mut *pulsing, true) {
            tokio::spawn(beat(Arc::downgrade(self), self.tenant.clone()));
        }
        receiver
    }
}

async fn beat(hub: Weak<Hub>, tenant: Arc<dyn Tenant>) {
    let mut watch = tenant.work_watch().await.ok();
    loop {
        match &mut watch {
            Some(watch) => watch.changed().await,
            None => {
                tokio::time::sleep(Duration::from_secs(1)).await;
                watch = tenant.work_watch().await.ok();
            }
        }
        let Some(hub) = hub.upgrade() else { return };
        let mut pulsing = lock(&hub.pulsing);
        if hub.pulse.receiver_count() == 0 {
            *pulsing = false;
            return;
        }
        drop(pulsing);
        hub.pulse.send_modify(|n| *n += 1);
    }
}

impl Watcher for Channel {
    fn event(&self, event: Event) {
        let width = width(&event);
        if width == 0 {
            return;
        }
        let mut tape = lock(&self.tape);
        if tape.closed {
            return;
        }
        tape.last = tape.last.saturating_add(width);
        let number = tape.last;
        tape.wait(number, &event);
        tape.keep(number, event);
        drop(tape);
        self.unwritten.notify_one();
        self.moved.send_modify(|n| *n += 1);
    }
}

/// What memory has for a follower.
enum Memory {
    Events(Vec<(u64, Event)>),
    /// All that there is so far was seen.
    UpToDate,
    /// The store has what comes next.
    Behind,
    Closed,
}

impl Channel {
    fn after(&self, at: u64) -> Memory {
        let tape = lock(&self.tape);
        if at < tape.floor {
            return Memory::Behind;
        }
        let from = tape.kept.partition_point(|(number, _)| *number <= at);
        let events: Vec<_> =
            tape.kept.range(from..).take(BATCH).filter_map(|(n, e)| Some((*n, rest(*n, e, at)?))).collect();
        match events.is_empty() {
            false => Memory::Events(events),
            true if tape.closed && tape.waiting.is_empty() => Memory::Closed,
            true => Memory::UpToDate,
        }
    }

    async fn close(&self) {
        lock(&self.tape).closed = true;
        self.unwritten.notify_one();
        let all = async {
            loop {
                let written = self.written.notified();
                if lock(&self.tape).waiting.is_empty() {
                    return;
                }
                written.await;
            }
        };
        if tokio::time::timeout(Duration::from_secs(10), all).await.is_err() {
            tracing::error!(work = %self.work, "the store does not take the last events of the work; they are lost");
            let mut tape = lock(&self.tape);
            tape.waiting.clear();
            tape.waiting_bytes = 0;
        }
    }
}

impl Tape {
    fn keep(&mut self, number: u64, event: Event) {
        self.kept_bytes += weight(&event);
        self.kept.push_back((number, event));
        // What the store does not have yet stays: else a follower would find it nowhere.
        let stored = self.waiting.first().map_or(u64::MAX, |(number, event)| number.saturating_sub(width(event)) + 1);
        while self.kept.len() > KEPT || self.kept_bytes > KEPT_BYTES {
            let Some((number, event)) = self.kept.front() else { return };
            if *number >= stored {
                return;
            }
            self.floor = *number;
            self.kept_bytes = self.kept_bytes.saturating_sub(weight(event));
            self.kept.pop_front();
        }
    }

    fn wait(&mut self, number: u64, event: &Event) {
        let weight = weight(event);
        let token = matches!(event, Event::Token { .. });
        if token && self.waiting_bytes + weight > WAITING_BYTES {
            return;
        }
        let writing = self.writing;
        let begins = number.saturating_sub(width(event));
        if let Event::Token { text: more } = event
            && self.waiting.len() > writing
            && let Some((last, Event::Token { text })) = self.waiting.last_mut()
            && *last == begins
            && text.len() + more.len() <= 16 << 10
        {
            text.push_str(more);
            *last = number;
            self.waiting_bytes += more.len();
            return;
        }
        self.waiting_bytes += weight;
        self.waiting.push((number, event.clone()));
    }
}

/// Writes what a channel was told, in batches, until it is closed and all is written.
async fn write(channel: Arc<Channel>) {
    loop {
        channel.unwritten.notified().await;
        let (closed, few) = {
            let tape = lock(&channel.tape);
            (tape.closed, tape.waiting.len() < BATCH)
        };
        if few && !closed {
            tokio::time::sleep(GATHER).await;
        }
        loop {
            let batch: Vec<(u64, Event)> = {
                let mut tape = lock(&channel.tape);
                tape.writing = tape.waiting.len().min(BATCH * 4);
                tape.waiting.iter().take(tape.writing).cloned().collect()
            };
            if batch.is_empty() {
                break;
            }
            match put(&channel, &batch).await {
                Ok(()) => {
                    let mut tape = lock(&channel.tape);
                    let written = tape.writing.min(tape.waiting.len());
                    tape.waiting.drain(..written);
                    tape.waiting_bytes = tape.waiting.iter().map(|(_, event)| weight(event)).sum();
                    tape.writing = 0;
                }
                // The item is gone, and with it whoever may want its events.
                Err(Error::NotFound(_)) => {
                    let mut tape = lock(&channel.tape);
                    tape.waiting.clear();
                    tape.closed = true;
                }
                Err(error) => {
                    tracing::warn!(work = %channel.work, %error, "events cannot be kept now; trying again");
                    lock(&channel.tape).writing = 0;
                    tokio::time::sleep(Duration::from_millis(500)).await;
                    if lock(&channel.tape).waiting.is_empty() {
                        break;
                    }
                }
            }
        }
        channel.written.notify_waiters();
        if lock(&channel.tape).closed {
            return;
        }
    }
}

/// Numbers leap where tokens are; a run without a leap is one write.
async fn put(channel: &Channel, batch: &[(u64, Event)]) -> Result<()> {
    let mut run: Vec<Event> = Vec::new();
    let mut first = 0;
    let mut next = 0;
    for (number, event) in batch {
        if *number != next && !run.is_empty() {
            channel.tenant.events_append(channel.work, first, &std::mem::take(&mut run)).await?;
        }
        if run.is_empty() {
            first = *number;
        }
        run.push(event.clone());
        next = number.saturating_add(1);
    }
    if run.is_empty() { Ok(()) } else { channel.tenant.events_append(channel.work, first, &run).await }
}

/// What comes next of an item that somebody follows.
#[derive(Clone, Debug, PartialEq)]
#[allow(
    clippy::large_enum_variant,
    reason = "there is one at a time, on its way to a client, and nearly all are events"
)]
pub enum Next {
    /// An event, with the number to go on from after it.
    Event(u64, Event),
    /// The item is settled, and nothing follows. Given once; the stream is over then.
    Settled(Box<Work>),
    /// The stream is over.
    Over,
}

/// One who follows the events of an item.
pub struct Following {
    hub: Arc<Hub>,
    work: WorkId,
    at: u64,
    ready: VecDeque<(u64, Event)>,
    /// The focus whose beginning was seen last.
    begun: Option<FocusId>,
    /// The focus whose end was seen last.
    ended: Option<FocusId>,
    is_over: bool,
    settled_since: Option<Instant>,
    seen: Option<watch::Receiver<Seen>>,
}

impl Following {
    /// What comes next; waits for it. Dropping the future loses nothing.
    ///
    /// # Errors
    /// [`Error::NotFound`] for an item that is not there, and what the store fails with.
    pub async fn next(&mut self) -> Result<Next> {
        loop {
            if let Some((number, event)) = self.ready.pop_front() {
                self.at = number;
                return Ok(Next::Event(number, event));
            }
            if self.is_over {
                return Ok(Next::Over);
            }
            if let Some(channel) = self.hub.channel(self.work) {
                let mut moved = channel.moved.subscribe();
                match channel.after(self.at) {
                    Memory::Events(events) => {
                        self.take(events);
                        continue;
                    }
                    Memory::UpToDate => {
                        let _ = moved.changed().await;
                        continue;
                    }
                    Memory::Behind | Memory::Closed => {}
                }
            }
            // Before the store is asked, so that no change in between is missed.
            let mut seen = self.seen.take().unwrap_or_else(|| self.hub.seen(self.work));
            seen.mark_unchanged();
            self.seen = Some(seen);
            let page = self.hub.tenant.events_read(self.work, self.at, 256.min(MAX_EVENTS)).await?;
            let at = self.at;
            let page: Vec<_> = page.into_iter().filter_map(|(n, event)| Some((n, rest(n, &event, at)?))).collect();
            if !page.is_empty() {
                self.take(page);
                self.settled_since = None;
                continue;
            }
            let work = self.hub.tenant.work(self.work).await?;
            if work.state.is_settled() && self.hub.channel(self.work).is_none() {
                let since = *self.settled_since.get_or_insert_with(Instant::now);
                // Its host tells the end after it has settled the item; an item that never ran has none to tell.
                let told = work.focus.is_none() || work.focus == self.ended;
                if told || is_long_ago(work.updated_ms) || since.elapsed() >= LINGER {
                    self.is_over = true;
                    return Ok(Next::Settled(Box::new(work)));
                }
            } else {
                self.settled_since = None;
            }
            self.wait().await;
        }
    }

    fn take(&mut self, events: Vec<(u64, Event)>) {
        for (_, event) in &events {
            match event {
                Event::Started { focus, .. } => self.begun = Some(*focus),
                Event::Done { .. } => self.ended = self.begun,
                _ => {}
            }
        }
        self.ready.extend(events);
    }

    async fn wait(&mut self) {
        tokio::time::sleep(PACE).await;
        let longest = match (self.settled_since, self.hub.channel(self.work)) {
            (Some(_), _) => Duration::from_millis(100),
            // That its channel here is closed moves nothing in the store.
            (None, Some(_)) => Duration::from_secs(5),
            (None, None) => Duration::from_secs(60),
        };
        if let Some(seen) = &mut self.seen {
            let _ = tokio::time::timeout(longest, seen.changed()).await;
        }
    }
}

/// Whether a moment has passed so long ago that nothing late can follow it.
fn is_long_ago(ms: u64) -> bool {
    let then = UNIX_EPOCH + Duration::from_millis(ms);
    SystemTime::now().duration_since(then).is_ok_and(|age| age > 2 * LINGER)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Everything kept behind these locks is valid at every point.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
