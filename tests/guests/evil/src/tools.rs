use std::{hint::black_box, io::Write as _, time::Duration};

use fixture::{Answer, Error, ToolResult, Value, failed, text};
use wasip2::{
    clocks::monotonic_clock::{now, subscribe_duration},
    random::random::get_random_bytes,
};

/// Takes memory until the allocator gives up, which aborts.
pub fn memory_bomb(_: &Value) -> Answer {
    let mut held = Vec::new();
    loop {
        held.push(black_box(vec![1_u8; 1 << 20]));
    }
}

/// Takes memory until there is none, and goes on without.
pub fn memory_coping(_: &Value) -> Answer {
    let mut held: Vec<Vec<u8>> = Vec::new();
    let mut piece = Vec::new();
    while piece.try_reserve_exact(1 << 20).is_ok() {
        held.push(std::mem::take(&mut piece));
    }
    Ok((black_box(held).len() << 20).to_string())
}

pub fn spin(_: &Value) -> Answer {
    let mut n = 0_u64;
    loop {
        n = black_box(n.wrapping_add(1));
    }
}

/// Is never long in the guest.
pub fn spin_in_host_calls(_: &Value) -> Answer {
    loop {
        black_box(now());
    }
}

/// Is not in the guest at all.
pub fn sleep(_: &Value) -> Answer {
    std::thread::sleep(Duration::from_secs(3_600));
    Ok("awake".to_owned())
}

/// 1 GiB that costs the guest nothing: fresh memory is zero, and zeros are UTF-8.
pub fn huge_result(_: &Value) -> Answer {
    String::from_utf8(vec![0; 1 << 30]).map_err(failed)
}

/// 1 GiB.
pub fn huge_log(_: &Value) -> Answer {
    let line = [b'x'; 1 << 16];
    let mut out = std::io::stdout().lock();
    for _ in 0..1 << 14 {
        out.write_all(&line).map_err(failed)?;
    }
    Ok("written".to_owned())
}

/// Needs no memory for it, only the engine's own stack.
pub fn recurse(_: &Value) -> Answer {
    #[inline(never)]
    fn down(n: u64) -> u64 {
        if n == 0 { 1 } else { down(n - 1).wrapping_mul(3) ^ n }
    }
    Ok(down(black_box(u64::MAX)).to_string())
}

pub fn keep_pollables(_: &Value) -> Answer {
    let held: Vec<_> = (0..1_000_000).map(|_| subscribe_duration(1_000_000_000)).collect();
    Ok(held.len().to_string())
}

pub fn flood_random(_: &Value) -> Answer {
    Ok(get_random_bytes(1 << 30).len().to_string())
}

pub fn panics(args: &Value) -> Answer {
    panic!("{}", text(args, "text"));
}

pub fn exit(_: &Value) -> Answer {
    std::process::exit(0);
}

/// What the guest can see of the process that it runs in.
pub fn environment(_: &Value) -> Answer {
    let mut seen: Vec<_> = std::env::vars().map(|(name, _)| name).collect();
    seen.extend(std::env::args());
    let mut stdin = String::new();
    std::io::stdin().read_line(&mut stdin).map_err(failed)?;
    seen.extend((!stdin.is_empty()).then_some(stdin));
    Ok(seen.join(","))
}

/// Text that would take over a terminal, in the log and in the error.
pub fn escape_codes(_: &Value) -> Answer {
    println!("\u{1b}[2Jlog\u{7}\u{202e}");
    Err(Error::Invalid("\u{1b}]0;error\u{7}\u{9b}31m\u{202e}".to_owned()))
}

/// Says that it is JSON.
pub fn false_json(_: &Value) -> Result<ToolResult, Error> {
    Ok(ToolResult { structured: Some("{not json".to_owned()), ..fixture::result(String::new()) })
}
