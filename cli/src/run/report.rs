//! In: a session that ends. Out: its counters on standard error.

use agent::session::Session;
use api::artefact::PolicyCounter;

/// Prints what was seen, lost and done.
pub fn counters(session: &Session) {
    match session.totals() {
        Ok(totals) => {
            let lost = totals.losses.total() + totals.undecodable;
            eprintln!("ferra: {} events, {lost} lost by the process programs", totals.events);
        }
        Err(error) => eprintln!("ferra: counters cannot be read: {error}"),
    }
}

/// One line per policy, and one per hook at which the kernel skipped calls. Must be called while the policies' programs are loaded.
pub fn policies(session: &Session) {
    let counts = match session.policy_counts() {
        Ok(counts) => counts,
        Err(errno) => return eprintln!("ferra: policy counters cannot be read: {errno}"),
    };
    for count in counts {
        let of = |counter: PolicyCounter| count.values.get(counter as usize).copied().unwrap_or(0);
        eprintln!(
            "ferra: policy {}: {} matched, {} posted, {} signalled, {} overridden, {} monitored, {} rate-limited, {} lost",
            count.policy,
            of(PolicyCounter::Match),
            of(PolicyCounter::Post),
            of(PolicyCounter::Signal),
            of(PolicyCounter::Override),
            of(PolicyCounter::MonitorSignal) + of(PolicyCounter::MonitorOverride),
            of(PolicyCounter::RateLimited),
            of(PolicyCounter::LostRing) + of(PolicyCounter::LostScratch),
        );
    }
    match session.missed_calls() {
        Ok(missed) => missed.iter().for_each(|(hook, calls)| {
            eprintln!("ferra: hook {hook}: {calls} calls not looked at (the kernel was inside of the program on that CPU)");
        }),
        Err(errno) => eprintln!("ferra: skipped calls cannot be read: {errno}"),
    }
}
