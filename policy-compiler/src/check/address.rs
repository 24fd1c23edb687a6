//! In: values of filters on addresses and ports. Out: networks and port ranges.

use std::net::{IpAddr, Ipv6Addr};

use super::filter::Request;
use super::integer::{self, Base, Domain};
use super::problems::{Problems, quoted};
use crate::diagnostic::Code;
use crate::typed::{ArgTest, IntType, IpNet, Side};

/// Ports that only privileged processes can bind by default.
const PRIVILEGED: (u16, u16) = (0, 1023);

/// The `Priv` operators.
pub(super) fn privileged(side: Side, not: bool, request: &Request<'_>, problems: &mut Problems) -> ArgTest {
    if !request.values.is_empty() {
        let message = format!("has no effect with `{}`", request.operator);
        problems.warn(&request.path, message, "remove it");
    }
    ArgTest::Port { not, side, ranges: vec![PRIVILEGED] }
}

/// Checks a filter on ports.
pub(super) fn check_ports(
    side: Side,
    not: bool,
    request: &Request<'_>,
    problems: &mut Problems,
) -> Option<ArgTest> {
    let domain = Domain::of(IntType::U16);
    let mut ranges = Vec::with_capacity(request.values.len());
    let mut sound = true;
    for (index, value) in request.values.iter().enumerate() {
        let path = request.path.item(index);
        let (low, high) = value.split_once(':').unwrap_or((value, value));
        let low = integer::parse(low, Base::Decimal, domain, &path, problems);
        // Do not complain twice about one number.
        let high = match value.contains(':') {
            true => integer::parse(high, Base::Decimal, domain, &path, problems),
            false => low,
        };
        match (low, high) {
            (Some(low), Some(high)) => ranges.push((low.min(high) as u64, low.max(high) as u64)),
            _ => sound = false,
        }
    }
    let merged = integer::merge(IntType::U16, ranges);
    let ranges = merged.into_iter().map(|(low, high)| (low as u16, high as u16)).collect();
    sound.then_some(ArgTest::Port { not, side, ranges })
}

/// Checks a filter on addresses.
pub(super) fn check_networks(
    side: Side,
    not: bool,
    request: &Request<'_>,
    problems: &mut Problems,
) -> Option<ArgTest> {
    let mut nets = Vec::with_capacity(request.values.len());
    for (index, value) in request.values.iter().enumerate() {
        let net = network(value);
        if net.is_none() {
            let message = format!("{} is not an address or network", quoted(value));
            let help = "write for example `10.0.0.0/8`, `192.0.2.1` or `2001:db8::/32`";
            problems.error_help(Code::WrongType, &request.path.item(index), message, help);
        }
        nets.push(net);
    }
    let mut nets = nets.into_iter().collect::<Option<Vec<_>>>()?;
    nets.sort_unstable();
    nets.dedup();
    Some(ArgTest::Addr { not, side, nets })
}

/// A network in canonical form: IPv4-mapped IPv6 networks are IPv4 networks, host bits are cleared.
fn network(text: &str) -> Option<IpNet> {
    let (addr, prefix) = match text.trim().split_once('/') {
        Some((addr, prefix)) => (addr, Some(decimal_prefix(prefix)?)),
        None => (text.trim(), None),
    };
    let addr: IpAddr = addr.parse().ok()?;
    let width = if addr.is_ipv4() { 32 } else { 128 };
    let prefix = prefix.unwrap_or(width);
    if prefix > width {
        return None;
    }
    Some(match addr {
        IpAddr::V4(v4) => {
            IpNet { addr: IpAddr::V4((u32::from(v4) & mask(32, prefix) as u32).into()), prefix }
        }
        IpAddr::V6(v6) => fold_mapped(v6, prefix),
    })
}

fn fold_mapped(addr: Ipv6Addr, prefix: u8) -> IpNet {
    match (addr.to_ipv4_mapped(), prefix.checked_sub(96)) {
        (Some(v4), Some(prefix)) => {
            IpNet { addr: IpAddr::V4((u32::from(v4) & mask(32, prefix) as u32).into()), prefix }
        }
        _ => IpNet { addr: IpAddr::V6((u128::from(addr) & mask(128, prefix)).into()), prefix },
    }
}

fn decimal_prefix(text: &str) -> Option<u8> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

/// The upper `prefix` of `width` bits.
fn mask(width: u8, prefix: u8) -> u128 {
    let host = u32::from(width - prefix);
    u128::MAX.checked_shl(host).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> Option<String> {
        network(text).map(|net| format!("{}/{}", net.addr, net.prefix))
    }

    #[test]
    fn networks_are_canonical() {
        for (text, expected) in [
            ("127.0.0.1/8", Some("127.0.0.0/8")),
            ("10.1.2.3", Some("10.1.2.3/32")),
            ("0.0.0.0/0", Some("0.0.0.0/0")),
            ("::1", Some("::1/128")),
            ("::/0", Some("::/0")),
            ("2001:db8:ffff::/33", Some("2001:db8:8000::/33")),
            ("::ffff:10.1.2.3", Some("10.1.2.3/32")),
            ("::ffff:10.1.2.3/104", Some("10.0.0.0/8")),
            ("::ffff:0:0/95", Some("::fffe:0:0/95")),
            ("10.0.0.0/33", None),
            ("10.0.0.0/+8", None),
            ("10.0.0/8", None),
            ("fe80::1%eth0", None),
            ("", None),
        ] {
            assert_eq!(shown(text).as_deref(), expected, "{text}");
        }
    }
}
