//! placeholder
pub struct AdminSite {
    pub name: std::sync::Arc<str>,
    pub id: crate::store::cached::SiteId,
    pub named_scopes: Vec<Box<str>>,
    pub takes_api_keys: bool,
}
pub struct Admin;
impl Admin {
    pub fn new(
        _: Vec<AdminSite>,
        _: std::sync::Arc<dyn crate::store::Store>,
        _: Option<std::sync::Arc<crate::store::cached::CachedStore>>,
        _: Option<crate::store::seal::SealKey>,
        _: Box<dyn Fn() -> serde_json::Value + Send + Sync>,
    ) -> Self {
        Admin
    }
}
pub mod http {
    pub fn bind(p: &std::path::Path) -> Result<tokio::net::UnixListener, String> {
        tokio::net::UnixListener::bind(p).map_err(|e| e.to_string())
    }
    pub async fn serve(_l: tokio::net::UnixListener, _a: std::sync::Arc<super::Admin>, stop: impl Future<Output = ()> + Send + 'static) {
        stop.await
    }
}
