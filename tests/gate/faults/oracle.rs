//! What must have held, judged when it is over: by when each call had been made and had returned, what clients were answered, and what
//! reached the upstream.
//!
//! All instants are of one clock: clients, upstream and callers are threads of one process.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use super::fleet::{Arrival, BOTH};
use super::load::Answer;
use super::{ALLOWANCE, BOUND, LOOKUP_MAX, RECOVERY_MAX};

/// How far the clock of expiry (the day's, in seconds) may be from the one that measures here.
const CLOCKS_APART: Duration = Duration::from_millis(20);

/// Violations that are told of; more say no more.
const TOLD_MAX: usize = 12;

/// A call, from when it was made; `told` where it returned that it was done.
#[derive(Clone, Copy, Debug)]
pub struct Call {
    pub asked: Instant,
    pub told: Option<Instant>,
}

/// What a token was worth at which time.
#[derive(Clone, Debug)]
pub struct Fate {
    pub name: String,
    /// Whether it was ever issued.
    pub issued: bool,
    pub expires: Option<Instant>,
    /// What ended it, and what gave it back.
    pub endings: Vec<(Call, Option<Call>)>,
    /// The store has lost its record: from when that may show.
    pub gone: Option<Instant>,
}

impl Fate {
    /// Why it may no longer be forwarded at `at`, where it may not.
    fn ended(&self, at: Instant, patience: Duration) -> Option<String> {
        let late = |since: Instant, bound: Duration| at.checked_duration_since(since).filter(|late| *late > bound + ALLOWANCE);
        if !self.issued {
            return Some("that was never issued".to_owned());
        }
        if let Some(late) = self.expires.and_then(|expires| late(expires, LOOKUP_MAX)) {
            return Some(format!("{late:?} after it expired"));
        }
        if let Some(late) = self.gone.and_then(|gone| late(gone, patience)) {
            return Some(format!("{late:?} after the store had lost it"));
        }
        let of_ending = |(ending, undone): &(Call, Option<Call>)| {
            let late = late(ending.told?, BOUND)?;
            undone.is_none_or(|undone| at < undone.asked).then(|| format!("{late:?} after its revocation had returned"))
        };
        self.endings.iter().find_map(of_ending)
    }

    /// Whether 401 is a right answer to a request that was under way from `sent` to `came`.
    fn may_be_refused(&self, sent: Instant, came: Instant) -> bool {
        let over = |(ending, undone): &(Call, Option<Call>)| {
            let again = undone.and_then(|undone| undone.told).map(|told| told + BOUND + ALLOWANCE);
            came >= ending.asked && again.is_none_or(|again| sent <= again)
        };
        !self.issued
            || self.expires.is_some_and(|expires| came + CLOCKS_APART >= expires)
            || self.gone.is_some_and(|gone| came >= gone)
            || self.endings.iter().any(over)
    }

    /// Whether it must pass, wherever the store can be asked.
    pub fn lives(&self) -> bool {
        let undone = |(_, undone): &(Call, Option<Call>)| undone.is_some_and(|undone| undone.told.is_some());
        self.issued && self.gone.is_none() && self.expires.is_none() && self.endings.iter().all(undone)
    }

    /// Whether it must be refused from now on.
    pub fn is_over(&self, now: Instant) -> bool {
        let over = |(ending, undone): &(Call, Option<Call>)| ending.told.is_some() && undone.is_none();
        !self.issued || self.gone.is_some() || self.expires.is_some_and(|expires| now > expires) || self.endings.iter().any(over)
    }
}

/// A time in which some gates had no store.
#[derive(Clone, Debug)]
pub struct Outage {
    pub gates: Vec<usize>,
    /// From here on nothing could be asked.
    pub from: Instant,
    /// What was done to end it began here; `None` while it lasts.
    pub until: Option<Instant>,
    /// It was done then, and the time for the recovery runs.
    pub healed: Option<Instant>,
    /// Whether the log could be read all the while: then tokens that are known go on.
    pub followed: bool,
    /// The tokens that could be looked up all the while, if the log could be read.
    pub reached: Vec<usize>,
}

impl Outage {
    /// Whether `gate` may have been without its store at some time between the two, its recovery included.
    fn touches(&self, token: usize, gate: usize, sent: Instant, came: Instant) -> bool {
        let from = if self.spares(token) { self.until } else { Some(self.from) };
        self.gates.contains(&gate)
            && from.is_some_and(|from| came >= from - ALLOWANCE)
            && self.healed.is_none_or(|healed| sent <= healed + RECOVERY_MAX)
    }

    /// Whether `gate` was without its store all the time between the two.
    fn covers(&self, gate: usize, sent: Instant, came: Instant) -> bool {
        self.gates.contains(&gate) && sent > self.from && self.until.is_none_or(|until| came < until)
    }

    /// Whether the token goes on until something is done to end the outage.
    fn spares(&self, token: usize) -> bool {
        self.followed && self.reached.contains(&token)
    }
}

/// Everything that is known when it is over.
pub struct Story<'a> {
    pub began: Instant,
    pub fates: &'a [Fate],
    pub outages: &'a [Outage],
    pub arrivals: &'a [Arrival],
    pub answers: &'a [Answer],
    /// How long a gate may go on with the tokens that it knows, without its store.
    pub patience: Duration,
}

impl Story<'_> {
    /// Panics with what did not hold.
    pub fn judge(&self) {
        let mut wrong: Vec<(Instant, String)> = Vec::new();
        for arrival in self.arrivals {
            wrong.extend(self.arrival(arrival).map(|why| (arrival.at, why)));
        }
        for answer in self.answers {
            wrong.extend(self.answer(answer).map(|why| (answer.came, why)));
        }
        for (token, fate) in self.fates.iter().enumerate() {
            for gate in BOTH {
                if !self.answers.iter().any(|answer| (answer.token, answer.gate) == (token, gate)) {
                    wrong.push((self.began, format!("{} was never shown to gate {gate}: the test is no test", fate.name)));
                }
            }
        }
        if wrong.is_empty() {
            return;
        }
        wrong.sort();
        let mut text = format!("{} of {} answers and {} arrivals:\n", wrong.len(), self.answers.len(), self.arrivals.len());
        for outage in self.outages {
            let at = |instant: Option<Instant>| instant.map(|instant| instant - self.began);
            let Outage { gates, from, until, healed, .. } = outage;
            let _ = writeln!(
                text,
                "  (gates {gates:?} had no store from {:?} to {:?}, healed {:?})",
                *from - self.began,
                at(*until),
                at(*healed)
            );
        }
        for (at, why) in wrong.iter().take(TOLD_MAX) {
            let _ = writeln!(text, "  at {:?}: {why}", at.saturating_duration_since(self.began));
        }
        panic!("{text}");
    }

    /// What is wrong with a request that was forwarded.
    fn arrival(&self, arrival: &Arrival) -> Option<String> {
        let &Arrival { token, gate, at } = arrival;
        let fate = &self.fates[token];
        if let Some(why) = fate.ended(at, self.patience) {
            return Some(format!("gate {gate} forwarded {} {why}", fate.name));
        }
        let blind = |outage: &&Outage| !outage.followed && outage.covers(gate, at - self.patience - ALLOWANCE, at);
        let outage = self.outages.iter().find(blind)?;
        Some(format!("gate {gate} forwarded {} {:?} after it had lost its store", fate.name, at - outage.from))
    }

    /// What is wrong with an answer.
    fn answer(&self, answer: &Answer) -> Option<String> {
        let &Answer { token, gate, sent, came, status, retry_after } = answer;
        let fate = &self.fates[token];
        // For as long as what it heard last counts, a gate may have noticed nothing: a master is believed until its sentinels are asked again.
        let unknown = |outage: &Outage| outage.covers(gate, sent - BOUND, came) && !outage.reached.contains(&token);
        let wrong = match status {
            200 => return None,
            401 if !fate.may_be_refused(sent, came) => "401, and it is still stored",
            401 if !fate.issued && self.outages.iter().any(unknown) => "401, and nobody could know",
            401 => return None,
            503 if !retry_after => "503 without Retry-After",
            503 if !self.outages.iter().any(|outage| outage.touches(token, gate, sent, came)) => "503, and nothing was wrong",
            503 => return None,
            0 => "no answer at all",
            _ => "an answer that is none of 200, 401 and 503",
        };
        Some(format!("gate {gate} gave {} {wrong} ({status}, in {:?})", fate.name, came - sent))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// A token that was asked to be revoked at 10 s, and was by 11 s; and one that was never issued. Gate 0 had no store from 20 s to 30 s.
    fn wrong(arrivals: &[(usize, usize, u32)], answers: &[(usize, usize, u32, u16, bool)]) -> Vec<bool> {
        let began = Instant::now();
        let at = |tenths: u32| began + SECOND * tenths / 10;
        let fate = |issued: bool, endings: &[(Call, Option<Call>)]| Fate {
            name: "token".to_owned(),
            issued,
            expires: None,
            endings: endings.to_vec(),
            gone: None,
        };
        let ending = Call { asked: at(100), told: Some(at(110)) };
        let fates = [fate(true, &[(ending, None)]), fate(false, &[]), fate(true, &[])];
        let outages =
            [Outage { gates: vec![0], from: at(200), until: Some(at(300)), healed: Some(at(301)), followed: false, reached: Vec::new() }];
        let story = Story { began, fates: &fates, outages: &outages, arrivals: &[], answers: &[], patience: BOUND };
        let arrivals = arrivals.iter().map(|&(token, gate, tenths)| story.arrival(&Arrival { token, gate, at: at(tenths) }).is_some());
        let answers = answers.iter().map(|&(token, gate, tenths, status, retry_after)| {
            let answer = Answer { token, gate, sent: at(tenths), came: at(tenths + 1), status, retry_after };
            story.answer(&answer).is_some()
        });
        arrivals.chain(answers).collect()
    }

    /// The log could be read all the while, and the records of the first two tokens.
    #[test]
    fn the_oracle_knows_what_a_part_of_the_store_costs() {
        let began = Instant::now();
        let at = |tenths: u32| began + SECOND * tenths / 10;
        let outage =
            Outage { gates: vec![0, 1], from: at(200), until: Some(at(300)), healed: Some(at(301)), followed: true, reached: vec![0, 1] };
        let fate = |issued| Fate { name: "token".to_owned(), issued, expires: None, endings: Vec::new(), gone: None };
        let fates = [fate(true), fate(false), fate(true), fate(false)];
        let story = Story { began, fates: &fates, outages: &[outage], arrivals: &[], answers: &[], patience: BOUND };
        for (token, tenths, status, right) in [
            (0, 250, 200, true),
            (0, 250, 503, false),
            (0, 320, 503, true),
            (1, 250, 401, true),
            (2, 250, 200, true),
            (2, 250, 503, true),
            (2, 250, 401, false),
            (3, 250, 401, false),
            (3, 250, 503, true),
        ] {
            let answer = Answer { token, gate: 0, sent: at(tenths), came: at(tenths + 1), status, retry_after: true };
            assert_eq!(story.answer(&answer).is_none(), right, "{token} at {tenths}: {status}");
        }
        assert!(story.arrival(&Arrival { token: 2, gate: 0, at: at(290) }).is_none(), "what is known goes on");
    }

    #[test]
    fn the_oracle_tells_right_from_wrong() {
        let right = wrong(
            &[(0, 1, 120), (2, 0, 205), (2, 0, 210), (2, 0, 302), (2, 1, 250)],
            &[(0, 1, 100, 401, false), (0, 0, 120, 200, false), (1, 1, 250, 401, false), (1, 0, 250, 503, true), (2, 0, 340, 503, true)],
        );
        assert!(!right.contains(&true), "{right:?}");
        let wrong = wrong(
            // Revoked, with and without a store; never issued; known, but its store is lost for longer than the bound.
            &[(0, 1, 122), (0, 0, 205), (1, 1, 10), (2, 0, 212), (2, 0, 299)],
            &[
                // Still stored; refused before anyone asked for it.
                (2, 1, 250, 401, false),
                (0, 0, 50, 401, false),
                // Nobody could know.
                (1, 0, 250, 401, false),
                (2, 0, 250, 503, false),
                // Nothing was wrong; not any more.
                (2, 1, 250, 503, true),
                (2, 0, 360, 503, true),
                (2, 0, 250, 0, false),
                (2, 1, 10, 502, false),
            ],
        );
        assert!(!wrong.contains(&false), "{wrong:?}");
    }
}
