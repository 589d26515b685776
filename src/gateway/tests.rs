//! The gateway before a real site, pocket ERP, on either store.

mod bearer;
mod gate;
mod pages;
mod scene;
mod site_tokens;
