//! `isname` and `nodename`: what is a registered name, and how this process is called.

use std::ffi::c_int;
use std::sync::LazyLock;

use crate::raw::{bytes, ffi, guard, lua_State, raise};

/// `cluster.isname(value: any): true?`: whether it is a string that begins with `@`.
pub(super) unsafe extern "C-unwind" fn isname(state: *mut lua_State) -> c_int {
    // SAFETY: Lua gives us a valid `state`; a string is not converted.
    unsafe {
        let is_string = ffi::lua_type(state, 1) == ffi::LUA_TSTRING;
        if !is_string || bytes(state, 1).is_none_or(|text| text.first() != Some(&b'@')) {
            return 0;
        }
        ffi::lua_pushboolean(state, 1);
    }
    1
}

/// Host name and process id.
static NODE: LazyLock<String> = LazyLock::new(|| {
    let host = std::fs::read("/proc/sys/kernel/hostname").unwrap_or_default();
    node_name(&host, std::process::id())
});

/// What is no printable ASCII becomes `_`, but for the line's end.
fn node_name(host: &[u8], id: u32) -> String {
    let host = host.strip_suffix(b"\n").unwrap_or(host);
    if host.is_empty() {
        return format!("noname{id}");
    }
    let visible = |&byte: &u8| if (b'!'..0x80).contains(&byte) { char::from(byte) } else { '_' };
    host.iter().map(visible).chain(id.to_string().chars()).collect()
}

/// `cluster.nodename(): string`, the name that this node tells others.
pub(super) unsafe extern "C-unwind" fn nodename(state: *mut lua_State) -> c_int {
    // SAFETY: Lua gives us a valid `state`; the name is static.
    unsafe {
        match guard(|| Ok(NODE.as_str())) {
            Ok(name) => _ = ffi::lua_pushlstring(state, name.as_ptr().cast(), name.len()),
            Err(error) => raise(state, error),
        }
    }
    1
}

#[cfg(test)]
mod tests {
    use super::node_name;

    #[test]
    fn a_node_is_called_by_what_can_be_written() {
        assert_eq!(node_name(b"box\n", 7), "box7");
        assert_eq!(node_name(b"my box\xc3\xa4", 7), "my_box__7");
        assert_eq!(node_name(b"\n", 7), "noname7");
    }
}
