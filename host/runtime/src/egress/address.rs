//! Which addresses are public, and which are out of reach without a granted network.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use animus_core::{Denial, authority::Authority, grant::Capability};

/// Checks that the plugin may connect to `ip`: it is public, or the operator granted its network.
///
/// An address that carries an IPv4 address inside (mapped, NAT64, 6to4 …) needs a grant for itself, and what it carries
/// must be within reach too: a translator's network is not a way round the networks behind it.
pub(super) fn check(authority: &Authority, ip: IpAddr) -> Result<(), Denial> {
    if is_public(ip) {
        return Ok(());
    }
    authority.check(&Capability::Network(ip))?;
    match carried(ip) {
        Some(inner) if !is_public(inner.into()) => authority.check(&Capability::Network(inner.into())),
        _ => Ok(()),
    }
}

/// Whether `ip` is an address of the public internet that belongs to one host.
pub(super) fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => is_public_v4(ip),
        IpAddr::V6(ip) => is_public_v6(ip),
    }
}

/// Everything that the IANA special-purpose registry does not set aside.
fn is_public_v4(ip: Ipv4Addr) -> bool {
    !matches!(
        ip.octets(),
        [0 | 10 | 127, ..]                 // this network, private, loopback
            | [100, 64..=127, ..]          // carrier-grade NAT
            | [169, 254, ..]               // link-local, cloud metadata among it
            | [172, 16..=31, ..]           // private
            | [192, 0, 0 | 2, _]           // protocol assignments, documentation
            | [192, 31, 196, _]            // AS112
            | [192, 52, 193, _]            // AMT
            | [192, 88, 99, _]             // 6to4 relays
            | [192, 168, ..]               // private
            | [192, 175, 48, _]            // AS112
            | [198, 18 | 19, ..]           // benchmarks
            | [198, 51, 100, _]            // documentation
            | [203, 0, 113, _]             // documentation
            | [224..=255, ..] // multicast, reserved, broadcast
    )
}

/// Global unicast is 2000::/3 and nothing else, less what is set aside inside it.
fn is_public_v6(ip: Ipv6Addr) -> bool {
    match ip.segments() {
        [0x2001, 0x0000..=0x01ff, ..] // protocol assignments: Teredo, benchmarks, ORCHID
        | [0x2001, 0x0db8, ..]        // documentation
        | [0x2002, ..]                // 6to4
        | [0x2620, 0x004f, 0x8000, ..] // AS112
        | [0x3fff, 0x0000..=0x0fff, ..] => false, // documentation
        [first, ..] => first & 0xe000 == 0x2000,
    }
}

/// The IPv4 address that `ip` leads to by translation or by a tunnel.
fn carried(ip: IpAddr) -> Option<Ipv4Addr> {
    let IpAddr::V6(ip) = ip else { return None };
    let v4 = |high: u16, low: u16| Ipv4Addr::from((u32::from(high) << 16) | u32::from(low));
    match ip.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => None, // unspecified and loopback, which carry nothing
        [0, 0, 0, 0, 0, 0 | 0xffff, a, b]     // compatible, mapped
        | [0, 0, 0, 0, 0xffff, 0, a, b]       // translated (SIIT)
        | [0x0064, 0xff9b, 0, 0, 0, 0, a, b]  // NAT64
        | [0x0064, 0xff9b, 1, _, _, _, a, b]  // local NAT64, the usual /96 of it
        | [0x2002, a, b, ..] => Some(v4(a, b)), // 6to4
        [0x2001, 0, _, _, _, _, a, b] => Some(v4(!a, !b)), // Teredo
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use animus_core::{
        grant::{Grant, HttpGrant},
        id::PluginName,
    };

    use super::*;

    const PUBLIC: &[&str] = &[
        "1.1.1.1",
        "8.8.8.8",
        "93.184.216.34",
        "9.255.255.255",
        "11.0.0.0",
        "100.63.255.255",
        "100.128.0.0",
        "126.255.255.255",
        "128.0.0.0",
        "169.253.255.255",
        "169.255.0.0",
        "172.15.255.255",
        "172.32.0.0",
        "192.0.1.0",
        "192.0.3.0",
        "192.167.255.255",
        "192.169.0.0",
        "198.17.255.255",
        "198.20.0.0",
        "198.51.99.255",
        "203.0.112.255",
        "203.0.114.0",
        "223.255.255.255",
        "2606:4700:4700::1111",
        "2001:200::1",
        "2001:4860:4860::8888",
        "2620:fe::fe",
        "2a00:1450:4001:81b::200e",
        "3ffe::1",
        "2001:db7::1",
    ];

    const OTHERS: &[&str] = &[
        "0.0.0.0",
        "0.1.2.3",
        "10.0.0.0",
        "10.255.255.255",
        "100.64.0.0",
        "100.127.255.255",
        "127.0.0.1",
        "127.255.255.254",
        "169.254.0.1",
        "169.254.169.254",
        "169.254.170.2",
        "172.16.0.0",
        "172.31.255.255",
        "192.0.0.8",
        "192.0.0.170",
        "192.0.2.1",
        "192.31.196.1",
        "192.52.193.1",
        "192.88.99.1",
        "192.168.0.1",
        "192.175.48.1",
        "198.18.0.1",
        "198.19.255.255",
        "198.51.100.1",
        "203.0.113.255",
        "224.0.0.1",
        "239.255.255.255",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::127.0.0.1",
        "::8.8.8.8",
        "::ffff:127.0.0.1",
        "::ffff:8.8.8.8",
        "::ffff:169.254.169.254",
        "::ffff:0:127.0.0.1",
        "64:ff9b::127.0.0.1",
        "64:ff9b::8.8.8.8",
        "64:ff9b:1::10.0.0.1",
        "100::1",
        "100:0:0:1::1",
        "2001::1",
        "2001:0:4136:e378::1",
        "2001:2::1",
        "2001:10::1",
        "2001:20::1",
        "2001:db8::1",
        "2002:7f00:1::",
        "2002:808:808::1",
        "2620:4f:8000::1",
        "3fff::1",
        "3fff:fff::1",
        "5f00::1",
        "fc00::1",
        "fd00:ec2::254",
        "fdff::1",
        "fe80::1",
        "febf::1",
        "fec0::1",
        "ff02::1",
        "ff0e::1",
        "4000::1",
        "1fff::1",
        "8000::1",
    ];

    fn authority(networks: &[&str]) -> Authority {
        let networks: BTreeSet<_> = networks.iter().map(|net| net.parse().unwrap()).collect();
        let hosts = BTreeSet::from(["*://*:*".parse().unwrap()]);
        let methods = BTreeSet::from(["GET".to_owned()]);
        let http = HttpGrant { hosts, methods, networks, ..HttpGrant::default() };
        let grant = Grant { http: Some(http), ..Grant::default() };
        Authority::new(PluginName::new("p").unwrap(), grant.clone(), grant, Grant::everything())
    }

    #[test]
    fn only_public_addresses_pass_without_a_granted_network() {
        let none = authority(&[]);
        for ip in PUBLIC {
            assert!(check(&none, ip.parse().unwrap()).is_ok(), "{ip} was refused");
        }
        for ip in OTHERS {
            let denial = check(&none, ip.parse().unwrap()).expect_err(ip);
            assert_eq!(denial.capability, format!("network:{}", ip.parse::<IpAddr>().unwrap()));
        }
    }

    #[test]
    fn a_granted_network_opens_itself_only() {
        let loopback = authority(&["127.0.0.0/8", "::1/128"]);
        for ip in ["127.0.0.1", "127.9.9.9", "::1"] {
            assert!(check(&loopback, ip.parse().unwrap()).is_ok(), "{ip}");
        }
        for ip in ["10.0.0.1", "169.254.169.254", "::ffff:127.0.0.1", "64:ff9b::127.0.0.1", "fe80::1"] {
            assert!(check(&loopback, ip.parse().unwrap()).is_err(), "{ip}");
        }
    }

    #[test]
    fn a_granted_translator_does_not_open_what_is_behind_it() {
        let nat64 = authority(&["64:ff9b::/96", "::ffff:0:0/96", "2001::/32", "2002::/16"]);
        for ip in ["64:ff9b::8.8.8.8", "::ffff:8.8.8.8", "2002:808:808::1", "2001:0:0:0:0:0:f7f7:f7f7"] {
            assert!(check(&nat64, ip.parse().unwrap()).is_ok(), "{ip}");
        }
        for ip in [
            "64:ff9b::169.254.169.254",
            "::ffff:127.0.0.1",
            "2002:7f00:1::",
            "2001:0:0:0:0:0:80ff:fffe",
            "64:ff9b::10.0.0.1",
        ] {
            assert!(check(&nat64, ip.parse().unwrap()).is_err(), "{ip}");
        }
        let both = authority(&["64:ff9b::/96", "10.0.0.0/8"]);
        assert!(check(&both, "64:ff9b::10.0.0.1".parse().unwrap()).is_ok());
    }
}
