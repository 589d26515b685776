//! The documents that tell clients what there is (RFC 8414, OpenID Connect Discovery 1.0, RFC 9728).

use crate::authserver::call::{Answer, Call, Failure};
use crate::authserver::endpoint::Endpoint;
use crate::authserver::issuer::Registration;
use crate::oauth::metadata::Offer;

pub async fn answer(call: &mut Call<'_>) -> Result<Answer, Failure> {
    let issuer = call.issuer;
    let mut named: Vec<&str> = issuer.meanings.keys().map(|name| &**name).collect();
    named.sort_unstable();
    let seal = call.shared.seal.is_some();
    let offer = Offer {
        url: &issuer.url,
        name: &issuer.name,
        // Both need what only the operator's key can keep.
        sign_in: seal && issuer.sign_in.is_some(),
        openid: seal && issuer.sign_in.is_some(),
        registration: !matches!(issuer.registration, Registration::Off),
        documents: issuer.documents.is_some(),
        named_scopes: &named,
    };
    let document = if call.endpoint == Endpoint::ProtectedResource { offer.resource() } else { offer.server() };
    Ok(Answer::json(&document).public())
}
