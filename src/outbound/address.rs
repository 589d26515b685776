//! Which addresses a stranger may make the gate connect to: those that anyone on the Internet reaches, and no other.
//!
//! A URL from a stranger is a way to have the gate knock at doors that only the gate can reach (SSRF): itself, its neighbours, the
//! cloud's metadata service. The rule says what is public rather than what is private, as far as that can be said: of IPv6, only
//! 2000::/3 is assigned, so mapped (`::ffff:127.0.0.1`), compatible (`::127.0.0.1`), unique-local and link-local addresses fall out
//! without being named. The rest is RFC 6890 and the two IANA registries of special-purpose addresses that it founded.
//!
//! What nobody can see from an address: a NAT64 prefix that an operator took from their own space (RFC 6052 section 2.2). Such a
//! network's translator must not lead inwards.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{Ipv4Net, Ipv6Net};

/// Whether the address is globally reachable unicast.
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) if NAT64.contains(&address) => is_public_v4(embedded(address)),
        IpAddr::V6(address) => UNICAST_V6.contains(&address) && !SPECIAL_V6.iter().any(|net| net.contains(&address)),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    !SPECIAL_V4.iter().any(|net| net.contains(&address))
}

/// The last 32 bits.
fn embedded(address: Ipv6Addr) -> Ipv4Addr {
    let [.., a, b, c, d] = address.octets();
    Ipv4Addr::new(a, b, c, d)
}

const SPECIAL_V4: [Ipv4Net; 16] = [
    v4(0, 0, 0, 0, 8),        // this host on this network
    v4(10, 0, 0, 0, 8),       // private
    v4(100, 64, 0, 0, 10),    // shared by carriers; some clouds keep their metadata in it
    v4(127, 0, 0, 0, 8),      // loopback
    v4(168, 63, 129, 16, 32), // public by number, but on Azure the host's own agent
    v4(169, 254, 0, 0, 16),   // link-local, with the metadata of most clouds
    v4(172, 16, 0, 0, 12),    // private
    v4(192, 0, 0, 0, 24),     // protocol assignments, and Oracle's metadata
    v4(192, 0, 2, 0, 24),     // documentation
    v4(192, 88, 99, 0, 24),   // 6to4 relays, withdrawn
    v4(192, 168, 0, 0, 16),   // private
    v4(198, 18, 0, 0, 15),    // benchmarks
    v4(198, 51, 100, 0, 24),  // documentation
    v4(203, 0, 113, 0, 24),   // documentation
    v4(224, 0, 0, 0, 4),      // multicast
    v4(240, 0, 0, 0, 4),      // reserved, and broadcast
];

/// Whoever has IPv6 alone sees the IPv4 Internet through this prefix (RFC 6052), so what it leads to is what counts.
const NAT64: Ipv6Net = v6([0x64, 0xff9b, 0, 0, 0, 0, 0, 0], 96);

const UNICAST_V6: Ipv6Net = v6([0x2000, 0, 0, 0, 0, 0, 0, 0], 3);

/// What of `UNICAST_V6` is not for everyone.
const SPECIAL_V6: [Ipv6Net; 4] = [
    v6([0x2001, 0, 0, 0, 0, 0, 0, 0], 23),     // protocol assignments: Teredo, benchmarks, ORCHID
    v6([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0], 32), // documentation
    v6([0x2002, 0, 0, 0, 0, 0, 0, 0], 16),     // 6to4, which wraps any IPv4 address and serves nobody any more (RFC 7526)
    v6([0x3fff, 0, 0, 0, 0, 0, 0, 0], 20),     // documentation
];

const fn v4(a: u8, b: u8, c: u8, d: u8, prefix: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), prefix)
}

const fn v6(s: [u16; 8], prefix: u8) -> Ipv6Net {
    Ipv6Net::new_assert(Ipv6Addr::new(s[0], s[1], s[2], s[3], s[4], s[5], s[6], s[7]), prefix)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_everyone_reaches() {
        for text in [
            "1.1.1.1",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "172.15.255.255",
            "172.32.0.0",
            "192.0.1.0",
            "192.167.255.255",
            "198.17.255.255",
            "198.20.0.0",
            "223.255.255.255",
            "168.63.129.15",
            "2001:200::1",
            "2606:4700:4700::1111",
            "2a00:1450:4001:80b::200e",
            "64:ff9b::808:808",
        ] {
            assert!(is_public(text.parse().expect(text)), "{text}");
        }
    }

    #[test]
    fn what_only_some_reach() {
        for (text, why) in [
            ("0.0.0.0", "unspecified, which connects to this host"),
            ("0.1.2.3", "this network"),
            ("10.0.0.1", "private"),
            ("10.255.255.255", "private"),
            ("100.64.0.1", "carriers"),
            ("100.100.100.200", "metadata at Alibaba"),
            ("100.127.255.255", "carriers"),
            ("127.0.0.1", "loopback"),
            ("127.255.255.254", "loopback"),
            ("168.63.129.16", "the host agent at Azure"),
            ("169.254.169.254", "metadata"),
            ("169.254.0.1", "link-local"),
            ("172.16.0.1", "private"),
            ("172.31.255.255", "private"),
            ("192.0.0.192", "metadata at Oracle"),
            ("192.0.2.1", "documentation"),
            ("192.88.99.1", "6to4 relay"),
            ("192.168.1.1", "private"),
            ("198.18.0.1", "benchmarks"),
            ("198.19.255.255", "benchmarks"),
            ("198.51.100.1", "documentation"),
            ("203.0.113.1", "documentation"),
            ("224.0.0.1", "multicast"),
            ("239.255.255.255", "multicast"),
            ("240.0.0.1", "reserved"),
            ("255.255.255.255", "broadcast"),
            ("::", "unspecified"),
            ("::1", "loopback"),
            ("::7f00:1", "loopback, compatible"),
            ("::808:808", "compatible, withdrawn"),
            ("::ffff:127.0.0.1", "loopback, mapped"),
            ("::ffff:169.254.169.254", "metadata, mapped"),
            ("::ffff:8.8.8.8", "mapped: no name service says this"),
            ("::ffff:0:10.0.0.1", "translated"),
            ("64:ff9b::7f00:1", "loopback through NAT64"),
            ("64:ff9b::a9fe:a9fe", "metadata through NAT64"),
            ("64:ff9b::a00:1", "private through NAT64"),
            ("64:ff9b:0:1::808:808", "beside the NAT64 prefix"),
            ("64:ff9b:1::808:808", "a network's own NAT64"),
            ("100::1", "discarded"),
            ("2001::1", "Teredo"),
            ("2001:2::1", "benchmarks"),
            ("2001:20::1", "ORCHID"),
            ("2001:1ff:ffff::1", "protocol assignments"),
            ("2001:db8::1", "documentation"),
            ("2002:7f00:1::", "loopback in 6to4"),
            ("2002:a9fe:a9fe::1", "metadata in 6to4"),
            ("2002:808:808::1", "6to4"),
            ("3fff::1", "documentation"),
            ("3fff:fff:ffff::1", "documentation"),
            ("4000::1", "not assigned"),
            ("5f00::1", "segment routing"),
            ("fc00::1", "unique-local"),
            ("fd00:ec2::254", "metadata at Amazon"),
            ("fd20:ce::254", "metadata at Google"),
            ("fe80::1", "link-local"),
            ("fec0::1", "site-local"),
            ("ff02::1", "multicast"),
            ("ff0e::1", "multicast"),
        ] {
            assert!(!is_public(text.parse().expect(text)), "{text}: {why}");
        }
    }
}
