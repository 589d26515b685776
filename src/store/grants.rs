//! Grants as they are found, begun and ended: the records, the sets that list them, and the mark that ends their tokens.

use crate::oauth::records::{ENDED_KEPT, End, Grant};
use crate::policy::time::Timestamp;
use crate::store::kept::{self, Kept, Kind, Set, Subject, digest_id};
use crate::store::{Store, StoreError, wall_clock};

/// How often an exchange is tried again when another came first.
const ATTEMPTS_MAX: usize = 8;

/// Grants that are listed at most.
pub const LISTED_MAX: usize = 1_000;

/// The latest revocation of anything that the grant rests on.
pub async fn mark_of(
    store: &dyn Store,
    site: &str,
    client: &str,
    user: &str,
    grant: Option<&str>,
) -> Result<Option<Timestamp>, StoreError> {
    let subjects = [Subject::Client(client), Subject::User(user), Subject::Grant(grant.unwrap_or_default())];
    store.mark(site, &subjects[..if grant.is_some() { 3 } else { 2 }]).await
}

pub async fn find(store: &dyn Store, site: &str, id: &str) -> Result<Option<Kept<Grant>>, StoreError> {
    kept::load(store, site, Kind::Grant, id).await
}

/// The grant and its revocation mark, if tokens may be issued under it.
pub async fn find_live(store: &dyn Store, site: &str, id: &str) -> Result<Option<(Kept<Grant>, Option<Timestamp>)>, StoreError> {
    let Some(grant) = find(store, site, id).await? else { return Ok(None) };
    let mark = mark_of(store, site, &grant.value.client, &grant.value.user, Some(id)).await?;
    Ok(grant.value.live(mark).then_some((grant, mark)))
}

/// Keeps a new grant. Both sets first, so that no live grant is missing from them.
pub async fn begin(store: &dyn Store, site: &str, grant: &Grant) -> Result<bool, StoreError> {
    store.enter(site, Set::GrantsOfUser, &digest_id(&grant.user), &grant.id).await?;
    store.enter(site, Set::GrantsOfClient, &grant.client, &grant.id).await?;
    kept::create(store, site, Kind::Grant, &grant.id, grant, None).await
}

/// Replaces what was read; `false` where another came first.
pub async fn change(store: &dyn Store, site: &str, read: &Kept<Grant>, grant: &Grant) -> Result<bool, StoreError> {
    let expires = grant.ended.map(|ended| ended.at.plus(ENDED_KEPT));
    kept::swap(store, site, Kind::Grant, &grant.id, read, grant, expires).await
}

/// Ends a grant and everything that was issued under it until `now`; the grant as it is then, or `None` where there is none.
///
/// The mark comes first: from then on no token of it counts, whatever fails behind it. `now` is moved on to the last second that anything
/// of the grant may bear, so that no faster clock than this one's has issued something later.
pub async fn end(store: &dyn Store, site: &str, id: &str, by: End, now: Timestamp) -> Result<Option<Grant>, StoreError> {
    void(store, site, id, now).await?;
    for _ in 0..ATTEMPTS_MAX {
        let Some(read) = find(store, site, id).await? else { return Ok(None) };
        if read.value.used > now {
            void(store, site, id, read.value.used).await?;
        }
        let grant = if read.value.ended.is_some() { read.value.clone() } else { read.value.end(by, now) };
        if read.value.ended.is_none() && !change(store, site, &read, &grant).await? {
            continue;
        }
        store.delete_credential(site, id).await?;
        return Ok(Some(grant));
    }
    Err(StoreError(format!("grant {id} of site {site} is void, but not yet recorded as ended: it changes all the time; try again")))
}

async fn void(store: &dyn Store, site: &str, id: &str, at: Timestamp) -> Result<(), StoreError> {
    store.raise(site, &[(Subject::Grant(id).field(), at)]).await
}

/// The grants of a user, ended ones included, newest first.
pub async fn of_user(store: &dyn Store, site: &str, user: &str) -> Result<Vec<Kept<Grant>>, StoreError> {
    let of = digest_id(user);
    let found = listed(store, site, Set::GrantsOfUser, &of).await?;
    Ok(found.into_iter().filter(|grant| *grant.value.user == *user).collect())
}

/// The grants to a client, ended ones included, newest first.
pub async fn of_client(store: &dyn Store, site: &str, client: &str) -> Result<Vec<Kept<Grant>>, StoreError> {
    listed(store, site, Set::GrantsOfClient, client).await
}

async fn listed(store: &dyn Store, site: &str, set: Set, of: &str) -> Result<Vec<Kept<Grant>>, StoreError> {
    let (mut grants, now) = (Vec::new(), wall_clock());
    for id in store.members(site, set, of).await? {
        match find(store, site, &id).await? {
            // Sets forget it while its record is still there, and never one without: that may be about to be written.
            Some(grant) if grant.value.ended.is_some_and(|ended| now.since(ended.at) > ENDED_KEPT / 2) => {
                store.leave(site, set, of, &id).await?;
            }
            Some(grant) if grants.len() < LISTED_MAX => grants.push(grant),
            Some(_) => break,
            None => {}
        }
    }
    grants.sort_by(|one, other| other.value.created.cmp(&one.value.created).then_with(|| one.value.id.cmp(&other.value.id)));
    Ok(grants)
}
