//! `dhexchange` and `dhsecret`: two parties agree on a secret that was never sent.
//!
//! With 8-byte keys it is Diffie-Hellman as skynet has it, over the numbers below 2^64 − 59 with the base 5. That is small enough
//! to be broken; it is here for clients that speak it. With 32-byte keys it is X25519 (RFC 7748), the private key first.

use std::ffi::c_int;

use x25519_dalek::{X25519_BASEPOINT_BYTES, x25519};

use crate::raw::{Raise, check_bytes, ffi, guard, lua_State, push_bytes, raise};

/// 2^64 − 59, a prime.
const PRIME: u64 = 59_u64.wrapping_neg();
const BASE: u64 = 5;

/// A key of more bytes is a wrong one of X25519, one of fewer a wrong one of skynet's.
const LONGEST_SHORT: usize = 16;

/// `crypt.dhexchange(secret: string): string`, 8 or 32 bytes: what to send to the other side.
pub(super) unsafe extern "C-unwind" fn dhexchange(state: *mut lua_State) -> c_int {
    // SAFETY: Lua gives us a valid `state`; the argument stays in its slot; only plain data lives when something raises.
    unsafe {
        let secret = check_bytes(state, 1);
        if let Ok(secret) = <[u8; 32]>::try_from(secret) {
            return push_bytes(state, guard(|| Ok(x25519(secret, X25519_BASEPOINT_BYTES))));
        }
        let Ok(secret) = secret.try_into().map(u64::from_le_bytes) else {
            if secret.len() > LONGEST_SHORT {
                raise(state, Raise::new(format_args!("Invalid dh secret size {}", secret.len())));
            }
            raise(state, Raise::new("Invalid dh uint64 key"))
        };
        if secret == 0 {
            return ffi::luaL_error(state, c"Can't be 0".as_ptr());
        }
        push_bytes(state, Ok(power(BASE, secret).to_le_bytes()))
    }
}

/// `crypt.dhsecret(x: string, y: string): string`. Of 8 bytes: what the other side sent, and our secret. Of 32 bytes: our secret, and
/// what the other side sent.
pub(super) unsafe extern "C-unwind" fn dhsecret(state: *mut lua_State) -> c_int {
    // SAFETY: as in `dhexchange`.
    unsafe {
        let (x, y) = (check_bytes(state, 1), check_bytes(state, 2));
        if x.len() > LONGEST_SHORT || y.len() > LONGEST_SHORT {
            let (Ok(secret), Ok(public)) = (x.try_into(), y.try_into()) else {
                raise(state, Raise::new("Invalid key size"))
            };
            let shared = guard(|| match x25519(secret, public) {
                shared if shared == [0; 32] => {
                    Err(Raise::new("Invalid public key: the secret would be zero"))
                }
                shared => Ok(shared),
            });
            return push_bytes(state, shared);
        }
        let x = super::check_u64(state, 1, "Invalid uint64 x");
        let y = super::check_u64(state, 2, "Invalid uint64 y");
        if x == 0 || y == 0 {
            return ffi::luaL_error(state, c"Can't be 0".as_ptr());
        }
        push_bytes(state, Ok(power(x, y).to_le_bytes()))
    }
}

/// `base` to the power of `exponent`, modulo [`PRIME`]. As in skynet, the first power of the prime is the prime.
fn power(base: u64, mut exponent: u64) -> u64 {
    if base == PRIME && exponent == 1 {
        return PRIME;
    }
    let mut square = base % PRIME;
    let mut product = 1;
    while exponent != 0 {
        if exponent & 1 != 0 {
            product = times(product, square);
        }
        square = times(square, square);
        exponent >>= 1;
    }
    product
}

/// `a · b` modulo [`PRIME`]. As 2^64 leaves 59, the upper half counts 59 times.
fn times(a: u64, b: u64) -> u64 {
    let fold = |wide: u128| (wide >> 64) * 59 + u128::from(wide as u64);
    // Less than 60 · 2^64, then at most 2^64 + 59 · 59, then one subtraction is enough.
    let folded = fold(fold(u128::from(a) * u128::from(b)));
    let prime = u128::from(PRIME);
    (if folded >= prime { folded - prime } else { folded }) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_are_those_of_wide_division() {
        let mut x = 0x9e37_79b9_7f4a_7c15_u64;
        for _ in 0..10_000 {
            let y = x.wrapping_mul(0xd134_2543_de82_ef95).wrapping_add(1);
            let wide = u128::from(x % PRIME) * u128::from(y % PRIME);
            assert_eq!(u128::from(times(x % PRIME, y % PRIME)), wide % u128::from(PRIME));
            x = y;
        }
        for edge in [0, 1, PRIME - 1] {
            assert_eq!(
                u128::from(times(edge, edge)),
                u128::from(edge) * u128::from(edge) % u128::from(PRIME)
            );
        }
    }
}
