//! Streams of events: cut anywhere, and gone on with, from memory and from the store.

use std::{sync::Arc, time::Duration};

use animus_agent::events::{Following, Hub, Next};
use animus_core::{
    event::{Event, Watcher as _},
    id::WorkId,
    store::Events as _,
    work::State,
};

use crate::support::FakeTenant;

fn token(text: impl Into<String>) -> Event {
    Event::Token { text: text.into() }
}

fn note(text: &str) -> Event {
    Event::Notice { text: text.into() }
}

/// What a follower was told, in one text.
fn text(events: &[(u64, Event)]) -> String {
    let piece = |(_, event): &(u64, Event)| match event {
        Event::Token { text } => text.clone(),
        Event::Notice { text } => format!("<{text}>"),
        other => format!("{other:?}"),
    };
    events.iter().map(piece).collect()
}

/// The next `n` events, or all until the stream is over.
async fn take(following: &mut Following, n: usize) -> Vec<(u64, Event)> {
    let mut events = Vec::new();
    while events.len() < n {
        match tokio::time::timeout(Duration::from_secs(60), following.next()).await.unwrap().unwrap() {
            Next::Event(number, event) => events.push((number, event)),
            Next::Settled(_) | Next::Over => break,
        }
    }
    events
}

fn setting() -> (Arc<FakeTenant>, Arc<Hub>, WorkId) {
    let tenant = Arc::new(FakeTenant::default());
    let work = tenant.submit("assistant", "speak").id;
    (tenant.clone(), Hub::new(tenant), work)
}

#[tokio::test]
async fn tokens_are_kept_as_one_and_a_stream_goes_on_inside_of_them() {
    let (tenant, hub, work) = setting();
    let channel = hub.open(work).await.unwrap();
    let words = ["Wör", "ter ", "", "mit ", "Übung", " und €", "uro"];
    channel.event(note("begin"));
    words.iter().for_each(|word| channel.event(token(*word)));
    channel.event(note("middle"));
    channel.event(token("end"));
    let whole = format!("<begin>{}<middle>end", words.concat());
    let live = take(&mut hub.follow(work, 0), 9).await;
    assert_eq!(text(&live), whole);
    assert!(live.is_sorted_by(|a, b| a.0 < b.0), "{live:?}");

    hub.close(&channel).await;
    tenant.settle(work, State::Completed);
    let kept = tenant.events_read(work, 0, 100).await.unwrap();
    assert_eq!(kept.len(), 4, "tokens that follow each other are one: {kept:?}");
    assert_eq!(kept.last().unwrap().0, live.last().unwrap().0);
    // After every number that was given out, the store has exactly the rest.
    for (at, (number, _)) in live.iter().enumerate() {
        let rest = take(&mut hub.follow(work, *number), usize::MAX).await;
        assert_eq!(text(&live[..=at]) + &text(&rest), whole, "after {number}");
    }
    // Numbers that nobody gave out neither break a character nor anything else.
    for number in 0..live.last().unwrap().0 + 3 {
        assert!(whole.ends_with(&text(&take(&mut hub.follow(work, number), usize::MAX).await)));
    }
}

#[tokio::test]
async fn followers_of_a_running_item_miss_nothing_however_often_they_are_cut() {
    let (tenant, hub, work) = setting();
    let channel = hub.open(work).await.unwrap();
    let told: String = (0..3_000).map(|n| format!("{n} ")).collect();
    let speaking = {
        let (channel, hub, tenant) = (channel.clone(), hub.clone(), tenant.clone());
        tokio::spawn(async move {
            for n in 0..3_000 {
                channel.event(token(format!("{n} ")));
                if n % 7 == 0 {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            }
            hub.close(&channel).await;
            tenant.settle(work, State::Completed);
        })
    };
    let follow = |step: usize| {
        let hub = hub.clone();
        async move {
            let (mut seen, mut last) = (String::new(), 0);
            loop {
                let events = take(&mut hub.follow(work, last), step).await;
                seen.push_str(&text(&events));
                last = events.last().map_or(last, |(number, _)| *number);
                if events.len() < step {
                    return seen;
                }
            }
        }
    };
    let (a, b, c) = tokio::join!(follow(1), follow(13), follow(100_000));
    speaking.await.unwrap();
    assert!(a == told && b == told && c == told);
    assert_eq!(text(&take(&mut hub.follow(work, 0), usize::MAX).await), told);
}

#[tokio::test]
async fn memory_is_bounded_and_what_it_let_go_of_comes_from_the_store() {
    let (_, hub, work) = setting();
    let channel = hub.open(work).await.unwrap();
    let mut told = String::new();
    for n in 0..200 {
        for _ in 0..40 {
            let word = format!("{n:0>1024} ");
            told.push_str(&word);
            channel.event(token(word));
        }
        // Time for the store.
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let mut seen = String::new();
    let mut following = hub.follow(work, 0);
    while seen.len() < told.len() {
        // How much stands in one event, the store's batches decide.
        seen.push_str(&text(&take(&mut following, 1).await));
    }
    assert!(seen == told);
}

#[tokio::test]
async fn a_store_that_fails_for_a_while_holds_up_nobody_and_has_everything_in_the_end() {
    let (tenant, hub, work) = setting();
    let channel = hub.open(work).await.unwrap();
    *tenant.cannot_settle.lock().unwrap() = true;
    channel.event(note("a"));
    channel.event(token("b"));
    assert_eq!(text(&take(&mut hub.follow(work, 0), 2).await), "<a>b");
    tokio::time::sleep(Duration::from_millis(200)).await;
    *tenant.cannot_settle.lock().unwrap() = false;
    hub.close(&channel).await;
    assert_eq!(tenant.events_read(work, 0, 10).await.unwrap().len(), 2);
}

#[tokio::test]
async fn who_goes_on_with_an_item_gives_no_number_twice() {
    let (tenant, hub, work) = setting();
    let first = hub.open(work).await.unwrap();
    first.event(note("a"));
    hub.close(&first).await;
    // The host that died had told more than it could write.
    let told = 1 + 500_000;
    let other = Hub::new(tenant.clone());
    let second = other.open(work).await.unwrap();
    second.event(note("b"));
    other.close(&second).await;
    tenant.settle(work, State::Completed);
    let seen = take(&mut hub.follow(work, told), usize::MAX).await;
    assert_eq!(text(&seen), "<b>", "one who saw all that was told misses nothing that came after");
    assert_eq!(text(&take(&mut hub.follow(work, 0), usize::MAX).await), "<a><b>");
}

#[tokio::test]
async fn however_many_follow_an_item_other_work_has_none_of_them_ask_the_store() {
    let (tenant, hub, work) = setting();
    let other = tenant.submit("assistant", "something else").id;
    let follow = || {
        let mut following = hub.follow(work, 0);
        tokio::spawn(async move { take(&mut following, 1).await })
    };
    let following: Vec<_> = (0..20).map(|_| follow()).collect();
    let quiet = async || loop {
        let [.., reads] = tenant.asked();
        tokio::time::sleep(Duration::from_millis(300)).await;
        if tenant.asked()[2] == reads {
            return reads;
        }
    };
    let before = quiet().await;
    tenant.change(other, |work| work.priority += 1);
    assert!(quiet().await < before + 20, "each of them asked");
    // Another process runs the item.
    tenant.events_append(work, 1, &[note("a")]).await.unwrap();
    for following in following {
        assert_eq!(text(&following.await.unwrap()), "<a>");
    }
}

#[tokio::test]
async fn one_who_follows_an_item_that_is_not_there_is_told_so() {
    let (_, hub, _) = setting();
    assert_eq!(hub.follow(WorkId::new(), 0).next().await.unwrap_err().class(), "not-found");
}
