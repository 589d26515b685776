//! Which key lies where in a Cluster: the slot of a key, the key of a command, and the map of the slots as nodes tell it.

use redis::{Arg, Cmd, Value};

use crate::store::servers::Host;

/// Slots of a Cluster, as its specification has them.
pub const SLOTS: u16 = 16_384;

/// First and last slot, and the master that has them.
pub type Range = (u16, u16, Host);

/// CRC16 (XMODEM) of the key, or of what stands between its first `{` and the next `}`, where that is anything.
pub fn slot(key: &[u8]) -> u16 {
    let tag = key.iter().position(|byte| *byte == b'{').and_then(|open| {
        let rest = &key[open + 1..];
        rest.iter().position(|byte| *byte == b'}').map(|close| &rest[..close]).filter(|tag| !tag.is_empty())
    });
    crc16(tag.unwrap_or(key)) % SLOTS
}

fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, byte| {
        (0..8).fold(crc ^ (u16::from(*byte) << 8), |crc, _| if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 })
    })
}

/// The key of a command, by which it finds its node; `None` for one that has none and may go to any.
pub fn key(command: &Cmd) -> Option<&[u8]> {
    let mut words = command.args_iter().filter_map(|word| match word {
        Arg::Simple(word) => Some(word),
        _ => None,
    });
    let name = words.next()?.to_ascii_uppercase();
    match &*name {
        b"PING" | b"INFO" | b"ROLE" | b"SCAN" | b"WAIT" | b"CLUSTER" | b"TIME" | b"DBSIZE" => None,
        // Its script, the number of keys, and then they.
        b"EVAL" | b"EVALSHA" | b"EVAL_RO" | b"EVALSHA_RO" => words.nth(2),
        b"XREAD" => words.skip_while(|word| !word.eq_ignore_ascii_case(b"STREAMS")).nth(1),
        b"XINFO" | b"OBJECT" => words.nth(1),
        _ => words.next(),
    }
}

/// Reads `CLUSTER SLOTS`. A node that does not know its own address stands as `asked`. `None` for anything else than such a map.
pub fn read(map: &Value, asked: &Host) -> Option<Vec<Range>> {
    let mut ranges = Vec::new();
    for range in list(map)? {
        let [first, last, master, ..] = list(range)? else { return None };
        let [name, port, ..] = list(master)? else { return None };
        // As a wide number first: the crate cuts off what does not fit.
        let number = |value: &Value| redis::from_redis_value_ref::<i64>(value).ok().and_then(|number| u16::try_from(number).ok());
        let name = redis::from_redis_value_ref::<Option<String>>(name).ok()?.filter(|name| !name.is_empty() && name != "?");
        let host = Host { name: name.map_or_else(|| asked.name.clone(), Into::into), port: number(port)? };
        let (first, last) = (number(first)?, number(last)?);
        if first > last || last >= SLOTS || host.port == 0 {
            return None;
        }
        ranges.push((first, last, host));
    }
    ranges.sort_unstable();
    Some(ranges)
}

/// The first slot that nobody has.
pub fn gap(ranges: &[Range]) -> Option<u16> {
    let mut next = 0;
    for (first, last, _) in ranges {
        if *first > next {
            break;
        }
        next = next.max(last + 1);
    }
    (next < SLOTS).then_some(next)
}

fn list(value: &Value) -> Option<&[Value]> {
    match value {
        Value::Array(items) => Some(items),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slot_of_a_key_is_that_of_the_specification() {
        assert_eq!(crc16(b"123456789"), 0x31c3);
        for (key, alike) in [
            ("{user1000}.following", "user1000"),
            ("sg:{erp}:notbefore", "sg:{erp}:revocations"),
            ("foo{{bar}}zap", "{bar"),
            ("foo{bar}{zap}", "bar"),
        ] {
            assert_eq!(slot(key.as_bytes()), slot(alike.as_bytes()), "{key}");
        }
        for (key, number) in [("123456789", 12_739), ("foo", 12_182), ("", 0)] {
            assert_eq!(slot(key.as_bytes()), number, "{key}");
        }
        for (key, other) in [("foo{}{bar}", "bar"), ("foo{bar", "bar"), ("foo}bar{", "bar")] {
            assert_ne!(slot(key.as_bytes()), slot(other.as_bytes()), "{key}");
        }
    }

    #[test]
    fn a_command_goes_by_its_key() {
        for (words, found) in [
            ("GET a", Some("a")),
            ("hmget a b c", Some("a")),
            ("EVAL script 1 a b", Some("a")),
            ("EVAL script 0", None),
            ("XRANGE a - +", Some("a")),
            ("XADD a MAXLEN ~ 10000 * mark client:x", Some("a")),
            ("XREAD COUNT 10 BLOCK 5 STREAMS a 0", Some("a")),
            ("XINFO STREAM a", Some("a")),
            ("SCAN 0 MATCH sg:*", None),
            ("PING", None),
            ("INFO server", None),
        ] {
            let mut words = words.split(' ');
            let mut command = redis::cmd(words.next().unwrap());
            command.arg(words.collect::<Vec<_>>());
            assert_eq!(key(&command), found.map(str::as_bytes), "{found:?}");
        }
    }

    fn node(name: Option<&str>, port: i64) -> Value {
        Value::Array(vec![name.map_or(Value::Nil, |name| Value::BulkString(name.into())), Value::Int(port), Value::BulkString("id".into())])
    }

    fn range(first: i64, last: i64, node: Value) -> Value {
        Value::Array(vec![Value::Int(first), Value::Int(last), node])
    }

    #[test]
    fn a_map_is_read_or_it_is_none() {
        let asked = Host { name: "seed".into(), port: 7000 };
        let host = |name: &str, port| Host { name: name.into(), port };
        let map = Value::Array(vec![range(8000, 16_383, node(Some("10.0.0.2"), 6379)), range(0, 7999, node(Some("10.0.0.1"), 6379))]);
        let read_map = read(&map, &asked).unwrap();
        assert_eq!(read_map, [(0, 7999, host("10.0.0.1", 6379)), (8000, 16_383, host("10.0.0.2", 6379))]);
        assert_eq!(gap(&read_map), None);
        for (named, name) in [(Some(""), "seed"), (None, "seed"), (Some("?"), "seed"), (Some("::1"), "::1")] {
            assert_eq!(read(&Value::Array(vec![range(1, 1, node(named, 7))]), &asked), Some(vec![(1, 1, host(name, 7))]), "{named:?}");
        }
        for bad in [
            Value::Nil,
            Value::Int(1),
            Value::Array(vec![Value::Int(1)]),
            Value::Array(vec![range(2, 1, node(Some("h"), 1))]),
            Value::Array(vec![range(0, 16_384, node(Some("h"), 1))]),
            Value::Array(vec![range(-1, 5, node(Some("h"), 1))]),
            Value::Array(vec![range(0, 5, node(Some("h"), 0))]),
            Value::Array(vec![range(0, 5, node(Some("h"), 70_000))]),
            Value::Array(vec![range(0, 5, Value::Nil)]),
            Value::Array(vec![Value::Array(vec![Value::Int(0), Value::Int(5)])]),
        ] {
            assert_eq!(read(&bad, &asked), None, "{bad:?}");
        }
    }

    #[test]
    fn a_slot_that_nobody_has_is_found() {
        let host = || Host { name: "h".into(), port: 1 };
        for (ranges, first) in [
            (vec![], Some(0)),
            (vec![(1, 16_383, host())], Some(0)),
            (vec![(0, 5, host()), (7, 16_383, host())], Some(6)),
            (vec![(0, 16_382, host())], Some(16_383)),
            (vec![(0, 5, host()), (6, 16_383, host())], None),
        ] {
            assert_eq!(gap(&ranges), first, "{ranges:?}");
        }
    }
}
