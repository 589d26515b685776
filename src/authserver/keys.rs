//! What a site's id tokens are signed with, and the public half of it (RFC 7517).
//!
//! Private keys lie in the store, sealed with the operator's key, so every gateway of a fleet signs with the same. Each remembers them
//! for a few minutes: a document that anybody may ask for must not ask the store each time.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwapOption;
use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256};
use data_encoding::BASE64URL_NOPAD;
use foldhash::fast::RandomState;
use serde::Serialize;
use serde_json::Value;
use tokio::task::spawn_blocking;

use crate::authserver::call::{Answer, Call, Failure};
use crate::oauth::error::{ErrorCode, OAuthError};
use crate::oauth::signing::{KeyRecord, KeysRecord, PublicKey, signed, signing_input};
use crate::policy::time::Timestamp;
use crate::store::StoreError;
use crate::store::cached::SiteId;
use crate::store::kept::{self, Kept, Kind};
use crate::store::seal::SealKey;

/// The id of the record.
const RECORD: &str = "signing";

/// Nanoseconds for which keys are remembered: five minutes, a third of the time for which a new one is published before it signs.
const REMEMBERED: u64 = 300_000_000_000;

/// How often it is tried again when another gateway wrote keys first.
const ATTEMPTS_MAX: usize = 4;

/// Bytes of a signature.
const SIGNATURE_BYTES: usize = 256;

/// The public keys (`/oauth/jwks`).
pub async fn answer(call: &mut Call<'_>) -> Result<Answer, Failure> {
    let keys = of_site(call).await?;
    Ok(Answer::json(&keys.jwks).public())
}

/// The keys of every site, as they were read last.
#[derive(Default)]
pub struct SigningKeys(Mutex<HashMap<SiteId, Arc<Slot>, RandomState>>);

#[derive(Default)]
struct Slot {
    known: ArcSwapOption<SiteKeys>,
    /// Held by whoever reads or makes keys: one does, and making them takes a core for a tenth of a second.
    reading: tokio::sync::Mutex<()>,
}

/// The keys of one site.
pub struct SiteKeys {
    kid: String,
    signer: KeyPair,
    jwks: Value,
    read: u64,
}

impl SiteKeys {
    /// A JWT of these claims.
    pub fn sign(&self, claims: &impl Serialize) -> Result<String, OAuthError> {
        let failed = || OAuthError::new(ErrorCode::ServerError, "the id token could not be signed");
        let input = signing_input(&self.kid, &serde_json::to_vec(claims).map_err(|_| failed())?);
        let mut signature = [0; SIGNATURE_BYTES];
        self.signer.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), input.as_bytes(), &mut signature).map_err(|_| failed())?;
        Ok(signed(&input, &signature))
    }
}

/// The keys of the site that was asked; made where there are none.
pub async fn of_site(call: &Call<'_>) -> Result<Arc<SiteKeys>, Failure> {
    let Some(seal) = &call.shared.seal else {
        return Err(OAuthError::new(ErrorCode::InvalidScope, "openid is not offered here").into());
    };
    let slot = call.shared.memory.keys.slot(call.issuer.site);
    let known = || slot.known.load_full().filter(|keys| call.shared.nanos().saturating_sub(keys.read) < REMEMBERED);
    if let Some(keys) = known() {
        return Ok(keys);
    }
    let _alone = slot.reading.lock().await;
    if let Some(keys) = known() {
        return Ok(keys);
    }
    let keys = Arc::new(read_or_make(call, seal).await?);
    slot.known.store(Some(keys.clone()));
    Ok(keys)
}

impl SigningKeys {
    fn slot(&self, site: SiteId) -> Arc<Slot> {
        // No code that can panic runs under this lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(site).or_default().clone()
    }
}

async fn read_or_make(call: &Call<'_>, seal: &SealKey) -> Result<SiteKeys, Failure> {
    let (store, site, now) = (call.store(), &*call.issuer.name, call.now);
    for _ in 0..ATTEMPTS_MAX {
        let read = call.shared.nanos();
        let kept: Option<Kept<KeysRecord>> = kept::load(store, site, Kind::Keys, RECORD).await?;
        if let Some(kept) = kept.as_ref().filter(|kept| !kept.value.due(now)) {
            match opened(&kept.value, site, seal, now) {
                Some((kid, signer)) => return Ok(SiteKeys { kid, signer, jwks: kept.value.jwks(now), read }),
                None => call.shared.complaints.utter(&format!(
                    "no signing key of site {site} opens: the encryption key is another one than they were sealed with; a new one is made"
                )),
            }
        }
        let key = new_key(site, seal, now).await?;
        // Whoever was first, what is there now is read.
        match &kept {
            None => kept::create(store, site, Kind::Keys, RECORD, &KeysRecord::first(key), None).await?,
            Some(before) => kept::swap(store, site, Kind::Keys, RECORD, before, &before.value.with(key, now), None).await?,
        };
    }
    Err(StoreError(format!("the signing keys of site {site} change all the time: do all gateways have the same encryption key?")).into())
}

/// The key that signs now, of those that open.
fn opened(record: &KeysRecord, site: &str, seal: &SealKey, now: Timestamp) -> Option<(String, KeyPair)> {
    let open = |key: &KeyRecord| {
        let sealed = BASE64URL_NOPAD.decode(key.sealed.as_bytes()).ok()?;
        KeyPair::from_pkcs8(&seal.open(site, &place(&key.kid), &sealed).ok()?).ok()
    };
    let signer = record.signer(now, |key| open(key).is_some())?;
    Some((signer.kid.clone(), open(signer)?))
}

async fn new_key(site: &str, seal: &SealKey, now: Timestamp) -> Result<KeyRecord, Failure> {
    let failed = || StoreError(format!("no signing key could be made for site {site}: is there a source of randomness?"));
    // Not on a thread that answers requests: looking for two primes takes a tenth of a second.
    let pair = spawn_blocking(|| KeyPair::generate(KeySize::Rsa2048)).await.map_err(|_| failed())?.map_err(|_| failed())?;
    let public = PublicKey::from_der(pair.public_key().as_ref()).ok_or_else(failed)?;
    let private: Pkcs8V1Der<'_> = pair.as_der().map_err(|_| failed())?;
    let sealed = seal.seal(site, &place(&public.kid), private.as_ref()).map_err(|_| failed())?;
    Ok(KeyRecord { kid: public.kid, created: now, n: public.n, e: public.e, sealed: BASE64URL_NOPAD.encode(&sealed) })
}

/// Where a private key belongs. No id of a credential has a space in it.
fn place(kid: &str) -> String {
    format!("signing key {kid}")
}
