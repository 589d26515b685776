//! Gateways and what they have applied: in memory, because the file has one process.

use std::collections::BTreeSet;

use async_trait::async_trait;

use crate::store::StoreError;
use crate::store::embedded::EmbeddedStore;
use crate::store::presence::{Gateway, PresenceStore, Seen};
use crate::store::record::{check_id, check_site};

#[async_trait]
impl PresenceStore for EmbeddedStore {
    async fn present(&self, site: &str, gateway: &Gateway) -> Result<(), StoreError> {
        check_site(site)?;
        self.presence.present(site, gateway);
        Ok(())
    }

    async fn absent(&self, site: &str, gateway: &Gateway) -> Result<(), StoreError> {
        check_site(site)?;
        self.presence.absent(site, gateway);
        Ok(())
    }

    async fn gateways(&self, site: &str) -> Result<Vec<Seen>, StoreError> {
        check_site(site)?;
        Ok(self.presence.gateways(site))
    }

    async fn acknowledge(&self, site: &str, names: &[Box<str>], gateway: &Gateway) -> Result<(), StoreError> {
        check_site(site)?;
        names.iter().try_for_each(|name| check_id(name))?;
        self.presence.acknowledge(site, names, gateway);
        Ok(())
    }

    async fn acknowledged(&self, site: &str, name: &str) -> Result<BTreeSet<Gateway>, StoreError> {
        check_site(site)?;
        check_id(name)?;
        Ok(self.presence.acknowledged(site, name))
    }
}
