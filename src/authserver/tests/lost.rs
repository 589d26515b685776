//! A store that does what it is asked, and whose answer does not come.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

use super::*;

/// How long the store is waited for: shorter than the link's own sign of life.
const BUDGET: Duration = Duration::from_millis(300);

/// Stands between the gate and Redis, and holds back the answer to the exchange of a code until the gate asks for the code again.
#[derive(Default)]
struct Between {
    holding: AtomicBool,
    held: AtomicUsize,
    go_on: Notify,
}

fn has(bytes: &[u8], part: &str) -> bool {
    bytes.windows(part.len()).any(|window| window == part.as_bytes())
}

impl Between {
    async fn start(server: &RedisServer) -> (Arc<Self>, String) {
        let between = Arc::new(Self::default());
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("redis://{}/", listener.local_addr().expect("it is bound"));
        let redis = server.url();
        let redis = redis.split('/').nth(2).and_then(|authority| authority.rsplit('@').next()).expect("an address").to_owned();
        let shared = Arc::clone(&between);
        tokio::spawn(async move {
            while let Ok((gate, _)) = listener.accept().await {
                let redis = TcpStream::connect(&redis).await.expect("Redis accepts connections");
                let ((mut from_gate, mut to_gate), (mut from_redis, mut to_redis)) = (gate.into_split(), redis.into_split());
                let (asked, answered) = (Arc::clone(&shared), Arc::clone(&shared));
                tokio::spawn(async move {
                    let mut bytes = [0; 64 * 1024];
                    while let Ok(read @ 1..) = from_gate.read(&mut bytes).await {
                        let command = &bytes[..read];
                        if has(command, "EVAL") && has(command, ":code:") && asked.held.fetch_add(1, Ordering::SeqCst) == 0 {
                            asked.holding.store(true, Ordering::SeqCst);
                        } else if has(command, ":code:") && asked.holding.swap(false, Ordering::SeqCst) {
                            asked.go_on.notify_one();
                        }
                        if to_redis.write_all(command).await.is_err() {
                            break;
                        }
                    }
                });
                tokio::spawn(async move {
                    let mut bytes = [0; 64 * 1024];
                    while let Ok(read @ 1..) = from_redis.read(&mut bytes).await {
                        if answered.holding.load(Ordering::SeqCst) {
                            answered.go_on.notified().await;
                        }
                        if to_gate.write_all(&bytes[..read]).await.is_err() {
                            break;
                        }
                    }
                });
            }
        });
        (between, url)
    }
}

#[tokio::test]
async fn a_code_whose_exchange_was_not_answered_is_known_for_ones_own() {
    let server = RedisServer::start();
    let (between, url) = Between::start(&server).await;
    let store = RedisStore::connect(&RedisUrl(url.as_str().into()), "sg", BUDGET).await.expect("a store");
    let bench = Bench::on(Arc::new(store), server);
    let (_, grant) = bench.ready("read").await;
    let answer = bench.redeemed().await;
    assert_eq!(between.held.load(Ordering::SeqCst), 1, "the answer was held back");
    assert!(bench.lives(text(&answer, "access_token")).await);
    assert_eq!(bench.ended(&grant.id).await, None);
    // And it is spent all the same.
    assert_eq!(bench.ask(redemption()).await.status, 400);
    assert_eq!(bench.ended(&grant.id).await, Some(crate::oauth::records::End::Reuse));
}
