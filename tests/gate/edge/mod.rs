//! The edge of DESIGN section 10, from outside: what proxies have been broken by must not break this one.

mod answers;
mod audit;
mod authorization;
mod cors;
mod exhaustion;
mod framing;
mod headers;
mod http2;
mod methods;
mod ports;
mod rates;
mod signals;
mod time;
mod uploads;
mod upstreams;
