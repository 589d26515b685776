//! "Not you?": ends the session here, and says how to end the one at Frappe, which only Frappe can.

use http::StatusCode;
use http::header::SET_COOKIE;

use crate::authserver::call::{Answer, Call, Failure};
use crate::authserver::page::{self, Link, Message, foreign, forged};
use crate::authserver::session::{self, Live};
use crate::authserver::signin::{self, Errand, Gate};
use crate::authserver::ticket::{self, Purpose, Ticket};
use crate::oauth::parameters::Parameters;

/// For the form on a page: which session, and what to begin anew as somebody else.
pub fn ticket(call: &Call<'_>, gate: &Gate<'_>, errand: &Errand, live: &Live) -> Result<String, Failure> {
    ticket::seal(gate.key, &call.issuer.name, Purpose::SignOut, &Ticket::new(&live.id, live.session().exp, errand))
}

pub async fn answer(call: &mut Call<'_>) -> Result<Answer, Failure> {
    let Some(gate) = signin::gate(call) else { return signin::unconfigured(call) };
    if !ticket::from_own_page(call) {
        return foreign(call);
    }
    let pairs = call.form_pairs()?;
    let shown = Parameters::new(&pairs).one("ticket")?.unwrap_or_default();
    let Some(ticket) = ticket::open::<Ticket<Errand>>(gate.key, &call.issuer.name, Purpose::SignOut, shown) else { return forged(call) };
    let live = session::find(call).await?.filter(|live| ticket.holds(&live.id, call.now));
    let system = page::host_of(gate.login_url);
    let message = Message {
        title: "You are signed out here",
        sentence: &format!("{system} does not know that yet, and would sign you in again as the same user."),
        advice: "To go on as somebody else, sign out there as well, and then begin again here.",
        links: vec![
            Link::elsewhere([gate.login_url, "/?cmd=web_logout"].concat(), format!("Sign out of {system}")),
            Link::here(ticket.what.path(), "Begin again"),
        ],
        ..Message::new(call.issuer)
    };
    let mut answer = page::show(call.issuer, StatusCode::OK, &message, None)?.because("signed_out");
    // One that has ended by itself, or is another one by now, needs no end.
    if let Some(live) = live {
        call.note.user = Some(live.session().user.clone());
        answer = answer.with(SET_COOKIE, session::end(call, &gate, &live).await?);
    }
    Ok(answer)
}
