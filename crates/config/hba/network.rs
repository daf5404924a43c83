//! The addresses a rule is for.

use std::net::IpAddr;

/// All addresses that begin with the same bits.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Network {
    address: IpAddr,
    prefix: u8,
}

impl Network {
    /// Reads `address/prefix length`; the message completes "… is no address range: ".
    pub fn parse(text: &str) -> Result<Self, String> {
        let (address, prefix) = text.split_once('/').ok_or("the prefix length is missing")?;
        let address: IpAddr = address.parse().map_err(|_| "what stands before the slash is no address")?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let digits = !prefix.is_empty() && prefix.bytes().all(|byte| byte.is_ascii_digit());
        let prefix = prefix.parse().ok().filter(|prefix| digits && *prefix <= most);
        let prefix = prefix.ok_or_else(|| format!("the prefix length must be from 0 to {most}"))?;
        Ok(Self::new(address, prefix))
    }

    /// An address with its netmask; the message completes "the netmask ".
    pub fn masked(address: IpAddr, mask: IpAddr) -> Result<Self, &'static str> {
        let (ones, all) = match (address, mask) {
            (IpAddr::V4(_), IpAddr::V4(mask)) => (mask.to_bits().leading_ones(), mask.to_bits().count_ones()),
            (IpAddr::V6(_), IpAddr::V6(mask)) => (mask.to_bits().leading_ones(), mask.to_bits().count_ones()),
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => {
                return Err("is of the other IP version than the address");
            }
        };
        if ones != all {
            return Err("must be ones followed by zeros");
        }
        // At most 128.
        Ok(Self::new(address, ones as u8))
    }

    /// IPv4 addresses written as IPv6 are IPv4 addresses here: that is how clients of a socket for both arrive.
    fn new(address: IpAddr, prefix: u8) -> Self {
        match (address.to_canonical(), prefix.checked_sub(96)) {
            (v4 @ IpAddr::V4(_), Some(prefix)) if address.is_ipv6() => Self { address: v4, prefix },
            _ => Self { address, prefix },
        }
    }

    pub fn contains(self, address: IpAddr) -> bool {
        // A shift by all bits leaves nothing, and is what the prefix length 0 asks for.
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(ours), IpAddr::V4(other)) => {
                let differ = ours.to_bits() ^ other.to_bits();
                differ.checked_shr(32 - u32::from(self.prefix)).unwrap_or(0) == 0
            }
            (IpAddr::V6(ours), IpAddr::V6(other)) => {
                let differ = ours.to_bits() ^ other.to_bits();
                differ.checked_shr(128 - u32::from(self.prefix)).unwrap_or(0) == 0
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use proptest::prelude::*;

    use super::*;

    fn contains(network: &str, address: &str) -> bool {
        Network::parse(network).unwrap().contains(address.parse().unwrap())
    }

    #[test]
    fn a_network_is_all_that_begins_alike() {
        assert!(contains("10.0.0.0/8", "10.255.0.1") && !contains("10.0.0.0/8", "11.0.0.1"));
        assert!(contains("10.0.0.1/32", "10.0.0.1") && !contains("10.0.0.1/32", "10.0.0.0"));
        assert!(contains("fe80::/10", "febf::1") && !contains("fe80::/10", "fec0::1"));
    }

    #[test]
    fn each_ip_version_matches_itself_and_mapped_addresses_are_ipv4() {
        assert!(contains("0.0.0.0/0", "1.2.3.4") && !contains("0.0.0.0/0", "::1"));
        assert!(contains("::/0", "::1") && !contains("::/0", "1.2.3.4") && !contains("::/0", "::ffff:1.2.3.4"));
        assert!(contains("10.0.0.0/8", "::ffff:10.1.2.3") && !contains("10.0.0.0/8", "::ffff:11.1.2.3"));
        assert!(contains("::ffff:10.0.0.0/104", "10.1.2.3") && !contains("::ffff:10.0.0.0/104", "11.1.2.3"));
    }

    #[test]
    fn what_is_no_network_is_refused_with_the_reason() {
        for (text, expected) in [
            ("10.0.0/8", "before the slash is no address"),
            ("host/8", "before the slash is no address"),
            ("10.0.0.0/33", "from 0 to 32"),
            ("::/129", "from 0 to 128"),
            ("10.0.0.0/", "from 0 to 32"),
            ("10.0.0.0/+8", "from 0 to 32"),
            ("fe80::1%eth0/64", "is no address"),
            ("10.0.0.0", "missing"),
        ] {
            let message = Network::parse(text).unwrap_err();
            assert!(message.contains(expected), "{text}: {message}");
        }
    }

    proptest! {
        #[test]
        fn a_mask_says_what_a_prefix_length_says(bits: u32, other: u32, prefix in 0u8..=32) {
            let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
            let [address, mask_address, asked] = [bits, mask, other].map(|bits| IpAddr::V4(Ipv4Addr::from_bits(bits)));
            let network = Network::masked(address, mask_address).unwrap();
            prop_assert_eq!(network, Network::parse(&format!("{address}/{prefix}")).unwrap());
            prop_assert_eq!(network.contains(asked), bits & mask == other & mask);
            prop_assert!(network.contains(address));
        }

        #[test]
        fn every_ipv6_network_contains_what_shares_its_first_bits(bits: u128, other: u128, prefix in 0u8..=128) {
            // Nobody writes an IPv6 network that happens to be a mapped IPv4 one by chance.
            let mask = u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0);
            let [address, mask_address] = [bits, mask].map(|bits| IpAddr::V6(Ipv6Addr::from_bits(bits)));
            let network = Network::masked(address, mask_address).unwrap();
            let near = IpAddr::V6(Ipv6Addr::from_bits((bits & mask) | (other & !mask)));
            prop_assume!(!address.to_canonical().is_ipv4() && !near.to_canonical().is_ipv4());
            prop_assert!(network.contains(near));
            let far = IpAddr::V6(Ipv6Addr::from_bits(other));
            prop_assert_eq!(network.contains(far), bits & mask == other & mask);
        }
    }

    #[test]
    fn a_mask_with_holes_or_of_the_other_version_is_refused() {
        let masked = |address: &str, mask: &str| Network::masked(address.parse().unwrap(), mask.parse().unwrap());
        assert!(masked("10.0.0.0", "255.0.255.0").unwrap_err().contains("ones followed by zeros"));
        assert!(masked("10.0.0.0", "ffff::").unwrap_err().contains("other IP version"));
    }
}
