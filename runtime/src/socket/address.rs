//! Addresses: as text, as sockets have them, as datagrams carry them.
//!
//! A datagram's sender is 7 or 19 bytes: 1 (IPv4) or 2 (IPv6), the port (big-endian), the address. A Unix socket, which skynet
//! does not have, is written `unix:/path`.
//!
//! # From skynet
//! union sockaddr_all → [`Address`]; struct socket_udp_address → [`encode`] and [`decode`].

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::PathBuf,
};

/// What a host begins with that is the path of a Unix socket.
pub const UNIX: &[u8] = b"unix:";

/// Where a socket is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// On the net.
    Ip(SocketAddr),
    /// In the file system; without a path it has no name.
    Unix(PathBuf),
}

/// The host alone.
pub(crate) struct HostOf<'a>(pub(crate) &'a Address);

impl fmt::Display for HostOf<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Address::Ip(it) => write!(f, "{}", it.ip()),
            Address::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}

/// `ip:port`, without brackets around the ip; or the path.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(it) => write!(f, "{}:{}", it.ip(), it.port()),
            Self::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}

impl Address {
    /// The port; 0 for a Unix socket.
    pub fn port(&self) -> u16 {
        match self {
            Self::Ip(it) => it.port(),
            Self::Unix(_) => 0,
        }
    }
}

/// Why `host:port` is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// No `:`, or `[` without `]`.
    #[error("no host and port")]
    Address,
    /// What follows is no number up to 65535.
    #[error("no port")]
    Port,
}

/// Splits `host:port` or `[host]:port`. The first `:` counts.
///
/// # Errors
/// Which part is wrong.
pub fn split(text: &[u8]) -> Result<(&[u8], u16), Malformed> {
    if text.starts_with(UNIX) {
        return Ok((text, 0));
    }
    let (host, port) = match text.iter().position(|byte| *byte == b'[') {
        Some(open) => {
            let rest = &text[open + 1..];
            let close = rest.iter().position(|byte| *byte == b']').ok_or(Malformed::Address)?;
            let port = rest[close + 1..].strip_prefix(b":").ok_or(Malformed::Address)?;
            (&rest[..close], port)
        }
        None => {
            let colon = text.iter().position(|byte| *byte == b':').ok_or(Malformed::Address)?;
            (&text[..colon], &text[colon + 1..])
        }
    };
    let digits = !port.is_empty() && port.len() <= 5 && port.iter().all(u8::is_ascii_digit);
    let number = digits.then(|| port.iter().fold(0_u32, |sum, digit| sum * 10 + u32::from(digit - b'0')));
    Ok((host, number.and_then(|it| u16::try_from(it).ok()).ok_or(Malformed::Port)?))
}

/// An address as a datagram carries it, and how long it is.
pub fn encode(address: SocketAddr) -> ([u8; 19], usize) {
    let mut bytes = [0; 19];
    bytes[1..3].copy_from_slice(&address.port().to_be_bytes());
    match address.ip() {
        IpAddr::V4(ip) => {
            bytes[0] = 1;
            bytes[3..7].copy_from_slice(&ip.octets());
            (bytes, 7)
        }
        IpAddr::V6(ip) => {
            bytes[0] = 2;
            bytes[3..].copy_from_slice(&ip.octets());
            (bytes, 19)
        }
    }
}

/// What [`encode`] wrote; `None` for other bytes.
pub fn decode(bytes: &[u8]) -> Option<SocketAddr> {
    match bytes {
        [1, high, low, ip @ ..] => {
            let ip: [u8; 4] = ip.try_into().ok()?;
            Some(SocketAddr::new(Ipv4Addr::from(ip).into(), u16::from_be_bytes([*high, *low])))
        }
        [2, high, low, ip @ ..] => {
            let ip: [u8; 16] = ip.try_into().ok()?;
            Some(SocketAddr::new(Ipv6Addr::from(ip).into(), u16::from_be_bytes([*high, *low])))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_colon_splits_unless_there_are_brackets() {
        for (text, expected) in [
            ("127.0.0.1:80", Ok(("127.0.0.1", 80))),
            (":8888", Ok(("", 8888))),
            ("[::1]:65535", Ok(("::1", 65535))),
            ("localhost", Err(Malformed::Address)),
            ("[::1", Err(Malformed::Address)),
            ("]::1[", Err(Malformed::Address)),
            ("[::1]", Err(Malformed::Address)),
            ("a:", Err(Malformed::Port)),
            ("a:x", Err(Malformed::Port)),
            ("a:80x", Err(Malformed::Port)),
            ("a:65536", Err(Malformed::Port)),
            ("a:-1", Err(Malformed::Port)),
            ("::1:80", Err(Malformed::Port)),
            ("unix:/tmp/x:1", Ok(("unix:/tmp/x:1", 0))),
        ] {
            let found = split(text.as_bytes()).map(|(host, port)| (std::str::from_utf8(host).unwrap(), port));
            assert_eq!(found, expected, "{text}");
        }
    }

    #[test]
    fn datagram_addresses_have_seven_or_nineteen_bytes() {
        let v4: SocketAddr = "127.0.0.1:80".parse().unwrap();
        let (bytes, len) = encode(v4);
        assert_eq!(&bytes[..len], [1, 0, 80, 127, 0, 0, 1]);
        assert_eq!(decode(&bytes[..len]), Some(v4));
        let v6: SocketAddr = "[fe80::1]:4660".parse().unwrap();
        let (bytes, len) = encode(v6);
        assert_eq!(decode(&bytes[..len]), Some(v6));
        for wrong in [&[][..], &[1], &bytes[..7], &[1; 8], &[3; 7], &[2; 20]] {
            assert_eq!(decode(wrong), None);
        }
    }
}
