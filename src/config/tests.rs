//! What an operator is told. `BASE` stands above every row, so that a row is the one thing that is wrong with it.

mod oauth;
mod redis;

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use http::Method;

use crate::audit::Output;
use crate::config::checked::{Config, Credential, Rate, TlsVersion};
use crate::config::report::{ConfigError, Warning};
use crate::config::{load, parse};
use crate::policy::scope::Effect;
use crate::store::Backend;

/// A configuration that is right; a row follows on line 6, inside the site.
const BASE: &str = "\
listen.https = []
listen.behind_proxy = [\"127.0.0.1:7000\"]
listen.trusted_proxies = [\"127.0.0.1\"]
[[site]]
name = \"erp.example.com\"
";
const REST: &str = "upstreams = [\"http://127.0.0.1:8000\"]\ncredential = \"forward\"\n";

fn read(text: &str) -> Result<(Config, Vec<Warning>), ConfigError> {
    parse(text, "gate.toml", std::iter::empty())
}

/// `row` in the site of [`BASE`], which is complete after it.
fn with(row: &str) -> Result<(Config, Vec<Warning>), ConfigError> {
    let (keys, sections) = row.split_once("\n[").map_or((row, String::new()), |(keys, rest)| (keys, format!("[{rest}")));
    let own = |key: &str| keys.lines().any(|line| line.split('=').next().is_some_and(|written| written.trim() == key));
    let rest: String =
        REST.lines().filter(|line| !own(line.split(' ').next().unwrap_or_default())).map(|line| format!("{line}\n")).collect();
    read(&format!("{BASE}{keys}\n{rest}{sections}\n"))
}

fn env(pairs: &[(&str, &str)]) -> std::vec::IntoIter<(String, String)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect::<Vec<_>>().into_iter()
}

fn refusal(row: &str) -> String {
    match with(row) {
        Ok(_) => format!("accepted: {row}"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn each_mistake_is_one_line_with_file_line_key_and_remedy() {
    for (row, told) in [
        // Keys.
        ("upstrems = []", "gate.toml:6: `site.upstrems`: unknown key; did you mean `upstreams`?"),
        ("drain_timeout = \"1s\"", "gate.toml:6: `site.drain_timeout`: unknown key; it belongs into `[bounds]`"),
        ("\n[lisen]\nhttps = []", "gate.toml:9: `lisen`: unknown key; did you mean `listen`?"),
        ("\n[log]\nzzz = 1", "gate.toml:10: `log.zzz`: unknown key; remove it, or write one of the keys of `[log]`: format, level"),
        // Types.
        ("keep_tracebacks = \"no\"", "gate.toml:6: `site.keep_tracebacks`: is text; write true or false, without quotes"),
        ("hosts = \"erp.example.com\"", "gate.toml:6: `site.hosts`: is text; write a list of texts, like [\"a\", \"b\"]"),
        ("frappe_site = 7", "gate.toml:6: `site.frappe_site`: is a whole number; write text in quotes"),
        (
            "\n[bounds]\nidle_timeout = 75",
            "gate.toml:10: `bounds.idle_timeout`: is a whole number; write a number with its unit, like \"250ms\", \"10s\", \"1m\" or \"1h\"",
        ),
        ("upstream = [\"http://x\"]", "gate.toml:6: `site.upstream`: is a list; write it as a section, `[site.upstream]`"),
        // Bounds.
        (
            "\n[bounds]\nidle_timeout = \"0s\"",
            "gate.toml:10: `bounds.idle_timeout`: `0s` is out of bounds; write a time from \"100ms\" to \"1h\"",
        ),
        (
            "\n[bounds]\nheader_bytes_max = 0",
            "gate.toml:10: `bounds.header_bytes_max`: 0B is out of bounds; write a size from \"8KiB\" to \"1MiB\"",
        ),
        (
            "\n[bounds]\nbody_bytes_max = \"4MB\"",
            "gate.toml:10: `bounds.body_bytes_max`: `4MB` is not a size; write bytes as 32768 or \"32KiB\" (B, KiB, MiB, GiB)",
        ),
        ("\n[bounds]\nconnections_max = -1", "gate.toml:10: `bounds.connections_max`: is out of bounds; write a number from 1 to 1000000"),
        (
            "\n[bounds]\nconnections_max = 1.5",
            "gate.toml:10: `bounds.connections_max`: is a decimal number; write a whole number, without quotes",
        ),
        (
            "\n[rate]\nclient = \"0/1m\"",
            "gate.toml:10: `rate.client`: `0/1m` is not a rate over one second to one day; write requests and the time they may take, like \
             \"600/1m\", or \"off\"",
        ),
        // Sites.
        (
            "upstreams = [\"ftp://x\"]",
            "gate.toml:6: `site.upstreams`: `ftp://x` is not an http or https URL; write it like \"http://127.0.0.1:8000\" or \
             \"https://erp.internal\"",
        ),
        (
            "hosts = [\n  \"a.example.com\",\n  \"b.example.com:443\",\n]",
            "gate.toml:8: `site.hosts`: `b.example.com:443` has a port; a host is matched whatever the port: write it like \"erp.example.com\"",
        ),
        (
            "credential = \"api-key\"",
            "gate.toml:4: `site.api_key_file`: missing, and credential = \"api-key\" needs it; name a file that holds `key:secret` of a \
             Frappe user",
        ),
        (
            "cors_origins = [\"*\"]",
            "gate.toml:6: `site.cors_origins`: `*` would let any web page use a token it gets hold of; name each origin: write it like \
             \"https://app.example.com\"",
        ),
        (
            "allow_sensitive = [\"Server Scrip\"]",
            "gate.toml:6: `site.allow_sensitive`: `Server Scrip` is not a sensitive doctype or function; write its full name, like \"Webhook\", or remove it: what is not sensitive needs no leave",
        ),
        (
            "request_headers = [\"X-Forwarded-For\"]",
            "gate.toml:6: `site.request_headers`: `X-Forwarded-For` says who or where a request is, which only the gate may say; remove it",
        ),
        (
            "\n[[site.route]]\npath = \"/api/method/x\"\nscope = \"read\"",
            "gate.toml:10: `site.route.path`: `/api/method/x` reaches into `/api/`, which goes through the policy; open functions by \
             [[rpc]] instead",
        ),
        (
            "\n[[site]]\nname = \"other\"\nhosts = [\"ERP.example.com\"]\nupstreams = [\"http://x\"]\ncredential = \"forward\"",
            "gate.toml:11: `site.hosts`: `erp.example.com` belongs to site `erp.example.com` already; a host leads to one site",
        ),
        // RPCs and scopes.
        (
            "\n[[rpc]]\nname = \"my_app.quote\"\neffect = \"reads\"",
            "gate.toml:11: `rpc.effect`: `reads` is not an effect; write \"read\", \"write\", \"delete\", or \"call\" for what is none of them",
        ),
        (
            "\n[[rpc]]\nname = \"a.b\"\neffect = \"read\"\n[[rpc]]\nname = \"a.b\"\neffect = \"write\"",
            "gate.toml:13: `rpc.name`: `a.b` is there twice; keep one of the two",
        ),
        (
            "\n[scope.read]\ntitle = \"x\"\ngrants = [\"read\"]",
            "gate.toml:9: `scope.read`: `read` cannot be the name of a scope; use lower-case letters, digits, `-`, `_` and `.`, and no \
             built-in scope",
        ),
        // Where it listens.
        (
            "\n[metrics]\nlisten = \"127.0.0.1:7000\"",
            "gate.toml:10: `metrics.listen`: `127.0.0.1:7000` is used by `[listen]` as well; give the metrics a port of their own",
        ),
        (
            "\n[audit]\noutput = \"file\"",
            "gate.toml:10: `audit.output`: is \"file\", but no file is named; write file = \"/var/log/scopegate/audit.log\"",
        ),
        (
            "\n[store]\nkind = \"redis\"",
            "gate.toml:9: `store.url`: missing; write url = \"redis://127.0.0.1:6379\", or url_file where it has a password",
        ),
        (
            "\n[upstream]\nfirst_byte_timeout = \"5m\"",
            "gate.toml:10: `upstream.first_byte_timeout`: is longer than `total_timeout`, and could never pass; raise `total_timeout` as well",
        ),
    ] {
        assert_eq!(refusal(row), told, "{row}");
    }
}

/// What must be refused and not merely for its wording: the row, and the key that is blamed.
#[test]
fn what_is_unsafe_or_senseless_is_refused() {
    for (row, key) in [
        ("name = \"twice\"", "gate.toml:6: `site.name`: is not TOML"),
        ("hosts = []", "`site.hosts`"),
        ("hosts = [\"https://erp.example.com\"]", "`site.hosts`"),
        ("hosts = [\"*.example.com\"]", "`site.hosts`"),
        ("hosts = [\"erp_1.example.com\"]", "`site.hosts`"),
        ("hosts = [\"erp..example.com\"]", "`site.hosts`"),
        ("hosts = [\"[::1\"]", "`site.hosts`"),
        ("hosts = [\"a.example.com\", \"A.example.com\"]", "`site.hosts`"),
        ("hosts = [\"erp.example.com\\r\\nX: y\"]", "`site.hosts`"),
        ("frappe_site = \"a b\"", "`site.frappe_site`"),
        ("frappe_site = \"../other\"", "`site.frappe_site`"),
        ("upstreams = []", "`site.upstreams`"),
        ("upstreams = [\"127.0.0.1:8000\"]", "`site.upstreams`"),
        ("upstreams = [\"http://127.0.0.1:8000/api\"]", "`site.upstreams`"),
        ("upstreams = [\"http://127.0.0.1:0\"]", "`site.upstreams`"),
        ("upstreams = [\"http://127.0.0.1:\"]", "`site.upstreams`"),
        ("upstreams = [\"http://127.0.0.1:+80\"]", "`site.upstreams`"),
        ("upstreams = [\"http://127.0.0.1:65536\"]", "`site.upstreams`"),
        ("upstreams = [\"http://[::1]8000\"]", "`site.upstreams`"),
        ("upstreams = [\"http://[fe80::1%25eth0]:80\"]", "`site.upstreams`"),
        ("upstreams = [\"http://\"]", "`site.upstreams`"),
        ("upstreams = [\"http://a\", \"http://A:80/\"]", "`site.upstreams`"),
        ("credential = \"bearer\"", "`site.credential`"),
        ("api_key = \"a:b\"", "`site.credential`"),
        ("credential = \"api-key\"\napi_key = \"nocolon\"", "`site.api_key`"),
        ("credential = \"api-key\"\napi_key = \"a:b\\r\\nX: y\"", "`site.api_key`"),
        ("credential = \"api-key\"\napi_key_file = \"/nonexistent/key\"", "`site.api_key_file`"),
        ("upstream_ca_file = \"/nonexistent/ca\"", "`site.upstream_ca_file`"),
        ("upstream_ca_file = \"/dev/null\"", "`site.upstream_ca_file`"),
        ("cors_origins = [\"null\"]", "`site.cors_origins`"),
        ("cors_origins = [\"https://*.example.com\"]", "`site.cors_origins`"),
        ("cors_origins = [\"https://app.example.com/\"]", "`site.cors_origins`"),
        ("cors_origins = [\"https://App.example.com\"]", "`site.cors_origins`"),
        ("cors_origins = [\"https://app.example.com:443\"]", "`site.cors_origins`"),
        ("cors_origins = [\"app.example.com\"]", "`site.cors_origins`"),
        ("cors_origins = [\"file://x\"]", "`site.cors_origins`"),
        ("allow_sensitive = [\"ToDo\"]", "`site.allow_sensitive`"),
        ("allow_sensitive = [\"*\"]", "`site.allow_sensitive`"),
        ("allow_sensitive = [\"__Auth\"]", "`site.allow_sensitive`"),
        ("allow_sensitive = [\"login\"]", "`site.allow_sensitive`"),
        ("allow_sensitive = [\"run_doc_method\"]", "`site.allow_sensitive`"),
        ("allow_sensitive = [\"my_app.api.quote\"]", "`site.allow_sensitive`"),
        ("request_headers = [\"Authorization\"]", "`site.request_headers`"),
        ("request_headers = [\"COOKIE\"]", "`site.request_headers`"),
        ("request_headers = [\"Host\"]", "`site.request_headers`"),
        ("request_headers = [\"X-Frappe-Site-Name\"]", "`site.request_headers`"),
        ("request_headers = [\"X_Warehouse\"]", "`site.request_headers`"),
        ("request_headers = [\"SCRIPT_NAME\"]", "`site.request_headers`"),
        ("request_headers = [\"Script-Name\"]", "`site.request_headers`"),
        ("request_headers = [\"X-HTTP-Method-Override\"]", "`site.request_headers`"),
        ("request_headers = [\"Transfer-Encoding\"]", "`site.request_headers`"),
        ("request_headers = [\"X-*\"]", "`site.request_headers`"),
        ("request_headers = [\"X-A\", \"x-a\"]", "`site.request_headers`"),
        ("\n[[site.route]]\npath = \"/\"\nscope = \"read\"", "`site.route.path`"),
        ("\n[[site.route]]\npath = \"/api\"\nscope = \"read\"", "`site.route.path`"),
        ("\n[[site.route]]\npath = \"/API/\"\nscope = \"read\"", "`site.route.path`"),
        ("\n[[site.route]]\npath = \"/oauth/token\"\nscope = \"read\"", "`site.route.path`"),
        ("\n[[site.route]]\npath = \"/.well-known/x\"\nscope = \"read\"", "`site.route.path`"),
        ("\n[[site.route]]\npath = \"/backups/\"\nscope = \"read\"", "`site.route.path`"),
        ("\n[[site.route]]\npath = \"/private/\"\nscope = \"read\"", "`site.route.path`"),
        ("\n[[site.route]]\npath = \"/files/../api/\"\nscope = \"read\"", "`site.route.path`"),
        ("\n[[site.route]]\npath = \"/%61pi/\"\nscope = \"read\"", "`site.route.path`"),
        ("\n[[site.route]]\npath = \"//api/\"\nscope = \"read\"", "`site.route.path`"),
        ("\n[[site.route]]\npath = \"files/\"\nscope = \"read\"", "`site.route.path`"),
        ("\n[[site.route]]\npath = \"/files/\"", "`site.route.scope`"),
        ("\n[[site.route]]\npath = \"/files/\"\nscope = \"crm\"", "`site.route.scope`"),
        ("\n[[site.route]]\npath = \"/files/\"\nscope = \"read:Sales Order\"", "`site.route.scope`"),
        ("\n[[site.route]]\npath = \"/files/\"\nscope = \"read\"\nmethods = [\"get\"]", "`site.route.methods`"),
        ("\n[[site.route]]\npath = \"/files/\"\nscope = \"read\"\nmethods = [\"CONNECT\"]", "`site.route.methods`"),
        ("\n[[site.route]]\npath = \"/files/\"\nscope = \"read\"\nmethods = []", "`site.route.methods`"),
        ("\n[[site]]\nname = \"ERP.example.com\"\nhosts = [\"b\"]\nupstreams = [\"http://x\"]\ncredential = \"forward\"", "`site.name`"),
        ("\n[[site]]\nname = \"a_b\"\nupstreams = [\"http://x\"]\ncredential = \"forward\"", "`site.hosts`"),
        ("\n[[site]]\nname = \"a:b\"\nupstreams = [\"http://x\"]\ncredential = \"forward\"", "`site.name`"),
        ("\n[[site]]\nupstreams = [\"http://x\"]\ncredential = \"forward\"", "`site.name`"),
        ("\n[[rpc]]\neffect = \"read\"", "`rpc.name`"),
        ("\n[[rpc]]\nname = \"a.b\"", "`rpc.effect`"),
        ("\n[[rpc]]\nname = \"a.*\"\neffect = \"read\"", "`rpc.name`"),
        ("\n[[rpc]]\nname = \"a.1b\"\neffect = \"read\"", "`rpc.name`"),
        ("\n[[rpc]]\nname = \"a/b\"\neffect = \"read\"", "`rpc.name`"),
        ("\n[[rpc]]\nname = \"run_doc_method\"\neffect = \"read\"", "`rpc.name`"),
        ("\n[[rpc]]\nname = \"login\"\neffect = \"call\"", "`rpc.name`"),
        ("\n[[rpc]]\nname = \"frappe.handler.run_doc_method\"\neffect = \"read\"", "`rpc.name`"),
        ("\n[[rpc]]\nname = \"frappe.integrations.oauth2.approve\"\neffect = \"call\"", "`rpc.name`"),
        ("\n[[rpc]]\nname = \"a.b\"\neffect = \"read\"\nmethods = [\"HEAD\"]", "`rpc.methods`"),
        ("\n[[rpc]]\nname = \"a.b\"\neffect = \"read\"\nmethods = [\"GET\", \"GET\"]", "`rpc.methods`"),
        ("\n[[rpc]]\nname = \"a.b\"\neffect = \"read\"\ndoctype = \"doc.doctype\"", "`rpc.doctype`"),
        ("\n[[rpc]]\nname = \"a.b\"\neffect = \"read\"\nsites = [\"erp.exmple.com\"]", "`rpc.sites`"),
        ("\n[rpc]\nname = \"a.b\"", "`rpc`"),
        ("\n[scope.crm]\ngrants = [\"read\"]", "`scope.crm.title`"),
        ("\n[scope.crm]\ntitle = \"x\"", "`scope.crm.grants`"),
        ("\n[scope.crm]\ntitle = \"x\"\ngrants = []", "`scope.crm.grants`"),
        ("\n[scope.crm]\ntitle = \"x\"\ngrants = [\"sales\"]", "`scope.crm.grants`"),
        ("\n[scope.crm]\ntitle = \"x\"\ngrants = [\"raed:lead\"]", "`scope.crm.grants`"),
        ("\n[scope.\"read:lead\"]\ntitle = \"x\"\ngrants = [\"read\"]", "`scope.read:lead`"),
        ("\n[scope.openid]\ntitle = \"x\"\ngrants = [\"read\"]", "`scope.openid`"),
        ("\n[scope.Crm]\ntitle = \"x\"\ngrants = [\"read\"]", "`scope.Crm`"),
        ("\n[scope]\ncrm = 1", "`scope.crm`"),
        ("\n[tls]\nmin_version = \"1.1\"", "`tls.min_version`"),
        ("\n[tls]\n[[tls.certificate]]\ncert_file = \"x\"", "`tls.certificate.key_file`"),
        ("\n[store]\nkind = \"postgres\"", "`store.kind`"),
        ("\n[store]\nurl = \"redis://h\"", "`store.kind`"),
        ("\n[store]\nkind = \"redis\"\nurl = \"http://h\"", "`store.url`"),
        ("\n[store]\nkind = \"redis\"\nurl_file = \"/dev/null\"", "`store.url_file`"),
        ("\n[store]\nkey_prefix = \"a:b\"", "`store.key_prefix`"),
        ("\n[store]\nkey_prefix = \"{a}\"", "`store.key_prefix`"),
        ("\n[store]\nkey_prefix = \"\"", "`store.key_prefix`"),
        ("\n[store]\nlookup_timeout = \"1m\"", "`store.lookup_timeout`"),
        ("\n[store]\nrevocation_bound = \"0s\"", "`store.revocation_bound`"),
        ("\n[store]\nencryption_key = \"short\"", "`store.encryption_key`"),
        ("\n[store]\npath = \"\"", "`store.path`"),
        ("\n[audit]\nfile = \"x\"", "`audit.file`"),
        ("\n[audit]\noutput = \"kafka\"", "`audit.output`"),
        ("\n[audit]\nsocket = \"/dev/log\"", "`audit.socket`"),
        ("\n[audit]\nfacility = \"local0\"", "`audit.facility`"),
        ("\n[audit]\noutput = \"syslog\"\nfacility = \"kern\"", "`audit.facility`"),
        ("\n[audit]\noutput = \"syslog\"\nfile = \"x\"", "`audit.file`"),
        ("\n[audit]\non_full = \"block\"", "`audit.on_full`"),
        ("\n[audit]\noutput = \"off\"\non_full = \"refuse\"", "`audit.on_full`"),
        ("\n[audit]\nqueue_bytes_max = \"1KiB\"", "`audit.queue_bytes_max`"),
        ("\n[audit]\nchain_key = \"short\"", "`audit.chain_key`"),
        ("\n[audit]\nchain_key_file = \"/nonexistent\"", "`audit.chain_key_file`"),
        ("\n[metrics]\nlisten = \"localhost:9464\"", "`metrics.listen`"),
        (
            "\n[admin]\nsocket = \"/run/0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789.sock\"",
            "`admin.socket`",
        ),
        ("\n[log]\nlevel = \"verbose\"", "`log.level`"),
        ("\n[log]\nformat = \"xml\"", "`log.format`"),
        ("\n[upstream]\ncheck_path = \"/api/method/ping?cmd=x\"", "`upstream.check_path`"),
        ("\n[upstream]\ncheck_interval = \"1ms\"", "`upstream.check_interval`"),
        ("\n[upstream]\nfailures_max = 0", "`upstream.failures_max`"),
        ("\n[site.upstream]\ntotal_timeout = \"1s\"", "`site.upstream.first_byte_timeout`"),
        ("\n[bounds]\ntarget_bytes_max = \"32KiB\"\nheader_bytes_max = \"8KiB\"", "`bounds.target_bytes_max`"),
        ("\n[bounds]\nconnections_max = 99999999999999999999999", "`bounds.connections_max`"),
        ("\n[rate]\nclient = 600", "`rate.client`"),
        ("\n[rate]\nclient_burst = 0", "`rate.client_burst`"),
    ] {
        let told = refusal(row);
        assert!(told.contains(key), "{row}\n{told}");
    }
}

#[test]
fn listeners_are_checked() {
    let site = "[[site]]\nname = \"a\"\nupstreams = [\"http://x\"]\ncredential = \"forward\"\n";
    for (listen, told) in [
        (
            "",
            "gate.toml:1: `tls.certificate`: missing, and `listen.https` needs one; write [[tls.certificate]] with cert_file and key_file, or \
             listen.https = [] behind a proxy that ends TLS",
        ),
        (
            "listen.https = []\n",
            "gate.toml:1: `listen.https`: nothing serves requests: `https` and `behind_proxy` are both empty; write https = [\"0.0.0.0:8443\"]",
        ),
        (
            "listen.https = []\nlisten.behind_proxy = [\"127.0.0.1:1\"]\n",
            "gate.toml:2: `listen.behind_proxy`: needs to know whom to believe; write trusted_proxies = [\"10.0.0.5\"] with the proxy's \
             address",
        ),
        (
            "listen.https = []\nlisten.behind_proxy = [\"127.0.0.1:1\"]\nlisten.trusted_proxies = [\"0.0.0.0/0\"]\n",
            "gate.toml:3: `listen.trusted_proxies`: `0.0.0.0/0` lets every client claim any address; write the proxy's own, like \"10.0.0.5\"",
        ),
        (
            "listen.https = []\nlisten.behind_proxy = [\"127.0.0.1:8080\"]\nlisten.trusted_proxies = [\"::1\"]\n",
            "gate.toml:2: `listen.behind_proxy`: `127.0.0.1:8080` is used twice; give each listener a port of its own",
        ),
        (
            "listen.https = []\nlisten.behind_proxy = [\"localhost:8080\"]\nlisten.trusted_proxies = [\"::1\"]\n",
            "gate.toml:2: `listen.behind_proxy`: `localhost:8080` is not an address and port; write it like \"0.0.0.0:8443\", \
             \"127.0.0.1:8443\" or \"[::]:8443\" (no host names)",
        ),
    ] {
        let error = read(&format!("{listen}{site}")).map(|_| ()).expect_err("the row is wrong").to_string();
        assert!(error.lines().any(|line| line == told), "{listen}\n{error}");
    }
    let both = "listen.https = []\nlisten.behind_proxy = [\"0.0.0.0:81\", \"[::]:81\", \"127.0.0.1:0\", \"127.0.0.1:0\"]\n\
                listen.trusted_proxies = [\"10.0.0.7/8\"]\n";
    let (config, _) = read(&format!("{both}{site}")).expect("IPv6 beside IPv4, and free ports, are not the same port");
    assert_eq!(config.listen.trusted_proxies, ["10.0.0.0/8".parse().expect("a network")]);
    assert!(config.listen.workers >= 1);
}

#[test]
fn all_mistakes_are_told_at_once_in_the_order_of_their_lines() {
    let error = read("[log]\nlevel = \"loud\"\n[store]\nkind = \"mysql\"\n[listen]\nhttps = []\nhtpps = []\n").expect_err("four mistakes");
    let lines: Vec<_> = error.problems().iter().map(|line| line.split('`').nth(1).unwrap_or_default()).collect();
    assert_eq!(lines, ["site", "log.level", "store.kind", "listen.https", "listen.htpps"]);
}

#[test]
fn what_is_not_toml_is_placed() {
    for (text, told) in [
        ("[log]\nlevel = info\n", "gate.toml:2: `log.level`: is not TOML: "),
        ("[bounds]\nidle_timeout = 10s\n", "gate.toml:2: `bounds.idle_timeout`: is not TOML: "),
        ("[log]\nlevel = \"info\nformat = \"text\"\n", "gate.toml:2: `log.level`: is not TOML: "),
        ("[log\nlevel = \"info\"\n", "gate.toml:1: `log`: is not TOML: "),
        ("[log]\nlevel = \"info\"\nlevel = \"warn\"\n", "gate.toml:3: `log.level`: is not TOML: duplicate key; keep one of the two"),
        ("[[site]]\napi_key = \"k:s3cret\n", "gate.toml:2: `site.api_key`: is not TOML: "),
    ] {
        let error = read(text).map(|_| ()).expect_err("not TOML").to_string();
        assert!(error.starts_with(told), "{text}\n{error}");
        assert!(!error.contains("s3cret"), "{error}");
        assert!(error.contains("; "), "no remedy: {error}");
    }
}

#[test]
fn the_environment_goes_over_the_file() {
    let text = format!("{BASE}{REST}[log]\nlevel = \"warn\"\n");
    let (config, _) = parse(
        &text,
        "gate.toml",
        env(&[
            ("PATH", "/bin"),
            ("SCOPEGATE_CONFIG", "not ours"),
            ("SCOPEGATE__LOG__LEVEL", "debug"),
            ("SCOPEGATE__TLS__MIN_VERSION", "1.3"),
            ("SCOPEGATE__BOUNDS__IDLE_TIMEOUT", "30s"),
            ("SCOPEGATE__BOUNDS__CONNECTIONS_MAX", "77"),
            ("SCOPEGATE__LISTEN__BEHIND_PROXY", "[\"127.0.0.1:7001\"]"),
            ("SCOPEGATE__STORE", "{ path = \"a\", key_prefix = \"b\" }"),
            ("SCOPEGATE__STORE__PATH", "/var/tmp/c"),
        ]),
    )
    .expect("every variable is right");
    assert_eq!(config.log.level, tracing::Level::DEBUG);
    assert_eq!(config.tls.min_version, TlsVersion::V1_3);
    assert_eq!(config.bounds.idle_timeout, Duration::from_secs(30));
    assert_eq!(config.bounds.connections_max, 77);
    assert_eq!(config.listen.behind_proxy, [SocketAddr::from(([127, 0, 0, 1], 7001))]);
    assert!(matches!(&config.store.backend, Backend::Embedded { path } if path == Path::new("/var/tmp/c")));
}

#[test]
fn a_wrong_variable_is_named() {
    for (name, value, told) in [
        (
            "SCOPEGATE__LOG__LEVEL",
            "loud",
            "environment variable SCOPEGATE__LOG__LEVEL: `log.level`: `loud` is not a level; write \"error\", \"warn\", \"info\", \"debug\" \
             or \"trace\"",
        ),
        (
            "SCOPEGATE__LOG__LEVLE",
            "info",
            "environment variable SCOPEGATE__LOG__LEVLE: `log.levle`: unknown key; did you mean SCOPEGATE__LOG__LEVEL?",
        ),
        ("SCOPEGATE__LGO__LEVEL", "info", "environment variable SCOPEGATE__LGO__LEVEL: `lgo`: unknown key; did you mean SCOPEGATE__LOG?"),
        (
            "SCOPEGATE__LOG__",
            "info",
            "environment variable SCOPEGATE__LOG__: `log.`: names no key; write it like SCOPEGATE__LOG__LEVEL for `level` in `[log]`",
        ),
        (
            "SCOPEGATE__SITE__NAME",
            "x",
            "environment variable SCOPEGATE__SITE__NAME: `site.name`: a variable cannot reach into a list; set the whole list, or write it in \
             the file",
        ),
        (
            "SCOPEGATE__LISTEN__HTTPS",
            "0.0.0.0:443",
            "environment variable SCOPEGATE__LISTEN__HTTPS: `listen.https`: is text; write a list of texts, like [\"a\", \"b\"]",
        ),
    ] {
        let error = parse(&format!("{BASE}{REST}"), "gate.toml", env(&[(name, value)])).map(|_| ()).expect_err(name).to_string();
        assert_eq!(error, told);
    }
}

#[test]
fn a_secret_is_never_shown() {
    let secret = "hunter2hunter2";
    for row in [
        format!("api_key = \"{secret}\""),
        format!("credential = \"api-key\"\napi_key = [\"{secret}\"]"),
        format!("upstreams = [\"http://user:{secret}@h\"]"),
        format!("\n[store]\nkind = \"redis\"\nurl = \"redis://:{secret}@h:x\""),
        format!("\n[store]\nkind = \"redis\"\nurl = \"rediss://:{secret}@h/#insecure\""),
        format!("\n[store]\nencryption_key = \"{secret}\""),
    ] {
        let told = refusal(&row);
        assert!(told.starts_with("gate.toml:"), "{row}\n{told}");
        assert!(!told.contains(secret), "{told}");
    }
    let row = format!("credential = \"api-key\"\napi_key = \"key:{secret}\"\n[store]\nkind = \"redis\"\nurl = \"redis://:{secret}@h\"");
    let (config, warnings) = with(&row).expect("right");
    assert!(!format!("{config:?}{warnings:?}").contains(secret));
    assert!(matches!(&config.sites[0].credential, Credential::ApiKey(key) if key.reveal().ends_with(secret)));
    let error = parse(&format!("{BASE}{REST}"), "gate.toml", env(&[("SCOPEGATE__STORE__ENCRYPTION_KEY", secret)])).expect_err("too short");
    assert!(!format!("{error}{error:?}").contains(secret));
}

#[test]
fn secrets_come_from_files() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = |name: &str, text: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, text).expect("a file");
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("its mode");
        path.display().to_string()
    };
    let (key, sealing, empty) = (file("key", "  k:s \nsecond line\n"), file("sealing", &"0f".repeat(32)), file("empty", "\nk:s\n"));
    let row = format!("credential = \"api-key\"\napi_key_file = \"{key}\"\n[store]\nencryption_key_file = \"{sealing}\"");
    let (config, warnings) = with(&row).expect("right");
    assert!(matches!(&config.sites[0].credential, Credential::ApiKey(key) if key.reveal() == "k:s"));
    assert_eq!(config.encryption_key.map(|key| key.reveal().to_owned()), Some("0f".repeat(32)));
    assert_eq!(warnings, []);

    let told = refusal(&format!("credential = \"api-key\"\napi_key_file = \"{empty}\""));
    assert!(told.contains("`site.api_key_file`: the first line of"), "{told}");
    let told = refusal(&format!("credential = \"api-key\"\napi_key = \"k:s\"\napi_key_file = \"{key}\""));
    assert!(told.contains("`site.api_key_file`: is set beside `api_key`"), "{told}");

    std::fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o644)).expect("its mode");
    let (_, warnings) = with(&row).expect("still right");
    let told = format!("gate.toml:7: `site.api_key_file`: `{key}` can be read by every user of this machine; run `chmod o-rwx {key}`");
    assert_eq!(warnings, [Warning(told)]);
}

#[test]
fn what_is_unwise_is_a_warning() {
    for (row, key) in [
        ("credential = \"api-key\"\napi_key = \"k:s\"", "gate.toml:7: `site.api_key`"),
        ("allow_sensitive = [\"Webhook\"]", "gate.toml:6: `site.allow_sensitive`"),
        ("\n[metrics]\nlisten = \"0.0.0.0:9464\"", "gate.toml:10: `metrics.listen`"),
        ("allow_sensitive = [\"frappe.client.get_password\"]", "gate.toml:6: `site.allow_sensitive`"),
        ("\n[audit]\noutput = \"off\"", "gate.toml:10: `audit.output`"),
        ("\n[store]\nkind = \"redis\"\nurl = \"redis://redis:6379\"", "gate.toml:11: `store.url`"),
    ] {
        let (_, warnings) = with(row).unwrap_or_else(|error| panic!("{row}\n{error}"));
        let told: Vec<_> = warnings.iter().map(ToString::to_string).collect();
        assert_eq!(told.len(), 1, "{row}\n{told:?}");
        assert!(told[0].starts_with(key), "{row}\n{told:?}");
    }
}

#[test]
fn what_is_right_is_read_whole() {
    let row = "hosts = [\"ERP.Example.com\", \"[::1]\", \"10.0.0.1\"]
upstreams = [\"http://[::1]:8000\", \"https://Frappe.Internal\"]
request_headers = [\"X-Warehouse\"]
cors_origins = [\"https://app.example.com\", \"http://localhost:5173\"]
[site.upstream]
total_timeout = \"5m\"
[[site.route]]
path = \"/files/\"
scope = \"crm\"
[upstream]
check_interval = \"off\"
[rate]
client = \"10/1s\"
address = \"off\"
[audit]
output = \"file\"
file = \"a.log\"
[metrics]
listen = \"off\"
[[rpc]]
name = \"my_app.api.quote\"
effect = \"write\"
document = \"doc\"
sites = [\"erp.example.com\"]
[scope.crm]
title = \"Leads\"
grants = [\"read:lead\", \"write:lead\"]";
    let (config, warnings) = with(row).expect("right");
    assert_eq!(warnings, []);
    let site = &config.sites[0];
    assert_eq!(site.hosts.iter().map(|host| &**host).collect::<Vec<_>>(), ["erp.example.com", "[::1]", "10.0.0.1"]);
    assert_eq!(&*site.frappe_site, "erp.example.com");
    let servers: Vec<_> = site.servers.iter().map(|server| (server.tls, server.host.as_str(), server.port)).collect();
    assert_eq!(servers, [(false, "::1", 8000), (true, "frappe.internal", 443)]);
    assert_eq!(site.upstream.total_timeout, Duration::from_secs(300));
    assert_eq!(site.upstream.check_interval, None, "what the site does not say, [upstream] does");
    assert_eq!(site.routes[0].methods, [Method::GET, Method::HEAD]);
    assert_eq!(site.request_headers, ["x-warehouse"]);
    assert_eq!(config.rates.client, Some(Rate { requests: 10, period: Duration::from_secs(1), burst: 10 }), "a burst within the rate");
    assert_eq!(config.rates.address, None);
    assert_eq!(config.audit.output, Output::File("a.log".into()));
    assert_eq!(config.metrics.listen, None);
    assert_eq!((config.rpcs[0].effect, &config.rpcs[0].methods[..]), (Effect::Write, &[Method::POST, Method::PUT][..]));
    assert_eq!(config.scopes[0].grants.as_str(), "read:lead write:lead");
}

#[test]
fn a_file_that_cannot_be_read_says_so() {
    let directory = tempfile::tempdir().expect("a directory");
    let missing = directory.path().join("missing.toml");
    let error = load(&missing, std::iter::empty()).map(|_| ()).expect_err("no file").to_string();
    assert!(error.starts_with(&format!("{}: cannot be read: ", missing.display())), "{error}");
    assert!(error.ends_with("name another file with --config, or start from config/minimal.toml"), "{error}");

    let latin = directory.path().join("latin.toml");
    std::fs::write(&latin, b"# fine\n# M\xfcnchen\n").expect("a file");
    let error = load(&latin, std::iter::empty()).map(|_| ()).expect_err("not UTF-8").to_string();
    assert_eq!(error, format!("{}:2: is not UTF-8; save the file as UTF-8", latin.display()));

    let large = directory.path().join("large.toml");
    std::fs::write(&large, vec![b'\n'; 2 << 20]).expect("a file");
    assert!(load(&large, std::iter::empty()).map(|_| ()).expect_err("too large").to_string().contains("is larger than 1MiB"));
}

proptest::proptest! {
    /// Whatever is done to a line of a good file, the answer is a configuration or a list of problems, each in its form.
    #[test]
    fn no_text_ends_the_process(line in 0_usize..200, put in "[ -~\n]{0,40}|[a-z_]{1,12} = (-?[0-9]{1,30}|\"[ -~&&[^\"\\\\]]{0,30}\"|\\[\\]|\\{\\}|true)") {
        let full = include_str!("../../config/scopegate.toml");
        let mut lines: Vec<&str> = full.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
        let at = line % lines.len();
        lines[at] = &put;
        if let Err(error) = read(&lines.join("\n")) {
            proptest::prop_assert!(!error.problems().is_empty());
            for problem in error.problems() {
                proptest::prop_assert!(problem.starts_with("gate.toml:"), "{}", problem);
            }
        }
    }
}
