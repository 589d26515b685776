//! `--wait`: of what ends somebody's access, whether every gateway has applied it.

use std::time::Duration;

use clap::Args;

use crate::admin::error::AdminError;
use crate::admin::message::{Applied, Wait};
use crate::admin::terminal::visible;
use crate::admin::wait::LIMIT_MAX;
use crate::app::Failure;
use crate::cli::{EXIT_UNCONFIRMED, whole_seconds};
use crate::config::checked::Config;
use crate::store::Backend;
use crate::wording::show_time;

/// What can be waited for.
#[derive(Debug, Args)]
pub struct Ending<T: Args> {
    #[command(flatten)]
    pub what: T,
    /// Wait until every gateway has applied it, for 10s at most or like --wait=30s; exit code 3 where one has not said so by then
    #[arg(long, value_name = "TIME", num_args = 0..=1, require_equals = true, default_missing_value = "10s", value_parser = limit)]
    pub wait: Option<Wait>,
}

fn limit(text: &str) -> Result<Wait, String> {
    match whole_seconds(text)? {
        limit @ 1..=LIMIT_MAX => Ok(Wait { limit }),
        _ => Err(format!("a wait takes {LIMIT_MAX}s at most")),
    }
}

/// One sentence for people, where everybody has applied it.
pub fn confirmed(applied: &Applied) -> String {
    let who = match applied.gateways {
        1 => "the 1 gateway has".to_owned(),
        gateways => format!("all {gateways} gateways have"),
    };
    format!("{who} applied it, after {} ms\n", applied.took_ms)
}

/// What it means that not everybody has, or that nobody can say, and what to do about it. The rest is done in any case.
pub fn verdict(applied: &Result<Applied, AdminError>, config: &Config) -> Result<(), Failure> {
    let message = match applied {
        Ok(applied) if applied.by_all() => return Ok(()),
        Ok(Applied { gateways: 0, .. }) => format!(
            "it is done in the store, but no gateway follows this site there: a gateway that starts will know it before it lets anybody in; \
             if one runs, see that it has the [store] of this config{}",
            match config.store.backend {
                Backend::Redis { .. } => ", key_prefix included",
                Backend::Embedded { .. } => "",
            }
        ),
        Ok(applied) => silent(applied, config),
        Err(error) => format!(
            "it is done, but whether every gateway has applied it is not known: {}; {}; try again with --wait, or look at \
             `scopegate status`",
            error.message,
            bound(config)
        ),
    };
    Err(Failure { exit: EXIT_UNCONFIRMED, message })
}

fn silent(applied: &Applied, config: &Config) -> String {
    let seconds = |milliseconds| format!("{:.1} s", Duration::from_millis(milliseconds).as_secs_f64());
    let each = applied.silent.iter().map(|one| format!("{} (last seen {} ago)", visible(&one.gateway), seconds(one.last_seen_ms)));
    format!(
        "it is done, but {} of {} gateways did not say within {} that they have applied it: {}; {}; see whether they run and reach the store: \
         stop those that do not, and wait again",
        applied.silent.len(),
        applied.gateways,
        seconds(applied.took_ms),
        each.collect::<Vec<_>>().join(", "),
        bound(config)
    )
}

/// What holds without any answer.
fn bound(config: &Config) -> String {
    let bound =
        format!("a gateway that does not read the revocation log lets nobody in after {}", show_time(config.store.revocation_bound));
    match config.store.serve_known {
        None => format!("{bound} (revocation_bound)"),
        Some(known) => format!(
            "{bound} (revocation_bound), but while it cannot reach the store it does for {} (serve_known)",
            show_time(known.max(config.store.revocation_bound))
        ),
    }
}
