//! Hashes and authentication codes of `skynet.crypt`: SHA-1 and HMAC by their crates, the rest skynet's own.

use std::ffi::c_int;

use hmac::{Hmac, KeyInit, Mac};
use md5::Md5;
use sha1::{Digest, Sha1};

use super::check_u64;
use crate::raw::{Raise, check_bytes, guard, lua_State, push_bytes, raise};

/// `crypt.sha1(text: string): string`, 20 bytes.
pub(super) unsafe extern "C-unwind" fn sha1(state: *mut lua_State) -> c_int {
    // SAFETY: Lua gives us a valid `state`; the argument stays in its slot; only plain data lives when something raises.
    unsafe {
        let text = check_bytes(state, 1);
        push_bytes(state, guard(|| Ok(<[u8; 20]>::from(Sha1::digest(text)))))
    }
}

/// `crypt.hmac_sha1(key: string, text: string): string`, 20 bytes (RFC 2104).
pub(super) unsafe extern "C-unwind" fn hmac_sha1(state: *mut lua_State) -> c_int {
    // SAFETY: as in `sha1`.
    unsafe {
        let (key, text) = (check_bytes(state, 1), check_bytes(state, 2));
        push_bytes(
            state,
            guard(|| {
                let mac = Hmac::<Sha1>::new_from_slice(key)?.chain_update(text);
                Ok(<[u8; 20]>::from(mac.finalize().into_bytes()))
            }),
        )
    }
}

/// `crypt.randomkey(): string`, 8 random bytes whose exclusive or is not 0.
pub(super) unsafe extern "C-unwind" fn randomkey(state: *mut lua_State) -> c_int {
    let key = guard(|| {
        let mut key = [0; 8];
        getrandom::fill(&mut key)?;
        // Such a key is what skynet's clients take for "none".
        if key.iter().fold(0, |all, byte| all ^ byte) == 0 {
            key[0] ^= 1;
        }
        Ok(key)
    });
    // SAFETY: as in `sha1`.
    unsafe { push_bytes(state, key) }
}

/// `crypt.hashkey(text: string): string`, 8 bytes.
pub(super) unsafe extern "C-unwind" fn hashkey(state: *mut lua_State) -> c_int {
    // SAFETY: as in `sha1`.
    unsafe {
        let text = check_bytes(state, 1);
        push_bytes(state, Ok(hash(text).to_le_bytes()))
    }
}

/// `crypt.hmac64(x: string, y: string): string`, all of 8 bytes.
pub(super) unsafe extern "C-unwind" fn hmac64(state: *mut lua_State) -> c_int {
    // SAFETY: as in `sha1`.
    unsafe {
        let x = check_u64(state, 1, "Invalid uint64 x");
        let y = check_u64(state, 2, "Invalid uint64 y");
        push_bytes(state, guard(|| Ok(authenticate(x, y).to_le_bytes())))
    }
}

/// `crypt.hmac64_md5(x: string, y: string): string`, all of 8 bytes.
pub(super) unsafe extern "C-unwind" fn hmac64_md5(state: *mut lua_State) -> c_int {
    // SAFETY: as in `sha1`.
    unsafe {
        let x = check_u64(state, 1, "Invalid uint64 x");
        let y = check_u64(state, 2, "Invalid uint64 y");
        let code = guard(|| {
            let mut md5 = Md5::new();
            for _ in 0..3 {
                md5.update(x.to_le_bytes());
                md5.update(y.to_le_bytes());
            }
            let sum: [u8; 16] = md5.finalize().into();
            Ok(std::array::from_fn::<u8, 8, _>(|at| sum[at] ^ sum[at + 8]))
        });
        push_bytes(state, code)
    }
}

/// `crypt.hmac_hash(key: string, text: string): string`, 8 bytes, as is the key.
pub(super) unsafe extern "C-unwind" fn hmac_hash(state: *mut lua_State) -> c_int {
    // SAFETY: as in `sha1`.
    unsafe {
        let key = check_bytes(state, 1);
        let text = check_bytes(state, 2);
        let Ok(key) = key.try_into() else { raise(state, Raise::new("Invalid uint64 key")) };
        push_bytes(state, guard(|| Ok(authenticate(hash(text), u64::from_le_bytes(key)).to_le_bytes())))
    }
}

/// Two classic string hashes, the second one in the upper half.
fn hash(text: &[u8]) -> u64 {
    let (mut times, mut shifts) = (5381_u32, 1_315_423_911_u32);
    for &byte in text {
        let byte = u32::from(byte);
        times = times.wrapping_mul(33).wrapping_add(byte);
        shifts ^= (shifts << 5).wrapping_add(byte).wrapping_add(shifts >> 2);
    }
    u64::from(shifts) << 32 | u64::from(times)
}

/// One block of MD5 over both numbers four times, without the addition of the first state at the end, folded to half.
fn authenticate(x: u64, y: u64) -> u64 {
    const FIRST: [u32; 4] = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476];
    let mut block = [0; 64];
    for quarter in block.chunks_exact_mut(16) {
        quarter[..8].copy_from_slice(&x.rotate_left(32).to_le_bytes());
        quarter[8..].copy_from_slice(&y.rotate_left(32).to_le_bytes());
    }
    let mut state = FIRST;
    md5::block_api::compress(&mut state, &[block]);
    let [a, b, c, d] = std::array::from_fn(|at| state[at].wrapping_sub(FIRST[at]));
    u64::from(a ^ b) << 32 | u64::from(c ^ d)
}
