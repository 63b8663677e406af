//! The keys of a configuration, with their defaults and what they may hold.
//!
//! A configuration is an ordered map from text to text: reading the file (it is Lua) is the business of `bindings`. What
//! the runtime needs of it is read here once, at start; everything else stays readable through GETENV.
//!
//! # From skynet
//! struct skynet_config → [`Settings`]; optint, optboolean, optstring → its accessors, which write their default
//! back as skynet's do.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use crate::StartError;

/// What the kernel takes as a time before it asks.
const LONGEST_SILENCE: u32 = 32767;
/// Read by the services of a cluster.
const CLUSTER_INBOUND_LIMIT: &str = "cluster_inbound_limit";
/// The largest `thread`.
pub const MAX_THREADS: i64 = 1024;

/// How much may wait to be written on one socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WriteLimit {
    pub(crate) bytes: usize,
    pub(crate) policy: AtLimit,
}

/// What happens to a write that would be too much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AtLimit {
    /// The socket is closed: its peer does not read.
    Close,
    /// The write is refused; the service is told.
    Refuse,
}

/// What a node is told at start: every key of the configuration file, as text.
#[derive(Clone, Debug)]
pub struct Settings {
    entries: BTreeMap<Vec<u8>, Vec<u8>>,
    monitor_period: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self { entries: BTreeMap::new(), monitor_period: Duration::from_secs(5) }
    }
}

impl Settings {
    /// No keys: every one has its default.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets a key. A later value wins.
    pub fn set(&mut self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> &mut Self {
        self.entries.insert(key.as_ref().to_vec(), value.as_ref().to_vec());
        self
    }

    /// The value of a key as it was given.
    pub fn get(&self, key: impl AsRef<[u8]>) -> Option<&[u8]> {
        self.entries.get(key.as_ref()).map(Vec::as_slice)
    }

    /// The value of a key as text; what is not UTF-8 is replaced.
    pub fn text(&self, key: &str) -> Option<String> {
        self.get(key).map(|value| String::from_utf8_lossy(value).into_owned())
    }

    /// All keys in order.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.entries.iter().map(|(key, value)| (key.as_slice(), value.as_slice()))
    }

    /// Writes the defaults of the keys that the runtime reads, as skynet does: GETENV answers them too.
    pub fn fill_defaults(&mut self) {
        for (key, value) in [
            ("thread", "8"),
            ("cpath", "./cservice/?.so"),
            ("harbor", "1"),
            ("bootstrap", "snlua bootstrap"),
            ("logservice", "logger"),
            ("profile", "true"),
        ] {
            if self.get(key).is_none() {
                self.set(key, value);
            }
        }
    }

    /// An integer, read as C's `strtol` reads: what is no number is 0.
    pub fn integer(&self, key: &str, default: i64) -> i64 {
        self.get(key).map_or(default, parse_integer)
    }

    /// `thread`: how many workers.
    pub fn threads(&self) -> Result<usize, StartError> {
        let threads = i64::from(self.integer("thread", 8) as i32);
        if (1..=MAX_THREADS).contains(&threads) { Ok(threads as usize) } else { Err(StartError::Threads(threads)) }
    }

    /// `harbor`: the id of this node, 0 when it is alone. Addresses hold its low 8 bits.
    pub fn harbor(&self) -> i32 {
        self.integer("harbor", 1) as i32
    }

    /// `bootstrap`: module and arguments of the first service. Empty text: none.
    pub fn bootstrap(&self) -> String {
        self.text("bootstrap").unwrap_or_else(|| "snlua bootstrap".to_owned())
    }

    /// `logservice`: the module of the log service.
    pub fn log_service(&self) -> String {
        self.text("logservice").unwrap_or_else(|| "logger".to_owned())
    }

    /// `logger`: the argument of the log service, the file's path for ours.
    pub fn logger(&self) -> Option<&[u8]> {
        self.get("logger")
    }

    /// `logpath`: where the message logs go.
    pub fn log_path(&self) -> Option<PathBuf> {
        self.get("logpath").map(as_path)
    }

    /// `daemon`: the pid file. Its presence asks for daemon mode.
    pub fn daemon(&self) -> Option<PathBuf> {
        self.get("daemon").map(as_path)
    }

    /// `profile`: whether CPU time is accounted. Anything but `true` is off.
    pub fn profile(&self) -> bool {
        self.get("profile").is_none_or(|value| value == b"true")
    }

    /// `cpath`: where skynet would look for native services.
    pub fn cpath(&self) -> String {
        self.text("cpath").unwrap_or_else(|| "./cservice/?.so".to_owned())
    }

    /// `arena_limit`: how many bytes of blocks may live. Digits, with an optional `K`, `M` or `G`.
    pub fn arena_limit(&self) -> Result<Option<u64>, StartError> {
        self.bytes("arena_limit")
    }

    /// `cluster_inbound_limit`: how many bytes of unfinished large requests one connection of a cluster may hold. 1 GiB without the key.
    pub fn cluster_inbound_limit(&self) -> Result<u64, StartError> {
        // Lua counts with signed integers.
        Ok(self.bytes(CLUSTER_INBOUND_LIMIT)?.unwrap_or(1 << 30).min(i64::MAX as u64))
    }

    /// Puts the limits that Lua services read into bytes: they find digits alone, and no value that is wrong.
    pub(crate) fn resolve_limits(&mut self) -> Result<(), StartError> {
        let bytes = self.cluster_inbound_limit()?;
        self.set(CLUSTER_INBOUND_LIMIT, bytes.to_string());
        Ok(())
    }

    /// `socket_write_limit` and `socket_write_policy`: how many bytes may wait on one socket, and what happens then.
    pub(crate) fn socket_limit(&self) -> Result<Option<WriteLimit>, StartError> {
        let policy = match self.text("socket_write_policy").as_deref() {
            None | Some("close") => AtLimit::Close,
            Some("refuse") => AtLimit::Refuse,
            Some(other) => {
                return Err(StartError::Setting {
                    key: "socket_write_policy",
                    expected: "close or refuse",
                    found: other.to_owned(),
                });
            }
        };
        let bytes = self.bytes("socket_write_limit")?;
        Ok(bytes.map(|bytes| WriteLimit { bytes: usize::try_from(bytes).unwrap_or(usize::MAX), policy }))
    }

    /// `socket_silence`: after how many seconds without a sign of life of its host a peer is given up. `None`: when the system does.
    pub(crate) fn socket_silence(&self) -> Result<Option<u32>, StartError> {
        let Some(text) = self.text("socket_silence") else { return Ok(None) };
        match text.parse() {
            Ok(seconds @ 2..=LONGEST_SILENCE) => Ok(Some(seconds)),
            _ => Err(StartError::Setting {
                key: "socket_silence",
                expected: "a number of seconds from 2 to 32767",
                found: text,
            }),
        }
    }

    /// A number of bytes: digits, with an optional `K`, `M` or `G`.
    fn bytes(&self, key: &'static str) -> Result<Option<u64>, StartError> {
        let Some(text) = self.text(key) else { return Ok(None) };
        let wrong = || StartError::Setting {
            key,
            expected: "a number of bytes above 0, with K, M or G behind it if you like",
            found: text.clone(),
        };
        let digits = text.trim_end_matches(['K', 'M', 'G', 'k', 'm', 'g']);
        let shift = match &text[digits.len()..] {
            "" => 0,
            "K" | "k" => 10,
            "M" | "m" => 20,
            "G" | "g" => 30,
            _ => return Err(wrong()),
        };
        let number: u64 = digits.parse().map_err(|_| wrong())?;
        number.checked_mul(1 << shift).filter(|bytes| *bytes > 0).map(Some).ok_or_else(wrong)
    }

    /// How often the monitor looks for a service stuck in one message; 5 s unless a test says otherwise.
    pub fn monitor_period(&self) -> Duration {
        self.monitor_period
    }

    /// Changes [`Self::monitor_period`].
    pub fn set_monitor_period(&mut self, period: Duration) -> &mut Self {
        self.monitor_period = period;
        self
    }
}

fn as_path(bytes: &[u8]) -> PathBuf {
    use std::os::unix::ffi::OsStrExt;
    PathBuf::from(std::ffi::OsStr::from_bytes(bytes))
}

/// C's `strtol(text, NULL, 10)`: blanks, a sign, digits; clamps; the rest is ignored.
pub(crate) fn parse_integer(text: &[u8]) -> i64 {
    let mut rest = text.trim_ascii_start();
    let negative = rest.first() == Some(&b'-');
    if matches!(rest.first(), Some(b'-' | b'+')) {
        rest = &rest[1..];
    }
    let mut value = 0_i64;
    for digit in rest.iter().take_while(|byte| byte.is_ascii_digit()) {
        let digit = i64::from(digit - b'0');
        let next = value.checked_mul(10);
        let next = next.and_then(|it| if negative { it.checked_sub(digit) } else { it.checked_add(digit) });
        match next {
            Some(next) => value = next,
            None => return if negative { i64::MIN } else { i64::MAX },
        }
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_read_as_strtol_reads_them() {
        for (text, value) in
            [("12", 12), (" 7x", 7), ("-3", -3), ("+4", 4), ("", 0), ("x", 0), ("-", 0), ("0x10", 0), ("9223372036854775808", i64::MAX)]
        {
            assert_eq!(parse_integer(text.as_bytes()), value, "{text:?}");
        }
    }

    #[test]
    fn threads_out_of_range_are_refused_with_skynets_text() {
        for (value, text) in [("0", "0"), ("1025", "1025"), ("many", "0"), ("-2", "-2")] {
            let mut settings = Settings::new();
            settings.set("thread", value);
            let error = settings.threads().unwrap_err();
            assert_eq!(error.to_string(), format!("Invalid thread {text} , should be in [1,1024]"));
        }
        assert_eq!(Settings::new().threads().unwrap(), 8);
        assert_eq!(Settings::new().set("thread", "1024").threads().unwrap(), 1024);
    }

    #[test]
    fn an_arena_limit_takes_units_and_says_what_it_expected() {
        for (text, bytes) in [("4096", Some(4096)), ("64M", Some(64 << 20)), ("2g", Some(2 << 30))] {
            assert_eq!(Settings::new().set("arena_limit", text).arena_limit().unwrap(), bytes);
        }
        for text in ["", "0", "M", "12MM", "-1", "99999999999999999999", "20000000000G"] {
            let error = Settings::new().set("arena_limit", text).arena_limit().unwrap_err().to_string();
            assert!(error.starts_with("key arena_limit: expected a number"), "{error}");
        }
        assert_eq!(Settings::new().arena_limit().unwrap(), None);
    }

    #[test]
    fn the_inbound_limit_of_a_cluster_reaches_services_in_bytes() {
        for (text, bytes) in [(None, "1073741824"), (Some("1500k"), "1536000"), (Some("9223372036854775808"), "9223372036854775807")] {
            let mut settings = Settings::new();
            if let Some(text) = text {
                settings.set("cluster_inbound_limit", text);
            }
            settings.resolve_limits().unwrap();
            assert_eq!(settings.get("cluster_inbound_limit"), Some(bytes.as_bytes()));
        }
        for text in ["", "0", "1T", "-1"] {
            let error = Settings::new().set("cluster_inbound_limit", text).resolve_limits().unwrap_err().to_string();
            assert!(error.starts_with("key cluster_inbound_limit: expected a number of bytes"), "{error}");
        }
    }

    #[test]
    fn defaults_are_written_and_never_over_a_value() {
        let mut settings = Settings::new();
        settings.set("thread", "2").set("profile", "false");
        settings.fill_defaults();
        assert_eq!(settings.get("thread"), Some(&b"2"[..]));
        assert_eq!(settings.get("bootstrap"), Some(&b"snlua bootstrap"[..]));
        assert_eq!(settings.get("logger"), None);
        assert!(!settings.profile());
    }
}
