//! `scopegate demo`.

use crate::app::Failure;

/// Ports of 0 are chosen by the system.
#[derive(Clone, Copy, Debug)]
pub struct DemoOptions {
    pub port: u16,
    pub http_port: u16,
    pub upstream_port: u16,
    pub json: bool,
}

pub fn run(options: DemoOptions) -> Result<(), Failure> {
    let _ = options;
    Err(Failure { exit: 1, message: "this build cannot show a demo yet".to_owned() })
}
