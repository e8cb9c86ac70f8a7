//! Waiting for something that another process brings about: always with a deadline.

use anyhow::Result;
use std::fmt::Debug;
use std::thread;
use std::time::{Duration, Instant};

const INTERVAL: Duration = Duration::from_millis(10);

/// Tries until there is an answer. `Ok(None)` means "not yet"; an error is final.
///
/// # Panics
/// At the deadline and on an error, naming `what` was waited for: the panic is what makes each
/// cluster of a failed test show its log.
#[track_caller]
pub fn poll_until<T>(
    deadline: Duration,
    what: &str,
    mut attempt: impl FnMut() -> Result<Option<T>>,
) -> T {
    let start = Instant::now();
    loop {
        match attempt() {
            Ok(Some(answer)) => return answer,
            Ok(None) if start.elapsed() < deadline => thread::sleep(INTERVAL),
            Ok(None) => panic!("waited {deadline:?} in vain for {what}"),
            Err(error) => panic!("failed while waiting for {what}: {error:?}"),
        }
    }
}

/// Looks until what is seen is right. The last of it stands in the panic at the deadline.
#[track_caller]
pub fn poll_value<T: Debug>(
    deadline: Duration,
    what: &str,
    mut look: impl FnMut() -> T,
    is_right: impl Fn(&T) -> bool,
) -> T {
    let start = Instant::now();
    loop {
        let seen = look();
        if is_right(&seen) {
            return seen;
        }
        assert!(
            start.elapsed() < deadline,
            "waited {deadline:?} in vain for {what}, and saw last: {seen:?}"
        );
        thread::sleep(INTERVAL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn polling_ends_with_the_first_answer() {
        let mut left = 3;
        let answer = poll_until(Duration::from_secs(5), "the third attempt", || {
            left -= 1;
            Ok((left == 0).then_some("done"))
        });
        assert_eq!(answer, "done");
    }

    #[test]
    #[should_panic(expected = "in vain for the fourth, and saw last: 3")]
    fn a_value_that_never_comes_right_is_shown() {
        let mut seen = 0;
        let look = || {
            seen = 3.min(seen + 1);
            seen
        };
        poll_value(Duration::from_millis(60), "the fourth", look, |seen| *seen == 4);
    }

    #[test]
    #[should_panic(expected = "in vain for the sea to part")]
    fn polling_gives_up_at_its_deadline() {
        poll_until(Duration::from_millis(30), "the sea to part", || Ok(None::<()>));
    }
}
